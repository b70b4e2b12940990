import made_runs

from workbench.widgets.run_panel.picture import run_picture, sparkline
from workbench.widgets.run_panel.run_feed import RunFeed


def picture(folder):
    feed = RunFeed(folder)
    feed.refresh()
    return run_picture(feed)


def test_every_kind_shows_its_first_curves(tmp_path):
    for kind, curves in (("ppo", 6), ("reward", 4), ("sft", 4)):
        html = picture(made_runs.finished_run(tmp_path / kind, kind))
        assert html.count("<svg") == curves and "step 60 of 60" in html


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
    flat = sparkline("Memory", "GB", [("peak", [1.0, 2.0], [3.0, 3.0])])
    assert "4.0,48.0 246.0,48.0" in flat
    assert sparkline("Nothing", "", [("none", [], [])]) == ""
