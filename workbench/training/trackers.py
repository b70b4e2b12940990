"""A run's metrics in tensorboard, wandb or trackio as well: one more listener to its events.

The trackers are accelerate's. They hear what the main process tells, and nothing of a run stands
on them.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
import importlib.util
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from workbench.errors import ConfigError
from workbench.events import Event, Progress

_log = logging.getLogger(__name__)
PROJECT = "rlhf-workbench"
MODULES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}
"""What a tracker needs to be imported; a name that is not here is its own module's."""


def check_trackers(names: Sequence[str]) -> None:
    """See that what a run reports to is installed.

    Raises:
        ConfigError: it is not.
    """
    for name in names:
        modules = MODULES.get(name, (name,))
        if not any(importlib.util.find_spec(module) for module in modules):
            raise ConfigError(
                f"{name} is not installed",
                where=f"report_to = {tuple(names)!r}",
                fix=f"pip install {name}, or leave it out of report_to",
            )


class Trackers:
    """Passes each step's metrics on; use as a context manager, so that all is written at the end.

    Args:
        report_to: names, or trackers of one's own (``accelerate.tracking.GeneralTracker``).
        folder: the run's; tensorboard writes below it.
        config: the run's settings, told once.
        device: the run's.
    """

    def __init__(
        self, report_to: Sequence[Any], folder: Path, config: dict[str, Any], *, device: str
    ) -> None:
        """Start them.

        Raises:
            ConfigError: one is not installed.
        """
        self._accelerator: Any = None
        check_trackers([name for name in report_to if isinstance(name, str)])
        if not report_to:
            return
        from accelerate import Accelerator

        from workbench.models.base import pick_device

        self._accelerator = Accelerator(
            cpu=pick_device(device).type == "cpu",
            mixed_precision="no",
            log_with=list(report_to),
            project_dir=str(folder),
        )
        called = {name: {"name": folder.name} for name in ("wandb", "trackio")}
        self._accelerator.init_trackers(
            PROJECT,
            config={name: _plain(value) for name, value in config.items()},
            init_kwargs={name: called[name] for name in called if name in report_to},
        )

    def __call__(self, event: Event) -> None:
        """Report a step; other events are not for trackers."""
        if self._accelerator is None or not isinstance(event, Progress):
            return
        values = {
            name: value
            for name, value in event.metrics.items()
            if value is not None and math.isfinite(value)
        }
        try:
            self._accelerator.log(values, step=event.step)
        except Exception:  # a network that fails must not end the training
            _log.exception("the trackers hear no more of this run")
            self._accelerator = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in () if self._accelerator is None else self._accelerator.trackers:
            tracker.finish()


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
