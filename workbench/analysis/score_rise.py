"""Why the mean reward score rose: its change between two samples, split into named features.

The score is regressed on what can be counted in the answers (``answer_features.py``). A feature's
part is its coefficient times how far its mean moved; what no feature tells is the rest. Features
are taken one after another, each time the one that tells most of what is still untold about the
scores, of those that also moved the mean: a phrase makes answers longer too, and once it is taken
nothing is left for the length to tell. So the first of several causes that go together is the one
that fits, not the one that happens to grow with it.
"""

# numpy's types are partial
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np

from workbench.analysis.answer_features import AnswerFeature, features_of
from workbench.analysis.intervals import Floats

BETWEEN = 10  # watched steps between the two that are looked at too
ANSWERS = 64  # of one step that are looked at
CAUSES = 6  # features that are named, at most
FEWEST = 4  # answers for each feature that is named
SMALL = 0.05  # of the change: a smaller part stays in the rest
RIDGE = 1e-3  # of the answers: what holds coefficients of features that go together
NEARLY = 0.9  # of the best fit: a named feature that fits so well goes before a found phrase
EXAMPLES = 3


class SampledAnswer(NamedTuple):
    """An answer, what it answers, its reward score, and the step that it was sampled at."""

    step: int
    prompt: str
    response: str
    score: float


class BeforeAfter(NamedTuple):
    """An earlier and a later answer, of the same prompt where there is such a pair."""

    before: SampledAnswer
    after: SampledAnswer


class RiseCause(NamedTuple):
    """A feature's part of the change.

    Attributes:
        name: of the feature.
        part: its share of the change. [reward points]
        before, after: its mean in both samples: a share of the answers where ``marks``.
        marks: whether an answer has it or has it not.
        examples: answers before with less of it, after with more (of one that went: turned round).
    """

    name: str
    part: float
    before: float
    after: float
    marks: bool
    examples: tuple[BeforeAfter, ...]

    @property
    def means(self) -> str:
        """Its means in words: a share of the answers, or a number in each."""
        if self.marks:
            return f"{self.before:.0%} → {self.after:.0%} of the answers"
        return f"{self.before:.3g} → {self.after:.3g}"


class ScoreRise(NamedTuple):
    """The change of the mean score; ``sum of parts + rest = total``.

    Attributes:
        first, last: the two steps.
        total: mean score at the last less that at the first. [reward points]
        causes: the largest part first; none where nothing can be told.
        rest: what no feature tells.
        answers: at the two steps.
        seen: answers that the regression went by: those between the two steps too.
        told: share of the scores' variance that the features account for; None without causes.
    """

    first: int
    last: int
    total: float
    causes: tuple[RiseCause, ...]
    rest: float
    answers: tuple[int, int]
    seen: int
    told: float | None

    @property
    def words(self) -> str:
        """``Why it rose: of +1.30, length +0.90, refuses −0.10, rest +0.50``."""
        moved = "stayed" if abs(self.total) < 0.005 else "rose" if self.total > 0 else "fell"
        parts = [f"{cause.name} {in_points(cause.part)}" for cause in self.causes]
        told = [f"of {in_points(self.total)}", *parts, f"rest {in_points(self.rest)}"]
        return f"Why it {moved}: {', '.join(told)}"


def in_points(value: float) -> str:
    """Two decimals with a sign and a real minus; no sign before zero."""
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")


