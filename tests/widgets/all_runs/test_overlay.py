import made_runs
import pytest

from workbench.events import Notice, Progress
from workbench.runs import FolderWriter
from workbench.widgets.all_runs.overlay import (
    answers_beside,
    names_of,
    run_curves,
    settings_beside,
    shared_charts,
)
from workbench.widgets.run_panel.run_feed import RunFeed


@pytest.fixture
def make(tmp_path):
    """``make(name, kind, rows, **settings)``: a run with these rows (metrics, samples), read."""

    def made(name, kind="ppo", rows=(), **settings):
        folder = made_runs.create(tmp_path / name, kind, **settings)
        with FolderWriter(folder) as writer:
            for step, (metrics, samples) in enumerate(rows, start=1):
                writer(Progress(step, len(rows), metrics, samples))
            writer.set_state("stopped")
        feed = RunFeed(folder)
        feed.refresh()
        return feed

    return made


def test_runs_of_one_name_are_told_apart_by_their_group(make):
    feeds = [make("a/ppo"), make("b/ppo"), make("b/other")]
    assert names_of(feeds) == ["a/ppo", "b/ppo", "other"]


def test_a_metric_is_one_chart_with_a_line_for_each_run_in_its_place(make):
    first = make("one", rows=[({"objective/kl": 1.0, "policy/loss": 0.1, "mine": 4.0}, ())])
    second = make("two", rows=[({"objective/kl": 2.0}, ())])
    charts = {chart["title"]: chart for chart in shared_charts([first, second])}
    lines = charts["KL to the reference"]["lines"]
    assert [(line["metric"], line["label"]) for line in lines] == [
        ("0:objective/kl", "one"),
        ("1:objective/kl", "two"),
    ]
    assert len(charts["mine"]["lines"]) == 2  # the second has no such curve, and keeps its colour
    assert [chart["first"] for chart in shared_charts([first, second])][-1] is False
    assert run_curves(second, 1) == {"1:objective/kl": {"x": [1], "y": [2.0]}}


def test_runs_of_several_kinds_share_what_they_both_have(make):
    feeds = [make("r", "reward", [({"loss": 0.6}, ())]), make("s", "sft", [({"loss": 2.0}, ())])]
    (chart,) = [one for one in shared_charts(feeds) if one["lines"][0]["metric"] == "0:loss"]
    assert [line["label"] for line in chart["lines"]] == ["r", "s"]


def test_settings_that_differ_come_first_and_a_change_is_told(make):
    first, second = make("one", kl_coef=0.1, steps=5), make("two", kl_coef=0.2, steps=5)
    with FolderWriter(second.folder) as writer:
        writer(Notice(2, "changed", "", {"steps": 7}))
        writer.set_state("stopped")
    second.refresh()
    rows = {row["name"]: (row["values"], row["same"]) for row in settings_beside([first, second])}
    assert rows["kl_coef"] == (["0.1", "0.2"], False)
    assert rows["steps"] == (["5", "5 → 7"], False)
    assert rows["model"] == (["builtin:tiny-chat"] * 2, True)
    assert [row["same"] for row in settings_beside([first, second])][:3] == [False, False, True]


def test_answers_stand_beside_each_other_up_to_a_step(make):
    def said(text, prompt="p", **more):
        return ({}, ({"prompt": prompt, "response": text, **more},))

    first = make("one", rows=[said("a1", score=1.0), said("a2")])
    second = make("two", rows=[({}, ()), ({}, ()), said("b3"), said("b4", prompt="q")])
    newest = answers_beside([first, second])
    assert (newest["step"], newest["most"], newest["steps"]) == (4, 4, [2, 4])
    early = answers_beside([first, second], 3)
    (row,) = early["rows"]
    assert [cell["response"] for cell in row["answers"]] == ["a2", "b3"]
    first_only = answers_beside([first, second], 1)
    assert first_only["steps"] == [1, None]
    assert [cell and cell["score"] for cell in first_only["rows"][0]["answers"]] == [1.0, None]
    assert answers_beside([]) == {"step": 0, "most": 0, "steps": [], "rows": []}
