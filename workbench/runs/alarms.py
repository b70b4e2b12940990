"""Alarms: what in a run's figures and answers deserves a look, in plain words with what to do.

They are read from the run folder's rows, so any run has them, live or long over. Each rule looks
at means over a few steps, so that one noisy step rings nothing. :data:`RULES` is the one source:
the panel's words, the table in ``workbench/METRICS.md`` and the tests come from it.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.runs.folder import RunFolder
from workbench.runs.metric_table import metrics_of

Array = NDArray[np.float64]
MetricColumns = Mapping[str, Sequence[float]]

MEAN = 5  # steps that one figure is a mean of
BACK = 10  # steps between the two figures of a comparison
GRACE = 20  # updates in which a value model may still know nothing
KL_RISE, SCORE_A_NAT = 2.0, 0.1
ENTROPY_LEFT = 0.25
CLIPPED = 0.3
EXPLAINED = 0.1
LONGER = 1.5
REPEATED, GRAM = 0.2, 4
SHARED, SHARED_RISE, SHARED_GRAM, COMMON = 0.5, 0.25, 3, 0.25
MOST_LETTERS = 20_000
"""Characters of one answer whose phrases are counted."""
ODD = 1.2
SPREAD_LEFT, SPREAD_MORE = 0.2, 1.1
LENGTH_PAYS, FEWEST_SCORED, LUCKY = 0.6, 4, 2.1  # the last in standard errors
DISPLACED, ENOUGH_MARGIN = 5.0, 5.0
GOLD_FALL, HELDOUT_FALL = 0.05, 0.25
OVERFIT = 1.05
RATIO_OFF = 1e-3
LN_2, LOSS_OFF = math.log(2), 0.02
SEEN, LUCK, MANY = 400, 0.05, 2000
SPIKE = 1.5


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rule that rang from step ``since`` on, until ``until`` or, where that is None, to the end.

    Attributes:
        metric: whose curve shows it; empty for what only the answers show.
    """

    name: str
    title: str
    since: int
    until: int | None
    text: str
    fix: str
    metric: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the page."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rung:
    """In which rows a rule's condition holds, and the words for a row by its number."""

    rows: NDArray[np.bool_]
    words: Callable[[int], str]


