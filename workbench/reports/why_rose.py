"""Why a run's reward score rose: each feature's part, as a page to read with its examples."""

from html import escape
from typing import TYPE_CHECKING

from workbench.analysis.score_rise import RiseCause, ScoreRise, in_points
from workbench.html_table import Html, table
from workbench.reports.report import COMPACT, PROSE, ReportPage
from workbench.widgets.kit.texts import abridged
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame

TEXT = 300  # characters of a text in an example
BAR = 120  # [px] of the largest part
WEAK = 0.5  # of the scores' differences: below that the features tell the smaller share


class WhyRose(ReportPage):
    """The change of a run's mean reward score between two updates, split into features.

    Attributes:
        rise: the figures: ``total``, ``causes``, ``rest``, and what they are counted from.
        frame: one row a feature and the rest: feature, part, before, after. [reward points]
    """

    _table_first = True

    def __init__(self, name: str, rise: ScoreRise, step: str) -> None:
        self.rise, self.step = rise, step
        moved = "did not move" if abs(rise.total) < 0.005 else f"moved by {in_points(rise.total)}"
        super().__init__(
            f"The mean reward score of {name} {moved} from {step} {rise.first} to {rise.last}"
            + (f", most of it by one feature: {rise.causes[0].name}." if self._clear() else ".")
        )
        if rise.causes and (rise.told or 0.0) < WEAK:
            self.warning = (
                f"These features tell {rise.told:.0%} of how the answers' scores differ: "
                "read the answers before you trust the order."
            )

    def _clear(self) -> bool:
        """Whether one feature has most of the change, in its direction."""
        return bool(self.rise.causes) and self.rise.causes[0].part / self.rise.total > 0.5

    @property
    def frame(self) -> "DataFrame":
        """One row a feature, the largest part first, and the rest."""
        from workbench.table_frame import TableFrame

        rows = [(cause.name, cause.part, cause.before, cause.after) for cause in self.rise.causes]
        columns = ["feature", "part", "before", "after"]
        return TableFrame([*rows, ("rest", self.rise.rest, None, None)], columns=columns)

    def __repr__(self) -> str:
        lines = [self.sentence, f"  {self.rise.words}"]
        for cause in self.rise.causes:
            lines.append(f"  {in_points(cause.part)}  {cause.name}: {cause.means}")
            lines += [
                f"      “{_short(one.before.response)}” → “{_short(one.after.response)}”"
                for one in cause.examples[:1]
            ]
        return "\n".join([*lines, f"  {in_points(self.rise.rest)}  rest"])

    def _table(self) -> Html:
        parts = [*(cause.part for cause in self.rise.causes), self.rise.rest]
        most = max(map(abs, parts)) or 1.0
        rows = [
            (
                cause.name,
                in_points(cause.part),
                _bar(cause.part / most),
                cause.means,
                _opened(cause),
            )
            for cause in self.rise.causes
        ]
        rows.append(("rest", in_points(self.rise.rest), _bar(self.rise.rest / most), "", Html()))
        rows.append(("in all", in_points(self.rise.total), Html(), "", Html()))
        heads = ("feature", "part, points", "", "before → after", "answers")
        number = PROSE.replace("left", "right", 1)
        cells = [PROSE, number, PROSE, PROSE, PROSE]
        return table(rows, cells, heads=heads, attributes=COMPACT)

    def _note(self) -> str:
        before, after = self.rise.answers
        return (
            f"A part is the feature's coefficient times how far its mean moved, from {before} "
            f"answers to {after}; the coefficients come from a regression of the score over "
            f"{self.rise.seen} answers to these prompts, sampled at both and between. The parts "
            "and the rest add up to the change. Features that only grew along are not named: one "
            "is taken when it tells most of what the ones before it leave untold."
        )


def _short(text: str) -> str:
    return abridged(" ".join(text.split()), 80)


def _bar(share: float) -> Html:
    """A bar from the middle: what adds to the right, in blue; what takes away to the left."""
    colour, side = (OKABE_ITO["blue"], "left") if share >= 0 else (OKABE_ITO["orange"], "right")
    width = round(abs(share) * BAR / 2)
    return Html(
        f"<div aria-hidden='true' style='width:{BAR}px;height:11px;position:relative'><div "
        f"style='position:absolute;{side}:50%;width:{width}px;height:100%;background:{colour}'>"
        "</div></div>"
    )


def _opened(cause: RiseCause) -> Html:
    """A line that opens the answers before without the feature and after with it."""
    if not cause.examples:
        return Html()
    shown = "".join(
        f"<dt style='margin-top:6px'>{escape(abridged(after.prompt, TEXT))}</dt>"
        f"<dd style='margin-left:14px'>before, {in_points(before.score)}: "
        f"{escape(abridged(before.response, TEXT))}</dd>"
        f"<dd style='margin-left:14px'>after, {in_points(after.score)}: "
        f"{escape(abridged(after.response, TEXT))}</dd>"
        for before, after in cause.examples
    )
    count = len(cause.examples)
    words = "1 pair" if count == 1 else f"{count} pairs"
    return Html(f"<details><summary>{words}</summary><dl style='margin:0'>{shown}</dl></details>")
