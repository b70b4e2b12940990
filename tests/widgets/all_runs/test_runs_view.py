import json

import made_runs
import pytest

from workbench.runs import FolderWriter, Runs, open_run
from workbench.widgets.all_runs.runs_view import MOST_PICKED, RunsView


@pytest.fixture
def root(tmp_path):
    for name, kind in (("one", "ppo"), ("group/two", "ppo"), ("three", "reward")):
        made_runs.finished_run(tmp_path / name, kind, steps=12)
    return tmp_path


@pytest.fixture
def page(root):
    view = RunsView(Runs(root))
    sent = []
    view.send = lambda content, buffers=None: sent.append(content)

    def tell(**message):
        view._handle_custom_msg({"view": "v", **message}, [])
        return sent[-1]

    tell.view = view
    return tell


def test_the_table_tells_every_run_newest_first(page, root):
    answer = page(type="ready")
    assert (answer["type"], answer["to"]) == ("news", "v")
    rows = answer["parts"]["runs"]
    assert {row["name"] for row in rows} == {"one", "two", "three"}
    (two,) = [row for row in rows if row["name"] == "two"]
    assert two["open"] == str(root / "group" / "two")
    assert two["best_of"] == "gold score" and 0.5 < two["best"] < 1 and two["data"] == "6 prompts"
    json.dumps(answer, allow_nan=False)


def test_a_model_that_is_a_run_and_figures_are_short_to_read(page, root, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(root))
    config = json.loads((root / "three" / "config.json").read_text())
    config["model"] = str(root / "group" / "two")
    (root / "three" / "config.json").write_text(json.dumps(config))
    rows = {row["open"]: row for row in page(type="ready")["parts"]["runs"]}
    assert rows["three"]["model"] == "group/two" and rows["one"]["model"] == "builtin:tiny-chat"
    assert isinstance(rows["one"]["kl"], float) and rows["one"]["loss"] is None


def test_a_run_that_is_unreadable_is_a_row_that_says_why(page, root):
    (root / "three" / "config.json").write_text("")
    answer = page(type="ready")
    rows = {row["open"]: row for row in answer["parts"]["runs"]}
    bad = rows[str(root / "three")]
    assert (bad["state"], bad["now"]) == ("unreadable", "config.json is empty")
    told = page(type="pick", addresses=[str(root / "one"), str(root / "three")])
    assert told["type"] == "fault" and "three is unreadable" in told["fault"]["what"]
    assert "config.json" in told["fault"]["where"] and page.view.picked == []
    assert "unreadable" in page.view.picture()


def test_polling_brings_only_what_is_new(page, root):
    answer = page(type="ready")
    assert page(type="poll", seen=answer["digests"])["parts"] == {}
    with FolderWriter(made_runs.create(root / "late", "sft")) as writer:
        assert set(page(type="poll", seen=answer["digests"])["parts"]) == {"runs"}
        writer.set_state("stopped")


def test_picked_runs_stand_beside_each_other(page, root):
    paths = [str(root / "one"), str(root / "group" / "two"), str(root / "gone")]
    answer = page(type="pick", addresses=paths)
    assert page.view.picked == paths[:2]
    assert answer["parts"]["picked"]["names"] == ["one", "two"]
    assert len(answer["parts"]["curves 1"]["1:objective/kl"]["x"]) == 12
    assert answer["parts"]["settings"] and answer["parts"]["answers"]["rows"]
    early = page(type="answers", step=5)["answers"]
    assert (early["step"], early["steps"]) == (5, [5, 5])
    assert page(type="pick", addresses=[])["parts"]["picked"]["names"] == []


def test_more_runs_than_colours_are_refused_in_words(page):
    answer = page(type="pick", addresses=[str(i) for i in range(MOST_PICKED + 1)])
    assert answer["type"] == "fault" and "pick at most 6" in answer["fault"]["fix"]


def test_a_saved_notebook_keeps_a_still_table(root, monkeypatch):
    view = RunsView(Runs(root))
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: shown.append(data))
    view._ipython_display_()
    assert shown[0].data.count("<tr>") == 4 and "gold score" in shown[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown[1]
    assert len(json.dumps(view.get_state())) < 100_000  # what Save Widget State would keep


def test_a_note_and_tags_are_written_from_the_table_into_the_folder(page, root):
    one = str(root / "one")
    answer = page(type="describe", address=one, note="the first that held", tags="a, b")
    rows = {row["path"]: row for row in answer["parts"]["runs"]}
    assert (rows[one]["note"], rows[one]["tags"]) == ("the first that held", "a, b")
    assert open_run(one).tags == ("a", "b")
    told = page(type="describe", address=one, note="x" * 5000)
    assert told["type"] == "fault" and "too long" in told["fault"]["what"]
    assert page(type="describe", address=str(root), note="x")["type"] == "fault"


def test_a_deleted_run_goes_from_the_table_and_comes_back(page, root):
    one = str(root / "one")
    page(type="pick", addresses=[one])
    parts = page(type="delete", address=one)["parts"]
    assert one not in {row["path"] for row in parts["runs"]} and page.view.picked == []
    assert [run["path"] for run in parts["deleted"]] == [one]
    parts = page(type="restore", address=one)["parts"]
    assert one in {row["path"] for row in parts["runs"]} and parts["deleted"] == []
    assert page(type="restore", address=one)["type"] == "fault"


def test_a_row_s_panel_answers_through_the_table(page, root):
    sent = []
    page.view.send = lambda content, buffers=None: sent.append(content)
    for name in ("one", "three"):
        inner = {"type": "ready", "view": "p"}
        message = {"type": "panel", "address": str(root / name), "message": inner}
        page.view._handle_custom_msg({"view": "v", **message}, [])
    answers = [one for one in sent if one["type"] == "panel" and one["message"]["type"] == "all"]
    assert [one["message"]["header"]["name"] for one in answers] == ["one", "three"]
    assert {one["message"]["to"] for one in answers} == {"p"}
    assert answers[0]["address"] == str(root / "one") and answers[0]["message"]["rows"] == 12
    page.view.close()