def _real_minus(text: str) -> str:
    """With − before a figure below zero, as everywhere else on a page."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


class WatchedFigures(NamedTuple):
    """What the watched answers of a step show together.

    Attributes:
        repetition: of an answer's runs of :data:`GRAM` words, the share that came before in it.
        shared: of its runs of :data:`SHARED_GRAM` words, the share that at least :data:`COMMON` of
            the other answers have too.
        length_pays: the correlation of an answer's reward score with its number of words; NaN
            where too few have a score, or all are alike.
        scored: how many have one.
    """

    repetition: float
    shared: float
    length_pays: float = math.nan
    scored: int = 0


class Condition(NamedTuple):
    """What a rule reads: metrics, and what finds the rows where they ring.

    ``find`` is given ``step`` and these metrics, each ``(rows,)``, in the rows that have them all;
    where ``watched``, of the watched answers (:class:`WatchedFigures`).
    """

    metrics: tuple[str, ...]
    find: Callable[..., Rung]
    watched: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm: when it rings (the documented threshold), what to do, and how it is found.

    Of ``conditions`` the first counts whose metrics the run has; its first metric is the curve
    that shows the alarm.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    when: str
    fix: str
    conditions: tuple[Condition, ...]


def alarms(
    kind: str, columns: MetricColumns, watched: Mapping[int, WatchedFigures] | None = None
) -> list[Alarm]:
    """What rang in a run, what rings still first, then the latest first.

    Args:
        kind: sft, reward, dpo or ppo.
        columns: ``step`` and the metrics, one value a row; NaN where a row has none.
        watched: :func:`watched_figures` the watched answers at each step that has some.
    """
    watched = watched or {}
    answers: dict[str, Sequence[float]] = {"step": list(watched)}
    for name in WatchedFigures._fields:
        answers[f"response/{name}"] = [getattr(phrases, name) for phrases in watched.values()]
    rung: list[Alarm] = []
    for rule in RULES:
        for condition in rule.conditions if kind in rule.kinds else ():
            source = answers if condition.watched else columns
            if (series := _present(source, *condition.metrics)) is not None:
                rung.extend(_stretches(rule, condition, series))
                break
    return sorted(rung, key=lambda alarm: (alarm.until is not None, -alarm.since))


def of_run(folder: RunFolder) -> list[Alarm]:
    """What rang in the run of this folder."""
    columns = metrics_of(folder).columns
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for row in folder.samples():
        rows.setdefault(row["step"], []).append(row)
    watched = {step: watched_figures(some) for step, some in rows.items()}
    return alarms(str(folder.config()["kind"]), columns, watched)


def _stretches(rule: Rule, condition: Condition, series: tuple[Array, ...]) -> list[Alarm]:
    """One alarm for each stretch of rows that ring, gaps shorter than MEAN closed."""
    steps, match = series[0], condition.find(*series)
    rows = np.flatnonzero(match.rows)
    if not len(rows):
        return []
    stretches: list[Alarm] = []
    for stretch in np.split(rows, np.flatnonzero(np.diff(rows) > MEAN) + 1):
        first, end = int(stretch[0]), int(stretch[-1])
        until = None if end == len(steps) - 1 else int(steps[end])
        words = (rule.name, rule.title, int(steps[first]), until, _real_minus(match.words(end)))
        stretches.append(Alarm(*words, rule.fix, condition.metrics[0]))
    return stretches


# --- figures over several steps -------------------------------------------------------------------


def _present(columns: MetricColumns, *names: str) -> tuple[Array, ...] | None:
    """``step`` and these metrics at the rows that have them all; None where there is none."""
    if any(name not in columns for name in ("step", *names)):
        return None
    series = [np.asarray(columns[name], dtype=np.float64) for name in ("step", *names)]
    kept = np.all([np.isfinite(one) for one in series], axis=0)
    return tuple(one[kept] for one in series) if kept.any() else None


def _means(values: Array, width: int = MEAN) -> Array:
    """Mean of each value and the ``width`` - 1 before it; NaN where there are not so many."""
    out = np.full(len(values), np.nan)
    if len(values) >= width:
        sums = np.cumsum(np.concatenate([[0.0], values]))
        out[width - 1 :] = (sums[width:] - sums[:-width]) / width
    return out


def _risen(values: Array) -> Array:
    """How much the mean has risen since BACK steps ago; NaN before that can be said."""
    means = _means(values)
    out = np.full(len(values), np.nan)
    out[BACK:] = means[BACK:] - means[:-BACK]
    return out


def _start(values: Array) -> float:
    return float(np.mean(values[:MEAN])) if len(values) >= MEAN else float("nan")


# --- the rules --------------------------------------------------------------------------------


def _kl_racing(steps: Array, kl: Array, score: Array) -> Rung:
    kl_rise, gain = _risen(kl), _risen(score)
    return Rung(
        (kl_rise > KL_RISE) & (gain < SCORE_A_NAT * kl_rise),
        lambda i: (
            f"KL rose by {kl_rise[i]:.2f} nats in {BACK} updates, "
            f"and the score moved by {gain[i]:+.2f}."
        ),
    )


def _entropy_collapse(steps: Array, entropy: Array) -> Rung:
    start, mean = _start(entropy), _means(entropy)
    return Rung(
        mean < ENTROPY_LEFT * start,
        lambda i: f"Entropy is {mean[i]:.2g} nats a token; it began at {start:.2g}.",
    )


def _clip_fraction(steps: Array, share: Array) -> Rung:
    mean = _means(share)
    return Rung(
        mean > CLIPPED,
        lambda i: f"{mean[i]:.0%} of the tokens were clipped, over the last {MEAN} updates.",
    )


def _value_blind(steps: Array, explained: Array) -> Rung:
    mean = _means(explained, BACK)
    late = np.arange(len(steps)) >= GRACE
    return Rung(
        late & (mean < EXPLAINED),
        lambda i: f"The value model explains {mean[i]:.2g} of the returns' variance (1 = all).",
    )


def _length(steps: Array, length: Array) -> Rung:
    start, mean = _start(length), _means(length)
    return Rung(
        mean > LONGER * start,
        lambda i: f"An answer has {mean[i]:.3g} tokens; it began at {start:.3g}.",
    )


def _longer_looks(steps: Array, length: Array) -> Rung:
    return Rung(
        length > LONGER * length[:1],
        lambda i: f"A watched answer has {length[i]:.3g} tokens; it began at {length[0]:.3g}.",
    )


def _displaced(steps: Array, chosen: Array, rejected: Array, beta: Array) -> Rung:
    nats = np.divide(chosen, beta, out=np.zeros_like(chosen), where=beta > 0)
    mean = _means(nats)
    return Rung(
        (mean < -DISPLACED) & (_means(rejected) < 0),
        lambda i: (
            f"Chosen answers have lost {-mean[i]:.1f} nats against the reference, mean of {MEAN} "
            "steps: they fall with the rejected ones, only less."
        ),
    )


def _endless_margin(steps: Array, margin: Array) -> Rung:
    mean = _means(margin)
    return Rung(
        (mean > ENOUGH_MARGIN) & (_risen(margin) > 0),
        lambda i: (
            f"The margin is {mean[i]:.1f} points: by it the chosen answer wins in "
            f"{1 / (1 + math.exp(-mean[i])):.1%} of all cases, and it still rises."
        ),
    )


def _repetition(steps: Array, share: Array) -> Rung:
    return Rung(
        share > REPEATED,
        lambda i: f"{share[i]:.0%} of what the watched answers say, they had said before.",
    )


def _mean_shared(steps: Array, share: Array) -> Rung:
    start, mean = _start(share), _means(share)
    return Rung(
        (mean > SHARED) & (mean > start + SHARED_RISE),
        lambda i: (
            f"{mean[i]:.0%} of what an answer says, answers to other prompts say too; "
            f"it was {start:.0%}."
        ),
    )


def _length_pays(steps: Array, correlation: Array, scored: Array) -> Rung:
    """Looks answer the same prompts, so that many looks are no less likely to be luck than one."""
    looks = np.arange(1, len(steps) + 1)
    mean = np.cumsum(correlation) / looks
    luck = np.tanh(LUCKY / np.sqrt(np.maximum(scored - 3, 1)))  # Fisher's z
    return Rung(
        (looks > 1) & (mean > np.maximum(LENGTH_PAYS, luck)),
        lambda i: (
            f"Over {i + 1} looks the watched answers' scores go with their number of words: "
            f"a correlation of {mean[i]:.2f}."
        ),
    )


def _shared(steps: Array, share: Array) -> Rung:
    return Rung(
        (share > SHARED) & (share > share[:1] + SHARED_RISE),
        lambda i: (
            f"{share[i]:.0%} of what an answer says, answers to other prompts say too; "
            f"it was {share[0]:.0%}."
        ),
    )


def _odd(steps: Array, perplexity: Array) -> Rung:
    start, mean = _start(perplexity), _means(perplexity)
    return Rung(
        mean > ODD * start,
        lambda i: (
            f"The reference's perplexity of the answers is {mean[i]:.3g}; it was {start:.3g}."
        ),
    )


def _spread_gone(steps: Array, spread: Array) -> Rung:
    start, mean = _start(spread), _means(spread)
    return Rung(
        mean < SPREAD_LEFT * start,
        lambda i: f"The scores' deviation is {mean[i]:.2g}; it began at {start:.2g}.",
    )


def _spread_apart(steps: Array, spread: Array) -> Rung:
    start, mean = _start(spread), _means(spread)
    return Rung(
        mean > SPREAD_MORE * start,
        lambda i: f"The scores' deviation is {mean[i]:.2g}; it began at {start:.2g}.",
    )


def _parted(steps: Array, true: Array, score: Array, *, limit: float, name: str) -> Rung:
    """The gold score under its best by ``limit``, and the reward score not under its own then."""
    true_mean, score_mean = _means(true, BACK), _means(score, BACK)
    filled = np.where(np.isnan(true_mean), -np.inf, true_mean)
    best = np.maximum.accumulate(filled)
    at = np.maximum.accumulate(np.where(filled == best, np.arange(len(filled)), 0))
    fallen, risen = best - true_mean, score_mean - score_mean[at]
    return Rung(
        (fallen > limit) & (risen > 0),
        lambda i: (
            f"The {name} score fell by {fallen[i]:.2g} since {int(steps[at[i]])}, "
            f"while the reward score rose by {risen[i]:.2g}."
        ),
    )


def _overfit(steps: Array, loss: Array) -> Rung:
    lowest = np.minimum.accumulate(loss)
    return Rung(
        loss > OVERFIT * lowest,
        lambda i: f"The held-out loss is {loss[i]:.3g}; it was {lowest[i]:.3g}.",
    )


def _first_ratio(steps: Array, ratio: Array) -> Rung:
    return Rung(np.abs(ratio - 1.0) > RATIO_OFF, lambda i: f"The first ratio is {ratio[i]:.5f}.")


def _first_loss(steps: Array, loss: Array) -> Rung:
    return Rung(
        np.abs(loss - LN_2) > LOSS_OFF,
        lambda i: f"The first loss is {loss[i]:.3f}; of two answers that score alike it is 0.693.",
    )


def _coin(steps: Array, accuracy: Array, pairs: Array, seen: Array) -> Rung:
    luck = np.array([luck_of(*row) for row in zip(accuracy, pairs, strict=True)])
    return Rung(
        (seen >= SEEN) & (luck > LUCK),
        lambda i: (
            f"After {seen[i]:.0f} pairs it is right on {accuracy[i]:.1%} of {pairs[i]:.0f} "
            f"held-out ones; a coin does as well or better in {luck[i]:.0%} of all tries."
        ),
    )


def luck_of(accuracy: float, pairs: float) -> float:
    """The chance that a coin is right on as many of so many pairs, or on more (binomial).

    Exact up to :data:`MANY` pairs, else the normal curve with half a pair's correction.
    """
    count = round(pairs)
    right = math.ceil(round(2 * accuracy * count) / 2)  # ties count half
    if count > MANY:
        return 0.5 * math.erfc((right - 0.5 - count / 2) / math.sqrt(count / 2))
    return sum(math.comb(count, k) for k in range(right, count + 1)) / 2**count


def _spike(steps: Array, loss: Array) -> Rung:
    means = _means(loss)
    lowest = np.minimum.accumulate(np.where(np.isnan(means), np.inf, means))
    return Rung(
        (means > SPIKE * lowest) & (means > LN_2),
        lambda i: f"Mean loss of {MEAN} steps is {means[i]:.3g}; it was {lowest[i]:.3g}.",
    )


def watched_figures(rows: Sequence[Mapping[str, Any]]) -> WatchedFigures:
    """What the answers of one step show together; ``response`` and ``score`` of a row count.

    Characters count instead of words in a script without spaces.
    """
    if not rows:
        return WatchedFigures(0.0, 0.0)
    units = [_units(str(row.get("response") or "")[:MOST_LETTERS]) for row in rows]
    repetition = [1 - len(set(runs)) / len(runs) for runs in _runs(units, GRAM) if runs]
    phrases = [set(runs) for runs in _runs(units, SHARED_GRAM)]
    holders = Counter(phrase for own in phrases for phrase in own)
    needed = 1 + max(1.0, COMMON * (len(rows) - 1))
    shared = [sum(holders[phrase] >= needed for phrase in own) / len(own) for own in phrases if own]
    scored = [
        (len(own), float(row["score"]))
        for own, row in zip(units, rows, strict=True)
        if isinstance(row.get("score"), int | float)
    ]
    said = (sum(repetition) / len(rows), sum(shared) / len(rows))
    return WatchedFigures(*said, _correlation(np.array(scored)), len(scored))


def _correlation(pairs: Array) -> float:
    """Pearson's, of ``(N, 2)`` numbers; NaN where they are too few or do not differ."""
    if len(pairs) < FEWEST_SCORED or not np.isfinite(pairs).all() or not np.ptp(pairs, 0).all():
        return math.nan
    words, scores = (pairs - pairs.mean(0)).T
    return float(words @ scores / np.sqrt((words @ words) * (scores @ scores)))


