"""How a run stands, in one sentence: made from its figures and alarms, for any page or shell.

A figure is the mean of :data:`MEAN` steps, in a long run of more (:func:`mean_width`), and the
start is that of the first ones; of held-out pairs it is the newest evaluation. Whether a curve
rises is told against its own noise.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.runs.alarms import MEAN, RULES
from workbench.runs.folder import LIVE
from workbench.settings import PERSON_ASKED

Array = NDArray[np.float64]

LEAST = 10  # steps before anything is said of a run's trend
STANDS = 10  # steps that a curve has to stay where it is to be called level
NOISE = 3.0  # standard errors of a mean that are no movement
SMALL = 0.08  # of the way from a curve's lowest mean to its highest: no movement either
STEP = {"ppo": "update"}
MEANS_IN_ALL = 25  # of a long run: each is one mean


def mean_width(rows: int) -> int:
    """Steps that one figure is a mean of, in a run of so many."""
    return max(MEAN, rows // MEANS_IN_ALL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence about a run, in parts that a page may weigh differently.

    Attributes:
        lead: the sentence's beginning, which says most: what was gained, or what is wrong.
        rest: how it goes on.
        advice: at the end, what to do next; empty before.
        basis: over how many steps the figures are means; empty where there are none.
        tone: ``good``, ``quiet``, ``warn`` or ``bad``.
    """

    lead: str
    rest: str = ""
    advice: str = ""
    basis: str = ""
    tone: str = "quiet"

    def __str__(self) -> str:
        return " ".join(part for part in (self.lead + self.rest, self.advice) if part)

    def as_dict(self) -> dict[str, str]:
        """Plain JSON values, for the page."""
        return asdict(self)


