"""Which curves a run is drawn with, and what they are called in words and units.

The panel, its static picture and the report all draw from :func:`charts_for`. A metric that no
chart here names still gets one of its own, after the others: nothing that was measured is hidden.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

MOST_POINTS = 2_000
"""Most points of one curve that travel to a page."""


@dataclass(frozen=True, slots=True)
class CurveLine:
    """One curve: the metric's name in the run folder, and what a reader sees.

    Attributes:
        mean: the steps that its figure in words is a mean of.
        spread: the metric of its deviation, which is drawn as a band.
        share: on an axis of its own, from 0 to 1.
        figure: what its figure is called where it stands large.
        place: which of the colours and strokes it has, whatever stands beside it; -1: the next.
    """

    metric: str
    label: str
    mean: int = 1
    spread: str = ""
    share: bool = False
    figure: str = ""
    place: int = -1


class Guide(NamedTuple):
    """A level to read a curve against."""

    value: float
    words: str


@dataclass(frozen=True, slots=True)
class CurveChart:
    """One small plot.

    Attributes:
        unit: what the vertical axis counts; empty where it has no unit.
        help: what the curve says and what to look for, in a sentence.
        lines: its curves; in :data:`PLANS` their metrics are patterns, and a label may name the
            metric's last part.
        first: shown at once in a report; the others behind "more".
        decides: one of the two that a run is judged by: large, with its start and its guides.
        vital: of the others, one whose newest figure stays in sight.
        guides: levels that never change.
    """

    title: str
    unit: str
    help: str
    lines: tuple[CurveLine, ...]
    first: bool = False
    decides: bool = False
    vital: bool = False
    guides: tuple[Guide, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the page."""
        return asdict(self)


def _plan(
    title: str,
    unit: str,
    help: str,
    labels: tuple[tuple[str, str] | CurveLine, ...],
    *,
    first: bool = False,
    decides: bool = False,
    vital: bool = False,
    guides: tuple[Guide, ...] = (),
) -> CurveChart:
    lines = tuple(one if isinstance(one, CurveLine) else CurveLine(*one) for one in labels)
    return CurveChart(title, unit, help, lines, first or decides, decides, vital, guides)


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
_TIMED = "How long one step takes."  # of a run that tells no phases
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
        "The most memory the device has held so far; on a CPU that of the whole process, Python "
        "and its libraries included (wb.plan counts the run alone).",
        (("memory/peak_gb", "peak"),),
    ),
)

_SCORES = _plan(
    "Scores",
    "points; gold 0 to 1",
    "Mean reward score of this update's answers, which is all that PPO sees; the band is "
    "one deviation of the answers. The watched score is by a reward model that nothing "
    "learns from, the gold score by the judge of the sample world. If these fall while the "
    "reward score rises, the reward model is being fooled.",
    (
        CurveLine("objective/scores", "reward score", 5, "objective/scores_std"),
        CurveLine("heldout/scores", "watched score", 5),
        CurveLine(".*gold.*", "gold score", 5, share=True),
    ),
    decides=True,
)
_KL = _plan(
    "KL to the reference",
    "nats",
    "How far the policy has left its start, summed over an answer. It should rise slowly; "
    "if it outruns the score, raise kl_coef.",
    (CurveLine("objective/kl", "KL", 5, figure="nats of KL to the reference"),),
    decides=True,
)
_ENTROPY = _plan(
    "Entropy",
    "nats per token",
    "How undecided the policy is about the next token. A fall to 0 is collapse.",
    (("objective/entropy", "entropy"),),
    first=True,
    vital=True,
)
_LENGTH = _plan(
    "Answer length",
    "tokens",
    "A length that runs away often means that the reward model likes length.",
    (("response/length", "mean length"),),
    vital=True,
)
_REPETITION = _plan(
    "Phrases said again",
    "share",
    "Three tokens in a row that came before in the same answer. A rise means that the "
    "policy is paid for repeating itself.",
    (("response/repetition", "repetition"),),
)
_SHARED = _plan(
    "Phrases that answers share",
    "share",
    "Three tokens in a row that a quarter of the other prompts' answers have too. Towards 1 "
    "the policy gives one answer to everything.",
    (("response/shared", "shared"),),
)
_ENDED = _plan(
    "Answers that end by themselves",
    "share",
    "Answers with an end token before the length limit.",
    (("response/eos_rate", "ended"),),
)

