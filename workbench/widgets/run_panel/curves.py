"""Which curves a run is drawn with, and what they are called in words and units.

The panel, its static picture and the report all draw from :func:`charts_for`. A metric that no
chart here names still gets one of its own, after the others: nothing that was measured is hidden.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

MOST_POINTS = 2_000
"""Most points of one curve that travel to a page."""


@dataclass(frozen=True, slots=True)
class CurveLine:
    """One curve: the metric's name in the run folder, and what a reader sees."""

    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class CurveChart:
    """One small plot.

    Attributes:
        unit: what the vertical axis counts; empty where it has no unit.
        help: what the curve says and what to look for, in a sentence.
        lines: its curves; in :data:`PLANS` their metrics are patterns, and a label may name the
            metric's last part.
        first: shown at once; the others behind "more".
    """

    title: str
    unit: str
    help: str
    lines: tuple[CurveLine, ...]
    first: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the page."""
        return asdict(self)


def _plan(
    title: str, unit: str, help: str, labels: tuple[tuple[str, str], ...], first: bool = False
) -> CurveChart:
    return CurveChart(title, unit, help, tuple(CurveLine(*label) for label in labels), first)


_TIME = _plan(
    "Seconds by phase",
    "s",
    "Where a step's time goes.",
    (
        ("time/generate", "generate"),
        ("time/score", "score"),
        ("time/optimise", "optimise"),
        ("time/watch", "watch"),
        ("time/evaluate", "evaluate"),
        ("time/(?!step$).*", "{0}"),
        ("time/step", "whole step"),
    ),
)
_GRADIENT = _plan(
    "Gradient norm",
    "",
    "Length of the gradient before clipping; spikes say that a step was rough.",
    (("grad_norm", "gradient norm"),),
)
_RATE = _plan(
    "Learning rate",
    "",
    "The rate that the optimiser used, schedule included.",
    (("learning_rate", "learning rate"),),
)
_COMMON = (
    _TIME,
    _GRADIENT,
    _RATE,
    _plan(
        "Speed",
        "per second",
        "How much is worked through in a second.",
        (("tokens_per_second", "tokens"), ("pairs_per_second", "pairs")),
    ),
    _plan(
        "Peak memory",
        "GB",
        "The most memory the device has held so far.",
        (("memory/peak_gb", "peak"),),
    ),
)

PLANS: dict[str, tuple[CurveChart, ...]] = {
    "ppo": (
        _plan(
            "Score",
            "points",
            "Mean score of this update's answers by the learned reward model, which is all that "
            "PPO sees. It should rise, and the held-out reward model's with it.",
            (("objective/scores", "learned score"), ("heldout/scores", "held-out score")),
            first=True,
        ),
        _plan(
            "Gold score",
            "0 to 1",
            "The judge that PPO never sees. If it falls while the learned score rises, the "
            "reward model is being fooled.",
            ((".*gold.*", "gold score"),),
            first=True,
        ),
        _plan(
            "KL to the reference",
            "nats",
            "How far the policy has left its start, summed over an answer. It should rise slowly; "
            "if it outruns the score, raise kl_coef.",
            (("objective/kl", "KL"),),
            first=True,
        ),
        _plan(
            "Entropy",
            "nats per token",
            "How undecided the policy is about the next token. A fall to 0 is collapse.",
            (("objective/entropy", "entropy"),),
            first=True,
        ),
        _plan(
            "Losses",
            "",
            "Policy loss hovers near 0 by construction; value loss should fall.",
            (("policy/loss", "policy loss"), ("value/loss", "value loss")),
            first=True,
        ),
        _plan(
            "Answer length",
            "tokens",
            "A length that runs away often means that the reward model likes length.",
            (("response/length", "mean length"),),
        ),
        _plan(
            "Phrases said again",
            "share",
            "Three tokens in a row that came before in the same answer. A rise means that the "
            "policy is paid for repeating itself.",
            (("response/repetition", "repetition"),),
        ),
        _plan(
            "Perplexity under the reference",
            "tokens",
            "How odd the reference finds the answers. Far above its start, the policy writes what "
            "no one wrote before.",
            (("response/ref_perplexity", "perplexity"),),
        ),
        _plan(
            "Reward after the KL charge",
            "points",
            "Score minus kl_coef times KL: what PPO maximises.",
            (("objective/rlhf_reward", "reward"),),
        ),
        _plan(
            "Clip fraction",
            "share of tokens",
            "Tokens whose ratio was clipped. Above 0.3, lower the learning rate.",
            (("policy/clipfrac", "policy"), ("value/clipfrac", "value")),
        ),
        _plan(
            "Explained variance",
            "1 = all",
            "How much of the returns the value model foresees; it should climb towards 1.",
            (("value/explained_variance", "explained variance"),),
        ),
        _plan(
            "Answers that end by themselves",
            "share",
            "Answers with an end token before the length limit.",
            (("response/eos_rate", "ended"),),
        ),
        _plan(
            "Ratio of new to old policy",
            "",
            "Mean over the update, and at its first step, where it must be exactly 1.",
            (("policy/ratio", "mean"), ("policy/first_ratio", "first step")),
        ),
        _plan(
            "Values and returns",
            "points",
            "What the value model expects, and what came; they should meet.",
            (("value/mean", "values"), ("returns/mean", "returns")),
        ),
        _plan(
            "Spread of scores",
            "points",
            "Standard deviation of this update's scores; at 0 there is nothing to prefer.",
            (("objective/scores_std", "deviation"),),
        ),
        _plan(
            "KL of one update",
            "nats per token",
            "How far a single update moved the policy.",
            (("policy/approxkl", "approximate KL"),),
        ),
        *_COMMON,
    ),
    "reward": (
        _plan(
            "Loss",
            "nats",
            "-ln sigma(chosen - rejected); ln 2 = 0.693 is guessing.",
            (("loss", "training"), ("heldout/loss", "held out")),
            first=True,
        ),
        _plan(
            "Accuracy",
            "share of pairs",
            "How often the chosen answer scores higher. The held-out curve is the honest one.",
            (("accuracy", "training"), ("heldout/accuracy", "held out")),
            first=True,
        ),
        _plan(
            "Margin",
            "points",
            "Score of the chosen minus score of the rejected answer.",
            (("margin", "training"), ("heldout/margin", "held out")),
            first=True,
        ),
        _plan(
            "Scores",
            "points, raw",
            "Mean scores of both sides; they should part.",
            (("score/chosen", "chosen"), ("score/rejected", "rejected")),
            first=True,
        ),
        *_COMMON,
    ),
    "sft": (
        _plan(
            "Loss",
            "nats per token",
            "How surprised the model is by the right next token. It should fall.",
            (("loss", "training"), ("heldout/loss", "held out")),
            first=True,
        ),
        _plan(
            "Perplexity",
            "tokens",
            "e to the loss: as if choosing among so many tokens.",
            (("perplexity", "training"), ("heldout/perplexity", "held out")),
            first=True,
        ),
        replace(_RATE, first=True),
        replace(_GRADIENT, first=True),
        *_COMMON,
    ),
}
_HIDDEN = {"step", "time", "episode", "kl_coef", "optimiser_steps", "skipped_steps"} | {
    "first_loss",
    "heldout/pairs",
    "pairs_seen",
}
_HIDDEN |= {"heldout/best_step"}


def charts_for(kind: str, metrics: Iterable[str]) -> list[CurveChart]:
    """The charts of a run of this kind, in order, with the metrics that it has."""
    left = [name for name in dict.fromkeys(metrics) if name not in _HIDDEN]
    charts: list[CurveChart] = []
    for plan in PLANS.get(kind, _COMMON):
        lines = _take(plan, left)
        if lines:
            charts.append(replace(plan, lines=lines))
    for name in left:
        charts.append(CurveChart(_in_words(name), "", f"metric {name}", (CurveLine(name, name),)))
    return _even(charts)


def _even(charts: list[CurveChart]) -> list[CurveChart]:
    """Show an even number at once (4 where no plan says), so that the grid has no hole."""
    shown = sum(chart.first for chart in charts)
    wanted = shown + shown % 2 or 4
    first = [chart for chart in charts if chart.first]
    others = [chart for chart in charts if not chart.first]
    return first + [replace(chart, first=shown + i < wanted) for i, chart in enumerate(others)]


def _take(plan: CurveChart, left: list[str]) -> tuple[CurveLine, ...]:
    """Move the metrics that belong to a chart out of ``left``."""
    lines: list[CurveLine] = []
    for line in plan.lines:
        for name in [name for name in left if re.fullmatch(line.metric, name)]:
            left.remove(name)
            lines.append(CurveLine(name, line.label.format(name.rpartition("/")[2])))
    return tuple(lines)


def _in_words(name: str) -> str:
    return name.replace("_", " ").replace("/", ": ")


def downsample(values: Sequence[float] | np.ndarray, limit: int = MOST_POINTS) -> np.ndarray:
    """Indices ``(<= limit,)`` of the points that keep a curve's shape.

    The row is cut into equal stretches and the lowest and highest of each stay, so that a spike
    is never lost; the first and the last point always stay.

    Args:
        values: one curve, without gaps.
        limit: at most so many points; 4 at least.
    """
    count = len(values)
    if count <= limit:
        return np.arange(count)
    series = np.asarray(values)
    edges = np.linspace(1, count - 1, (limit - 2) // 2 + 1).astype(int)
    low, high = edges[:-1], edges[1:]
    rows = np.minimum(low[:, None] + np.arange((high - low).max()), high[:, None] - 1)
    shown = series[rows]  # a stretch a row; a short one repeats its last value
    return np.unique(np.concatenate([[0, count - 1], low + shown.argmin(1), low + shown.argmax(1)]))
