import math

import pytest

from workbench.widgets.run_panel.curves import charts_for, downsample


def titles(charts, first=None):
    return [chart.title for chart in charts if first is None or chart.first == first]


def test_a_ppo_run_with_a_gold_score_shows_six_curves_at_once():
    metrics = ["objective/kl", "objective/entropy", "objective/scores", "objective/gold"]
    metrics += ["policy/loss", "value/loss", "response/length", "policy/clipfrac"]
    assert titles(charts_for("ppo", metrics), first=True) == [
        "Score",
        "Gold score",
        "KL to the reference",
        "Entropy",
        "Losses",
        "Answer length",
    ]
    assert titles(charts_for("ppo", metrics), first=False) == ["Clip fraction"]


def test_without_a_gold_score_four_are_shown():
    metrics = ["objective/kl", "objective/entropy", "objective/scores", "policy/loss"]
    metrics += ["response/length"]
    charts = charts_for("ppo", metrics)
    assert len(titles(charts, first=True)) == 4 and titles(charts, first=False) == ["Answer length"]


def test_training_and_held_out_curves_share_a_chart():
    chart = charts_for("reward", ["heldout/accuracy", "accuracy"])[0]
    assert [(line.metric, line.label) for line in chart.lines] == [
        ("accuracy", "training"),
        ("heldout/accuracy", "held out"),
    ]
    assert chart.unit == "share of pairs"


def test_phases_are_lines_of_one_chart_and_the_whole_step_comes_last():
    charts = charts_for("ppo", ["time/step", "time/generate", "time/brew"])
    assert [line.label for line in charts[0].lines] == ["generate", "brew", "whole step"]


def test_a_metric_that_nobody_planned_gets_a_chart_of_its_own():
    chart = charts_for("ppo", ["objective/scores", "odd/new_thing"])[-1]
    assert chart.title == "odd: new thing" and chart.lines[0].metric == "odd/new_thing"


def test_bookkeeping_is_not_drawn_and_an_unknown_kind_still_shows_something():
    assert charts_for("ppo", ["step", "time", "episode", "kl_coef"]) == []
    assert titles(charts_for("strange", ["a", "b"]), first=True) == ["a", "b"]


def test_downsampling_keeps_ends_and_spikes():
    values = [0.0] * 10_000
    values[7_777], values[1_234] = 50.0, -9.0
    kept = downsample(values, 100).tolist()
    assert len(kept) <= 100 and {0, 9_999, 7_777, 1_234} <= set(kept)
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([9, 1, 5, 0, 3, 2, 2, 7, 4, 8], [0, 2, 3, 5, 7, 9]),  # places 1 to 4, and 5 to 8
        ([0, 1, 2, 3, 4, 9, 4, 8, 6, 7, 0], [0, 1, 4, 5, 6, 10]),  # 1 to 4, and 5 to 9
    ],
)
def test_the_lowest_and_highest_of_each_stretch_stay(values, kept):
    assert downsample(values, 6).tolist() == kept


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_short_curves_stay_whole(count):
    assert downsample([1.0] * count, 5).tolist() == list(range(count))


def test_a_wave_keeps_its_height():
    values = [math.sin(i / 300) for i in range(20_000)]
    kept = downsample(values, 200)
    assert max(values[i] for i in kept) == max(values)
    assert min(values[i] for i in kept) == min(values)
