"""What more labels are worth: nested shares of the data, and a line through what each reached."""

import hashlib
import math
from collections.abc import Sequence
from json import loads
from typing import NamedTuple

import numpy as np

from workbench.analysis.appraisal_summary import ENOUGH_PAIRS, points
from workbench.analysis.calibration import rightness
from workbench.analysis.intervals import Floats, Integers, by_items
from workbench.data import arrow_table
from workbench.data.comparisons import NO_PREFERENCE
from workbench.data.pairs import Pairs
from workbench.data.splits import group_of
from workbench.errors import ConfigError, DataError

HALVINGS = 3  # the default sizes: an eighth, a quarter, a half and all
SMALLEST = 8  # items that the smallest share has at least
MORE = 500  # labels whose worth is told
HELD = 0.2  # of the items, held out to measure on where no other set is given
HELD_MOST = 2_000


class Shares(NamedTuple):
    """Nested training sets, smallest first, and what they are measured on."""

    train: list[Pairs]
    heldout: Pairs


class LabelsLine(NamedTuple):
    """A line through accuracy against the logarithm of the number of labels.

    Attributes:
        start: accuracy at one label.
        doubling: what each doubling of the labels adds.
        gain: what :data:`MORE` labels add to the largest set, with its interval; the interval is
            over what was measured on, by drawing items again, and not over other training runs.
    """

    start: float
    doubling: float
    gain: float
    low: float | None
    high: float | None

    def at(self, labels: float) -> float:
        """Return the line's accuracy at a number of labels."""
        return self.start + self.doubling * math.log2(labels)


def default_sizes(items: int) -> list[int]:
    """Return an eighth, a quarter, a half and all of the items, as far as they are enough."""
    sizes = [items >> halvings for halvings in range(HALVINGS, -1, -1)]
    return [size for size in sizes if size >= SMALLEST]


def nested(pairs: Pairs, sizes: Sequence[int] | None, heldout: Pairs | None = None) -> Shares:
    """Return training sets each of which holds the smaller ones, and the set to measure on.

    Prompts are put in an order that depends on their texts alone, and each set is a beginning of
    it: pairs that are added later leave the order of the others as it was. Where no ``heldout``
    is given, the first fifth of the order is held out, at most :data:`HELD_MOST` items; the
    prompts of a ``heldout`` that is given are taken out of the training sets. A prompt is never
    on both sides.

    Args:
        pairs: labelled items.
        sizes: items of each training set; None: an eighth, a quarter, a half and all.
        heldout: what to measure on.

    Raises:
        DataError: there are too few items.
        ConfigError: a size is larger than what is left to train on, or there are fewer than two.
    """
    labelled = [
        n
        for n, label in enumerate(pairs.labels())
        if label is not None and label.get("kind") not in NO_PREFERENCE
    ]
    names = _prompts(pairs)
    kept = set(_prompts(heldout)) if heldout is not None else _first(names, labelled)
    inside = [n for n in labelled if names[n] in kept]
    order = sorted(
        (n for n in labelled if names[n] not in kept), key=lambda n: (_drawn(names[n]), n)
    )
    wanted = default_sizes(len(order)) if sizes is None else sorted(set(sizes))
    if len(order) < 2 * SMALLEST or (heldout is None and not inside):
        raise DataError(
            f"there are too few labelled items for a learning curve: {len(order)} to train on",
            where=f"{len(pairs)} items, {len(labelled)} of them with a better answer",
            fix=f"label more: at least {3 * SMALLEST}, better {ENOUGH_PAIRS:,}",
        )
    if len(wanted) < 2 or wanted[0] < 1 or wanted[-1] > len(order):
        raise ConfigError(
            f"a learning curve cannot be drawn through sizes {wanted}",
            where="learning_curve(sizes=...)",
            fix=f"give two or more sizes from 1 to {len(order)}, which is what is left to train on",
        )
    train = [Pairs(arrow_table.rows_in(pairs.frame, sorted(order[:size]))) for size in wanted]
    return Shares(train, heldout or Pairs(arrow_table.rows_in(pairs.frame, inside)))


