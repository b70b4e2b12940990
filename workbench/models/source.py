"""What a person calls a model: a hub id, a folder, a run, or an embedded default."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import ModelError, first_line
from workbench.models.bounds import LARGEST_JSON, LARGEST_MEMBERS, LARGEST_RANK, LARGEST_SCORE
from workbench.settings import KINDS
from workbench.world.sample_files import builtin

#: Written into every ``final/`` beside what transformers and peft need.
CARD = "workbench.json"
#: Within a policy's ``final/``: the adapter that it started from, where there was one.
REFERENCE = "reference"
#: Within a reward model's ``final/``: what its scores are read with.
STATS = "reward.json"
HEADS = ("score", "classifier")
"""What PEFT calls the head of a sequence classifier."""
TOKENIZER = ("tokenizer_config.json", "chat_template.jinja")
"""Files with which an adapter says how it reads."""
_DEEPEST = 6  # a run's final adapter on a run's final weights
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class RewardStats:
    """What a reward model's ``reward.json`` holds.

    Attributes:
        mean, std: of the raw scores; (0, 1) where none were measured. Of an ensemble: 0, and the
            mean of its members' deviations, the raw score that one point of its mean stands for.
        training_pairs: how many pairs it has learned from; None where that is not known.
        sharpness: what a raw margin is multiplied by for sigmoid(margin) to be a probability.
    """

    mean: float = 0.0
    std: float = 1.0
    training_pairs: int | None = None
    sharpness: float = 1.0

    @classmethod
    def read(cls, folder: Path) -> "RewardStats":
        """Those of a folder; of one without, scores as they are.

        Raises:
            ModelError: they are no numbers that scores can be read by.
        """
        file = folder / STATS
        stats = model_json(file)
        pairs = stats.get("training_pairs")
        if pairs is not None and (isinstance(pairs, bool) or not _is_within(pairs, 0, 1e15)):
            raise _no_stats(file, "training_pairs", pairs)
        least, most = 1 / LARGEST_SCORE, LARGEST_SCORE
        bounds = {"mean": (-most, most), "std": (least, most), "sharpness": (least, most)}
        figures = {name: stats.get(name, getattr(cls, name)) for name in bounds}
        for name, (low, high) in bounds.items():
            if not _is_within(figures[name], low, high):
                raise _no_stats(file, name, figures[name])
        return cls(
            float(figures["mean"]),
            float(figures["std"]),
            None if pairs is None else int(pairs),
            float(figures["sharpness"]),
        )


def member_folder(index: int) -> str:
    """An ensemble member's folder within ``final/``."""
    return f"member-{index}"


