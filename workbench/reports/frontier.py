"""The frontier as one page: what each way of aligning bought, against √KL and against time."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.analysis.best_of_n import Level
from workbench.analysis.frontier import (
    NATS,
    Measured,
    Tried,
    at_nats,
    at_seconds,
    best_price,
    between,
    over_seeds,
    told_apart,
)
from workbench.data.arrow_table import frame_of
from workbench.html_table import Html, table
from workbench.reports.best_of_n import SCORE_KINDS, X_TITLE
from workbench.reports.report import COMPACT, LEFT, RIGHT, ReportPage
from workbench.reports.svg_charts import GREY, Point, Series, SeriesChart
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame

COLOURS = ("blue", "orange", "green", "purple", "vermillion")
MARKS = ("dot", "square", "ring", "triangle", "box")
_BEST_OF_N = "best_of_n"


class FrontierTerms(NamedTuple):
    """What a frontier is of, for the words on its page.

    Attributes:
        budget: of every run, in words.
        pairs: what the reward models and DPO learned from, in words.
        prompts: held-out ones that everything is measured on.
        trials: of each way's learning rate.
    """

    model: str
    budget: str
    pairs: str
    prompts: int
    trials: int


class Frontier(ReportPage):
    """Every way of aligning on one picture.

    Attributes:
        sentence: what was found: who is ahead at one KL, who in one time; ``limits`` says what it
            does not show.
        frame: a row a run: method, price, seed, rate, prompts, seconds, kl, score, heldout, gold.
        at: a row a way: what its answers are worth at 1, 2 and 3 nats and at equal seconds, each
            with its 95 % interval over seeds.
        best_of_n: a row a number of answers, at an upper bound of its KL; empty where not asked.
        judged: which measure ``at`` and the sentence are about: gold where there is a judge.
        figures: ``gold`` (where there is a judge), ``heldout``, ``score`` against √KL;
            ``seconds``: gold, or the reward score, against the seconds of learning.
    """

    def __init__(
        self,
        runs: Sequence[Tried],
        starts: Mapping[int, Measured],
        best_of_n: Sequence[Mapping[str, float]],
        terms: FrontierTerms,
    ) -> None:
        self._runs, self._starts, self._terms = list(runs), dict(starts), terms
        golden = all(start.gold is not None for start in starts.values())
        self.judged = "gold" if golden else "heldout"
        self._shown = [name for name in ("gold", "heldout", "score") if golden or name != "gold"]
        self._in_time = "gold" if golden else "score"  # the watching model sees only the end
        self._ways: dict[str, list[Tried]] = {}
        for run in self._runs:
            self._ways.setdefault(run.method, []).append(run)
        self.frame: DataFrame = frame_of([_row(run) for run in self._runs], _COLUMNS)
        names = list(best_of_n[0]) if best_of_n else ["n", "kl_bound"]
        self.best_of_n: DataFrame = frame_of([tuple(row.values()) for row in best_of_n], names)
        self._best = [dict(row) for row in best_of_n]
        self.common = min((run.seconds for run in self._runs), default=0.0)
        self._levels = self._compared()
        self.at: DataFrame = self._at()
        self.limits = self._limits()
        super().__init__(self._sentence(), self._drawn(), name="frontier")

    # --- numbers -------------------------------------------------------------------------------

    def _start(self, measure: str) -> float:
        values = [float(getattr(start, measure)) for start in self._starts.values()]
        return sum(values) / len(values)

    def _compared(self) -> dict[str, list[Level | None]]:
        """Each way's worth at :data:`NATS`, and after the time that all of them had."""
        levels = {
            name: [
                *(at_nats(runs, self._starts, self.judged, nats) for nats in NATS),
                at_seconds(_at_price(runs), self._in_time, self.common),
            ]
            for name, runs in self._ways.items()
        }
        if self._best:
            points = [(math.sqrt(row["kl_bound"]), row[self.judged]) for row in self._best]
            values = [between(points, math.sqrt(nats)) for nats in NATS]
            levels[_BEST_OF_N] = [
                *(None if value is None else Level(value, None, None) for value in values),
                None,
            ]
        return levels

    def _at(self) -> "DataFrame":
        names = ["method"]
        for place in (*map(_nats, NATS), "seconds"):
            names += [place, f"{place}, low", f"{place}, high"]
        rows: list[tuple[Any, ...]] = []
        for name, levels in self._levels.items():
            cells = [level or Level(math.nan, None, None) for level in levels]
            rows.append((name, *(value for level in cells for value in level)))
        return frame_of(rows, names)

    # --- in words ------------------------------------------------------------------------------

    def _ranking(self, place: int) -> list[tuple[str, Level]]:
        known = [(name, levels[place]) for name, levels in self._levels.items()]
        scored = [(name, level) for name, level in known if level and name != _BEST_OF_N]
        return sorted(scored, key=lambda each: -each[1].mean)

    def _sentence(self) -> str:
        words = SCORE_KINDS[self.judged].words
        reached = [place for place in range(len(NATS)) if len(self._ranking(place)) > 1]
        if reached:
            place = reached[-1]
            sentence = (
                f"At {_nats(NATS[place])} of KL the {words}, from {self._start(self.judged):.2f}"
                f" before, is {_ranked(self._ranking(place))}"
            )
            late = [name for name in self._ways if self._levels[name][place] is None]
            sentence += f"; {' and '.join(late)} did not come so far" if late else ""
            if (best := self._levels.get(_BEST_OF_N, [None] * 4)[place]) is not None:
                sentence += f"; the best of n answers reaches {best.mean:.2f} there at the latest"
        else:
            ends = [
                f"{name} {_mean(runs, self.judged):.2f} at {_nats(_mean(runs, 'kl'))}"
                for name, runs in self._ways.items()
            ]
            sentence = (
                f"No two ways came as far as {_nats(NATS[0])} with every seed; the {words}, from"
                f" {self._start(self.judged):.2f} before, ended at {', '.join(ends)}"
            )
        ranking = self._ranking(len(NATS))
        if len(ranking) < 2:
            return f"{sentence}."
        timed = SCORE_KINDS[self._in_time].words
        later = f"After {self.common:.0f} s of learning the {timed} is {_ranked(ranking)}."
        return f"{sentence}. {later}"

    def _limits(self) -> str:
        terms, seeds = self._terms, len(self._starts)
        trials = "one rate, its auto" if terms.trials == 1 else f"{terms.trials} rates"
        return (
            f"This does not show other data, reward models or longer runs: {terms.pairs}, each way"
            f" had {trials}, each run {terms.budget}, and the intervals are over"
            f" {seeds} seed{'s' if seeds > 1 else ''} of the runs, not over reward models or"
            f" prompts."
        )

    def _remark(self) -> str:
        return self.limits

    # --- drawn ---------------------------------------------------------------------------------

    def _look(self, name: str) -> tuple[str, str]:
        place = list(self._ways).index(name)
        return OKABE_ITO[COLOURS[place % len(COLOURS)]], MARKS[place % len(MARKS)]

    def _drawn(self) -> dict[str, SeriesChart]:
        first, *others = self._shown
        charts = {first: self._against_kl(first)}
        if self._runs:
            charts["seconds"] = self._against_time()
        return charts | {name: self._against_kl(name) for name in others}

    def _against_kl(self, measure: str) -> SeriesChart:
        kind = SCORE_KINDS[measure]
        start = (0.0, self._start(measure))
        series: list[Series] = []
        for name, runs in self._ways.items():
            by_price: dict[float, list[Tried]] = {}
            for run in runs:
                by_price.setdefault(run.price, []).append(run)
            points: dict[float, Point] = {}
            for price, own in by_price.items():
                x = sum(math.sqrt(max(run.reached.kl, 0.0)) for run in own) / len(own)
                level = over_seeds([float(getattr(run.reached, measure)) for run in own])
                points[price] = Point(x, *level)
            ordered = sorted(points, key=lambda price: points[price].x)
            series.append(
                Series(
                    name,
                    *self._look(name),
                    [points[price] for price in ordered],
                    line=[start, *((points[price].x, points[price].y) for price in ordered)],
                    labels=[f"β {price:g}, {points[price].x ** 2:.2f} nats" for price in ordered],
                )
            )
        if self._best:
            bound = [
                Point(math.sqrt(row["kl_bound"]), row[measure], None, None) for row in self._best
            ]
            labels = [f"best of {row['n']:g}" for row in self._best]
            line = [(point.x, point.y) for point in bound]
            best = Series(
                "best of n, bound of KL",
                GREY,
                "diamond",
                bound,
                line,
                dashed=True,
                labels=labels,
            )
            series.append(best)
        title = f"{kind.words[0].upper()}{kind.words[1:]} against √KL"
        return SeriesChart(title, X_TITLE, f"{kind.words}, {kind.unit}", series)

    def _against_time(self) -> SeriesChart:
        kind, series = SCORE_KINDS[self._in_time], list[Series]()
        for name, runs in self._ways.items():
            own = _at_price(runs)
            points: list[Point] = []
            for moments in zip(*(run.way for run in own), strict=False):
                seconds = sum(moment.seconds for moment in moments) / len(moments)
                level = over_seeds([float(getattr(m, self._in_time)) for m in moments])
                points.append(Point(seconds, *level))
            label = f"{name}, β {own[0].price:g}"
            line = [(point.x, point.y) for point in points]
            names = [f"{point.x:.0f} s" for point in points]
            series.append(Series(label, *self._look(name), points, line, labels=names))
        title = f"{kind.words[0].upper()}{kind.words[1:]} against time"
        return SeriesChart(title, "seconds of learning", f"{kind.words}, {kind.unit}", series)

    def __repr__(self) -> str:
        return f"{self.sentence}\n{self.limits}\n{self.at.round(3).to_string(index=False)}"

    def _table(self) -> Html:
        heads = ["", *(f"at {_nats(nats)}" for nats in NATS), f"after {self.common:.0f} s"]
        rows = [
            [name, *(_cell(level) for level in levels)] for name, levels in self._levels.items()
        ]
        compared = table(rows, (LEFT, *[RIGHT] * 4), heads=heads, attributes=COMPACT)
        rates = {name: sorted({run.rate for run in runs}) for name, runs in self._ways.items()}
        listed = "; ".join(
            f"{name} {', '.join(f'{rate:.3g}' for rate in own)}" for name, own in rates.items()
        )
        return Html(
            f"<div style='min-width:0'>{compared}<p style='max-width:430px'>Learning rates:"
            f" {listed}.</p></div>"
        )

    def _note(self) -> Html:
        return Html(
            f"All from <code>{escape(self._terms.model)}</code>; one answer to each of"
            f" {self._terms.prompts} held-out prompts, KL exact; a point is a price β, its"
            " interval 95 % by Student's t over seeds. Between the points a seed's own line is"
            " read. Time: sampling, scoring and optimising, by the clock; of each way the price"
            " that the watching model likes best. Best of n stands at an upper bound of its KL"
            " and learns nothing. Rows behind it: <code>.frame</code>, <code>.at</code>,"
            " <code>.best_of_n</code>; drawn large: <code>.figures</code>."
        )


