"""All runs: open one by its name, list them, wait for one that another needs."""

# pyright: reportMissingTypeStubs=false
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from workbench.errors import RunError
from workbench.progress import FIGURES, estimate_words, figures, phase_words
from workbench.runs import launcher
from workbench.runs.folder import CONFIG, LIVE, METRICS, RunFolder
from workbench.runs.run import Run, frame

if TYPE_CHECKING:
    from pandas import DataFrame


def open_run(name_or_path: str | Path) -> Run:
    """Attach to a run, live or not, by its name or its folder.

    Raises:
        RunError: there is no such run.
    """
    return Run(launcher.find_run(name_or_path))


def wait_for(run: Run) -> Run:
    """Wait for a run that is another's input.

    Raises:
        RunError: it failed, or it is paused and would be waited for in vain.
    """
    if run.status == "paused":
        raise RunError(
            f"{run.name} is paused, and what comes next needs its result",
            where=str(run.path),
            fix="call its resume(), or stop() to go on with what it has learned so far",
        )
    return run if run.status == "finished" else run.wait()


BEST: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "ppo": (("objective/gold", "gold", True), ("objective/scores", "reward", True)),
    "reward": (("heldout/accuracy", "held-out accuracy", True), ("accuracy", "accuracy", True)),
    "sft": (("heldout/loss", "held-out loss", False), ("loss", "loss", False)),
}
"""By kind: what a run is judged by, the first that it has; its word; whether more is better."""
RUN_COLUMNS = (
    *("name", "kind", "state", "step", "total", "now", "model", "data", "started", "best"),
    *("figures", "path"),
)
REREAD = 20.0  # a live run's rows are read again after so many times what reading them took


class _Summary(NamedTuple):
    """What was read of a run: when its files looked so, and until when a live run is let be."""

    stamp: tuple[int, ...]
    again: float
    facts: dict[str, Any]


_READ: dict[Path, _Summary] = {}


def list_runs(root: Path | None = None) -> "DataFrame":
    """All runs, oldest first, with their state and what they have reached.

    ``now`` says where a live run is inside a long step, or what a step is thought to take.
    ``figures`` are means over the last ten steps that report them, ``best`` is the best mean of
    ten in a row (held-out figures: the best one).
    """
    return frame(summaries(root), list(RUN_COLUMNS))


def summaries(root: Path | None = None) -> list[dict[str, Any]]:
    """One row a run, as in :func:`list_runs`; a run's metrics are read again once they changed."""
    return [_summary(folder) for folder in launcher.run_folders(root)]


class Runs:
    """All runs: a view in a notebook, and for programs a table (``frame``) that it acts as."""

    view_factory: ClassVar[Callable[["Runs"], Any] | None] = None
    """Makes what a notebook shows; set from above, since runs know no widgets."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self._view: Any = None

    @property
    def frame(self) -> "DataFrame":
        """The runs as they are now, oldest first."""
        return list_runs(self.root)

    @property
    def folders(self) -> list[RunFolder]:
        """Their folders, oldest first."""
        return launcher.run_folders(self.root)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.frame, name)

    def __getitem__(self, key: Any) -> Any:
        table: Any = self.frame
        return table[key]

    def __len__(self) -> int:
        return len(self.folders)

    def __iter__(self) -> Iterator[str]:
        return iter(RUN_COLUMNS)  # as a frame does

    def __repr__(self) -> str:
        return repr(self._shown())

    def _repr_html_(self) -> str:
        return str(self._shown().to_html())

    def _shown(self) -> Any:
        table: Any = self.frame
        return table.drop(columns="path")

    def _ipython_display_(self) -> None:
        make = type(self).view_factory
        if make is None:
            raise NotImplementedError  # IPython then takes the repr
        self._view = make(self)
        self._view._ipython_display_()


def _summary(folder: RunFolder) -> dict[str, Any]:
    status = folder.status()
    stamp = tuple(part for name in (METRICS, CONFIG) for part in _stamp(folder.path / name))
    known, began = _READ.get(folder.path), time.monotonic()
    rests = known is not None and status["state"] in LIVE and began < known.again
    if known is None or (known.stamp != stamp and not rests):
        facts = _facts(folder)
        ended = time.monotonic()
        again = ended + REREAD * (ended - began) if status["state"] in LIVE else ended
        known = _READ[folder.path] = _Summary(stamp, again, facts)
    now = {"state": status["state"], "step": status["step"], "total": status["total_steps"]}
    now["now"] = phase_words(status) or estimate_words(status)
    return {name: {**known.facts, **now}[name] for name in RUN_COLUMNS}


def _facts(folder: RunFolder) -> dict[str, Any]:
    config, rows = folder.config(), folder.metrics()
    kind = str(config["kind"])
    return {
        "name": folder.name,
        "kind": kind,
        "model": str(config.get("model", "")),
        "data": _data(config),
        "started": config.get("created"),
        "best": _best(kind, rows),
        "figures": _reached(rows),
        "path": str(folder.path),
    }


def _stamp(path: Path) -> tuple[int, int]:
    """When a file was written, and its size: two writes may fall into one tick of the clock."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _data(config: dict[str, Any]) -> str:
    """How much it learns from, and what it is paid by."""
    data: dict[str, Any] = config.get("data") or {}
    inputs: dict[str, Any] = config.get("inputs") or {}
    word = {"ppo": "prompts", "reward": "pairs"}.get(str(config.get("kind")), "rows")
    rows = f"{int(data.get('rows', 0)):,} {word}"
    reward = inputs.get("reward")
    return f"{rows}, paid by {paid_by(reward)}" if reward else rows


def paid_by(reward: Any) -> str:
    """A policy's reward in a few words, as its config has it (``verbs/reward_specs.py``)."""
    if isinstance(reward, str):
        return Path(reward).name
    if "function" in reward:
        return f"function {reward['function']['function']}"
    if "ensemble" in reward:
        return f"ensemble of {len(reward['ensemble'])}"
    return f"mix of {len(reward['mix'])}"


def _best(kind: str, rows: list[dict[str, Any]]) -> str:
    for key, word, up in BEST.get(kind, ()):
        points = [(row["step"], float(row[key])) for row in rows if row.get(key) is not None]
        if not points:
            continue
        width = 1 if key.startswith("heldout/") else min(10, len(points))
        means = [
            sum(value for _, value in points[i : i + width]) / width
            for i in range(len(points) - width + 1)
        ]
        best = (max if up else min)(means)
        return f"{word} {best:.3g} at {points[means.index(best) + width - 1][0]}"
    return ""


def _reached(rows: list[dict[str, Any]]) -> str:
    means: dict[str, float] = {}
    for key in FIGURES:
        values = [row[key] for row in rows if row.get(key) is not None][-10:]
        if values:
            means[key] = sum(values) / len(values)
    return figures(means)