def _units(text: str) -> list[str]:
    words = text.split()
    return words if len(words) * 12 >= len(text) else list(text)


def _runs(texts: Sequence[list[str]], length: int) -> list[list[tuple[str, ...]]]:
    """Of each text, its runs of so many units."""
    return [list(zip(*(units[start:] for start in range(length)), strict=False)) for units in texts]


RULES: tuple[Rule, ...] = (
    Rule(
        "ratio",
        "The first ratio is not 1",
        ("ppo",),
        f"`policy/first_ratio` is further than {RATIO_OFF:g} from 1",
        "Nothing has been learned at that point, so policy and sampler disagree about the same "
        "tokens: look at temperature, dropout, padding and dtype before you trust any other curve.",
        (Condition(("policy/first_ratio",), _first_ratio),),
    ),
    Rule(
        "kl",
        "KL runs ahead of the reward",
        ("ppo", "online_dpo"),
        f"mean `objective/kl` of {MEAN} updates rose by over {KL_RISE:g} nats in {BACK} updates, "
        f"and `objective/scores` by under {SCORE_A_NAT:g} a nat",
        "Double kl_coef (DPO: beta), or halve learning_rate; if the answers already read badly, "
        "stop and resume from an earlier checkpoint.",
        (Condition(("objective/kl", "objective/scores"), _kl_racing),),
    ),
    Rule(
        "gold",
        "The watched score falls while the reward score rises",
        ("ppo", "online_dpo"),
        f"mean of {BACK} updates is under its best by over {GOLD_FALL:g} (`objective/gold`) or "
        f"{HELDOUT_FALL:g} (`heldout/scores`), and `objective/scores` rose since",
        "The policy exploits the reward model. Stop here; raise kl_coef (DPO: beta), or label what "
        "it says now (wb.next_round) and train the reward model on.",
        (
            Condition(
                ("heldout/scores", "objective/scores"),
                partial(_parted, limit=HELDOUT_FALL, name="watched"),
            ),
            Condition(
                ("objective/gold", "objective/scores"),
                partial(_parted, limit=GOLD_FALL, name="gold"),
            ),
        ),
    ),
    Rule(
        "entropy",
        "Entropy collapses",
        ("ppo",),
        f"mean `objective/entropy` of {MEAN} updates is under {ENTROPY_LEFT:.0%} of the first "
        f"{MEAN} updates'",
        "The policy says one thing only and explores no more: lower learning_rate, or raise "
        "kl_coef.",
        (Condition(("objective/entropy",), _entropy_collapse),),
    ),
    Rule(
        "length",
        "Answers grow and grow",
        ("ppo", "online_dpo"),
        f"mean `response/length` of {MEAN} updates is over {LONGER:g} times the first {MEAN} "
        "updates'",
        "Read the answers. If they are padded, the reward model likes length: wb.quality shows its "
        "bias; raise kl_coef (DPO: beta) or missing_eos_penalty meanwhile.",
        (Condition(("response/length",), _length),),
    ),
    Rule(
        "displaced",
        "Chosen answers become unlikely too",
        ("dpo",),
        f"mean `rewards/chosen` of {MEAN} steps is under −{DISPLACED:g} nats times `beta`, and "
        "`rewards/rejected` under 0",
        "Likelihood goes to answers that nobody has judged: read the watched ones. Lower "
        "learning_rate or raise beta; pairs of two answers that are nearly the same do this most.",
        (Condition(("rewards/chosen", "rewards/rejected", "beta"), _displaced),),
    ),
    Rule(
        "margin",
        "Margins grow without end",
        ("dpo",),
        f"mean `rewards/margins` of {MEAN} steps is over {ENOUGH_MARGIN:g} and rose in {BACK} "
        "steps",
        "These pairs are learned, and only the KL grows from here on: fewer epochs, "
        'label_smoothing=0.1, or loss_type="ipo", whose gap has an end.',
        (Condition(("rewards/margins",), _endless_margin),),
    ),
    Rule(
        "longer",
        "Watched answers grow and grow",
        ("dpo",),
        f"`response/length` is over {LONGER:g} times what it was when first watched",
        "Read the answers. If they are padded, the pairs teach length (wb.quality says how often "
        'the longer answer wins): raise beta, or take loss_type="sigmoid_norm" and a larger beta.',
        (Condition(("response/length",), _longer_looks),),
    ),
    Rule(
        "repetition",
        "Answers repeat themselves",
        ("ppo", "dpo", "online_dpo", "sft"),
        f"over {REPEATED:.0%} of the runs of {GRAM} words in a watched answer came before in it, "
        "mean of the watched answers",
        "Lower learning_rate or raise kl_coef (DPO: beta), and send such answers to the labeller, "
        "so that what is trained next learns to dislike them.",
        (Condition(("response/repetition",), _repetition, watched=True),),
    ),
    Rule(
        "shared",
        "One answer to different prompts",
        ("ppo", "dpo", "online_dpo", "sft"),
        f"over {SHARED:.0%} of the runs of {SHARED_GRAM} tokens in an answer stand in the answers "
        f"to {COMMON:.0%} of the other prompts too, and {SHARED_RISE:.0%} more than at first do "
        f"(mean `response/shared` of {MEAN} updates, or of watched answers by words)",
        "A phrase takes over: it is what the reward model likes whatever was asked. Stop, label "
        "such answers (wb.next_round) and train the reward model on; or raise kl_coef (DPO: beta).",
        (
            Condition(("response/shared",), _mean_shared),
            Condition(("response/shared",), _shared, watched=True),
        ),
    ),
    Rule(
        "odd",
        "The reference finds the answers odd",
        ("ppo",),
        f"mean `response/ref_perplexity` of {MEAN} updates is over {ODD:g} times the first {MEAN} "
        "updates'",
        "The policy goes where the reward model has seen little and the reference says little: "
        "read the answers, and raise kl_coef if they are worse than before.",
        (Condition(("response/ref_perplexity",), _odd),),
    ),
    Rule(
        "spread",
        "All answers score alike",
        ("ppo", "online_dpo"),
        f"mean `objective/scores_std` of {MEAN} updates is under {SPREAD_LEFT:.0%} of the first "
        f"{MEAN} updates'",
        "There is nothing left to learn from these scores: compare the answers with the first "
        "ones; if they are worse, go back to an earlier checkpoint and raise kl_coef (DPO: beta).",
        (Condition(("objective/scores_std",), _spread_gone),),
    ),
    Rule(
        "long",
        "Longer answers score higher",
        ("ppo", "online_dpo"),
        f"the correlation of watched answers' reward scores with their words is over "
        f"{LENGTH_PAYS:g} and {LUCKY:g} standard errors, as mean of all looks so far, at least two",
        "The reward model may pay for length: browse its pairs by length, label some short "
        "answers that are better, or set length_penalty.",
        (Condition(("response/length_pays", "response/scored"), _length_pays, watched=True),),
    ),
    Rule(
        "apart",
        "The scores spread apart",
        ("ppo", "online_dpo"),
        f"mean `objective/scores_std` of {MEAN} updates is over {SPREAD_MORE:.0%} of the first "
        f"{MEAN} updates'",
        "Answers that are all getting better score more and more alike; here some have found what "
        "pays and others have not. Read the best-scored ones beside the others, ask wb.why and "
        "wb.why_rose what pays, and label pairs with it.",
        (Condition(("objective/scores_std",), _spread_apart),),
    ),
    Rule(
        "clip",
        "Too many tokens are clipped",
        ("ppo",),
        f"mean `policy/clipfrac` of {MEAN} updates is over {CLIPPED:g}",
        "Each update moves too far: lower learning_rate, or use fewer epochs or larger batches.",
        (Condition(("policy/clipfrac",), _clip_fraction),),
    ),
    Rule(
        "value",
        "The value model does not explain the returns",
        ("ppo",),
        f"mean `value/explained_variance` of {BACK} updates is under {EXPLAINED:g} after update "
        f"{GRACE}",
        "Advantages are then mostly noise: raise value_learning_rate or batch_size, or take "
        'advantage="rloo", which needs no value model.',
        (Condition(("value/explained_variance",), _value_blind),),
    ),
    Rule(
        "overfit",
        "The held-out loss rises again",
        ("reward", "dpo", "sft"),
        f"`heldout/loss` is over {OVERFIT:g} times its lowest",
        "It learns these examples by heart from here on: fewer epochs, a lower learning_rate, or "
        "more data.",
        (Condition(("heldout/loss",), _overfit),),
    ),
    Rule(
        "first_loss",
        "The first loss is not ln 2",
        ("reward",),
        f"`first_loss` is further than {LOSS_OFF:g} from 0.693",
        "A new head must not prefer anything yet, and much of the run goes into unlearning what it "
        'does: leave head_start="zero"; if it is, the base gives scores that are not numbers.',
        (Condition(("first_loss",), _first_loss),),
    ),
    Rule(
        "coin",
        "It cannot be told from a coin",
        ("reward",),
        f"after {SEEN} pairs or more, a coin would reach `heldout/accuracy` on `heldout/pairs` "
        f"with a chance above {LUCK:.0%}",
        "Too few held-out pairs show nothing: raise holdout, or wb.evaluate_reward on others. If "
        "many do, look at the labels (wb.quality), and take more pairs or a better base.",
        (Condition(("heldout/accuracy", "heldout/pairs", "pairs_seen"), _coin),),
    ),
    Rule(
        "spike",
        "The loss spikes",
        ("reward",),
        f"mean `loss` of {MEAN} steps is over {SPIKE:g} times its lowest, and over 0.693",
        "Steps are too large: halve learning_rate, raise batch_size or warmup_share, and go on "
        "from a checkpoint before it.",
        (Condition(("loss",), _spike),),
    ),
)