_COLUMNS = (
    *("method", "price", "seed", "rate", "prompts", "seconds"),
    *Measured._fields,
    "run",
)


def _row(run: Tried) -> tuple[Any, ...]:
    cells = (run.method, run.price, run.seed, run.rate, run.prompts, run.seconds)
    return (*cells, *run.reached, run.run)


def _at_price(runs: Sequence[Tried]) -> list[Tried]:
    price = best_price(runs)
    return [run for run in runs if run.price == price]


def _mean(runs: Sequence[Tried], measure: str) -> float:
    return sum(float(getattr(run.reached, measure)) for run in runs) / len(runs)


def _nats(nats: float) -> str:
    return f"{nats:.2g} nat{'' if nats == 1 else 's'}"


def _interval(level: Level) -> str:
    return "" if level.low is None else f" ({level.low:.2f} to {level.high:.2f})"


def _ranked(ranking: Sequence[tuple[str, Level]]) -> str:
    """The first few, and which of all cannot be told from the first."""
    words = [f"{level.mean:.2f}{_interval(level)} by {name}" for name, level in ranking]
    first = ranking[0][1]
    if first.low is None:
        return f"{', '.join(words)}; one seed tells no two of them apart"
    alike = [name for name, level in ranking[1:] if not told_apart(first, level)]
    unsure = f"{' and '.join(alike)} cannot be told from the first" if alike else ""
    return "; ".join(filter(None, [", ".join(words), unsure]))


def _cell(level: Level | None) -> Html:
    if level is None:
        return Html("–")
    ends = "" if level.low is None else f" <small>± {level.mean - level.low:.3f}</small>"
    return Html(f"<b>{level.mean:.3f}</b>{ends}")
