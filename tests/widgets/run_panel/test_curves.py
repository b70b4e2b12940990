import math

import pytest

from workbench.widgets.run_panel.curves import charts_for, downsample


def titles(charts, first=None):
    return [chart.title for chart in charts if first is None or chart.first == first]


def test_score_watched_score_and_gold_score_share_a_chart_and_decide_with_kl():
    metrics = ["objective/kl", "objective/entropy", "objective/scores", "objective/gold"]
    metrics += ["heldout/scores", "policy/loss", "value/loss", "response/length"]
    charts = charts_for("ppo", metrics)
    assert [chart.title for chart in charts if chart.decides] == ["Scores", "KL to the reference"]
    assert [line.label for line in charts[0].lines] == [
        "reward score",
        "watched score",
        "gold score",
    ]
    assert [line.share for line in charts[0].lines] == [False, False, True]
    assert [chart.title for chart in charts if chart.vital] == ["Entropy", "Answer length"]


def test_dpo_is_judged_by_its_margins_and_its_kl():
    metrics = ["loss", "rewards/margins", "rewards/chosen", "rewards/rejected", "objective/kl"]
    metrics += ["heldout/margin", "heldout/accuracy", "objective/gold", "beta", "logps/chosen"]
    charts = charts_for("dpo", metrics)
    deciding = [chart.title for chart in charts if chart.decides]
    assert deciding == ["Margin of the implied rewards", "KL to the reference"]
    assert [line.metric for line in charts[0].lines] == [
        "rewards/margins",
        "heldout/margin",
        "heldout/accuracy",
    ]
    assert [line.share for line in charts[0].lines] == [False, False, True]
    assert "beta" not in [line.metric for chart in charts for line in chart.lines]


def test_four_are_shown_at_once_in_a_report():
    metrics = ["objective/kl", "objective/entropy", "objective/scores", "policy/loss"]
    metrics += ["response/length"]
    charts = charts_for("ppo", metrics)
    assert len(titles(charts, first=True)) == 4 and titles(charts, first=False) == ["Answer length"]


def test_training_and_held_out_curves_share_a_chart():
    chart = charts_for("reward", ["heldout/accuracy", "accuracy"])[0]
    assert [(line.metric, line.label) for line in chart.lines] == [
        ("heldout/accuracy", "held out"),
        ("accuracy", "training"),
    ]
    assert chart.unit == "share of pairs"


def test_the_loss_of_a_reward_run_is_read_against_ln_2_without_what_training_adds():
    charts = charts_for("reward", ["loss", "pair_loss", "heldout/loss", "accuracy"])
    assert [line.metric for line in charts[0].lines] == ["heldout/loss", "pair_loss"]
    assert charts[0].guides == ((0.6931471805599453, "ln 2: guessing"),)
    assert charts[1].guides == ((0.5, "50 %: a coin"),)
    (trained,) = [chart for chart in charts if chart.lines[0].metric == "loss"]
    assert trained.title == "Loss as trained" and not trained.decides


def test_without_held_out_figures_the_next_curves_decide():
    charts = charts_for("sft", ["loss", "perplexity", "learning_rate", "grad_norm"])
    assert [chart.title for chart in charts if chart.decides] == ["Loss", "Perplexity"]


def test_phases_are_lines_of_one_chart_and_the_whole_step_comes_last():
    charts = charts_for("ppo", ["time/step", "time/generate", "time/brew"])
    assert [line.label for line in charts[0].lines] == ["generate", "brew", "whole step"]


def test_a_run_without_phases_has_no_chart_that_promises_them():
    (chart,) = charts_for("sft", ["time/step"])
    assert (chart.title, [line.label for line in chart.lines]) == ("Seconds a step", ["whole step"])


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


def test_a_run_of_a_kind_without_a_plan_is_judged_by_the_curves_that_it_has():
    charts = charts_for("fake", ["step", "loss", "odd"])
    assert [chart.decides for chart in charts] == [True, True]
    assert {line.metric for chart in charts for line in chart.lines} == {"loss", "odd"}