@dataclass(frozen=True)
class Source:
    """Where the weights of a model are.

    Attributes:
        base: folder or hub id of the full weights.
        adapter: folder of a PEFT adapter on that base, or None; of an ensemble its first member.
        reference: the base as a person would write it, e.g. ``builtin:tiny-chat``.
        members: folders of an ensemble's adapters; empty for anything else.
    """

    base: str
    adapter: Path | None
    reference: str
    members: tuple[Path, ...] = ()

    @property
    def tokenizer(self) -> str:
        """Folder or hub id that says how to read: the base, or an adapter that brings its own.

        What was trained here reads as its base does, unless it started from such an adapter.
        """
        if self.adapter is None:
            return self.base
        brings = any((self.adapter / name).is_file() for name in TOKENIZER)
        if brings and (self.adapter / CARD).is_file():
            brings = bool(model_json(self.adapter / CARD).get("own_tokenizer"))
        return str(self.adapter) if brings else self.base

    def check_adapter(self) -> None:
        """Refuse an adapter that brings whole layers of its own, beside a reward model's head.

        Raises:
            ModelError: it does.
        """
        for folder in self.judges:
            check_no_whole_layers(folder)

    @property
    def is_reward(self) -> bool:
        """Whether it is known to score sequences: by its reward.json, task or architecture."""
        if self.is_measured:
            return True
        if self.adapter is not None:
            if model_json(self.adapter / CARD).get("kind") == "value":
                return False  # PPO's value model: a head too, but it judges half an answer
            return model_json(self.adapter / "adapter_config.json").get("task_type") == "SEQ_CLS"
        names = model_json(Path(self.base) / "config.json").get("architectures") or [""]
        return str(names[0]).endswith("ForSequenceClassification")

    @property
    def is_measured(self) -> bool:
        """Whether the mean and deviation of its scores were written beside it."""
        return (self._folder / STATS).is_file()

    @property
    def is_ours(self) -> bool:
        """Whether it was trained here, and not by another tool."""
        return (self._folder / CARD).is_file()

    @property
    def may_score(self) -> bool:
        """Whether it is a reward model, or on the hub, where only loading tells."""
        return self.is_reward or (self.adapter is None and not Path(self.base).is_dir())

    @property
    def _folder(self) -> Path:
        """Where what was given lies: an ensemble, an adapter, or whole weights."""
        if self.members:
            return self.members[0].parent
        return Path(self.base) if self.adapter is None else self.adapter

    @property
    def judges(self) -> tuple[Path, ...]:
        """The adapter folders of a reward model: an ensemble's members, or the one there is."""
        return self.members or (() if self.adapter is None else (self.adapter,))

    @property
    def start(self) -> Path | None:
        """The adapter that a policy started from; None where it started from the base."""
        folder = None if self.adapter is None else self.adapter / REFERENCE
        return folder if folder is not None and folder.is_dir() else None

    def check_answers(self) -> None:
        """Refuse what scores answers and gives none.

        Raises:
            ModelError: it is a reward model.
        """
        if self.is_reward:
            raise ModelError(
                "a reward model scores answers and gives none",
                where=str(self._folder),
                fix="give a model that answers: a base, or a run of train_sft or train_ppo",
            )

    def reward_stats(self) -> RewardStats:
        """What reward.json says; of an ensemble, of its members together."""
        return RewardStats.read(self._folder)


def resolve(model: str, depth: int = 0) -> Source:
    """Find the weights that a name stands for; nothing is loaded.

    Raises:
        ModelError: the name is no embedded default, folder, run or hub id, or the folder holds
            no model, or leads back to itself.
    """
    if depth > _DEEPEST:
        raise ModelError(
            "these folders lead to each other, and to no weights",
            where=model,
            fix="see what base_model_name_or_path in adapter_config.json names: it is the folder "
            "or hub id of full weights",
        )
    if model.startswith("builtin:"):
        return Source(str(builtin(model.removeprefix("builtin:"))), None, model)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _resolve_folder(_real(folder), depth + 1)
    if folder.exists():
        raise ModelError(
            "a model is a folder, and this is a file",
            where=str(folder),
            fix="give the folder that holds config.json",
        )
    if _HUB_ID.fullmatch(model) and not model.startswith((".", "/")):
        return Source(model, None, model)
    raise ModelError(
        "there is no such model",
        where=model,
        fix="give a folder with config.json, a run, a hub id such as owner/name, "
        "builtin:tiny-base or builtin:tiny-chat",
    )