_CHOSEN = _plan(
    "Chosen and rejected answers",
    "points",
    "β times how far each became likelier than under the reference. They should part; "
    "where both fall, likelihood goes to answers that nobody has judged.",
    (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected")),
    first=True,
    vital=True,
)

PLANS: dict[str, tuple[CurveChart, ...]] = {
    "online_dpo": (
        _SCORES,
        _KL,
        replace(
            _CHOSEN,
            help="Of this step's own pairs, β times how far each answer is likelier than under the "
            "reference. Answers are compared anew at each step, so both may rise.",
        ),
        _plan(
            "Loss",
            "nats",
            "ln 2 = 0.693 is guessing which of two answers pays more.",
            (CurveLine("loss", "training", 5),),
            first=True,
        ),
        _plan(
            "Equal pairs",
            "share of prompts",
            "Prompts whose two answers are worth the same: nothing is learned from them. Near 1 "
            "the policy says one thing only, or the reward tells nothing apart.",
            (("objective/ties", "ties"),),
            vital=True,
        ),
        _LENGTH,
        _REPETITION,
        _SHARED,
        _ENDED,
        *_COMMON,
    ),
    "dpo": (
        _plan(
            "Margin of the implied rewards",
            "points; right 0 to 1",
            "β times what the chosen answer has gained in log-probability over the reference, less "
            "what the rejected one has; and on how many pairs that is above 0. The held-out curves "
            "are the honest ones: where they level off, more steps only widen what is known.",
            (
                CurveLine("rewards/margins", "margin, training", 5),
                CurveLine("heldout/margin", "margin, held out"),
                CurveLine("heldout/accuracy", "right, held out", share=True),
            ),
            decides=True,
        ),
        replace(
            _KL,
            help="How far the policy has left the reference, summed over a watched answer: exact "
            "at each token, over the whole vocabulary. If it outruns what is gained, raise beta.",
            lines=(CurveLine("objective/kl", "KL", figure="nats of KL to the reference"),),
        ),
        _CHOSEN,
        replace(
            _SCORES,
            help="Of the watched answers: the reward score, by a model that DPO does not see, and "
            "the gold score, by the judge of the sample world.",
            decides=False,
        ),
        _plan(
            "Loss",
            "",
            "What the optimiser lowers, and the same on pairs that are kept aside; with the "
            "sigmoid 0.693 is guessing. The held-out one rising again is learning by heart.",
            (CurveLine("loss", "training", 5), CurveLine("heldout/loss", "held out")),
            first=True,
        ),
        _plan(
            "Right on the pairs",
            "share of pairs",
            "How often the chosen answer gained more than the rejected one.",
            (("rewards/accuracies", "training"),),
        ),
        replace(_LENGTH, help="Of the watched answers. Pairs whose longer one wins teach length."),
        _plan(
            "Log-probabilities",
            "nats",
            "Of whole answers under the policy; long ones have less.",
            (("logps/chosen", "chosen"), ("logps/rejected", "rejected")),
        ),
        _ENTROPY,
        replace(_REPETITION, help="Three tokens in a row that came before in the same answer."),
        _SHARED,
        _ENDED,
        *_COMMON,
    ),
    "ppo": (
        _SCORES,
        _KL,
        _ENTROPY,
        _plan(
            "Losses",
            "",
            "Policy loss hovers near 0 by construction; value loss should fall.",
            (("policy/loss", "policy loss"), ("value/loss", "value loss")),
            first=True,
        ),
        _LENGTH,
        _REPETITION,
        _SHARED,
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
            vital=True,
        ),
        _plan(
            "Explained variance",
            "1 = all",
            "How much of the returns the value model foresees; it should climb towards 1.",
            (("value/explained_variance", "explained variance"),),
            vital=True,
        ),
        _ENDED,
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
        _plan(
            "KL of the sampler",
            "nats per token",
            "How far what answers were drawn with is from the policy as training computes it.",
            (("policy/sampler_kl", "sampler to policy"),),
        ),
        *_COMMON,
    ),
    "reward": (
        _plan(
            "Loss",
            "nats",
            "−ln σ(chosen − rejected) alone, without the centring term and margins that training "
            "adds; ln 2 = 0.693 is guessing.",
            (
                CurveLine("heldout/loss", "held out", figure="nats of −ln σ, held out"),
                CurveLine("pair_loss", "training", 5, figure="nats of −ln σ, training"),
            ),
            decides=True,
            guides=(Guide(math.log(2), "ln 2: guessing"),),
        ),
        _plan(
            "Right on held-out pairs",
            "share of pairs",
            "How often the chosen answer scores higher. The held-out curve is the honest one; a "
            "reward model should beat the rule that the longer answer wins.",
            (
                CurveLine("heldout/accuracy", "held out", figure="of held-out pairs right"),
                CurveLine("accuracy", "training", 5, figure="of training pairs right"),
            ),
            decides=True,
            guides=(Guide(0.5, "50 %: a coin"),),
        ),
        _plan(
            "Margin",
            "points",
            "Score of the chosen minus score of the rejected answer.",
            (("margin", "training"), ("heldout/margin", "held out")),
            first=True,
            vital=True,
        ),
        _plan(
            "Scores",
            "points, raw",
            "Mean scores of both sides; they should part.",
            (("score/chosen", "chosen"), ("score/rejected", "rejected")),
            first=True,
        ),
        _plan(
            "Loss as trained",
            "nats",
            "What the optimiser lowers: with the centring term and margins, so not 0.693 at first.",
            (("loss", "training"),),
        ),
        replace(_GRADIENT, vital=True),
        replace(_RATE, vital=True),
        *_COMMON,
    ),
    "sft": (
        _plan(
            "Loss",
            "nats per token",
            "How surprised the model is by the right next token. It should fall.",
            (CurveLine("loss", "training", 5, figure="nats a token, training"),),
            decides=True,
        ),
        _plan(
            "Held-out loss",
            "nats per token",
            "The same on examples that it never learns from. Rising again, it learns by heart.",
            (CurveLine("heldout/loss", "held out", figure="nats a token, held out"),),
            decides=True,
        ),
        _plan(
            "Perplexity",
            "tokens",
            "e to the loss: as if choosing among so many tokens.",
            (
                CurveLine("perplexity", "training", figure="tokens as likely as the right one"),
                CurveLine("heldout/perplexity", "held out"),
            ),
            first=True,
            vital=True,
        ),
        replace(_RATE, first=True, vital=True),
        replace(_GRADIENT, first=True, vital=True),
        *_COMMON,
    ),
}
_HIDDEN = {"step", "time", "episode", "kl_coef", "beta", "optimiser_steps", "skipped_steps"} | {
    "first_loss",
    "heldout/pairs",
    "heldout/longer_wins",
    "pairs_seen",
}
_HIDDEN |= {"heldout/best_step"}


