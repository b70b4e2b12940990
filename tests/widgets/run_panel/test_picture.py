import json
import re

import made_runs

from workbench.widgets.run_panel.picture import Drawn, run_picture, smoothed, sparkline
from workbench.widgets.run_panel.run_feed import RunFeed


def picture(folder):
    feed = RunFeed(folder)
    feed.refresh()
    return run_picture(feed)


def test_every_kind_is_composed_as_its_panel_is(tmp_path):
    """Two large curves and the vital ones, the sentence above, the answers beside."""
    for kind, vital in (("ppo", 4), ("reward", 3), ("sft", 3)):
        html = picture(made_runs.finished_run(tmp_path / kind, kind))
        assert html.count("<svg width='480'") == 2 and html.count("<svg width='250'") == vital
        assert "step 60 of 60" in html


def test_the_sentence_stands_above_and_the_answers_beside_the_curves(tmp_path):
    html = picture(made_runs.finished_run(tmp_path / "done"))
    assert "<b>Reward score +" in html and "font-size:12px'>means of 5 updates" in html
    assert re.search("<th[^>]*>before</th><th[^>]*>now</th>", html)
    assert html.index("Reward score +") < html.index("<svg") < html.index("What is a lighthouse?")
    judged = picture(made_runs.finished_run(tmp_path / "judge", "reward"))
    assert "ln 2: guessing" in judged and "61%: the longer answer wins" in judged
    assert "Held-out pairs at step 60" in judged


def test_a_long_run_stays_small(tmp_path):
    html = picture(made_runs.finished_run(tmp_path / "long", "ppo", steps=3000))
    assert len(html) < 100_000


def test_text_of_models_and_logs_is_escaped(tmp_path):
    html = picture(made_runs.finished_run(tmp_path / "done"))
    assert "<script>" not in html and "<img" not in html
    failed = picture(made_runs.failed_run(tmp_path / "failed"))
    assert "failed" in failed and "lower micro_batch_tokens" in failed


def test_an_empty_run_is_a_line_of_words(tmp_path):
    html = picture(made_runs.create(tmp_path / "new"))
    assert "starting" in html and "<svg" not in html


def test_a_flat_curve_lies_in_the_middle_and_an_empty_one_is_left_out():
    flat = sparkline("Memory", "GB", [Drawn("peak", [1.0, 2.0], [3.0, 3.0])])
    assert "4.0,48.0 246.0,48.0" in flat
    assert sparkline("Nothing", "", [Drawn("none", [], [])]) == ""


def test_a_line_that_is_a_mean_is_smoothed_over_its_raw_one():
    assert smoothed([1.0, 3.0], 0.5) == [1.0, 7 / 3]  # (0.25 + 1.5) / 0.75
    assert smoothed([2.0, 4.0], 0.0) == [2.0, 4.0]
    drawn = sparkline("S", "", [Drawn("s", [1, 2, 3], [0.0, 2.0, 4.0], mean=3)])
    assert drawn.count("<polyline") == 2 and "stroke-opacity='.3'" in drawn
    assert "</span>2 " in drawn.replace("</figcaption>", " ")  # the mean of three


def test_a_score_keeps_its_colour_whatever_stands_beside_it(tmp_path):
    from workbench.widgets.run_panel.curves import charts_for

    (scores,) = charts_for("ppo", ["objective/scores", "objective/gold"])
    assert [line.place for line in scores.lines] == [0, 2]


def test_a_text_that_is_cut_says_so(tmp_path):
    folder = made_runs.finished_run(tmp_path / "long", "ppo")
    row = {"step": 60, "prompt": "p" * 401, "response": "r" * 400}
    (folder.path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    html = picture(folder)
    assert "p" * 400 + " …" in html and "p" * 401 not in html
    assert "r" * 400 in html and "r …" not in html
