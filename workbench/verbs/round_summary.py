"""What a round came to, in words and as a table."""

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench.html_table import Html, table

FIGURE_WORDS = {
    "round": "round",
    "pairs": "pairs drawn",
    "labelled": "of these labelled, with a winner",
    "old_agrees": "labels that the reward model before had right",
    "rows": "comparisons learned from",
    "heldout_accuracy": "held-out accuracy of the new reward model",
    "gold_before": "gold score of the policy before",
    "score_before": "reward score before",
    "kl_before": "KL to the first model before, nats",
    "gold": "gold score of the policy now",
    "score": "reward score now",
    "kl": "KL to the first model now, nats",
}

_TURNS = {  # figures of both policies: words, unit, digits
    "gold": ("gold score", "0 to 1", ".3f"),
    "score": ("reward score, by its own reward model", "points", "+.2f"),
    "kl": ("KL to the first model", "nats", ".2f"),
}
_SHARES = ("old_agrees", "heldout_accuracy")
_CELLS = (
    "style='text-align:left;padding:3px 18px 3px 0;font-weight:400'",
    *["style='text-align:right;padding:3px 18px 3px 0;font-variant-numeric:tabular-nums'"] * 2,
)
_TABLE = "style='border-collapse:collapse;font-size:13px;margin:0 0 10px'"


def as_html(title: str, figures: Mapping[str, Any]) -> str:
    """A round's figures: what was drawn and learned, then the policy before and now."""
    both = {name for turn in _TURNS for name in (turn, f"{turn}_before")}
    facts = [
        (FIGURE_WORDS.get(name, name), _bold(f"{value:.0%}" if name in _SHARES else f"{value:,}"))
        for name, value in figures.items()
        if name not in {"round", *both}
    ]
    turns = [
        (
            f"{words} [{unit}]",
            *(_number(figures.get(key), form) for key in (f"{name}_before", name)),
        )
        for name, (words, unit, form) in _TURNS.items()
        if {name, f"{name}_before"} & set(figures)
    ]
    heads = ("mean of the last ten updates", "policy before", "policy now")
    compared = table(turns, _CELLS, heads=heads, row_head=0, attributes=_TABLE) if turns else ""
    return (
        f"<div style='font-size:13px'><p style='margin:0 0 6px'><b>{escape(title)}</b></p>"
        f"{table(facts, _CELLS[:2], row_head=0, attributes=_TABLE)}{compared}</div>"
    )


def _bold(text: str) -> Html:
    return Html(f"<b>{escape(text)}</b>")


def _number(value: float | None, form: str) -> Html:
    return _bold("–" if value is None else format(value, form).replace("-", "−"))
