"""What is learned from comparisons: them encoded, which are kept aside, which go together."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from workbench.errors import DataError
from workbench.models.answer_scores import token_batches
from workbench.models.base import Base
from workbench.models.encoding import Encoded, Encoder, in_row
from workbench.settings import ComparisonSettings
from workbench.training.batches import prompt_key, shuffled
from workbench.training.process_group import Team

_Row = dict[str, Any]
T = TypeVar("T")
TOO_LONG = "an answer fills max_length"
EQUAL = "both answers are the same tokens"


class Judgement(NamedTuple):
    """One answer of a comparison was preferred to another.

    Attributes:
        chosen: index of the better answer.
        rejected: index of the other.
        margin: by how much the better one should win. [reward points]
        weight: of its loss; a comparison's weights add up to 1, so that a ranking of many answers
            counts as one comparison (Ouyang et al. 2022, eq. 1).
    """

    chosen: int
    rejected: int
    margin: float
    weight: float


class EncodedComparison(NamedTuple):
    """Encoded answers to one prompt, each once, and what was judged of them.

    Attributes:
        answers: two or more.
        judgements: one or more; all enter the loss together.
        group: the prompt, by which training and held-out comparisons are kept apart.
    """

    answers: tuple[Encoded, ...]
    judgements: tuple[Judgement, ...]
    group: str

    @property
    def sequences(self) -> list[list[int]]:
        """Whole sequences of ids."""
        return [answer.ids for answer in self.answers]


def encode_comparisons(
    base: Base, rows: Sequence[_Row], settings: ComparisonSettings
) -> tuple[list[EncodedComparison], list[str]]:
    """Encode ``{"prompt", "chosen", "rejected", "margin", "weight"}`` rows, and say what was lost.

    Rows that follow each other with one prompt are one comparison until their weights add up to
    1; a row without a weight is one by itself. A row with an answer that fills ``max_length``, or
    with two answers of the same tokens, is left out and counted.

    Raises:
        DataError: no row is left.
    """
    margins = _Margins(rows, settings.margins)
    encoder = Encoder.of(base, settings)
    lost: dict[str, int] = {TOO_LONG: 0, EQUAL: 0}
    encoded: list[EncodedComparison] = []
    number = 1
    for item in items(rows):
        with in_row(number):
            encoded.append(_encode(encoder, item, margins, lost))
        number += len(item)
    comparisons = [comparison for comparison in encoded if comparison.judgements]
    left_out = [
        f"{count} of {len(rows)} pairs were left out: {why}" for why, count in lost.items() if count
    ]
    if not comparisons:
        raise DataError(
            "no pair is left to train on",
            where="; ".join([f"{len(rows)} rows, max_length = {encoder.max_length}", *left_out]),
            fix="give pairs with a chosen and a rejected answer, or raise max_length",
        )
    if encoder.shortened:
        notice = f"{encoder.shortened} prompts were shortened from the left (max_length)"
        left_out = [notice, *left_out]
    return comparisons, left_out + encoder.spelt_notices(len(rows))


def items(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Rows of one item together: neighbours with one prompt whose weights add up to 1."""
    item: list[_Row] = []
    weight = 0.0
    for row in rows:
        own = _weight(row)
        if item and (row["prompt"] != item[0]["prompt"] or weight + own > 1.0 + 1e-6):
            yield item
            item, weight = [], 0.0
        item.append(row)
        weight += own
    if item:
        yield item


def _weight(row: _Row) -> float:
    weight = row.get("weight")
    return 1.0 if weight is None else float(weight)


class _Margins:
    """What the margins of rows mean: a gap to win by, a weight, or nothing.

    As weights they are divided by their mean, so that the learning rate keeps its meaning; a row
    without one weighs as before.
    """

    def __init__(self, rows: Sequence[_Row], meaning: str) -> None:
        self.meaning = meaning
        margins = [abs(float(row["margin"])) for row in rows if row.get("margin") is not None]
        self.mean = sum(margins) / len(margins) if any(margins) else 1.0

    def gap(self, row: _Row) -> float:
        """By how much the chosen answer should win, in reward points."""
        return float(row.get("margin") or 0.0) if self.meaning == "gap" else 0.0

    def weight(self, row: _Row) -> float:
        """Of the row's loss."""
        margin = row.get("margin")
        if self.meaning != "weight" or margin is None:
            return _weight(row)
        return _weight(row) * abs(float(margin)) / self.mean


def _encode(
    encoder: Encoder, item: Sequence[_Row], margins: _Margins, lost: dict[str, int]
) -> EncodedComparison:
    """One item's comparison; judgements that cannot be used are counted by their reason."""
    responses = [row[side] for row in item for side in ("chosen", "rejected")]
    encoded = encoder.answers(item[0]["prompt"], responses)
    answers: list[Encoded] = []
    judgements: list[Judgement] = []
    for row, *both in zip(item, encoded[::2], encoded[1::2], strict=True):
        pair = [answer for answer in both if answer is not None]
        if len(pair) < 2 or pair[0] == pair[1]:
            lost[TOO_LONG if len(pair) < 2 else EQUAL] += 1
            continue
        answers += [answer for answer in pair if answer not in answers]
        chosen, rejected = (answers.index(answer) for answer in pair)
        judgements.append(Judgement(chosen, rejected, margins.gap(row), margins.weight(row)))
    return EncodedComparison(tuple(answers), tuple(judgements), prompt_key(item[0]["prompt"]))


def split(
    comparisons: Sequence[EncodedComparison], settings: ComparisonSettings
) -> tuple[list[EncodedComparison], list[EncodedComparison]]:
    """Training and held-out comparisons, split by prompt so that no prompt is on both sides."""
    groups = sorted({c.group for c in comparisons})
    order = shuffled(len(groups), torch.Generator().manual_seed(settings.seed))
    wanted, aside = settings.holdout * len(comparisons), set[str]()
    sizes: dict[str, int] = {}
    for comparison in comparisons:
        sizes[comparison.group] = sizes.get(comparison.group, 0) + 1
    count = 0
    for index in order[:-1]:  # one group always stays for training
        if count >= wanted:
            break
        aside.add(groups[index])
        count += sizes[groups[index]]
    train = [c for c in comparisons if c.group not in aside]
    return train, [c for c in comparisons if c.group in aside]


def own_groups(
    batch: Sequence[T], sizes: Sequence[int], team: Team, *, tokens: int
) -> list[list[T]]:
    """This process's micro-batches of whole comparisons, similar lengths together.

    Args:
        batch: comparisons, or their numbers.
        sizes: tokens of each of them.
        team: the processes of the run.
        tokens: at most so many go through the model at once; a larger comparison is alone.
    """
    mine = team.share(range(len(sizes)), sizes)
    groups = token_batches([sizes[i] for i in mine], tokens=tokens)
    return [[batch[mine[i]] for i in group] for group in groups]


def judged_answers(comparisons: Sequence[EncodedComparison]) -> tuple[list[int], list[int]]:
    """Chosen and rejected answer of each judgement, by number among the comparisons' answers."""
    chosen: list[int] = []
    rejected: list[int] = []
    first = 0
    for comparison in comparisons:
        chosen += [first + judgement.chosen for judgement in comparison.judgements]
        rejected += [first + judgement.rejected for judgement in comparison.judgements]
        first += len(comparison.answers)
    return chosen, rejected
