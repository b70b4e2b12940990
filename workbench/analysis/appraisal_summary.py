"""An appraisal in plain sentences: each figure, its interval, what it means and what to do."""

from collections.abc import Mapping
from typing import NamedTuple

from workbench.analysis.appraisal import Appraisal
from workbench.analysis.rewardbench import Subset

OK, LOOK, NONE = "ok", "look", ""
SUMMARY_COLUMNS = ("figure", "value", "interval", "what it means", "state")

ENOUGH_PAIRS = 2_000  # below it, more labels nearly always pay more than other settings
POOR_ECE = 0.05
LEANING = 0.3  # correlation with length from which on a policy will find it
COIN_BRIER, COIN_LOSS = 0.25, 0.693


class SummaryLine(NamedTuple):
    """One line of the summary; ``state`` is ok, look, or empty where there is nothing to judge."""

    figure: str
    value: str
    interval: str
    meaning: str
    state: str


def lines_of(appraisal: Appraisal, trained_on: int | None = None) -> list[SummaryLine]:
    """Return the summary.

    Args:
        appraisal: what was counted.
        trained_on: comparisons that the model has learned from, where that is known.
    """
    figures = _Figures(appraisal.figures)
    lines = [
        _accuracy(figures),
        _longer(figures),
        _ceiling(figures),
        _best_of(appraisal.best_of),
        _calibration(figures),
        _sharpness(figures),
        _brier(figures),
        _loss(figures),
        _margin(figures),
        _length(figures),
        _preference(figures),
        _left_out(appraisal.counts),
        _trained(trained_on),
    ]
    return [line for line in lines if line is not None]


def title_of(appraisal: Appraisal) -> str:
    """Return the appraisal in one sentence."""
    figures = _Figures(appraisal.figures)
    return (
        f"agrees with {figures['accuracy']:.1%} of {appraisal.counts['pairs']:,} comparisons"
        f" ({figures.interval('accuracy', '.1%')})"
    )


class _Figures(dict[str, float]):
    """The figures of an appraisal by name, NaN where one is not known, and their intervals."""

    def line(self, words: str, name: str, form: str, meaning: str, state: str) -> SummaryLine:
        """A figure's line of the summary, called ``words``."""
        return SummaryLine(words, f"{self[name]:{form}}", self.interval(name, form), meaning, state)

    def interval(self, name: str, form: str) -> str:
        """A figure's interval in words."""
        low, high = self[f"{name}_low"], self[f"{name}_high"]
        return "not known" if low != low or high != high else f"{low:{form}} to {high:{form}}"

    def points(self, name: str, more: str, less: str) -> str:
        """A difference of shares in words, with its side and its interval."""
        low, high = self[f"{name}_low"] * 100, self[f"{name}_high"] * 100
        ends = "interval not known" if low != low else f"{low:+.1f} to {high:+.1f}"
        return f"{points(self[name])} {more if self[name] >= 0 else less} it ({ends})"

    def surely_not_0(self, name: str) -> bool:
        """Whether a figure's interval leaves 0 out."""
        return self[f"{name}_low"] > 0 or self[f"{name}_high"] < 0


def points(share: float) -> str:
    """Return a difference of shares in words: "3.1 points", "1 point"."""
    number = f"{abs(share) * 100:.1f}".removesuffix(".0")
    return f"{number} point{'' if number == '1' else 's'}"


def _accuracy(figures: _Figures) -> SummaryLine:
    better = figures["accuracy_low"] > 0.5
    meaning = "share of comparisons in which the chosen answer scores higher; chance is 50%"
    if not better:
        meaning += ". This model is not surely better than a coin: do not train a policy on it"
    return figures.line("accuracy", "accuracy", ".1%", meaning, OK if better else LOOK)


def _longer(figures: _Figures) -> SummaryLine:
    better = figures["over_longer_low"] > 0
    meaning = (
        "accuracy of always preferring the longer answer; the model is"
        f" {figures.points('over_longer', 'above', 'below')}"
    )
    if not better:
        meaning += ". It may have learned little but length"
    return figures.line("longer wins", "longer_wins", ".1%", meaning, OK if better else LOOK)


def _ceiling(figures: _Figures) -> SummaryLine | None:
    if figures["ceiling"] != figures["ceiling"]:
        return None
    meaning = (
        "what the sample world's own judge reaches, who makes no slips: nobody can do better"
        f" except by luck. The model is {figures.points('under_ceiling', 'below', 'above')}"
    )
    return figures.line("noiseless judge", "ceiling", ".1%", meaning, NONE)