class Trend(NamedTuple):
    """Where a curve came from and where it goes.

    Attributes:
        start, now: means of the first and of the last steps.
        way: ``rising``, ``falling`` or ``level``; empty where it is too early to say.
        since: the step from which on it has been so; None where it was so from the start, or
            where it went up and down.
    """

    start: float
    now: float
    way: str = ""
    since: int | None = None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the sentences are made of."""

    columns: Mapping[str, Sequence[float]]
    state: str
    step: str
    name: str
    model: str

    @property
    def over(self) -> bool:
        return self.state not in LIVE

    @property
    def width(self) -> int:
        """Steps that a figure is a mean of."""
        return mean_width(len(self.columns.get("step", ())))

    @property
    def means(self) -> str:
        """The same in words."""
        return f"means of {self.width} {self.step}s"

    def trend(self, metric: str, width: int | None = None) -> Trend | None:
        """The trend of a metric, over the rows that have it; None where there is none."""
        steps = self.columns.get("step", ())
        return trend_of(steps, self.columns.get(metric, ()), width or self.width)


def verdict(
    kind: str,
    columns: Mapping[str, Sequence[float]],
    alarms: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
    *,
    name: str = "",
    model: str = "",
) -> Verdict:
    """Say how a run stands.

    Args:
        kind: sft, reward, dpo or ppo.
        columns: ``step`` and the metrics, one value a row; NaN where a row has none.
        alarms: as ``workbench.runs.alarms.alarms`` finds them, each as a dict.
        status: ``state``, ``step`` and ``phase``, and of a failed run its ``error``.
        name: the run's, for what to do next.
        model: what it was trained from, for the same.
    """
    state, word = str(status.get("state")), STEP.get(kind, "step")
    step = int(status.get("step") or 0)
    facts = _Facts(columns, state, word, name, model)
    if state == "failed":
        reason = str(status.get("error") or "no reason was written").splitlines()[0]
        return Verdict(f"It failed at {word} {step}", f": {reason.rstrip('.')[:200]}.", tone="bad")
    asks = not facts.over and status.get("phase") == PERSON_ASKED
    waits = Verdict("It waits for labels.", " wb.label(run) shows what it asks.", tone="warn")
    if not len(columns.get("step", ())):
        return waits if asks else _no_figures(facts)
    gained = SENTENCES.get(kind, _any_run)(facts)
    ringing = [alarm for alarm in alarms if alarm.get("until") is None]
    if ringing:
        return _alarmed(gained, ringing)
    if asks:
        return _with(waits, rest=f"{waits.rest} {gained.lead}{gained.rest}.")
    early = len(columns["step"]) < LEAST
    if not facts.over:
        rest = f"{gained.rest}{'; too early to say more' if early else ''}."
        return _with(gained, rest=f"{rest}{'' if early else ' No alarm.'}", advice="")
    return _with(gained, rest=f"{gained.rest}.")


def _with(old: Verdict, **changed: str) -> Verdict:
    return Verdict(**{**asdict(old), **changed})


def _no_figures(facts: _Facts) -> Verdict:
    if facts.over:
        return Verdict(f"It ended before its first {facts.step}.", tone="warn")
    if facts.state == "starting":
        rest = f" The model is being loaded; the first figures come with the first {facts.step}."
        return Verdict("Still starting.", rest)
    return Verdict(f"The first {facts.step} is under way.", " Its figures come when it is through.")


def _alarmed(gained: Verdict, ringing: Sequence[Mapping[str, Any]]) -> Verdict:
    """What rings comes first, by the order of the rules; the figures follow."""
    order = [rule.name for rule in RULES]
    first, *others = sorted(ringing, key=lambda alarm: order.index(str(alarm["name"])))
    figures = f"{_small(gained.lead)}{gained.rest}."
    also = "".join(f" Also: {_small(str(alarm['title']))}." for alarm in others)
    advice = f"What to do: {first['fix']}{also}"
    return Verdict(str(first["title"]), f": {figures}", advice, gained.basis, "bad")


def _small(sentence: str) -> str:
    """With a small letter, to stand within a sentence."""
    return sentence[:1].lower() + sentence[1:]


# --- a sentence for each kind ---------------------------------------------------------------------


def _ppo(facts: _Facts) -> Verdict:
    score, kl = facts.trend("objective/scores"), facts.trend("objective/kl")
    if score is None:
        return _any_run(facts)
    gain = score.now - score.start
    price = f" for {max(kl.now, 0.0):.1f} nats" if kl else ""
    parts = [_goes(score, facts)] if score.way else []
    for metric, words in (("heldout/scores", "watched score"), ("objective/gold", "gold score")):
        seen = facts.trend(metric)
        if seen is not None:
            parts.append(
                f"{words} {_figure(seen.start)} → {_figure(seen.now)}{_aside(seen, facts)}"
            )
    tone = "good" if gain > 0 and score.way != "falling" else "quiet"
    return Verdict(
        f"Reward score {_signed(gain)}{price}",
        "".join(f"{', ' if i == 0 and score.way else '; '}{part}" for i, part in enumerate(parts)),
        _after_ppo(score, facts),
        facts.means,
        tone,
    )


def _dpo(facts: _Facts) -> Verdict:
    margin, kl = facts.trend("rewards/margins"), facts.trend("objective/kl", 1)
    if margin is None:
        return _any_run(facts)
    price = f" for {max(kl.now, 0.0):.1f} nats" if kl else ""
    right, pairs = facts.trend("heldout/accuracy", 1), _last(facts, "heldout/pairs")
    basis = facts.means
    if right is not None:
        held = f"{pairs:.0f} held-out pairs" if pairs else "the held-out pairs"
        lead, good = f"Right on {right.now:.0%} of {held}{price}", right.now > 0.5
        basis = f"held-out figures and KL: the newest; {basis}"
    else:
        seen = facts.trend("rewards/accuracies")
        lead = f"Right on {seen.now if seen else 0.0:.0%} of the pairs it learns from{price}"
        good = False
    going = f", {_goes(margin, facts)}" if margin.way else ""
    parts = [f"margin {_figure(margin.now)}{going}"]
    for metric, words in (("objective/scores", "reward score"), ("objective/gold", "gold score")):
        watched = facts.trend(metric, 1)
        if watched is not None:
            parts.append(f"{words} {_figure(watched.start)} → {_figure(watched.now)}")
    advice = (
        f"Next: wb.compare({facts.model!r}, {facts.name!r}, prompts=…) reads it blind; "
        f"wb.sample_pairs({facts.name!r}, prompts) draws answers to judge."
    )
    return Verdict(
        lead, "".join(f"; {part}" for part in parts), advice, basis, "good" if good else "quiet"
    )


def _after_ppo(score: Trend, facts: _Facts) -> str:
    blind = f"Next: wb.compare({facts.model!r}, {facts.name!r}, prompts=…) reads it blind"
    rounds = (
        f"wb.sample_pairs({facts.name!r}, prompts) draws answers to judge."
        if facts.step == "step"
        else f"wb.next_round({facts.name!r}, store) takes its answers to the labeller."
    )
    if score.way == "rising":
        return f"{blind}; it was still rising, so more steps may bring more."
    return f"{blind}; {rounds}"


def _reward(facts: _Facts) -> Verdict:
    loss = facts.trend("pair_loss") or facts.trend("loss")
    words = f"loss {loss.now:.2f} nats" if loss else ""
    guessing = " (guessing is 0.69)" if loss else ""
    going = f", {_goes(loss, facts)}" if loss and loss.way else ""
    right = facts.trend("heldout/accuracy", 1)
    pairs = _last(facts, "heldout/pairs")
    if right is None:
        seen = facts.trend("accuracy")
        if seen is None:
            return _any_run(facts)
        lead = f"Right on {seen.now:.0%} of the pairs it learns from"
        return Verdict(
            lead, f"; {words}{guessing}{going}", _after_reward(facts), facts.means, "quiet"
        )
    held = f"{pairs:.0f} held-out pairs" if pairs else "the held-out pairs"
    parts = [f"; {right.start:.0%} when first measured"] if right.now != right.start else []
    longer = _last(facts, "heldout/longer_wins")
    if longer:
        parts.append(f"; “the longer answer wins” is right on {longer:.0%}")
    if words:
        parts.append(f"; {words}{guessing}{going}")
    better = right.now > max(0.5, longer or 0.0)
    basis = f"held-out figures: the newest evaluation; {facts.means}"
    tone = "good" if better else "warn"
    return Verdict(
        f"Right on {right.now:.0%} of {held}", "".join(parts), _after_reward(facts), basis, tone
    )


def _after_reward(facts: _Facts) -> str:
    return (
        f"Next: wb.evaluate_reward({facts.name!r}, pairs) on other pairs, then "
        f"wb.train_ppo({facts.model!r}, {facts.name!r}, prompts)."
    )


def _sft(facts: _Facts) -> Verdict:
    loss, held = facts.trend("loss"), facts.trend("heldout/loss", 1)
    if loss is None:
        return _any_run(facts)
    going = f", {_goes(loss, facts)}" if loss.way else ""
    among = math.exp(min(loss.now, 20.0))
    rest = f", from {loss.start:.2f}{going}; as if choosing among {among:.1f} tokens"
    if held is not None:
        rest += f"; held out {held.now:.2f}{_aside(held, facts)}"
    advice = (
        f"Next: wb.playground({facts.name!r}) to talk to it, "
        f"wb.sample_pairs({facts.name!r}, prompts) for answers to judge."
    )
    tone = "good" if loss.now < loss.start else "quiet"
    return Verdict(f"Loss {loss.now:.2f} nats a token", rest, advice, facts.means, tone)


def _any_run(facts: _Facts) -> Verdict:
    steps = facts.columns["step"]
    done = f"{len(steps):,} {facts.step}{'' if len(steps) == 1 else 's'} done"
    return Verdict(done[0].upper() + done[1:])


SENTENCES: dict[str, Callable[[_Facts], Verdict]] = {
    "ppo": _ppo,
    "dpo": _dpo,
    "online_dpo": _ppo,
    "reward": _reward,
    "sft": _sft,
}


def _last(facts: _Facts, metric: str) -> float | None:
    return next((v for v in reversed(facts.columns.get(metric, ())) if math.isfinite(v)), None)


def _signed(value: float) -> str:
    """A gain with its sign, a real minus, and no sign before zero."""
    size = f"{abs(value):.1f}" if abs(value) >= 1 else f"{abs(value):.2f}"
    return size if float(size) == 0 else f"{'+' if value > 0 else '−'}{size}"


def _figure(value: float) -> str:
    """Two decimals, a real minus, and no minus before zero."""
    return _signed(value).removeprefix("+") if abs(value) < 1 else f"{value:.2f}".replace("-", "−")


def _goes(way: Trend, facts: _Facts) -> str:
    """``still rising``, ``level since update 40``, or how it ended."""
    if way.way == "level":
        return f"level since {facts.step} {way.since}" if way.since else "level from the start"
    if facts.over:
        return f"{way.way} to the end"
    return f"still {way.way}" if way.since is None else f"{way.way} since {facts.step} {way.since}"


def _aside(way: Trend, facts: _Facts) -> str:
    """The same behind a figure, where it says more than the figure."""
    if way.way in ("level", "falling") and way.since is not None:
        return f", {way.way} since {facts.step} {way.since}"
    return ""


# --- the trend of a curve -------------------------------------------------------------------------


def trend_of(steps: Sequence[float], values: Sequence[float], width: int = MEAN) -> Trend | None:
    """Where a curve came from and where it goes; None where it has no value.

    Its means over ``width`` steps are compared with those of a tenth of its length ago (of
    :data:`STANDS` steps at least). It moves where they differ by more than :data:`NOISE` standard
    errors of the difference and by more than :data:`SMALL` of all it has moved. It is level since
    the step from which on no mean has been further than that from the last one.

    Args:
        steps: ``(rows,)``.
        values: ``(rows,)``, NaN where a row has none.
        width: steps that one figure is a mean of; 1 for what is measured now and then.
    """
    y, x = np.asarray(values, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    kept = np.isfinite(y[: len(x)])
    y, x = y[: len(x)][kept], x[: len(y)][kept]
    if not len(y):
        return None
    start, now = float(y[:width].mean()), float(y[-width:].mean())
    if len(y) < (LEAST if width > 1 else 3) or len(y) <= width:
        return Trend(start, now)
    sums = np.cumsum(np.concatenate([[0.0], y]))
    means = (sums[width:] - sums[:-width]) / width  # one for each of x[width - 1:]
    noise = float(np.std(np.diff(y))) / math.sqrt(2 * width) if width > 1 else 0.0
    still = max(NOISE * math.sqrt(2) * noise, SMALL * float(np.ptp(means)), 1e-12)
    away = np.flatnonzero(np.abs(means - means[-1]) > still)
    first = int(away[-1]) + 1 if len(away) else 0
    if len(means) - first > (STANDS if width > 1 else 2):
        return Trend(start, now, "level", int(x[first + width // 2]) if first else None)
    back = max(STANDS if width > 1 else 1, len(means) // 10)
    way = "rising" if means[-1] > means[max(0, len(means) - 1 - back)] else "falling"
    turn = int(means.argmin() if way == "rising" else means.argmax())
    turned = 0.15 * len(means) < turn < len(means) - 1
    return Trend(start, now, way, int(x[turn + width // 2]) if turned else None)
