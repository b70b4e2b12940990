"""How good a reward model is: its scores held against labels that it was not trained on.

:func:`appraise` counts; what it means in words is in ``appraisal_summary.py`` beside this file, and
the view in ``workbench/reports/reward_model.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.analysis import calibration, groups, rewardbench
from workbench.analysis.calibration import Bin, confidence, rightness
from workbench.analysis.groups import Correlation, Gap, Group
from workbench.analysis.intervals import Estimate, Floats, Share, by_items, share
from workbench.analysis.rewardbench import Section, Subset
from workbench.analysis.scored_items import ItemRows, ScoredItems
from workbench.data.arrow_table import frame_of
from workbench.data.pairs import Pair, Pairs
from workbench.errors import DataError

if TYPE_CHECKING:
    from workbench.data.arrow_table import Frame

WORST = 50  # disagreements that are kept as items to look at
BARS = 30  # of the histogram of margins, at most

NAN = float("nan")
Figure = Share | Estimate | Correlation | float | None

PAIR_COLUMNS = (
    *("item", "row", "chosen", "rejected", "score_chosen", "score_rejected", "margin"),
    *("probability", "length_chosen", "length_rejected", "source", "annotator", "subset"),
)


class MarginBin(NamedTuple):
    """The comparisons whose margin lies between two ends, in raw score."""

    margin_from: float
    margin_to: float
    right: int
    wrong: int


@dataclass(frozen=True)
class Appraisal:
    """What :func:`appraise` found.

    Attributes:
        figures: by name; an interval's ends are ``NAME_low`` and ``NAME_high``; NaN: not known.
        counts: pairs, items, ties, unlabelled, too_long.
        frames: the tables behind, by name.
        worst: the items on which the model is surest and the label says otherwise, surest first.
        items: what was compared.
        best_of: of items with three or more answers, how often the best one scores highest.
    """

    figures: dict[str, float]
    counts: dict[str, int]
    frames: "dict[str, Frame]"
    worst: Pairs
    items: list[Pair]
    best_of: Subset | None


def appraise(
    sheet: ScoredItems,
    scores: Sequence[float],
    *,
    std: float = 1.0,
    sharpness: float = 1.0,
    gold: Sequence[float] | None = None,
) -> Appraisal:
    """Hold a reward model's scores against the labels.

    Args:
        sheet: the answers that were scored, and the labels.
        scores: of ``sheet.answers``; NaN where an answer was too long to have one.
        std: what makes the raw scores of these: the deviation that ``wb.score`` divides by.
        sharpness: what to multiply raw scores by so that ``P(chosen) = sigmoid(margin)``.
        gold: the scores of a judge that makes no slips, for the ceiling; None where there is none.

    Raises:
        DataError: no comparison has a score for both answers.
    """
    raw = np.array(scores, dtype=np.float64) * (std * sharpness)
    return _Bench(sheet, raw, sharpness, gold).appraisal()


class _Bench:
    """The comparisons that have both scores, as arrays ``(C,)``."""

    def __init__(
        self, sheet: ScoredItems, raw: Floats, sharpness: float, gold: Sequence[float] | None
    ) -> None:
        self.sheet, self.raw, self.sharpness = sheet, raw, sharpness
        kept = ~np.isnan(raw[sheet.chosen] - raw[sheet.rejected])
        if not kept.any():
            raise DataError(
                "no pair fits into the reward model's length",
                where=f"{len(sheet.chosen)} pairs",
                fix="raise max_length, or give pairs with shorter answers",
            )
        self.too_long = int((~kept).sum())
        self.chosen, self.rejected = sheet.chosen[kept], sheet.rejected[kept]
        self.item = sheet.item[kept]
        lost = np.bincount(self.item, minlength=len(sheet.items))
        self.weight = 1 / lost[self.item]  # an item counts once, also where some answers are lost
        self.rows = ItemRows(self.item)
        self.margins = raw[self.chosen] - raw[self.rejected]
        self.blunt = self.margins / sharpness  # as they are without it
        self.right = rightness(self.margins)
        lengths = sheet.lengths
        self.gaps = lengths[self.chosen] - lengths[self.rejected]
        self.gold = self._gaps_of(gold)

    def _gaps_of(self, values: Sequence[float] | None) -> Floats | None:
        if values is None:
            return None
        scores = np.array(values, dtype=np.float64)
        return scores[self.chosen] - scores[self.rejected]

    def appraisal(self) -> Appraisal:
        items = rewardbench.scored_items(self.sheet, self.raw)
        correlated, subsets = self._correlations(), rewardbench.subsets(items)
        estimates = self._estimates(correlated)
        unlike = self.sharpness != 1.0
        blunt = calibration.curve(self.blunt, self.weight) if unlike else []
        frames = {
            "figures": frame_of(
                [(name, *_ends(value)) for name, value in estimates.items()],
                ("figure", "value", "low", "high"),
            ),
            "calibration": frame_of([*calibration.curve(self.margins, self.weight)], Bin._fields),
            "uncalibrated": frame_of([*blunt], Bin._fields),
            "margins": frame_of([*self._bars()], MarginBin._fields),
            "length": frame_of(
                [*groups.gap_rows(self.gaps, self.margins, self.weight)], Gap._fields
            ),
            "correlation": frame_of([*correlated], Correlation._fields),
            "sources": self._groups(groups.source_of),
            "annotators": self._groups(groups.annotator_of),
            "subsets": frame_of([*subsets], Subset._fields),
            "sections": frame_of([*rewardbench.sections(subsets)], Section._fields),
            "pairs": self._pairs(),
        }
        figures: dict[str, float] = {}
        for name, value in estimates.items():
            figures[name], low, high = _ends(value)
            if not isinstance(value, int | float):
                figures |= {f"{name}_low": low, f"{name}_high": high}
        counts = {
            "pairs": len(self.margins),
            "items": len(self.rows.items),
            "ties": self.sheet.ties,
            "unlabelled": self.sheet.unlabelled,
            "too_long": self.too_long,
        }
        best = rewardbench.best_of_many(items)
        return Appraisal(figures, counts, frames, self._worst(), self.sheet.items, best)

    def _estimates(self, correlated: Sequence[Correlation]) -> dict[str, Figure]:
        """The figures in their order; a plain number has no interval."""
        sure, gold, unequal = confidence(self.margins), self.gold, self.gaps != 0
        likes = self.margins[unequal] * np.sign(self.gaps[unequal])
        chance = calibration.ece_by_chance(self.margins, self.weight)
        return {
            "accuracy": self._share(self.margins),
            "longer_wins": self._share(self.gaps),
            "over_longer": self._mean(self.right - rightness(self.gaps)),
            "ceiling": None if gold is None else self._share(gold),
            "under_ceiling": None if gold is None else self._mean(rightness(gold) - self.right),
            "ece_by_chance": chance.mean,
            "ece": calibration.ece_interval(self.margins, self.weight, self.rows, chance),
            "sharpness": float(self.sharpness),
            "ece_uncalibrated": calibration.ece(confidence(self.blunt), self.right, self.weight),
            "confidence": self._mean(sure),
            "overconfidence": self._mean(sure - self.right),
            "brier": self._mean(calibration.brier(self.margins)),
            "loss": self._mean(calibration.loss(self.margins)),
            "margin": self._mean(self.margins),
            **{row.measure.lower(): row for row in correlated},
            "prefers_longer": _weighed(likes, self.weight[unequal]),
            "labels_prefer_longer": _weighed(self.gaps[unequal], self.weight[unequal]),
        }

    def _share(self, gaps: Floats) -> Share:
        return _weighed(gaps, self.weight)

    def _mean(self, values: Floats) -> Estimate:
        """Mean over items and its interval, resampled by items."""
        sums = np.bincount(self.item, weights=values * self.weight)
        return by_items(lambda drawn: float(drawn.mean()), sums[np.unique(self.item)])

    def _correlations(self) -> list[Correlation]:
        known = np.flatnonzero(~np.isnan(self.raw))
        owner = self.sheet.owner[known]
        return groups.correlations(self.raw[known], self.sheet.lengths[known], ItemRows(owner))

    def _bars(self) -> list[MarginBin]:
        """The histogram of margins; 0 is an end, so that no bar is both right and wrong."""
        most = float(np.abs(self.margins).max()) or 1.0
        rough = np.histogram_bin_edges(self.margins, bins="auto")
        width = max(float(rough[1] - rough[0]), 2 * most / BARS)
        first, last = (int(np.ceil(x / width)) for x in (-self.margins.min(), self.margins.max()))
        edges = width * np.arange(-max(first, 1), max(last, 1) + 1)
        wrong, _ = np.histogram(self.margins[self.margins < 0], edges)
        right, _ = np.histogram(self.margins[self.margins >= 0], edges)
        ends = zip(edges[:-1], edges[1:], right, wrong, strict=True)
        return [MarginBin(float(a), float(b), int(r), int(w)) for a, b, r, w in ends]

    def _groups(self, name_of: Any) -> "Frame":
        names = [name_of(pair) for pair in self.sheet.items]
        each = [names[item] for item in self.item]
        rows = groups.group_rows(each, self.margins, confidence(self.margins), self.weight)
        return frame_of([*rows], Group._fields)

    def _pairs(self) -> "Frame":
        lengths = self.sheet.lengths
        rows: list[tuple[Any, ...]] = []
        for n in range(len(self.margins)):
            won, lost, item = int(self.chosen[n]), int(self.rejected[n]), int(self.item[n])
            pair, margin = self.sheet.items[item], float(self.margins[n])
            places = self.sheet.answers[won].place, self.sheet.answers[lost].place
            scores = float(self.raw[won]), float(self.raw[lost]), margin
            sizes = int(lengths[won]), int(lengths[lost])
            names = groups.source_of(pair), groups.annotator_of(pair), groups.subset_of(pair)
            probability = float(np.exp(-np.logaddexp(0.0, -margin)))
            rows.append((pair.id, item, *places, *scores, probability, *sizes, *names))
        return frame_of(rows, PAIR_COLUMNS)

    def _worst(self) -> Pairs:
        """An item once, by its worst comparison; its id stays, so that a new label finds it."""
        items: set[int] = set()
        pairs: list[Pair] = []
        for n in np.argsort(self.margins, kind="stable"):
            item = int(self.item[n])
            if self.margins[n] >= 0 or len(pairs) == WORST:
                break
            if item not in items:
                items.add(item)
                pairs.append(self._disagreement(int(n)))
        return Pairs.from_items(pairs)

    def _disagreement(self, n: int) -> Pair:
        pair, answers = self.sheet.items[int(self.item[n])], self.sheet.answers
        disagreement = {
            "margin": round(float(self.margins[n]), 6),
            "chosen": answers[int(self.chosen[n])].place,
            "rejected": answers[int(self.rejected[n])].place,
        }
        meta = {**pair.meta, "disagreement": disagreement}
        return Pair(pair.id, pair.prompt, pair.responses, pair.label, pair.source, meta)


def _ends(figure: Figure) -> tuple[float, float, float]:
    """A figure, its low end and its high end; NaN for what is not known."""
    if isinstance(figure, int | float):
        return figure, NAN, NAN
    ends = (None, None, None) if figure is None else (figure.value, figure.low, figure.high)
    value, low, high = (NAN if end is None else float(end) for end in ends)
    return value, low, high


def _weighed(gaps: Floats, weight: Floats) -> Share:
    """Share of the weight whose gap is above 0, half of it where the gap is 0."""
    count = round(float(weight @ rightness(gaps)), 6)
    return share(count, round(float(weight.sum()), 6))
