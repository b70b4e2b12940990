"""An appraisal in plain sentences: each figure, its interval, what it means and what to do."""

from typing import NamedTuple

from workbench.analysis.appraisal import Appraisal

OK, LOOK, NONE = "ok", "look", ""
COLUMNS = ("figure", "value", "interval", "what it means", "state")

ENOUGH_PAIRS = 2_000  # below it, more labels nearly always pay more than other settings
POOR_ECE = 0.05
LEANING = 0.3  # correlation with length from which on a policy will find it
COIN_BRIER, COIN_LOSS = 0.25, 0.693


class Line(NamedTuple):
    """One line of the summary; ``state`` is ok, look, or empty where there is nothing to judge."""

    figure: str
    value: str
    interval: str
    meaning: str
    state: str


def lines_of(found: Appraisal, trained_on: int | None = None) -> list[Line]:
    """Return the summary.

    Args:
        found: the appraisal.
        trained_on: comparisons that the model has learned from, where that is known.
    """
    lines = [_accuracy(found), _longer(found), _ceiling(found), _best_of(found)]
    lines += [_calibration(found), _sharpness(found), _brier(found), _loss(found), _margin(found)]
    lines += [_length(found), _preference(found), _left_out(found), _trained(trained_on)]
    return [line for line in lines if line is not None]


def title_of(found: Appraisal) -> str:
    """Return the finding in one sentence."""
    figures, counts = found.figures, found.counts
    return (
        f"agrees with {figures['accuracy']:.1%} of {counts['pairs']:,} comparisons"
        f" ({_ends(figures, 'accuracy')})"
    )


def _ends(figures: dict[str, float], name: str, form: str = ".1%") -> str:
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    if low != low or high != high:
        return "not known"
    return f"{low:{form}} to {high:{form}}"


def points(share: float) -> str:
    """Return a difference of shares in words: "3.1 points", "1 point"."""
    said = f"{abs(share) * 100:.1f}".removesuffix(".0")
    return f"{said} point{'' if said == '1' else 's'}"


def _sure(figures: dict[str, float], name: str) -> bool:
    """Whether an interval leaves 0 out."""
    return figures[f"{name}_low"] > 0 or figures[f"{name}_high"] < 0


def _accuracy(found: Appraisal) -> Line:
    figures = found.figures
    better = figures["accuracy_low"] > 0.5
    told = "share of comparisons in which the chosen answer scores higher; chance is 50%"
    if not better:
        told += ". This model is not surely better than a coin: do not train a policy on it"
    return Line(
        "accuracy",
        f"{figures['accuracy']:.1%}",
        _ends(figures, "accuracy"),
        told,
        OK if better else LOOK,
    )


def _longer(found: Appraisal) -> Line:
    figures = found.figures
    sure = figures["over_longer_low"] > 0
    side = "above" if figures["over_longer"] >= 0 else "below"
    told = (
        "accuracy of always preferring the longer answer; the model is"
        f" {points(figures['over_longer'])} {side} it ({_points_ends(figures, 'over_longer')})"
    )
    if not sure:
        told += ". It may have learned little but length"
    value = f"{figures['longer_wins']:.1%}"
    return Line("longer wins", value, _ends(figures, "longer_wins"), told, OK if sure else LOOK)


def _points_ends(figures: dict[str, float], name: str) -> str:
    low, high = figures[f"{name}_low"] * 100, figures[f"{name}_high"] * 100
    return "interval not known" if low != low else f"{low:+.1f} to {high:+.1f}"


def _ceiling(found: Appraisal) -> Line | None:
    figures = found.figures
    if figures["ceiling"] != figures["ceiling"]:
        return None
    side = "below" if figures["under_ceiling"] >= 0 else "above"
    told = (
        "what the sample world's own judge reaches, who makes no slips: nobody can do better"
        f" except by luck. The model is {points(figures['under_ceiling'])} {side} it"
        f" ({_points_ends(figures, 'under_ceiling')})"
    )
    value = f"{figures['ceiling']:.1%}"
    return Line("noiseless judge", value, _ends(figures, "ceiling"), told, NONE)


def _best_of(found: Appraisal) -> Line | None:
    best = found.best_of
    if best is None or best.low is None or best.high is None or best.chance is None:
        return None
    told = (
        f"share of {best.items:,} items with three answers or more whose best answer scores above"
        f" all others; chance is {best.chance:.0%}"
    )
    ends = f"{best.low:.1%} to {best.high:.1%}"
    state = OK if best.low > best.chance else LOOK
    return Line(best.measure, f"{best.accuracy:.1%}", ends, told, state)


