"""The panel without a browser: what it answers, and what it tells unasked."""

import json
import re
import threading
import time

import made_runs
import pytest

from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError
from workbench.events import Finished
from workbench.runs import FolderWriter, Run
from workbench.widgets.kit import theme
from workbench.widgets.kit.plotly_source import packed_plotly, plotly_file, plotly_js
from workbench.widgets.run_panel import push
from workbench.widgets.run_panel.panel import RunPanel


class Page:
    """What a page would hold: rows by number, and the newest of each part."""

    def __init__(self, panel):
        self.panel, self.sent = panel, []
        panel.send = lambda content, buffers=None: self.sent.append(content)

    def tell(self, **message):
        self.panel._handle_custom_msg({"view": "v", **message}, [])
        return self.sent[-1]

    def poll(self, answer, rows):
        return self.tell(type="poll", epoch=answer["epoch"], rows=rows, seen=answer["digests"])


@pytest.fixture
def folder(tmp_path):
    return made_runs.create(tmp_path / "mine", "ppo", kl_coef=0.05, steps=10)


@pytest.fixture
def writer(folder):
    with FolderWriter(folder) as writer:
        yield writer
        writer.set_state("stopped")


@pytest.fixture
def page(folder, writer):
    panel = RunPanel(folder)
    yield Page(panel)
    panel.close()


def test_ready_brings_everything_from_the_first_step(page, writer):
    made_runs.write_steps(writer, "ppo", 1, 7, 10)
    answer = page.tell(type="ready")
    assert (answer["type"], answer["to"], answer["rows"]) == ("all", "v", 7)
    assert answer["curves"]["objective/kl"]["x"] == [1, 2, 3, 4, 5, 6, 7]
    assert answer["parts"]["status"]["state"] == "running"
    assert answer["parts"]["charts"][0]["title"] == "Scores"
    assert answer["parts"]["samples"]["step"] == 5
    assert answer["header"]["kind"] == "ppo"
    json.dumps(answer, allow_nan=False)


def test_polling_brings_only_what_is_new_and_else_a_sign_of_life(page, writer):
    made_runs.write_steps(writer, "ppo", 1, 2, 10, every=100)
    answer = page.tell(type="ready")
    assert page.poll(answer, 2) == {"type": "alive", "to": "v"}
    made_runs.write_steps(writer, "ppo", 3, 4, 10, every=100)
    news = page.poll(answer, 2)
    assert news["metrics"]["from"] == 2 and news["metrics"]["steps"] == [3, 4]
    # charts, samples, events are as they were
    assert set(news["parts"]) == {"status", "verdict", "guides"}
    late = page.poll(answer, 3)
    assert late["metrics"]["steps"] == [4]


def test_later_parts_have_later_numbers(page, writer):
    first, second = page.tell(type="ready"), page.tell(type="ready")
    assert second["serial"] > first["serial"]


def test_a_cut_file_makes_the_page_ask_for_all(page, writer):
    made_runs.write_steps(writer, "ppo", 1, 3, 10)
    answer = page.tell(type="ready")
    writer.truncate_to({}, step=0)
    news = page.poll(answer, 3)
    assert news["epoch"] == answer["epoch"] + 1 and "metrics" not in news
    assert page.tell(type="ready")["rows"] == 0


def test_a_thread_tells_each_row_once_while_nobody_asks(page, writer, monkeypatch):
    monkeypatch.setattr(push, "LOOK_EVERY", 0.01)
    page.tell(type="ready")
    told = len(page.sent)
    for step in range(1, 6):
        made_runs.write_steps(writer, "ppo", step, step, 10)
        time.sleep(0.02)
    steps = []
    deadline = time.monotonic() + 10
    while len(steps) < 5 and time.monotonic() < deadline:
        news = [m for m in page.sent[told:] if m["type"] == "new" and "metrics" in m]
        steps = [step for m in news for step in m["metrics"]["steps"]]
        time.sleep(0.01)
    assert steps == [1, 2, 3, 4, 5]
    assert all("to" not in m for m in page.sent[told:])  # for every view


