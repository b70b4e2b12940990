"""What a run will take, told before anything is loaded."""

from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError
from workbench.html_table import Html, table
from workbench.progress import working
from workbench.reports.report import COMPACT, LEFT, RIGHT, ReportPage
from workbench.runs import run_job
from workbench.settings import RunSettings
from workbench.verbs.model_names import Model, check_model, check_preset, model_name

if TYPE_CHECKING:
    from pandas import DataFrame

GB = 1e9


class MemoryPlan(ReportPage):
    """What each part of a run takes in memory, by phase; in a notebook a table.

    Attributes:
        facts: the plan in plain values.
    """

    def __init__(self, facts: dict[str, Any], settings: RunSettings) -> None:
        self.facts, self.settings = facts, settings
        super().__init__(self.verdict)

    @property
    def frame(self) -> "DataFrame":
        """GB of each part (rows) in each phase (columns), and their sum."""
        import pandas as pd

        parts = pd.DataFrame(self.facts["parts"])
        table = parts.pivot_table(index="part", columns="phase", values="bytes", aggfunc="sum")
        table = table.loc[list(dict.fromkeys(parts["part"])), list(dict.fromkeys(parts["phase"]))]
        table = table.fillna(0) / GB
        table.loc["sum"] = table.sum()
        table.columns.name = None
        return table

    @property
    def phases(self) -> dict[str, float]:
        """GB that each phase takes."""
        sizes: dict[str, float] = {}
        for part in self.facts["parts"]:
            sizes[part["phase"]] = sizes.get(part["phase"], 0.0) + part["bytes"] / GB
        return sizes

    @property
    def peak_gb(self) -> float:
        """The most there is at any time, in GB (10⁹ bytes)."""
        return max(self.phases.values())

    @property
    def free_gb(self) -> float:
        """What is free, or the card's size."""
        return self.facts["free"] / GB

    @property
    def recomputes(self) -> bool:
        """Whether layers are computed twice: as was set, or as auto found that it must be."""
        return bool(self.facts.get("recomputes", self.settings.recomputes))

    @property
    def fits(self) -> bool:
        """Whether it does."""
        return self.peak_gb <= self.free_gb

    @property
    def advice(self) -> str:
        """What to change, where it does not fit: the settings that save the most, first."""
        if self.fits:
            return ""
        phase = max(self.phases, key=lambda name: self.phases[name])
        parts = {p["part"]: p["bytes"] for p in self.facts["parts"] if p["phase"] == phase}
        advice: list[tuple[int, str]] = []
        for part, size in parts.items():
            text = self._remedy(part)
            if text:
                advice.append((size, text))
        texts = dict.fromkeys(text for _, text in sorted(advice, reverse=True))
        return "; ".join(texts) or "take a smaller model"

    def _remedy(self, part: str) -> str:
        settings, rows = self.settings, self.facts["rows"]
        if part.startswith("base: linear") and settings.quantization == "none":
            return "set quantization='nf4'"
        if part.startswith("base"):
            return "take a smaller model"
        if part.startswith("activations"):
            if not self.recomputes:
                return "set gradient_checkpointing=True"
            if rows > 1:
                return f"lower micro_batch_tokens (it is {self.facts['micro_batch_tokens']})"
            return f"lower max_length (it is {settings.max_length})"
        if part.startswith("mask"):
            return f"lower micro_batch_tokens (it is {self.facts['micro_batch_tokens']})"
        if part.startswith(("keys and values", "prompts")):
            return f"lower batch_size or max_length (it is {settings.max_length})"
        if part.startswith(("adapters", "float32", "gradients", "AdamW", "copy of")):
            if settings.lora_rank == 0:
                return "set lora_rank=16: adapters instead of every weight"
            return f"lower lora_rank (it is {settings.lora_rank})"
        return ""

    @property
    def verdict(self) -> str:
        """One sentence."""
        outcome = "fits" if self.fits else "does not fit"
        sizes = f"{self.peak_gb:.2f} GB at the peak, {self.free_gb:.2f} GB free: it {outcome}"
        return sizes if self.fits else f"{sizes}; {self.advice}"

    @property
    def _title(self) -> str:
        facts = self.facts
        return (
            f"{facts['model']}, {self.settings.kind}, {facts['device']}, {facts['dtype']}, "
            f"{facts['quantization']}; micro-batch {facts['rows']} × {facts['length']} tokens"
            f"{', layers computed twice' if self.recomputes else ''}"
        )

    def _cells(self) -> "DataFrame":
        return self.frame.rename_axis(None).map(lambda size: f"{size:.3g}" if size else "")

    def __repr__(self) -> str:
        return f"{self._title}\n{self._cells().to_string()}\n{self.verdict}"

    def _table(self) -> Html:
        cells = self._cells()
        rows: list[list[str]] = cells.reset_index().to_numpy().tolist()
        styles = (LEFT, *[RIGHT] * len(cells.columns))
        heads = ("GB", *map(str, cells.columns))
        return table(rows, styles, heads=heads, row_head=0, attributes=COMPACT)

    def _note(self) -> str:
        return (
            f"{self._title}. The run alone: its process holds Python and its libraries besides, "
            "about 1 GB."
        )


@working("plan")
def plan(
    model: Model,
    settings: RunSettings | None = None,
    *,
    preset: str | None = None,
    card_gb: float | None = None,
    **changes: Any,
) -> MemoryPlan:
    """Say what a run will take in memory, before anything is loaded.

    Only the model's config is read; the passes of a run are gone through without numbers, in a
    process of their own. Prompts and answers are taken to be as long as the settings allow.

    Args:
        model: what the run starts from; a hub id, folder, run or ``builtin:NAME``.
        settings: ``PPOSettings`` (the defaults where it is None), ``RewardSettings``,
            ``DPOSettings`` or ``SFTSettings``. PPO is planned with a reward model of the same rank
            on the same base.
        preset: PPO's settings for a card, by name (:func:`presets`).
        card_gb: plan for a GPU of so many GB, which this machine need not have.
        changes: settings by name, over those.

    Raises:
        ConfigError: a setting that does not exist, a card of no size, or a preset beside settings.
        ModelError: the model's config cannot be read, or it is no language model.
    """
    if preset is not None and settings is not None:
        raise ConfigError(
            "a preset and settings were given", where="wb.plan", fix="give one of the two"
        )
    if card_gb is not None and not card_gb > 0:
        raise ConfigError(
            f"a card of {card_gb} GB holds nothing", where="card_gb", fix="give its size in GB"
        )
    settings = check_preset(preset, changes) if settings is None else settings.changed(**changes)
    check_model(model, "model")
    request = {"model": model_name(model), "kind": settings.kind, "settings": settings.to_dict()}
    card = None if card_gb is None else round(card_gb * GB)
    return MemoryPlan(run_job("plan", {**request, "card": card}), settings)
