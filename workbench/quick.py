"""Short runs for a first look and for the tests: WORKBENCH_QUICK=1 cuts what a verb may spend.

Notebooks hold no code for it. Every training verb passes through :func:`shortened`, so a run's
config and data show what it really did; the verbs that sample or measure take the first few rows.
"""

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from workbench.progress import tell
from workbench.settings import RunSettings

_Row = TypeVar("_Row")
Settings = TypeVar("Settings", bound=RunSettings)

QUICK_MOST: dict[str, dict[str, int]] = {
    "sft": {"steps": 4, "batch_size": 8, "watch_prompts": 4},
    "reward": {"steps": 4, "batch_size": 8},
    "dpo": {"steps": 4, "batch_size": 8, "watch_prompts": 4},
    "online_dpo": {"steps": 4, "batch_size": 8, "watch_prompts": 4},
    "ppo": {"steps": 4, "batch_size": 8, "watch_prompts": 4},
}
TRAINING_ROWS = 256  # encoding all of them takes longer than so few steps
PROMPTS = 8
PAIRS = 64


def is_quick() -> bool:
    """Whether $WORKBENCH_QUICK asks for short runs; unset, empty and 0 do not."""
    return os.environ.get("WORKBENCH_QUICK", "") not in ("", "0")


def shortened(settings: Settings, rows: list[_Row]) -> tuple[Settings, list[_Row]]:
    """Settings and rows of a run, cut to :data:`QUICK_MOST` where $WORKBENCH_QUICK asks for it.

    Returns:
        Both as they came, or with fewer steps, smaller batches and the first rows alone.
    """
    if not is_quick():
        return settings, rows
    values = settings.to_dict()
    cut = {name: _cut(values[name], most) for name, most in QUICK_MOST[settings.kind].items()}
    size, group = cut["batch_size"], values.get("samples_per_prompt", 1)
    cut["batch_size"] = max(group, size - size % group)  # of whole groups, one at least
    tell(f"WORKBENCH_QUICK is set: this {settings.kind} run has {cut['steps']} steps")
    return settings.changed(**cut), few(rows, TRAINING_ROWS)


def _cut(value: Any, most: int) -> Any:
    """No more than ``most``; a 0 that stands for "as many as needed" becomes that, too."""
    return value[:most] if isinstance(value, list) else min(value or most, most)


def few(rows: Sequence[_Row], most: int) -> list[_Row]:
    """All rows, or the first ``most`` where $WORKBENCH_QUICK asks for short runs."""
    return list(rows[:most] if is_quick() else rows)
