"""What a trainer tells its listeners, and what it asks of its controls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """One step is done.

    Attributes:
        metrics: by name, as listed in ``workbench/METRICS.md``; None where it has no value.
        samples: rows for the sample table.
        tokens: rows for the microscope: a few answers, token by token.
    """

    step: int
    total_steps: int
    metrics: dict[str, float | None]
    samples: tuple[dict[str, Any], ...] = ()
    tokens: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know: ``setup``, ``warning``, ``alarm`` or ``changed``."""

    step: int
    kind: str
    message: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is complete on disk."""

    step: int
    path: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The trained model is in ``final/``."""

    step: int
    stopped: bool


Event = Progress | Notice | Saved | Finished


@dataclass(frozen=True, slots=True)
class Phase:
    """Where a trainer is inside a step: told while it works, and kept in no file but status.json.

    Attributes:
        step: the step under way, counted from 1.
        total_steps: how many there will be.
        name: what is done, as a person says it: ``generating``, ``scoring``, ``optimising``.
        done, total: how much of it is done; a total of 0 says that this is not known.
        unit: what is counted.
    """

    step: int
    total_steps: int
    name: str
    done: int = 0
    total: int = 0
    unit: str = ""


class StopRequested(Exception):  # noqa: N818  (a request, not a fault)
    """Raised by a safe point when the run was asked to stop."""


class Controls(Protocol):
    """What a trainer asks while it works."""

    def safe_point(self) -> None:
        """Block while paused; raise :class:`StopRequested` when asked to stop."""

    def changes(self, step: int) -> dict[str, Any]:
        """Live settings to apply at this step; each is handed out once."""
        ...

    def save_requested(self) -> bool:
        """Whether a checkpoint was asked for; true once per request."""
        ...


class NoControls:
    """Nobody steers: for headless runs and tests."""

    def safe_point(self) -> None:
        """Never blocks."""

    def changes(self, step: int) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def save_requested(self) -> bool:
        """Nothing is asked for."""
        return False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trainer writes, who steers it, and how long the run's files are now.

    Attributes:
        tell: hears at every safe point where the trainer is inside its step; must cost little.
    """

    folder: Path
    controls: Controls = field(default_factory=NoControls)
    lengths: Callable[[], dict[str, int]] = dict
    tell: Callable[[Phase], None] = lambda _: None