def test_the_thread_ends_with_the_run_and_is_not_started_for_one_that_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(push, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(push, "LINGER", 0.05)
    panel = RunPanel(made_runs.finished_run(tmp_path / "done"))
    Page(panel).tell(type="ready")
    assert panel._push.thread is None
    folder = made_runs.create(tmp_path / "live")
    with FolderWriter(folder) as writer:
        panel = RunPanel(folder)
        page = Page(panel)
        page.tell(type="ready")
        assert panel._push.thread.is_alive()
        writer(Finished(3, False))
    panel._push.thread.join(10)
    assert not panel._push.thread.is_alive()
    assert page.sent[-1]["parts"]["status"]["state"] == "finished"


def test_a_fault_while_watching_is_told_and_ends_the_watch(page, writer, monkeypatch):
    monkeypatch.setattr(push, "LOOK_EVERY", 0.01)
    page.tell(type="ready")
    monkeypatch.setattr(page.panel.feed, "refresh", lambda: 1 / 0)
    page.panel._push.thread.join(10)
    assert page.sent[-1]["type"] == "fault"
    assert isinstance(page.panel._push.error, ZeroDivisionError)


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_a_page_that_cannot_ask_is_told_everything(tmp_path, monkeypatch):
    """A cell blocks the kernel from the moment of the display on: no question is heard."""
    monkeypatch.setattr(push, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(push, "FIRST_CALL", 0.01)
    monkeypatch.setattr(push, "MOST_CALLS", 4)
    monkeypatch.setattr(push, "LINGER", 0.0)
    panel = RunPanel(made_runs.finished_run(tmp_path / "done"))
    page = Page(panel)
    panel._repr_mimebundle_()
    until(lambda: not panel._push.thread.is_alive())
    kinds = [m["type"] for m in page.sent if m["type"] in ("all", "plotly")]
    assert kinds == ["plotly", "all", "all", "plotly", "all", "all"]
    assert [m["type"] for m in page.sent].count("code") == 4  # with each "all"
    assert all("to" not in m for m in page.sent)


def test_a_page_that_asks_is_not_told_everything_again(page, monkeypatch):
    monkeypatch.setattr(push, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(push, "QUIET", 0.2)
    page.panel._repr_mimebundle_()
    page.tell(type="ready")
    for _ in range(20):
        page.tell(type="poll", epoch=0, rows=0)
        time.sleep(0.005)
    assert [m["type"] for m in page.sent].count("all") == 1
    until(lambda: [m["type"] for m in page.sent].count("all") == 2)  # it went quiet
    assert "plotly" not in [m["type"] for m in page.sent]


def test_the_first_question_may_bring_plotly_along(page):
    """One message, two answers, the slower to unpack first; no blocked kernel between them."""
    page.tell(type="ready", plotly=True)
    assert [(m["type"], m["to"]) for m in page.sent] == [("plotly", "v"), ("all", "v")]
    page.tell(type="ready", plotly=False)
    assert page.sent[-1]["type"] == "all"


def test_the_note_that_ties_answers_to_the_main_thread_is_removed(page):
    page.panel.comm._reply_subshell_id = None
    page.tell(type="poll", epoch=0, rows=0)
    assert not hasattr(page.panel.comm, "_reply_subshell_id")


def test_pause_is_written_down_and_shown_as_asked_then_done(page, folder, writer):
    page.tell(type="ready")
    answer = page.tell(type="ask", command="pause", key="pause")
    row = json.loads((folder.path / "control.jsonl").read_text())
    assert row["command"] == "pause"
    assert answer["type"] == "new" and answer["to"] == "v"
    assert answer["parts"]["commands"][-1]["answer"] is None
    writer.record(id=row["id"], kind="done", command="pause")
    done = page.poll(answer, 0)
    assert done["parts"]["commands"][-1]["answer"] == "done"


def test_a_setting_out_of_range_is_refused_and_nothing_is_written(page, folder):
    page.tell(type="ready")
    answer = page.tell(type="ask", command="set", values={"clip_range": 11.0}, key="clip_range")
    assert answer["type"] == "fault" and answer["key"] == "clip_range"
    assert answer["fault"]["what"] == "clip_range is out of range"
    assert isinstance(page.panel.error, ConfigError)
    assert (folder.path / "control.jsonl").read_text() == ""


def test_a_setting_that_is_not_live_and_an_unknown_command_are_refused(page):
    for message in (
        {"command": "set", "values": {"batch_size": 3}},
        {"command": "explode"},
    ):
        assert page.tell(type="ask", **message)["type"] == "fault"
    assert page.tell(type="nonsense")["type"] == "fault"


def test_every_button_reaches_the_run(page, monkeypatch):
    asked = []
    for name in ("pause", "resume", "stop", "save"):
        monkeypatch.setattr(page.panel.run, name, lambda name=name: asked.append(name))
        page.tell(type="ask", command=name)
    assert asked == ["pause", "resume", "stop", "save"]


def test_an_earlier_step_of_the_sample_table_is_fetched(page, writer):
    made_runs.write_steps(writer, "ppo", 1, 10, 10)
    page.tell(type="ready")
    answer = page.tell(type="samples", index=1)
    assert (answer["type"], answer["samples"]["step"]) == ("samples", 5)
    clicked = page.tell(type="samples", at=9)  # on a curve
    assert (clicked["samples"]["index"], clicked["samples"]["step"]) == (1, 5)


def test_it_can_be_made_of_a_run_a_folder_or_a_path(folder):
    for given in (folder, str(folder.path), folder.path, Run(folder)):
        assert RunPanel(given).run.name == "mine"


def test_plotly_is_sent_on_request_only_and_never_as_a_trait(page):
    state = page.panel.get_state()
    assert len(json.dumps(state)) < 120_000 and "plotly.js v" not in json.dumps(state)
    answer = page.tell(type="plotly")
    assert answer["type"] == "plotly" and answer["packed"] is packed_plotly()
    assert 1_000_000 < len(answer["packed"]) < 3_000_000


def test_a_missing_plotly_says_what_to_install(page, monkeypatch):
    monkeypatch.setattr("workbench.widgets.kit.plotly_source.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="plotly is not installed"):
        plotly_file()
    packed_plotly.cache_clear()
    answer = page.tell(type="plotly", key="plotly")
    assert answer["fault"]["fix"].startswith("pip install")
    packed_plotly.cache_clear()


def test_the_bundle_is_the_installed_one_without_the_function_around_it():
    installed, sent = plotly_file().read_text(), plotly_js()
    if "function(root, factory)" not in installed[:400]:  # plotly 5's is of another shape
        assert sent == installed
        return
    assert sent.startswith("/**\n* plotly.js v") and sent.endswith("\nwindow.Plotly = Plotly;\n")
    assert "function(root" not in sent[:400]
    whole = sent.partition("*/")[2].strip()
    assert whole in installed and len(installed) - len(whole) < 500


def test_a_bundle_of_another_shape_is_sent_as_it_is(tmp_path, monkeypatch):
    other = "/**\n* plotly.js v2\n*/\n!function(t){module.exports = t()}(function(){return {}});"
    (tmp_path / "plotly.min.js").write_text(other)
    monkeypatch.setattr(
        "workbench.widgets.kit.plotly_source.plotly_file", lambda: tmp_path / "plotly.min.js"
    )
    assert plotly_js() == other


def test_the_saved_notebook_keeps_a_small_still_picture(tmp_path):
    panel = RunPanel(made_runs.finished_run(tmp_path / "done"))
    bundle, _ = panel._repr_mimebundle_()
    html = bundle["text/html"]
    assert len(html) < 100_000
    assert html.count("<svg") == 6 and "<script" not in html
    assert bundle["text/plain"].startswith("RunPanel of Run('done', finished")
    assert "application/vnd.jupyter.widget-view+json" in bundle


class Notebook:
    """What a notebook is told, in order: outputs, their updates, and messages to the page."""

    def __init__(self, monkeypatch):
        self.told = []
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, output, **more):
        self.told.append(output)
        return self if more.get("display_id") else None

    def update(self, output):
        self.told.append(output)

    def show(self, panel):
        panel.send = lambda content, buffers=None: self.told.append(content)
        panel._push.close()  # only what the cell itself tells
        panel._ipython_display_()
        told, self.told = self.told, []
        return told


def test_a_notebook_gets_the_picture_and_the_view_as_two_outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(RunPanel, "_brought", True)
    panel = RunPanel(made_runs.finished_run(tmp_path / "done"))
    place, code, view, picture = Notebook(monkeypatch).show(panel)
    assert code["type"] == "code"  # before a cell can block the kernel
    assert place.data == f"<div class='wb-still' data-panel='{panel.still}'></div>"
    assert picture.data.startswith(place.data.removesuffix("</div>")) and "<svg" in picture.data
    assert "text/html" not in view and "application/vnd.jupyter.widget-view+json" in view
    assert panel.get_state()["still"] == panel.still  # by which the view finds and hides it


def test_a_kernels_first_panel_brings_plotly_before_its_view_and_the_folder_is_read_last(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(RunPanel, "_brought", False)
    folder, notebook = made_runs.finished_run(tmp_path / "done"), Notebook(monkeypatch)
    first, second = RunPanel(folder), RunPanel(folder)
    monkeypatch.setattr(first.feed, "refresh", lambda: notebook.told.append("read"))
    _, code, plotly, view, read, _ = notebook.show(first)
    assert code["type"] == "code"
    assert (plotly["type"], plotly["packed"]) == ("plotly", packed_plotly())
    assert "application/vnd.jupyter.widget-view+json" in view and read == "read"
    assert len(notebook.show(second)) == 4  # the page has it


def test_a_page_that_asked_has_plotly(page, monkeypatch):
    monkeypatch.setattr(RunPanel, "_brought", False)
    page.tell(type="plotly")
    assert RunPanel._brought


def test_the_picture_is_renewed_when_the_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(push, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(push, "LINGER", 0.02)
    renewed = []

    class Handle:
        def update(self, html):
            renewed.append((threading.current_thread().name, html.data))

    folder = made_runs.create(tmp_path / "live")
    with FolderWriter(folder) as writer:
        panel = RunPanel(folder)
        Page(panel).tell(type="ready")
        panel._pictures.append(Handle())
        writer(Finished(3, True))
    panel._push.thread.join(10)
    assert renewed[0][0] == "run-panel" and "stopped" in renewed[0][1]


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("widgets/run_panel/panel.js", "Panel;"),
        ("widgets/explorer/explorer.js", "class LossExplorer {"),
        ("widgets/compare/compare.js", "ComparisonView;"),
    ],
)
def test_scripts_are_one_module_with_no_name_twice(name, view):
    source = theme.module(name)
    assert not re.search(r"^\s*import\b[^(]", source, re.MULTILINE)
    assert re.findall(r"^export .*$", source, re.MULTILINE) == [f"export default {view}"]
    declared = r"^(?:async )?(?:function|class|const|let)\s+(\w+)"
    found = re.findall(declared, source, re.MULTILINE)
    assert len(found) == len(set(found))


def test_a_row_goes_to_the_labellers_queue(tmp_path):
    folder = made_runs.finished_run(tmp_path / "done")
    page = Page(RunPanel(folder))
    page.tell(type="ready")
    ask = {"type": "label", "index": 8, "row": 0, "first": True}
    assert "store=wb.LabelStore" in page.tell(**ask)["fault"]["fix"]
    page.panel.run.store = store = LabelStore(tmp_path / "labels.sqlite")
    assert page.tell(**ask)["sent"] is True and page.tell(**ask)["sent"] is False
    (pair,) = store.queue()
    assert pair.prompt == [{"role": "user", "content": "What is a lighthouse?"}]
    assert pair.responses[1][0]["content"] == "it is a tower. tower. tower."
    same = page.tell(type="label", index=2, row=1, first=False)
    assert "no other answer" in same["fault"]["what"]


def paid_by(folder, reward):
    """The same run, paid by a reward model."""
    path = folder.path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "inputs": {"reward": reward}}))
    return folder