def _calibration(found: Appraisal) -> Line:
    figures = found.figures
    by_chance = figures["ece_by_chance"]
    told = (
        "mean gap between how sure the model is and how often it is right, in ten bins of equal"
        f" size; perfect calibration would show {by_chance:.3f} on so many pairs by chance"
    )
    over, surely = figures["overconfidence"], _sure(figures, "overconfidence")
    poor = figures["ece"] >= POOR_ECE and figures["ece"] > by_chance
    if surely and over > 0:
        told += (
            f". Over-confident: {figures['confidence']:.1%} sure on average,"
            f" {figures['accuracy']:.1%} right"
        )
        told += "; train for fewer epochs, or set label_smoothing" if poor else ""
    elif surely:
        told += (
            f". Too modest: {figures['confidence']:.1%} sure on average,"
            f" {figures['accuracy']:.1%} right"
        )
        told += "; train for longer" if poor else ""
    state = LOOK if poor else OK
    return Line(
        "calibration error", f"{figures['ece']:.3f}", _ends(figures, "ece", ".3f"), told, state
    )


def _sharpness(found: Appraisal) -> Line | None:
    factor = found.figures["sharpness"]
    if factor == 1.0:
        return None
    told = (
        "margins are multiplied by it, one number fitted to held-out pairs after training; it"
        " changes no decision. Without it the calibration error here would be"
        f" {found.figures['ece_uncalibrated']:.3f}"
    )
    return Line("sharpness", f"×{factor:.2f}", "", told, NONE)


def _brier(found: Appraisal) -> Line:
    figures = found.figures
    told = f"mean of (1 - P(chosen))²: a coin's is {COIN_BRIER}, lower is better"
    state = OK if figures["brier"] < COIN_BRIER else LOOK
    return Line(
        "Brier score", f"{figures['brier']:.3f}", _ends(figures, "brier", ".3f"), told, state
    )


def _loss(found: Appraisal) -> Line:
    figures = found.figures
    told = f"mean of -ln P(chosen), in nats: a coin's is {COIN_LOSS}, lower is better"
    state = OK if figures["loss"] < COIN_LOSS else LOOK
    return Line("loss", f"{figures['loss']:.3f}", _ends(figures, "loss", ".3f"), told, state)


def _margin(found: Appraisal) -> Line:
    figures = found.figures
    told = "mean of score(chosen) - score(rejected), scaled so that P(chosen) = sigmoid(margin)"
    return Line("margin", f"{figures['margin']:+.2f}", _ends(figures, "margin", "+.2f"), told, NONE)


def _length(found: Appraisal) -> Line:
    figures = found.figures
    value, rank = figures["pearson"], figures["spearman"]
    name = "score and length"
    if value != value:
        return Line(name, "undefined", "", "all scores, or all lengths, are equal", NONE)
    told = f"correlation over all answers (Pearson; Spearman's is {rank:+.2f})"
    leaning = _sure(figures, "pearson") and abs(value) >= LEANING
    if leaning:
        told += (
            f". {'Longer' if value > 0 else 'Shorter'} answers score higher: a policy will find"
            " that. Look at frames['length'], and add pairs in which it does not hold"
        )
    return Line(
        name, f"{value:+.2f}", _ends(figures, "pearson", "+.2f"), told, LOOK if leaning else OK
    )


def _preference(found: Appraisal) -> Line | None:
    figures = found.figures
    mine, theirs = figures["prefers_longer"], figures["labels_prefer_longer"]
    if mine != mine:
        return None
    told = f"how often the model prefers the longer of two answers; the labels do in {theirs:.1%}"
    apart = not figures["prefers_longer_low"] <= theirs <= figures["prefers_longer_high"]
    if apart:
        told += f", so that it makes {'more' if mine > theirs else 'less'} of length than people do"
    state = LOOK if apart and abs(mine - theirs) >= POOR_ECE else OK
    return Line("prefers longer", f"{mine:.1%}", _ends(figures, "prefers_longer"), told, state)


def _left_out(found: Appraisal) -> Line | None:
    words = {
        "ties": "items are ties",
        "unlabelled": "items have no label",
        "too_long": "comparisons have an answer that fills max_length",
    }
    told = [f"{found.counts[name]:,} {word}" for name, word in words.items() if found.counts[name]]
    if not told:
        return None
    total = sum(found.counts[name] for name in words)
    return Line("left out", f"{total:,}", "", "; ".join(told), NONE)


def _trained(trained_on: int | None) -> Line | None:
    if trained_on is None:
        return None
    few = trained_on < ENOUGH_PAIRS
    told = "comparisons that the model has learned from"
    if few:
        told += (
            f"; below {ENOUGH_PAIRS:,}, more labels pay more than other settings:"
            " wb.learning_curve shows how much"
        )
    return Line("trained on", f"{trained_on:,}", "", told, LOOK if few else NONE)
