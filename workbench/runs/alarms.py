"""Alarms: what in a run's figures and answers deserves a look, in plain words with what to do.

They are read from the run folder's rows, so any run has them, live or long over. Each rule looks
at means over a few steps, so that one noisy step rings nothing. :data:`RULES` is the one source:
the panel's words, the table in ``workbench/METRICS.md`` and the tests come from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.runs.folder import RunFolder

Array = NDArray[np.float64]
Columns = Mapping[str, Sequence[float]]
Repeats = Mapping[int, float]

MEAN = 5  # steps that one figure is a mean of
BACK = 10  # steps between the two figures of a comparison
GRACE = 20  # updates in which a value model may still know nothing
KL_RISE, SCORE_A_NAT = 1.0, 0.1
ENTROPY_LEFT = 0.25
CLIPPED = 0.3
EXPLAINED = 0.1
LONGER = 1.5
REPEATED, GRAM = 0.2, 4
GOLD_FALL, HELDOUT_FALL = 0.05, 0.25
OVERFIT = 1.05
RATIO = 1e-3


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
class Found:
    """At which steps a rule's condition holds, and the words for the row where it last does.

    ``metric`` is whose curve shows it, where that is not the rule's own.
    """

    steps: Array
    on: NDArray[np.bool_]
    tell: Callable[[int], str]
    metric: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm: when it rings (the documented threshold), what to do, and how it is found."""

    name: str
    title: str
    kinds: tuple[str, ...]
    when: str
    fix: str
    metric: str
    find: Callable[[Columns, Repeats], Found | None]


def alarms(kind: str, columns: Columns, repeats: Repeats | None = None) -> list[Alarm]:
    """What rang in a run, what rings still first, then the latest first.

    Args:
        kind: sft, reward or ppo.
        columns: ``step`` and the metrics, one value a row; NaN where a row has none.
        repeats: :func:`repetition` of the watched answers at each step that has some.
    """
    found: list[Alarm] = []
    for rule in RULES:
        if kind in rule.kinds and (seen := rule.find(columns, repeats or {})) is not None:
            found.extend(_stretches(rule, seen))
    return sorted(found, key=lambda one: (one.until is not None, -one.since))


def of_run(folder: RunFolder) -> list[Alarm]:
    """What rang in the run of this folder."""
    rows = folder.metrics()
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    answers: dict[int, list[str]] = {}
    for row in folder.samples():
        answers.setdefault(int(row["step"]), []).append(str(row.get("response") or ""))
    repeats = {step: repetition(texts) for step, texts in answers.items()}
    return alarms(str(folder.config()["kind"]), columns, repeats)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def alarm_table() -> list[dict[str, str]]:
    """One row a rule (alarm, kinds, when, fix), for docs."""
    return [
        {"alarm": r.title, "runs": ", ".join(r.kinds), "rings when": r.when, "what to do": r.fix}
        for r in RULES
    ]


def _stretches(rule: Rule, seen: Found) -> list[Alarm]:
    """Rows of alarm in a row, gaps shorter than MEAN closed."""
    rows = np.flatnonzero(seen.on)
    if not len(rows):
        return []
    pieces = np.split(rows, np.flatnonzero(np.diff(rows) > MEAN) + 1)
    last = len(seen.steps) - 1
    found: list[Alarm] = []
    for piece in pieces:
        first, end = int(piece[0]), int(piece[-1])
        until = None if end == last else int(seen.steps[end])
        words = (rule.name, rule.title, int(seen.steps[first]), until, seen.tell(end))
        found.append(Alarm(*words, rule.fix, seen.metric or rule.metric))
    return found


# --- figures over several steps -------------------------------------------------------------------


def _present(columns: Columns, *names: str) -> tuple[Array, ...] | None:
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


