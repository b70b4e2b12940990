"""What a round came to, in words and as a table."""

from collections.abc import Mapping
from html import escape
from typing import Any

WORDS = {
    "round": "round",
    "pairs": "pairs drawn",
    "labelled": "of these labelled, with a winner",
    "old_agrees": "labels that the reward model before had right",
    "rows": "comparisons learned from",
    "heldout_accuracy": "held-out accuracy of the new reward model",
    "gold_before": "gold score of the policy before",
    "score_before": "learned score before",
    "kl_before": "KL to the first model before, nats",
    "gold": "gold score of the policy now",
    "score": "learned score now",
    "kl": "KL to the first model now, nats",
}

_TURNS = {  # figures of both policies: words, unit, digits
    "gold": ("gold score", "0 to 1", ".3f"),
    "score": ("learned score, by its own reward model", "points", "+.2f"),
    "kl": ("KL to the first model", "nats", ".2f"),
}
_SHARES = ("old_agrees", "heldout_accuracy")
_CELL = "text-align:left;padding:3px 18px 3px 0"
_NUMBER = "text-align:right;padding:3px 18px 3px 0;font-variant-numeric:tabular-nums"


def as_html(title: str, figures: Mapping[str, Any]) -> str:
    """A round's figures: what was drawn and learned, then the policy before and now."""
    both = {name for turn in _TURNS for name in (turn, f"{turn}_before")}
    single = [(name, value) for name, value in figures.items() if name not in {"round", *both}]
    facts = "".join(_row(WORDS.get(name, name), [_told(name, value)]) for name, value in single)
    turns = "".join(
        _row(
            f"{words} [{unit}]", [_number(figures.get(at), form) for at in (f"{name}_before", name)]
        )
        for name, (words, unit, form) in _TURNS.items()
        if {name, f"{name}_before"} & set(figures)
    )
    heads = "".join(
        f"<th scope='col' style='{_NUMBER}'>{name}</th>" for name in ("policy before", "policy now")
    )
    table = "border-collapse:collapse;font-size:13px;margin:0 0 10px"
    compared = (
        f"<table style='{table}'><thead><tr><th style='{_CELL}'>mean of the last ten updates</th>"
        f"{heads}</tr></thead><tbody>{turns}</tbody></table>"
    )
    return (
        f"<div style='font-size:13px'><p style='margin:0 0 6px'><b>{escape(title)}</b></p>"
        f"<table style='{table}'><tbody>{facts}</tbody></table>{compared if turns else ''}</div>"
    )


def _row(words: str, cells: list[str]) -> str:
    told = "".join(f"<td style='{_NUMBER}'><b>{escape(cell)}</b></td>" for cell in cells)
    head = f"<th scope='row' style='{_CELL};font-weight:400'>{escape(words)}</th>"
    return f"<tr>{head}{told}</tr>"


def _told(name: str, value: Any) -> str:
    return f"{value:.0%}" if name in _SHARES else f"{value:,}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form).replace("-", "−")
