"""What a round came to, in words and as a table."""

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench.html_table import Html, table
from workbench.runs.verdict import Verdict

ROUND_WORDS = {
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
        (ROUND_WORDS.get(name, name), _bold(f"{value:.0%}" if name in _SHARES else f"{value:,}"))
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


def conclusion_of(figures: Mapping[str, Any]) -> Verdict:
    """What a round came to, in one or two sentences; of one that is not over, how far it is."""
    lead = f"{figures.get('labelled', 0):,} labels of {figures.get('pairs', 0):,} pairs"
    parts: list[str] = []
    if (accuracy := figures.get("heldout_accuracy")) is not None:
        parts.append(f"the new reward model is right on {accuracy:.0%} of held-out pairs")
    if (agreed := figures.get("old_agrees")) is not None:
        parts.append(f"the one before had {agreed:.0%} of the new labels right")
    rest = f"; {'; '.join(parts)}." if parts else "."
    change, tone = _change(figures)
    if not change:
        return Verdict(lead, rest, "Next: train the reward model, then the policy, of this round.")
    basis = "means of the last ten updates"
    return Verdict(change, f" {lead}{rest}", basis=basis, tone=tone)


def _change(figures: Mapping[str, Any]) -> tuple[str, str]:
    """How the policy stands beside the one before, by the best judge there is; and the tone."""
    for name, words, digits in (("gold", "gold score", ".3f"), ("score", "reward score", "+.2f")):
        before, now = figures.get(f"{name}_before"), figures.get(name)
        if before is None or now is None:
            continue
        way = "rose" if now > before else "fell" if now < before else "stayed"
        nats = f" at {figures['kl']:.2f} nats" if figures.get("kl") is not None else ""
        sentence = f"The policy's {words} {way} from {before:{digits}} to {now:{digits}}{nats}."
        return sentence.replace("-", "−"), "good" if now > before else "warn"
    return "", "quiet"


def _bold(text: str) -> Html:
    return Html(f"<b>{escape(text)}</b>")


def _number(value: float | None, form: str) -> Html:
    return _bold("–" if value is None else format(value, form).replace("-", "−"))