def _kl_racing(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "objective/kl", "objective/scores")
    if series is None:
        return None
    steps, kl, score = series
    kl_rise, gain = _risen(kl), _risen(score)
    return Found(
        steps,
        (kl_rise > KL_RISE) & (gain < SCORE_A_NAT * kl_rise),
        lambda i: (
            f"KL rose by {kl_rise[i]:.2f} nats in {BACK} updates, "
            f"and the score moved by {gain[i]:+.2f}."
        ),
    )


def _entropy_collapse(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "objective/entropy")
    if series is None:
        return None
    steps, entropy = series
    start, mean = _start(entropy), _means(entropy)
    return Found(
        steps,
        mean < ENTROPY_LEFT * start,
        lambda i: f"Entropy is {mean[i]:.2g} nats a token; it began at {start:.2g}.",
    )


def _clip_fraction(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "policy/clipfrac")
    if series is None:
        return None
    steps, share = series
    mean = _means(share)
    return Found(
        steps,
        mean > CLIPPED,
        lambda i: f"{mean[i]:.0%} of the tokens were clipped, over the last {MEAN} updates.",
    )


def _value_blind(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "value/explained_variance")
    if series is None:
        return None
    steps, explained = series
    mean = _means(explained, BACK)
    late = np.arange(len(steps)) >= GRACE
    return Found(
        steps,
        late & (mean < EXPLAINED),
        lambda i: f"The value model explains {mean[i]:.2g} of the returns' variance (1 = all).",
    )


def _length(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "response/length")
    if series is None:
        return None
    steps, length = series
    start, mean = _start(length), _means(length)
    return Found(
        steps,
        mean > LONGER * start,
        lambda i: f"An answer has {mean[i]:.3g} tokens; it began at {start:.3g}.",
    )


def _repetition(_columns: Columns, repeats: Repeats) -> Found | None:
    if not repeats:
        return None
    steps = np.array(list(repeats), dtype=np.float64)
    share = np.array(list(repeats.values()))
    return Found(
        steps,
        share > REPEATED,
        lambda i: f"{share[i]:.0%} of what the watched answers say, they had said before.",
    )


def _gold_falls(columns: Columns, _repeats: Repeats) -> Found | None:
    named = (("heldout/scores", HELDOUT_FALL), ("objective/gold", GOLD_FALL))
    for name, limit in named:
        series = _present(columns, name, "objective/scores")
        if series is not None:
            steps, true, score = series
            return replace(_parted(steps, true, score, limit), metric=name)
    return None


def _parted(steps: Array, true: Array, score: Array, limit: float) -> Found:
    """The true score under its best by ``limit``, and the learned one not under its own then."""
    true_mean, score_mean = _means(true, BACK), _means(score, BACK)
    filled = np.where(np.isnan(true_mean), -np.inf, true_mean)
    best = np.maximum.accumulate(filled)
    at = np.maximum.accumulate(np.where(filled == best, np.arange(len(filled)), 0))
    fallen, risen = best - true_mean, score_mean - score_mean[at]
    return Found(
        steps,
        (fallen > limit) & (risen > 0),
        lambda i: (
            f"The held-out score fell by {fallen[i]:.2g} since {int(steps[at[i]])}, "
            f"while the learned one rose by {risen[i]:.2g}."
        ),
    )


def _overfit(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "heldout/loss")
    if series is None or len(series[0]) < 2:
        return None
    steps, loss = series
    lowest = np.minimum.accumulate(loss)
    return Found(
        steps,
        loss > OVERFIT * lowest,
        lambda i: f"The held-out loss is {loss[i]:.3g}; it was {lowest[i]:.3g}.",
    )


def _first_ratio(columns: Columns, _repeats: Repeats) -> Found | None:
    series = _present(columns, "policy/first_ratio")
    if series is None:
        return None
    steps, ratio = series
    return Found(
        steps,
        np.abs(ratio - 1.0) > RATIO,
        lambda i: f"The first ratio is {ratio[i]:.5f}.",
    )


def repetition(answers: Sequence[str]) -> float:
    """Mean share of an answer's runs of :data:`GRAM` words that came before in it.

    Characters count instead of words in a script without spaces.
    """
    return float(np.mean([_repeated(answer) for answer in answers])) if answers else 0.0