def _real(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return folder.absolute()


def _resolve_folder(folder: Path, depth: int) -> Source:
    if (folder / "adapter_config.json").is_file():
        return _resolve_adapter(folder, depth)
    if members := model_json(folder / STATS).get("members"):
        return _resolve_ensemble(folder, members)
    config = model_json(folder / "config.json")
    kind = config.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        final = folder / "final"
        if not final.is_dir():
            raise ModelError(
                "this run has no final model",
                where=str(folder),
                fix="wait for it to finish (run.wait()), or resume it",
            )
        return resolve(str(final), depth + 1)
    if "model_type" not in config:
        raise ModelError(
            "this folder holds no model",
            where=str(folder),
            fix="give a folder with a transformers config.json, a PEFT adapter, or a run",
        )
    return Source(str(folder), None, str(folder))


def _resolve_ensemble(folder: Path, members: Any) -> Source:
    if isinstance(members, bool) or not _is_within(members, 1, LARGEST_MEMBERS):
        raise ModelError(
            f"an ensemble has 1 to {LARGEST_MEMBERS} members, and this one says {members!r:.60}",
            where=str(folder / STATS),
            fix="restore reward.json, or train the reward model again",
        )
    folders = tuple(folder / member_folder(index) for index in range(int(members)))
    for member in folders:
        if not (member / "adapter_config.json").is_file():
            raise ModelError(
                "a member of this ensemble is missing",
                where=str(member),
                fix="restore its folder, or train the reward model again",
            )
    return replace(_resolve_adapter(folders[0], 0), members=folders)


def _resolve_adapter(folder: Path, depth: int) -> Source:
    """An adapter names its base; the card's name survives a move of the project."""
    recorded = str(model_json(folder / "adapter_config.json").get("base_model_name_or_path"))
    reference = str(model_json(folder / CARD).get("base", recorded))
    if Path(reference).expanduser().is_dir() and _real(Path(reference).expanduser()) == folder:
        raise ModelError(
            "this adapter names itself as its base",
            where=str(folder / "adapter_config.json"),
            fix="set base_model_name_or_path to the folder or hub id of the full weights",
        )
    source = resolve(reference, depth + 1)
    if source.adapter is not None:
        raise ModelError(
            "this adapter stands on another adapter",
            where=f"{folder} (base {reference})",
            fix="merge the lower adapter into its base first",
        )
    return Source(source.base, folder, source.reference)


def check_no_whole_layers(folder: Path) -> None:
    """Refuse an adapter that changes more of a decoder than LoRA adds to its layers.

    Raises:
        ModelError: whole layers, rows of embeddings or biases were trained with it.
    """
    config = model_json(folder / "adapter_config.json")
    whole = [name for name in config.get("modules_to_save") or () if name not in HEADS]
    if whole:
        brings = f"whole layers of its own (modules_to_save: {', '.join(whole)})"
    elif config.get("trainable_token_indices"):
        brings = "rows of the embeddings (trainable_token_indices)"
    elif config.get("bias", "none") != "none":
        brings = f"biases of the base (bias: {config['bias']})"
    else:
        return
    raise ModelError(
        f"this adapter brings {brings}, and roles share one base",
        where=str(folder),
        fix="merge it into its base first (peft: PeftModel.from_pretrained(base, folder)"
        ".merge_and_unload().save_pretrained(new_folder), and save the tokenizer there too), "
        "then give the merged folder",
    )


def check_rank(folder: Path) -> None:
    """Refuse an adapter of a size that none has, before it is made.

    Raises:
        ModelError: it is one.
    """
    config = model_json(folder / "adapter_config.json")
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r", 8), *(pattern.values() if isinstance(pattern, dict) else [None])]
    wrong = [rank for rank in ranks if type(rank) is not int or not 1 <= rank <= LARGEST_RANK]
    if wrong:
        raise ModelError(
            f"an adapter's rank is 1 to {LARGEST_RANK:,}, and this one says {wrong[0]!r:.60}",
            where=str(folder / "adapter_config.json"),
            fix="restore adapter_config.json, or give another adapter",
        )


def _is_within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low <= value <= high  # which a NaN never is


def _no_stats(file: Path, name: str, value: Any) -> ModelError:
    return ModelError(
        f"{name} is {value!r:.60}, by which no score can be read",
        where=str(file),
        fix="restore reward.json, or train the reward model again; without the file scores are "
        "taken as they are",
    )


def model_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model's folder; an empty one where there is no file.

    Raises:
        ModelError: it holds none, or is larger than any.
    """
    try:
        if path.is_file() and path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON >> 20} MB")
        table = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:  # not JSON, or no text at all
        raise ModelError(
            f"this file is not JSON ({first_line(error)})",
            where=str(path),
            fix="restore it, or save again",
        ) from error
    if not isinstance(table, dict):
        raise ModelError(
            f"this file holds no JSON object but a {type(table).__name__}",
            where=str(path),
            fix="restore it, or save again",
        )
    return table