def _best_of(best: Subset | None) -> SummaryLine | None:
    if best is None or best.low is None or best.high is None or best.chance is None:
        return None
    meaning = (
        f"share of {best.items:,} items with three answers or more whose best answer scores above"
        f" all others; chance is {best.chance:.0%}"
    )
    interval = f"{best.low:.1%} to {best.high:.1%}"
    state = OK if best.low > best.chance else LOOK
    return SummaryLine(best.measure, f"{best.accuracy:.1%}", interval, meaning, state)


def _calibration(figures: _Figures) -> SummaryLine:
    by_chance, over = figures["ece_by_chance"], figures["overconfidence"] > 0
    meaning = (
        "mean gap between how sure the model is and how often it is right, in ten bins of equal"
        f" size; perfect calibration would show {by_chance:.3f} on so many pairs by chance"
    )
    poor = figures["ece"] >= POOR_ECE and figures["ece"] > by_chance
    if figures.surely_not_0("overconfidence"):
        meaning += (
            f". {'Over-confident' if over else 'Too modest'}: {figures['confidence']:.1%} sure on"
            f" average, {figures['accuracy']:.1%} right"
        )
        remedy = "train for fewer epochs, or set label_smoothing" if over else "train for longer"
        meaning += f"; {remedy}" if poor else ""
    return figures.line("calibration error", "ece", ".3f", meaning, LOOK if poor else OK)


def _sharpness(figures: _Figures) -> SummaryLine | None:
    factor = figures["sharpness"]
    if factor == 1.0:
        return None
    meaning = (
        "margins are multiplied by it, one number fitted to held-out pairs after training; it"
        " changes no decision. Without it the calibration error here would be"
        f" {figures['ece_uncalibrated']:.3f}"
    )
    return SummaryLine("sharpness", f"×{factor:.2f}", "", meaning, NONE)


def _brier(figures: _Figures) -> SummaryLine:
    meaning = f"mean of (1 - P(chosen))²: a coin's is {COIN_BRIER}, lower is better"
    state = OK if figures["brier"] < COIN_BRIER else LOOK
    return figures.line("Brier score", "brier", ".3f", meaning, state)


def _loss(figures: _Figures) -> SummaryLine:
    meaning = f"mean of -ln P(chosen), in nats: a coin's is {COIN_LOSS}, lower is better"
    return figures.line("loss", "loss", ".3f", meaning, OK if figures["loss"] < COIN_LOSS else LOOK)


def _margin(figures: _Figures) -> SummaryLine:
    meaning = "mean of score(chosen) - score(rejected), scaled so that P(chosen) = sigmoid(margin)"
    return figures.line("margin", "margin", "+.2f", meaning, NONE)


def _length(figures: _Figures) -> SummaryLine:
    correlation, name = figures["pearson"], "score and length"
    if correlation != correlation:
        return SummaryLine(name, "undefined", "", "all scores, or all lengths, are equal", NONE)
    meaning = f"correlation over all answers (Pearson; Spearman's is {figures['spearman']:+.2f})"
    leaning = figures.surely_not_0("pearson") and abs(correlation) >= LEANING
    if leaning:
        meaning += (
            f". {'Longer' if correlation > 0 else 'Shorter'} answers score higher: a policy will"
            " find that. Look at frames['length'], and add pairs in which it does not hold"
        )
    return figures.line(name, "pearson", "+.2f", meaning, LOOK if leaning else OK)


def _preference(figures: _Figures) -> SummaryLine | None:
    model, labels = figures["prefers_longer"], figures["labels_prefer_longer"]
    if model != model:
        return None
    meaning = (
        f"how often the model prefers the longer of two answers; the labels do in {labels:.1%}"
    )
    apart = not figures["prefers_longer_low"] <= labels <= figures["prefers_longer_high"]
    if apart:
        more = "more" if model > labels else "less"
        meaning += f", so that it makes {more} of length than people do"
    state = LOOK if apart and abs(model - labels) >= POOR_ECE else OK
    return figures.line("prefers longer", "prefers_longer", ".1%", meaning, state)


def _left_out(counts: Mapping[str, int]) -> SummaryLine | None:
    words = {
        "ties": "items are ties",
        "unlabelled": "items have no label",
        "too_long": "comparisons have an answer that fills max_length",
    }
    parts = [f"{counts[name]:,} {word}" for name, word in words.items() if counts[name]]
    if not parts:
        return None
    total = sum(counts[name] for name in words)
    return SummaryLine("left out", f"{total:,}", "", "; ".join(parts), NONE)


def _trained(trained_on: int | None) -> SummaryLine | None:
    if trained_on is None:
        return None
    few = trained_on < ENOUGH_PAIRS
    meaning = "comparisons that the model has learned from"
    if few:
        meaning += (
            f"; below {ENOUGH_PAIRS:,}, more labels pay more than other settings:"
            " wb.learning_curve shows how much"
        )
    return SummaryLine("trained on", f"{trained_on:,}", "", meaning, LOOK if few else NONE)
