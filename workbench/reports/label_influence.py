"""Which labels pushed a score, as rows to judge again, and what mending them changed."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.data.pairs import Pair, Pairs
from workbench.shown_results import rows_as_html

if TYPE_CHECKING:
    from pandas import DataFrame

    from workbench.reports.reward_model import RewardReport
    from workbench.runs import Run

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


class Retrained(NamedTuple):
    """A reward run, and the one trained again with some of its labels mended.

    Attributes:
        before: the first run on the held-out pairs.
        after: the new run on the same.
        run: the new run.
        changed: the pairs that have another label now, or went out, labelled as they were.
        scores: of each run: ``chosen`` of all changed pairs, then ``rejected`` of all, then the
            answer that was asked about, if one was. [reward points]
    """

    before: "RewardReport"
    after: "RewardReport"
    run: "Run"
    changed: Pairs
    scores: list[list[float]]

    def gain(self) -> tuple[float, float, float]:
        """The change of accuracy on the same held-out items, with its 95 % interval."""
        from workbench.analysis.learning_curve import rightness_by_item

        right = rightness_by_item([each.frames["pairs"] for each in (self.before, self.after)])
        gains = right[:, 1] - right[:, 0]
        mean, error = float(gains.mean()), float(gains.std() / np.sqrt(len(gains)))
        return mean, mean - 1.96 * error, mean + 1.96 * error

    @property
    def margins(self) -> list[list[float]]:
        """Of each run, by how much it prefers the answers that the changed pairs' labels chose."""
        count = len(self.scores[0]) // 2  # an answer asked about makes the number odd
        return [[own[n] - own[n + count] for n in range(count)] for own in self.scores]

    def __repr__(self) -> str:
        rows = [[text for text in row.values() if text] for row in self._rows()]
        return "\n".join([self._words(), *(f"  {r[0]}: {' → '.join(r[1:])}" for r in rows)])

    def _repr_html_(self) -> str:
        rows = self._rows()
        return rows_as_html(self._words(), rows, len(rows))

    def _words(self) -> str:
        count = len(self.changed)
        mended = "1 label" if count == 1 else f"{count:,} labels"
        return f"{self.run.name}: trained again with {mended} mended, the same settings and seed"

    def _rows(self) -> list[dict[str, str]]:
        change = "{:+.1%} ({:+.1%} to {:+.1%})".format(*self.gain())
        before, after = (
            f"{each['accuracy']:.1%} ({each['low']:.1%} to {each['high']:.1%})"
            for each in (self.before, self.after)
        )
        shown = [
            ("right of the held-out pairs (95 % interval)", before, after),
            ("change on the same pairs (95 % interval)", "", change),
        ]
        if self.margins[0]:
            was, now = (f"{fmean(own):+.2f}" for own in self.margins)
            shown.append(("mean margin of the mended pairs, by their old labels", was, now))
        if len(self.scores[0]) % 2:
            was, now = (f"{own[-1]:+.2f}" for own in self.scores)
            shown.append(("score of the answer asked about", was, now))
        return [
            {"": words, "before": was.replace("-", "−"), "after": now.replace("-", "−")}
            for words, was, now in shown
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


def pairs_of_rows(rows: Iterable[Mapping[str, Any]]) -> Pairs:
    """The labelled pairs that training rows came from; two rows that contradict are a tie."""
    known: dict[str, Pair] = {}
    for row in rows:
        pair = pair_of_row(row)
        first = known.setdefault(pair.id, pair)
        if first.responses != pair.responses:
            known[pair.id] = Pair.make(first.prompt, first.responses, label={"kind": "tie"})
    return Pairs.from_items(known.values())
