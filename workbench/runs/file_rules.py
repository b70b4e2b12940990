"""What the files of a run folder must hold, so that whoever reads them need not ask again.

A run folder may come from anywhere, or be damaged. What holds something else is told where a person
looks, and breaks nothing beside it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard, cast

from workbench.json_lines import parse

MOST_CONFIG = 16 << 20
"""Bytes of config.json, and of every other file of a run folder that is one JSON object."""
MOST_METRICS = 200
"""Names of metrics in one run; what comes after them is not read."""
MOST_NAME = 200
"""Characters of one name: of a run's kind, of a metric."""
STATES = ("starting", "running", "paused", "stopped", "finished", "failed")
_LARGEST = 2**53  # whole numbers to here are exact as 64-bit floats
_Rule = tuple[Callable[[Any], bool], str]


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number that fits into 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def is_count(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


_COUNT: _Rule = (is_count, "a whole number of 0 or more")
_NUMBER: _Rule = (is_number, "a number")
_TEXT: _Rule = (lambda value: isinstance(value, str), "a text")
_WORD: _Rule = (
    lambda value: isinstance(value, str) and 0 < len(value) <= MOST_NAME,
    f"a text of at most {MOST_NAME} characters",
)
_NAMES: _Rule = (lambda value: isinstance(value, dict), "names and values")
_STATE: _Rule = (lambda value: value in STATES, f"one of {', '.join(STATES)}")

_CONFIG: dict[str, _Rule] = {
    "kind": _WORD,
    "name": _TEXT,
    "model": _TEXT,
    "created": _TEXT,
    "inputs": _NAMES,
    "settings": _NAMES,
    "data": _NAMES,
    "data.rows": _COUNT,
    "data.sha256": _TEXT,
    "resolved": _NAMES,
    "hardware": _NAMES,
    "hardware.versions": _NAMES,
}
_STATUS: dict[str, _Rule] = {
    "state": _STATE,
    "step": _COUNT,
    "total_steps": _COUNT,
    "heartbeat": _NUMBER,
    "error": _TEXT,
    "step_word": _TEXT,
    "phase": _TEXT,
    "phase_done": _COUNT,
    "phase_total": _COUNT,
    "phase_unit": _TEXT,
    "update_seconds": _NUMBER,
    "update_seconds_from": _TEXT,
}


def config_fault(config: Mapping[str, Any]) -> str:
    """What is wrong with the object in a config.json, in a few words; empty where nothing is."""
    if "kind" not in config:
        return "it says no kind of run"
    return _fault(config, _CONFIG)


def status_fault(status: Mapping[str, Any]) -> str:
    """The same of a status.json."""
    return _fault(status, _STATUS)


def _fault(values: Mapping[str, Any], rules: Mapping[str, _Rule]) -> str:
    for name, (holds, wanted) in rules.items():
        value: Any = values
        for part in name.split("."):
            value = cast("Mapping[str, Any]", value or {}).get(part)
        if value is not None and not holds(value):
            return f"{name} is {_short(value)}, not {wanted}"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def metric_rows(lines: list[bytes]) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl in these lines: a step, and numbers by name."""
    return [row for row in parse(lines) if is_count(row.get("step"))]


def answer_rows(lines: list[bytes]) -> list[dict[str, Any]]:
    """The rows of samples.jsonl: a step, a prompt, an answer and its figures."""
    return [_with_figures(row) for row in parse(lines) if is_count(row.get("step"))]


def _with_figures(row: dict[str, Any]) -> dict[str, Any]:
    figures = {name: row[name] for name in ("score", "gold", "kl") if name in row}
    wrong = [name for name, value in figures.items() if not is_number(value)]
    return {**row, **dict.fromkeys(wrong)} if wrong else row


def event_rows(lines: list[bytes]) -> list[dict[str, Any]]:
    """The rows of events.jsonl: what kind of event, at which step, and what answers which id."""
    return [row for row in parse(lines) if isinstance(row.get("kind"), str) and _is_told(row)]


def control_rows(lines: list[bytes]) -> list[dict[str, Any]]:
    """The rows of control.jsonl: what was asked, by ids."""
    return [row for row in parse(lines) if _is_told(row)]


def _is_told(row: Mapping[str, Any]) -> bool:
    ways = {"id": str, "step": int, "values": dict, "data": dict, "command": str}
    fits = (row.get(name) is None or isinstance(row[name], kind) for name, kind in ways.items())
    return all(fits) and (row.get("step") is None or is_count(row["step"]))


def known_metrics(names: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Which of these metrics are read: not those with a name too long, nor more than the most."""
    kept = [name for name in dict.fromkeys([*known, *names]) if len(name) <= MOST_NAME]
    return kept[:MOST_METRICS]
