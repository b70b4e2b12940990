"""What a comparison came to, in sentences."""

from collections.abc import Mapping
from typing import Any

from workbench.analysis.blind_comparison import YOU, BlindComparison
from workbench.data.pairs import Label


def told(contest: BlindComparison, labels: Mapping[str, Label]) -> list[str]:
    """One line for each two models and each judge, and one for what was not asked."""
    lines = [_line(row) for row in contest.result(labels).to_dict("records")]
    judged = len(contest.judged(labels)) - contest.same
    asked = len(contest.rows) - contest.same
    rest = [f"{judged} of {asked} prompts judged"]
    if contest.same:
        rest.append(f"on {contest.same} all answers are the same text, which counts as a tie")
    return [*lines, "; ".join(rest) + "."]


def _line(row: Mapping[str, Any]) -> str:
    if not row["prompts"]:
        return f"{row['by'].capitalize()}: nothing is judged yet."
    counts = f"{row['wins']} won, {row['ties']} tied, {row['losses']} lost"
    rate = f"win rate {row['win_rate']:.0%} (95 % interval {row['low']:.0%} to {row['high']:.0%})"
    who = "You" if row["by"] == YOU else f"The {row['by']}"
    line = (
        f"{who}: {row['model']} against {row['against']}: {rate}; {counts}; "
        f"sign test p {_p(row['p'])}"
    )
    if row["by"] == YOU:
        return f"{line}."
    return f"{line}. Against your verdict on {int(row['against_you'])} of {int(row['of'])}."


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
