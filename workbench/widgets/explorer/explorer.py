"""The loss explorer: what one comparison costs a reward model, for any two scores."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets

from workbench.data.arrow_table import frame_of
from workbench.errors import DataError
from workbench.html_table import table
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.wire import outgoing

if TYPE_CHECKING:
    from pandas import DataFrame

LECTURE_ROWS = ((0.0, 10.0), (5.0, 0.0))
LIMIT = 1e6


class ComparisonLoss(NamedTuple):
    """One comparison's loss and the steps that lead to it."""

    r1: float
    """Score of the chosen answer. [points]"""
    r2: float
    """Score of the rejected answer. [points]"""
    difference: float
    """r1 - r2. [points]"""
    sigma: float
    """sigma(r1 - r2): how probable the model thinks the person's choice."""
    loss: float
    """-ln sigma(r1 - r2), what training minimises. [nats]"""
    loss_base10: float
    """-log10 sigma(r1 - r2), what the lecture prints."""


def comparison_loss(r1: float, r2: float) -> ComparisonLoss:
    """-log sigma(r1 - r2) of one comparison, exact for any size of the difference.

    -ln sigma(d) = ln(1 + exp(-|d|)) + max(-d, 0), which neither overflows nor rounds to 0.

    Args:
        r1: score of the chosen answer. [points]
        r2: score of the rejected answer. [points]
    """
    d = r1 - r2
    tail = math.exp(-abs(d))
    sigma = 1 / (1 + tail) if d >= 0 else tail / (1 + tail)
    loss = math.log1p(tail) + max(-d, 0.0)
    return ComparisonLoss(r1, r2, d, sigma, loss, loss / math.log(10))


class LossExplorer(LoadedWidget):
    """Sliders for two scores; the loss, its curve, and a table of the rows that were kept.

    The sliders' place is ``r1`` and ``r2``; :attr:`current` and :attr:`rows` read everything back.
    """

    _script = "widgets/explorer/explorer.js"
    _styles = ("widgets/explorer/explorer.css",)

    r1 = traitlets.Float(0.0).tag(sync=True)
    r2 = traitlets.Float(10.0).tag(sync=True)
    kept = traitlets.List(traitlets.Tuple(traitlets.Float(), traitlets.Float())).tag(sync=True)
    pairs = traitlets.List(traitlets.Dict()).tag(sync=True)
    run = traitlets.Unicode("").tag(sync=True)

    def __init__(self, run: str = "", samples: Sequence[Mapping[str, Any]] = ()) -> None:
        """Show the curve, and on it a reward run's held-out pairs as they were judged last.

        Args:
            run: its name.
            samples: its rows of samples.jsonl; those of the last evaluation are shown.
        """
        judged = [row for row in samples if "chosen_score" in row]
        last = [row for row in judged if row["step"] == judged[-1]["step"]]
        pairs = [
            {
                "r1": float(row["chosen_score"]),
                "r2": float(row["rejected_score"]),
                **{name: outgoing(str(row[name])) for name in ("prompt", "chosen", "rejected")},
            }
            for row in last
        ]
        start = {name: pairs[0][name] for name in ("r1", "r2")} if pairs else {}
        super().__init__(kept=list(LECTURE_ROWS), pairs=pairs, run=outgoing(run), **start)

    @property
    def current(self) -> ComparisonLoss:
        """The row under the sliders."""
        return comparison_loss(self.r1, self.r2)

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows of the table, the lecture's two first unless they were removed."""
        return [comparison_loss(*pair)._asdict() for pair in self.kept]

    @property
    def frame(self) -> "DataFrame":
        """The same as a table."""
        return frame_of([comparison_loss(*pair) for pair in self.kept], ComparisonLoss._fields)

    def add_row(self, r1: float, r2: float) -> None:
        """Keep one row.

        Raises:
            DataError: a score is not a finite number.
        """
        scores = (float(r1), float(r2))
        if not all(math.isfinite(score) and abs(score) <= LIMIT for score in scores):
            raise DataError(
                "a score is not a finite number",
                where=f"r1 = {r1}, r2 = {r2}",
                fix=f"give two numbers from {-LIMIT:g} to {LIMIT:g}",
            )
        self.kept = [*self.kept, scores]

    def remove_row(self, index: int) -> None:
        """Drop the row at ``index``, if there is one."""
        self.kept = [pair for i, pair in enumerate(self.kept) if i != index]

    def picture(self) -> str:
        """The rows as an HTML table."""
        head = ("r1", "r2", "r1 - r2", "sigma", "-ln sigma", "-log10 sigma")
        return table(([f"{value:.6g}" for value in row.values()] for row in self.rows), heads=head)
