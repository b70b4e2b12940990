"""All runs: open one by its name, list them, wait for one that another needs."""

# pyright: reportMissingTypeStubs=false
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from workbench.errors import RunError, WorkbenchError
from workbench.progress import estimate_words, phase_words
from workbench.runs import launcher
from workbench.runs.folder import CONFIG, LIVE, METRICS, RunFolder
from workbench.runs.housekeeping import NOTE, read_note
from workbench.runs.run import Run, frame
from workbench.runs.summary import RUN_FIGURES, Summary, catch_up, read_summary

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


BEST: dict[str, tuple[tuple[str, str], ...]] = {
    "ppo": (("gold", "gold score"), ("score", "reward score")),
    "dpo": (
        ("gold", "gold score"),
        ("score", "reward score"),
        ("heldout_accuracy", "held-out accuracy"),
        ("loss", "loss"),
    ),
    "online_dpo": (("gold", "gold score"), ("score", "reward score")),
    "reward": (("heldout_accuracy", "held-out accuracy"), ("accuracy", "accuracy")),
    "sft": (("heldout_loss", "held-out loss"), ("loss", "loss")),
}
"""By kind: the figure that a run is judged by, the first that it has, and its words."""
RUN_COLUMNS = (
    *("name", "kind", "state", "step", "total", "now", "seconds"),
    *RUN_FIGURES,
    *("best", "best_of", "best_step", "note", "tags", "model", "data", "started", "path"),
)
LONGEST = 200  # characters of a cell
UNREADABLE = "unreadable"
"""The state of a run whose folder holds something else; ``now`` says what."""


class _Known(NamedTuple):
    """What was read of a run, and when its files looked so."""

    stamp: tuple[int, ...]
    facts: dict[str, Any]
    summary: Summary
    fault: RunError | None = None


_KNOWN: dict[Path, _Known] = {}


def list_runs(root: Path | None = None) -> "DataFrame":
    """All runs, oldest first, with their state and what they have reached.

    ``now`` says where a live run is inside a long step, or what a step is thought to take; of one
    that is unreadable it says why. ``seconds`` is what its steps took, without pauses. Figures
    (:data:`~workbench.runs.summary.RUN_FIGURES`) are means over the last ten steps that have them;
    ``best`` is the best mean of ten in a row (held-out figures: the best one) of what ``best_of``
    names, at ``best_step``. ``note`` and ``tags`` are what :meth:`Run.describe` wrote.
    """
    return frame(summaries(root), list(RUN_COLUMNS))


def summaries(root: Path | None = None) -> list[dict[str, Any]]:
    """One row a run, as in :func:`list_runs`; of a run that has grown, only what is new is read."""
    rows = map(_row, launcher.run_folders(root))
    return sorted(rows, key=lambda row: (row["started"], row["name"]))


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
        """Their folders, by name."""
        return launcher.run_folders(self.root)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        own = getattr(type(self), name, None)
        if isinstance(own, property):  # it raised an AttributeError: that, and no other
            return own.__get__(self)
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
        return str(self._shown()._repr_html_())

    def _shown(self) -> Any:
        table: Any = self.frame
        return table.drop(columns="path")

    def _ipython_display_(self) -> None:
        make = type(self).view_factory
        if make is None:
            raise NotImplementedError  # IPython then takes the repr
        self._view = make(self)
        self._view._ipython_display_()

    def _display_(self) -> Any:
        """The same for marimo, which shows what this returns."""
        make = type(self).view_factory
        self._view = None if make is None else make(self)
        return self.frame if self._view is None else self._view


def _row(folder: RunFolder) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(RUN_COLUMNS)
    row |= {"name": folder.name, "path": str(folder.path)}
    try:
        status = folder.status()
        if why := status.get("unreadable"):
            raise RunError(why)
        known = _known(folder, keep=status["state"] not in LIVE)
    except Exception as error:  # whatever one folder holds, the others are shown
        why = error.what if isinstance(error, WorkbenchError) else repr(error)
        why = why.removeprefix(f"{folder.name} is unreadable: ")
        return row | {"kind": "", "state": UNREADABLE, "now": why[:LONGEST]} | _NO_TEXTS
    row |= known.facts | {"state": status["state"], "step": status["step"]}
    now = phase_words(status) or estimate_words(status)
    row |= {"total": status["total_steps"], "now": now[:LONGEST]}
    row |= {"seconds": known.summary.duration}
    row |= {name: figure.mean for name, figure in known.summary.figures.items()}
    for name, words in BEST.get(row["kind"], ()):
        if (figure := known.summary.figures[name]).best is not None:
            return row | {"best": figure.best, "best_of": words, "best_step": figure.best_step}
    return row


_NO_TEXTS = dict.fromkeys(("note", "tags", "model", "data", "started", "best_of"), "")


def _known(folder: RunFolder, *, keep: bool) -> _Known:
    """What is known of a run: its config read again where it changed, its metrics read on."""
    path = folder.path
    stamp = tuple(part for name in (CONFIG, METRICS, NOTE) for part in _stamp(path / name))
    known = _KNOWN.get(path)
    if known is None or known.stamp != stamp:
        try:
            facts = _facts(folder)
        except RunError as error:
            known = _KNOWN[path] = _Known(stamp, {}, Summary(), error)
            raise
        summary = read_summary(path) if known is None else known.summary
        catch_up(summary, path, keep=keep)
        known = _KNOWN[path] = _Known(stamp, facts, summary)
    if known.fault is not None:
        raise known.fault
    return known


def _facts(folder: RunFolder) -> dict[str, Any]:
    config, beside = folder.config(), read_note(folder.path)
    facts = {
        "kind": config["kind"],
        "model": config.get("model") or "",
        "data": _data(config),
        "started": config.get("created") or "",
        "best_of": "",
    }
    cut = {name: value[:LONGEST] for name, value in facts.items()}
    return cut | {"note": beside.note, "tags": ", ".join(beside.tags)}


def _stamp(path: Path) -> tuple[int, int]:
    """When a file was written, and its size: two writes may fall into one tick of the clock."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _data(config: dict[str, Any]) -> str:
    """How much it learns from, and what it is paid by."""
    data: dict[str, Any] = config.get("data") or {}
    inputs: dict[str, Any] = config.get("inputs") or {}
    words = {"ppo": "prompts", "online_dpo": "prompts", "reward": "pairs", "dpo": "pairs"}
    word = words.get(config["kind"], "rows")
    rows = f"{data.get('rows') or 0:,} {word}"
    paid = paid_by(inputs.get("reward"))
    return f"{rows}, {'watched' if config['kind'] == 'dpo' else 'paid'} by {paid}" if paid else rows


def paid_by(reward: Any) -> str:
    """A policy's reward in a few words, as its config has it (``verbs/reward_specs.py``)."""
    if isinstance(reward, str):
        return Path(reward).name
    spec = cast("dict[str, Any]", reward) if isinstance(reward, dict) else {}
    function = spec.get("function")
    if isinstance(function, dict):
        return f"function {cast('dict[str, Any]', function).get('function')}"
    for word in ("ensemble", "mix"):
        if isinstance(spec.get(word), list):
            return f"{word} of {len(spec[word])}"
    return "something that is not known here" if reward else ""