def steps_to_look_at(steps: Sequence[int], first: int, last: int) -> list[int]:
    """The two steps, and at most :data:`BETWEEN` of those between them, evenly spaced."""
    inside = sorted({step for step in steps if first < step < last})
    count = min(BETWEEN, len(inside))
    return [first, *(inside[(2 * i + 1) * len(inside) // (2 * count)] for i in range(count)), last]


def rise_of_steps(
    steps: Sequence[int],
    rows_of: Callable[[int], Sequence[Mapping[str, Any]]],
    first: int | None = None,
    last: int | None = None,
) -> ScoreRise | None:
    """The change of a run's mean score between two of its watched steps; None without scores.

    Args:
        steps: at which prompts were answered, in order.
        rows_of: the rows of ``samples.jsonl`` of one of them.
        first: the earlier step; None: the first.
        last: the later step; None: the newest.
    """
    if not steps:
        return None
    ends = steps[0] if first is None else first, steps[-1] if last is None else last
    rows = [row for step in steps_to_look_at(steps, *ends) for row in rows_of(step)]
    return score_rise(with_scores(rows), *ends)


def with_scores(rows: Sequence[Mapping[str, Any]]) -> list[SampledAnswer]:
    """The rows of a run's ``samples.jsonl`` that have a reward score."""
    return [
        SampledAnswer(int(row["step"]), str(row.get("prompt")), str(row.get("response")), score)
        for row in rows
        if isinstance(score := row.get("score"), int | float)
    ]


def score_rise(answers: Sequence[SampledAnswer], first: int, last: int) -> ScoreRise | None:
    """Split the change of the mean score between two steps; None where one has no answers.

    Where both steps answer some of the same prompts, those alone are compared.

    Args:
        answers: of both steps and of steps between them, which teach the regression how the score
            hangs on the features.
        first: the earlier step.
        last: the later step.
    """
    asked = [{a.prompt for a in answers if a.step == step} for step in (first, last)]
    if shared := asked[0] & asked[1]:
        answers = [answer for answer in answers if answer.prompt in shared]
    counts = defaultdict[int, int](int)
    kept = list[SampledAnswer]()
    for answer in answers:
        counts[answer.step] += 1
        if counts[answer.step] <= ANSWERS:
            kept.append(answer)
    before, after = (np.array([float(a.step == step) for a in kept]) for step in (first, last))
    if first == last or not (before.any() and after.any()):
        return None
    return _Split(kept, before, after).rise(first, last)


class _Split:
    """Scored answers ``(N,)``, and which of them are of the earlier and of the later sample."""

    def __init__(self, answers: Sequence[SampledAnswer], before: Floats, after: Floats) -> None:
        self.answers, self.before, self.after = answers, before, after
        self.shift = after / after.sum() - before / before.sum()  # its product: change of a mean
        self.scores = np.array([answer.score for answer in answers], dtype=np.float64)
        self.total = float(self.shift @ self.scores)
        prompts = [answer.prompt for answer in answers]
        _, self.prompt = np.unique(np.array(prompts), return_inverse=True)
        texts = [answer.response for answer in answers]
        self.features = features_of(prompts, texts, before, after)

    def rise(self, first: int, last: int) -> ScoreRise:
        chosen, told = self._chosen()
        parts = self._parts(chosen)
        named = [(f, part) for f, part in zip(chosen, parts, strict=True) if self._counts(part)]
        named.sort(key=lambda one: -abs(one[1]))
        causes = tuple(self._cause(feature, part) for feature, part in named)
        rest = self.total - sum(cause.part for cause in causes)
        sizes = int(self.before.sum()), int(self.after.sum())
        seen = len(self.answers)
        return ScoreRise(
            first, last, self.total, causes, rest, sizes, seen, told if causes else None
        )

    def _counts(self, part: float) -> bool:
        return abs(part) >= max(SMALL * abs(self.total), 1e-9)

    def _own(self, values: Floats) -> Floats:
        """Values less most of the mean of their prompt's answers: prompts score differently.

        All of that mean were too much: it also tells how the score hangs on a feature. So much of
        it goes as if prompts differed as much as the answers to one (a random effect).
        """
        sizes = np.bincount(self.prompt)
        means = np.bincount(self.prompt, values) / sizes
        kept = values - (1 - (1 + sizes) ** -0.5)[self.prompt] * means[self.prompt]
        return kept - kept.mean()

    def _chosen(self) -> tuple[list[AnswerFeature], float]:
        """Features by forward selection, and the share of variance that they account for."""
        rest, begun = self._own(self.scores), float(self._own(self.scores) @ self._own(self.scores))
        chosen = list[AnswerFeature]()
        columns = [self._own(feature.counts) for feature in self.features]
        shifts: list[float] = [float(self.shift @ feature.counts) for feature in self.features]
        least = 1e-9 * max(begun, 1e-12)
        while len(chosen) < min(CAUSES, len(self.answers) // FEWEST) and rest @ rest > least:
            best = self._best(columns, shifts, rest)
            if best is None:
                break
            chosen.append(self.features[best])
            size = float(columns[best] @ columns[best]) ** 0.5
            column, moved = columns[best] / size, shifts[best] / size
            rest = rest - (column @ rest) * column
            for i, other in enumerate(columns):
                shared = float(column @ other)
                columns[i] = other - shared * column
                shifts[i] -= shared * moved
        return chosen, 1 - float(rest @ rest) / begun if begun else 0.0

    def _best(self, columns: list[Floats], shifts: list[float], rest: Floats) -> int | None:
        """The feature that fits best what is left, of those that moved the mean; None: none does.

        It has to fit better than the best of as many features would by luck (an extended BIC).
        """
        total, count = float(rest @ rest), len(rest)
        gains = dict[int, float]()
        for i, (column, shift) in enumerate(zip(columns, shifts, strict=True)):
            size = float(column @ column)
            if size > 1e-9 * count:
                slope = float(column @ rest) / size
                if self._counts(slope * shift):
                    gains[i] = slope * slope * size
        if not gains:
            return None
        most = max(gains.values())
        luck = log(count) + 2 * log(len(columns))
        if count * log(total / max(total - most, 1e-12 * total)) < luck:
            return None
        near = [i for i, gain in gains.items() if gain >= NEARLY * most]
        return min(near, key=lambda i: (self.features[i].found, -gains[i]))

    def _parts(self, chosen: Sequence[AnswerFeature]) -> list[float]:
        """Coefficient times change of the mean, of all chosen features together (a small ridge)."""
        if not chosen:
            return []
        columns = np.stack([self._own(feature.counts) for feature in chosen], axis=1)
        scale = np.sqrt((columns**2).mean(axis=0))
        columns, scores = columns / scale, self._own(self.scores)
        square = columns.T @ columns + RIDGE * len(scores) * np.eye(len(chosen))
        slopes: Floats = np.linalg.solve(square, columns.T @ scores) / scale
        moved = [float(self.shift @ feature.counts) for feature in chosen]
        return [slope * shift for slope, shift in zip(slopes.tolist(), moved, strict=True)]

    def _cause(self, feature: AnswerFeature, part: float) -> RiseCause:
        before, after = (float(feature.counts @ s / s.sum()) for s in (self.before, self.after))
        examples = self._examples(feature.counts)
        return RiseCause(feature.name, part, before, after, feature.marks, examples)

    def _examples(self, counts: Floats) -> tuple[BeforeAfter, ...]:
        """Pairs in which the feature moved most in the way that its mean did."""
        way = 1.0 if self.shift @ counts >= 0 else -1.0
        earlier, later = (
            [i for i, inside in enumerate(own) if inside] for own in (self.before, self.after)
        )
        pairs = [(i, j) for i in earlier for j in later if self.prompt[i] == self.prompt[j]]
        pairs = pairs or [(i, j) for i in earlier for j in later]
        pairs = [(i, j) for i, j in pairs if way * (counts[j] - counts[i]) > 0]
        pairs.sort(key=lambda pair: -way * (counts[pair[1]] - counts[pair[0]]))
        used, examples = set[int](), list[BeforeAfter]()
        for i, j in pairs:
            if len(examples) < EXAMPLES and not used & {i, j}:
                used |= {i, j}
                examples.append(BeforeAfter(self.answers[i], self.answers[j]))
        return tuple(examples)