def charts_for(kind: str, metrics: Iterable[str]) -> list[CurveChart]:
    """The charts of a run of this kind, in order, with the metrics that it has."""
    left = [name for name in dict.fromkeys(metrics) if name not in _HIDDEN]
    charts: list[CurveChart] = []
    for plan in PLANS.get(kind, _COMMON):
        lines = _take(plan, left)
        if len(lines) == 1 and plan is _TIME:
            charts.append(replace(plan, title="Seconds a step", help=_TIMED, lines=lines))
        elif lines:
            charts.append(replace(plan, lines=lines))
    for name in left:
        charts.append(CurveChart(_in_words(name), "", f"metric {name}", (CurveLine(name, name),)))
    return _even(_two_that_decide(charts))


def charts_to_come(kind: str) -> list[CurveChart]:
    """The deciding charts of a run that has no figures yet."""
    return [plan for plan in PLANS.get(kind, ()) if plan.decides]


def _two_that_decide(charts: list[CurveChart]) -> list[CurveChart]:
    """A run without its held-out figures is judged by the next curves that say most.

    A run of a kind that has no plan is judged by the first curves that it has.
    """
    lacking = 2 - sum(chart.decides for chart in charts)
    planned = [chart for chart in charts if not chart.decides and chart.first]
    others = (planned if planned or lacking < 2 else charts)[:lacking]
    promoted = [replace(chart, decides=True, vital=False) for chart in others]
    kept = [chart for chart in charts if chart not in others]
    deciding = [chart for chart in kept if chart.decides]
    return [*deciding, *promoted, *(chart for chart in kept if not chart.decides)]


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
    for place, line in enumerate(plan.lines):
        for name in [name for name in left if re.fullmatch(line.metric, name)]:
            left.remove(name)
            label = line.label.format(name.rpartition("/")[2])
            kept = place if plan.decides else -1
            lines.append(replace(line, metric=name, label=label, place=kept))
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