def _prompts(pairs: Pairs) -> list[str]:
    cells = arrow_table.texts(pairs.frame, "prompt", 0, len(pairs))
    return [group_of(loads(cell or "[]")) for cell in cells]


def _drawn(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _first(names: Sequence[str], labelled: Sequence[int]) -> set[str]:
    """Return the prompts that are held out: whole ones, until they are enough."""
    wanted, prompts, count = min(HELD_MOST, int(HELD * len(labelled))), set[str](), 0
    sizes: dict[str, int] = {}
    for n in labelled:
        sizes[names[n]] = sizes.get(names[n], 0) + 1
    for name in sorted(sizes, key=lambda name: _drawn(f"held out|{name}")):
        if count >= wanted:
            break
        prompts.add(name)
        count += sizes[name]
    return prompts


def rightness_by_item(frames: "Sequence[arrow_table.Frame]") -> Floats:
    """Return how right each model is on each item ``(I, S)``, of the items that all have scored.

    Args:
        frames: ``frames["pairs"]`` of each model's report, on the same items.
    """
    of_models: list[dict[int, float]] = []
    for frame in frames:
        margins: dict[int, list[float]] = {}
        for row in arrow_table.frame_rows(frame):
            margins.setdefault(int(row["row"]), []).append(float(row["margin"]))
        of_models.append({n: float(rightness(np.array(m)).mean()) for n, m in margins.items()})
    common = sorted(n for n in of_models[0] if all(n in model for model in of_models))
    return np.array([[model[n] for model in of_models] for n in common], dtype=np.float64)


def fit_line(labels: Sequence[int], right: Floats, seed: int = 0) -> LabelsLine:
    """Fit ``accuracy = start + doubling * log2(labels)`` by least squares.

    Args:
        labels: ``(S,)`` comparisons that each model learned from.
        right: ``(I, S)`` how right each model is on each item of the held-out set, 0 to 1.
        seed: of the draws behind the interval.
    """
    x = np.log2(np.asarray(labels, dtype=np.float64))
    spread = x - x.mean()
    slope = spread / (spread @ spread)  # of a set of accuracies: slope @ accuracies
    more = math.log2((labels[-1] + MORE) / labels[-1])
    doubling = float(slope @ right.mean(axis=0))
    start = float(right.mean() - doubling * x.mean())

    def gain(items: Integers) -> float:
        return float(slope @ right[items].mean(axis=0)) * more

    interval = by_items(gain, np.arange(len(right)), seed)
    return LabelsLine(start, doubling, doubling * more, interval.low, interval.high)


def worth_in_words(curve: LabelsLine, heldout: int) -> str:
    """Return what more labels are worth in one sentence.

    Args:
        curve: the line.
        heldout: items that it was measured on.
    """
    if curve.low is None or curve.high is None:
        return f"{MORE} more labels: {_signed(curve.gain)}, measured on too few items to be sure."
    ends = f"{curve.low * 100:+.1f} to {curve.high * 100:+.1f}"
    if curve.low > 0:
        return f"{MORE} more labels: about {_signed(curve.gain)} ({ends})."
    if curve.high < 0:
        return (
            f"Accuracy falls with more labels ({ends} points for {MORE}): later labels are worse"
            " than earlier ones, or the runs were too short to learn from them."
        )
    return (
        f"{MORE} more labels: no gain that {heldout:,} held-out items can show"
        f" ({_signed(curve.gain)}; {ends})."
    )


def _signed(gain: float) -> str:
    return f"{'+' if gain >= 0 else '−'}{points(gain)}"


def few_labels(labels: int) -> str:
    """Return a warning where there are few labels, else nothing."""
    if labels >= ENOUGH_PAIRS:
        return ""
    return (
        f"{labels:,} labels are few: below {ENOUGH_PAIRS:,} a reward model follows chance in"
        " its data, and one run differs from the next by several points. Take the line as a hint."
    )