def _repeated(text: str) -> float:
    words = text.split()
    units = words if len(words) * 12 >= len(text) else list(text)
    grams = list(zip(*(units[i:] for i in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


RULES: tuple[Rule, ...] = (
    Rule(
        "ratio",
        "The first ratio is not 1",
        ("ppo",),
        f"`policy/first_ratio` is further than {RATIO:g} from 1",
        "Nothing has been learned at that point, so policy and sampler disagree about the same "
        "tokens: look at temperature, dropout, padding and dtype before you trust any other curve.",
        "policy/first_ratio",
        _first_ratio,
    ),
    Rule(
        "kl",
        "KL runs ahead of the reward",
        ("ppo",),
        f"mean `objective/kl` of {MEAN} updates rose by over {KL_RISE:g} nat in {BACK} updates, "
        f"and `objective/scores` by under {SCORE_A_NAT:g} a nat",
        "Double kl_coef, or halve learning_rate; if the answers already read badly, stop and "
        "resume from an earlier checkpoint.",
        "objective/kl",
        _kl_racing,
    ),
    Rule(
        "gold",
        "The held-out score falls while the reward rises",
        ("ppo",),
        f"mean of {BACK} updates is under its best by over {GOLD_FALL:g} (`objective/gold`) or "
        f"{HELDOUT_FALL:g} (`heldout/scores`), and `objective/scores` rose since",
        "The policy exploits the reward model. Stop here; raise kl_coef, or label what it says now "
        "(wb.next_round) and train the reward model on.",
        "objective/gold",
        _gold_falls,
    ),
    Rule(
        "entropy",
        "Entropy collapses",
        ("ppo",),
        f"mean `objective/entropy` of {MEAN} updates is under {ENTROPY_LEFT:.0%} of the first "
        f"{MEAN} updates'",
        "The policy says one thing only and explores no more: lower learning_rate, or raise "
        "kl_coef.",
        "objective/entropy",
        _entropy_collapse,
    ),
    Rule(
        "length",
        "Answers grow and grow",
        ("ppo",),
        f"mean `response/length` of {MEAN} updates is over {LONGER:g} times the first {MEAN} "
        "updates'",
        "Read the answers. If they are padded, the reward model likes length: wb.quality shows its "
        "bias; raise kl_coef or missing_eos_penalty meanwhile.",
        "response/length",
        _length,
    ),
    Rule(
        "repetition",
        "Answers repeat themselves",
        ("ppo", "sft"),
        f"over {REPEATED:.0%} of the runs of {GRAM} words in a watched answer came before in it, "
        "mean of the watched answers",
        "Lower learning_rate or raise kl_coef, and send such answers to the labeller so that the "
        "reward model learns to dislike them.",
        "response/repetition",
        _repetition,
    ),
    Rule(
        "clip",
        "Too many tokens are clipped",
        ("ppo",),
        f"mean `policy/clipfrac` of {MEAN} updates is over {CLIPPED:g}",
        "Each update moves too far: lower learning_rate, or use fewer epochs or larger batches.",
        "policy/clipfrac",
        _clip_fraction,
    ),
    Rule(
        "value",
        "The value model does not explain the returns",
        ("ppo",),
        f"mean `value/explained_variance` of {BACK} updates is under {EXPLAINED:g} after update "
        f"{GRACE}",
        "Advantages are then mostly noise: raise value_learning_rate or batch_size, or take "
        'advantage="rloo", which needs no value model.',
        "value/explained_variance",
        _value_blind,
    ),
    Rule(
        "overfit",
        "The held-out loss rises again",
        ("reward", "sft"),
        f"`heldout/loss` is over {OVERFIT:g} times its lowest",
        "It learns these examples by heart from here on: fewer epochs, a lower learning_rate, or "
        "more data.",
        "heldout/loss",
        _overfit,
    ),
)