def test_a_row_s_score_is_taken_apart_in_a_thread(tmp_path):
    page = Page(RunPanel(paid_by(made_runs.finished_run(tmp_path / "done"), "/the/reward")))
    assert page.tell(type="ready")["header"]["explains"] is True
    asked, go, told = [], threading.Event(), {"texts": ["a\ud800"], "parts": [0.5]}

    def explain(request):
        asked.append(request)
        assert go.wait(5)
        return told

    page.panel.explain = explain
    place = {"type": "why", "index": 1, "row": 0}
    assert page.tell(**place)["type"] == "alive"
    assert page.sent[-2] == {**place, "why": {"phase": "taking the answer apart"}}
    busy = page.tell(**place)
    assert busy["type"] == "fault" and "one answer at a time" in busy["fault"]["fix"]
    go.set()
    page.panel.explaining.join(5)
    assert page.sent[-1] == {**place, "why": {"texts": ["a\ufdd0D800\ufdd1"], "parts": [0.5]}}
    row = page.panel.feed.answers_at(1)[0]
    assert asked[0]["reward"] == "/the/reward" and asked[0]["response"] == row["response"]
    assert asked[0]["prompt"] == [{"role": "user", "content": row["prompt"]}]
    told.clear()
    page.tell(**place)
    page.panel.explaining.join(5)
    (failed,) = [one["why"]["fault"] for one in page.sent if "fault" in one.get("why", {})]
    assert "texts" in failed["what"]


def test_no_score_is_taken_apart_of_a_live_run_or_one_paid_otherwise(page, tmp_path):
    assert page.tell(type="why", index=0, row=0)["type"] == "fault"
    mixed = paid_by(made_runs.finished_run(tmp_path / "done"), {"ensemble": ["a", "b"]})
    other = Page(RunPanel(mixed))
    assert other.tell(type="ready")["header"]["explains"] is False
    assert other.tell(type="why", index=0, row=0)["type"] == "fault"
