"""Two or more models judged blind on the same prompts: who won, how surely, and who disagrees.

A row is a prompt with an answer of each model. What is judged is an item with the different texts
among them; which model wrote which is known here, and nothing of it is shown while judging.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.analysis.intervals import Share, share
from workbench.data.pairs import Label, Pair, Pairs
from workbench.errors import DataError

if TYPE_CHECKING:
    from workbench.data.arrow_table import Frame

SAME = 1e-6
"""Two scores nearer than this prefer neither."""

YOU = "you"
JUDGES = {"score": "reward model", "gold": "gold judge"}
RESULT_COLUMNS = (
    *("model", "against", "by", "prompts", "wins", "ties", "losses"),
    *("win_rate", "low", "high", "p", "against_you", "of"),
)


class Duel(NamedTuple):
    """One model against another, as one judge sees it.

    ``rate`` counts a tie as half a win, with its 95 % Wilson interval (which is a little too wide
    where there are ties); ``p`` is the exact two-sided sign test's, without the ties.
    """

    wins: int
    ties: int
    losses: int
    rate: Share
    p: float


class BlindComparison:
    """Rows to judge, and what verdicts make of them.

    Args:
        rows: ``{"messages": prompt, "answers": [{"text", "score", "gold"}, …]}``, an answer for
            each model, in their order; score and gold may be absent.
        models: what the models are called.

    Raises:
        DataError: fewer than two models, no row, a row that has not one answer for each, or no
            row on which two answers differ.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> None:
        _check(rows, models)
        self.rows, self.models = list(rows), list(models)
        self.places: list[list[int]] = []  # per row, each model's place among the item's responses
        self.ids: list[str | None] = []  # per row, its item; None where all answers are the same
        items: dict[str, Pair] = {}
        for row in self.rows:
            item, places = item_of(row, self.models)
            self.places.append(places)
            self.ids.append(None if item is None else item.id)
            if item is not None:
                items.setdefault(item.id, item)
        if not items:
            raise DataError(
                "the models give the same answers to every prompt",
                where=", ".join(models),
                fix="compare other models, give more prompts, or raise the temperature",
            )
        self.pairs = Pairs.from_items(items.values())

    @property
    def same(self) -> int:
        """On how many rows all answers are the same text; they count as ties, unasked."""
        return sum(ident is None for ident in self.ids)

    @property
    def measures(self) -> list[str]:
        """Which of score and gold every answer has."""
        answers = [answer for row in self.rows for answer in row["answers"]]
        return [m for m in JUDGES if all(_number(answer.get(m)) is not None for answer in answers)]

    def preferred(
        self, labels: Mapping[str, Label], row: int, first: int, second: int
    ) -> int | None:
        """What a person's label says of two models on a row.

        Returns:
            1: the second is better, -1: the first is, 0: neither; None: not judged.
        """
        places, ident = self.places[row], self.ids[row]
        if places[first] == places[second]:
            return 0
        label = None if ident is None else labels.get(ident)
        return None if label is None else _by_label(label, places[first], places[second])

    def measured(self, measure: str, row: int, first: int, second: int) -> int | None:
        """What the reward model (score) or the gold judge (gold) says of two models on a row."""
        answers = self.rows[row]["answers"]
        one, two = (_number(answers[model].get(measure)) for model in (first, second))
        if one is None or two is None:
            return None
        return 0 if abs(two - one) < SAME else (1 if two > one else -1)

    def judged(self, labels: Mapping[str, Label]) -> list[int]:
        """The rows that a label decides, and those with nothing to decide."""
        return [row for row, ident in enumerate(self.ids) if ident is None or ident in labels]

    def disagreements(self, labels: Mapping[str, Label], measure: str) -> list[int]:
        """Rows on which the person prefers one of two models and the measure the other."""
        return [
            row
            for row in self.judged(labels)
            if any(
                (self.preferred(labels, row, *two) or 0) * (self.measured(measure, row, *two) or 0)
                < 0
                for two in combinations(range(len(self.models)), 2)
            )
        ]

    def result(self, labels: Mapping[str, Label]) -> "Frame":
        """A row for each two models and each judge, on the rows that the person has judged.

        ``win_rate`` is the model's against the other, a tie half a win; ``against_you`` of ``of``:
        on how many rows that both decide the judge prefers the one that the person does not.
        """
        from workbench.data.arrow_table import frame_of

        rows: list[tuple[Any, ...]] = []
        for first, second in combinations(range(len(self.models)), 2):
            kept = self.judged(labels)
            person = [self.preferred(labels, row, first, second) for row in kept]
            judges = {YOU: person} | {
                words: [self.measured(measure, row, first, second) for row in kept]
                for measure, words in JUDGES.items()
                if measure in self.measures
            }
            for by, verdicts in judges.items():
                both = [(p, v) for p, v in zip(person, verdicts, strict=True) if p and v]
                against = sum(p != v for p, v in both)
                counts = (None, None) if by == YOU else (against, len(both))
                rows.append(
                    (self.models[second], self.models[first], by, *_cells(verdicts), *counts)
                )
        return frame_of(rows, RESULT_COLUMNS, whole=("against_you", "of"))


def duel(verdicts: Sequence[int | None]) -> Duel:
    """Count verdicts (1 won, 0 tie, -1 lost, None not judged)."""
    wins, ties, losses = (sum(v == sign for v in verdicts) for sign in (1, 0, -1))
    rate = share(wins + ties / 2, wins + ties + losses)
    return Duel(wins, ties, losses, rate, sign_test(wins, losses))


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided p of so many wins and losses, were both equally likely; ties are out."""
    fewer, of = min(wins, losses), wins + losses
    tail = sum(math.comb(of, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**of)


def _cells(verdicts: Sequence[int | None]) -> tuple[Any, ...]:
    counts = duel(verdicts)
    rate = counts.rate
    of = counts.wins + counts.ties + counts.losses
    return of, counts.wins, counts.ties, counts.losses, rate.value, rate.low, rate.high, counts.p


def _by_label(label: Label, first: int, second: int) -> int:
    """What a label says of two responses: 1 the second, -1 the first, 0 neither."""
    if label["kind"] == "rank":
        one, two = label["ranks"][first], label["ranks"][second]
        return (one > two) - (one < two)
    if label["kind"] == "choice":
        return (label["winner"] == second) - (label["winner"] == first)
    return 0


def item_of(row: Mapping[str, Any], models: Sequence[str]) -> tuple[Pair | None, list[int]]:
    """A row as an item to judge: its different texts, and which of them is each model's.

    Returns:
        The item, None where all answers are the same text; and per model a place among its
        responses.
    """
    texts = [str(answer["text"]) for answer in row["answers"]]
    different = list(dict.fromkeys(texts))
    places = [different.index(text) for text in texts]
    if len(different) < 2:
        return None, places
    responses: Any = [[{"role": "assistant", "content": text}] for text in different]
    meta = {"models": dict(zip(models, places, strict=True))}
    source = {"dataset": "comparison"}
    return Pair.make(row["messages"], responses, source=source, meta=meta), places


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _check(rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> None:
    if len(models) < 2:
        raise DataError(
            "one model cannot be compared",
            where=f"models: {', '.join(models) or '(none)'}",
            fix="give two models or more",
        )
    if not rows:
        raise DataError(
            "there is nothing to compare", where="prompts", fix="give at least one prompt"
        )
    for index, row in enumerate(rows):
        if len(row["answers"]) != len(models):
            raise DataError(
                f"a row has {len(row['answers'])} answers for {len(models)} models",
                where=f"row {index}",
                fix="give one answer for each model, in the same order in every row",
            )
