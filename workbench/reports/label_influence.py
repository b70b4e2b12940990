"""Which labels pushed a score, as rows to read and to judge again."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.data.pairs import Pair, Pairs
from workbench.shown_results import rows_as_html

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 5  # pairs of each direction


class LabelInfluence:
    """The training pairs of a reward run, by how far each pushed what was asked about.

    Attributes:
        name: of the run.
        rows: the training rows, those first that pushed down the most.
        pushes: of each, its share of all that pushed what was asked about, down or up.
        margins: of each, by how much its chosen answer scores higher. [reward points]
        targets: how many margins or scores were asked about.
    """

    def __init__(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        pushes: Sequence[float],
        margins: Sequence[float],
        targets: int,
    ) -> None:
        order = sorted(range(len(rows)), key=pushes.__getitem__)
        self.name, self.targets = name, targets
        self.rows = [rows[i] for i in order]
        self.pushes = [pushes[i] for i in order]
        self.margins = [margins[i] for i in order]

    @cached_property
    def frame(self) -> "DataFrame":
        """One row a training pair: push, margin, prompt, chosen, rejected, id of the pair."""
        from workbench.table_frame import TableFrame

        facts = zip(self.pushes, self.margins, self.rows, strict=True)
        rows = [{"push": push, "margin": own, **_texts(row)} for push, own, row in facts]
        ids = [pair.id for pair in map(pair_of_row, self.rows)]
        return TableFrame(rows, columns=["push", "margin", *_SIDES]).assign(id=ids)

    def blamed(self, most: int = 100) -> Pairs:
        """The pairs that pushed down the most, for ``wb.label(found.blamed(), store)``."""
        chosen = [row for row, push in zip(self.rows, self.pushes, strict=True) if push < 0]
        return Pairs.from_items(list({p.id: p for p in map(pair_of_row, chosen[:most])}.values()))

    def __repr__(self) -> str:
        lines = [self._words()]
        lines += [
            f"  {one['push']}  {one['chosen']}  over  {one['rejected']}" for one in self._ends()
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = self._ends()
        return rows_as_html(self._words(), rows, min(len(rows), 1))

    def _words(self) -> str:
        what = "margin or score" if self.targets == 1 else "margins or scores"
        return (
            f"{len(self.rows):,} labels of {self.name} by how far each pushed {self.targets:,} "
            f"{what}: the {SHOWN} most down, the {SHOWN} most up, as shares of all"
        )

    def _ends(self) -> list[dict[str, str]]:
        count = len(self.rows)
        places = list(range(count))
        if count > 2 * SHOWN:
            places = [*places[:SHOWN], *reversed(places[-SHOWN:])]
        return [
            {
                "push": f"{self.pushes[i]:+.2%}".replace("-", "−"),
                "margin": f"{self.margins[i]:+.2f}".replace("-", "−"),
                **_texts(self.rows[i]),
            }
            for i in places
        ]


_SIDES = ("prompt", "chosen", "rejected")


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {side: str(row[side][-1]["content"]) for side in _SIDES}


def pair_of_row(row: Mapping[str, Any]) -> Pair:
    """A training row as the labelled pair of two that it is."""
    label: Any = {"kind": "choice", "winner": 0, "strength": None}
    if row.get("margin") is not None:
        label["margin"] = row["margin"]
    return Pair.make(row["prompt"], [row["chosen"], row["rejected"]], label=label)
