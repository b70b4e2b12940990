"""The run panel, the loss explorer and the comparison in real JupyterLab; the report in a page."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import made_runs
import nbformat
import pytest
from playwright.sync_api import expect

from workbench.events import Finished, Progress
from workbench.reports.run_page import write_report
from workbench.runs import FolderWriter

PANEL = """
from workbench.widgets.run_panel import panel as module, push
asked, told, pack = [], [], module.packed_plotly
module.packed_plotly = lambda: asked.append(1) or pack()
push.packed_plotly = lambda: told.append(1) or pack()
panel = module.RunPanel("FOLDER")
panel
"""
# the x values of the first curve of every panel on the page
DRAWN = """() => [...document.querySelectorAll('.wbp')].map(
    (panel) => panel.querySelector('.wbp-plot').data?.[0]?.x ?? [])"""

# another notebook of the page has asked its kernel for Plotly, and that kernel is busy for ever
ASKED_ELSEWHERE = """window.__workbenchPlotly = new Promise(() => {});
window.__workbenchPlotly.asking = true"""


@pytest.fixture
def trainer(tmp_path):
    """``trainer(steps, seconds)``: a process that fills a run folder and listens; its folder."""
    started = []

    def start(steps, seconds, kind="ppo"):
        folder = made_runs.create(tmp_path / "live", kind, steps=steps, kl_coef=0.05)
        command = [sys.executable, made_runs.__file__, folder.path, str(steps), str(seconds)]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        started.append(subprocess.Popen(command, env=env))
        return folder

    yield start
    for process in started:
        process.kill()
        process.wait()


def shown(notebook, folder, *more):
    page = notebook(PANEL.replace("FOLDER", str(folder.path)), *more)
    root = page.locator(".wbp").first
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    page.locator(".wbp-plot .main-svg").first.wait_for(timeout=20_000)
    return page, root


def drawn(page, count, panels=1):
    """Wait until every panel has drawn steps 1 to ``count``, none missing and none twice."""
    wanted = json.dumps([list(range(1, count + 1))] * panels)
    page.wait_for_function(
        f"({DRAWN})().every((x, i) => JSON.stringify(x) === JSON.stringify({wanted}[i]))"
    )
    assert len(page.evaluate(DRAWN)) == panels


def is_clean(page):
    assert page.problems == [] and page.outside == []


def test_points_arrive_as_a_script_appends_to_a_run_folder(notebook, tmp_path):
    folder = made_runs.create(tmp_path / "appended", "ppo", steps=20)
    with FolderWriter(folder) as writer:
        made_runs.write_steps(writer, "ppo", 1, 3, 20)
        page, root = shown(notebook, folder)
        drawn(page, 3)
        expect(root.locator(".wbp-state")).to_have_text("● running")
        for step in range(4, 8):
            made_runs.write_steps(writer, "ppo", step, step, 20)
            drawn(page, step)
        expect(root.locator(".wbp-how")).to_contain_text("update 7 of 20")
        expect(root.locator(".wbp-when")).to_have_text("update 5")  # the newest watched answers
        writer(Finished(7, True))
        expect(root.locator(".wbp-state")).to_have_text("■ stopped")
    is_clean(page)


def test_a_cell_that_blocks_the_kernel_does_not_stop_the_panel(notebook, trainer, kernel_eval):
    """Shown and blocked at once, as by ``run`` in one cell and ``run.wait()`` in the next."""
    folder = trainer(1000, 0.1)
    blocks = "import time; time.sleep(3); end = time.monotonic() + 30\n"
    blocks += "while not asked + told and time.monotonic() < end: time.sleep(0.1)\n"
    page, _ = shown(notebook, folder, blocks + "during = len(asked + told)")
    assert kernel_eval(page, "during") >= 1  # Plotly went to the page meanwhile
    before = len(page.evaluate(DRAWN)[0])
    flag = folder.path.parent / "drawn"
    until_drawn = f"import pathlib\nwhile not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.1)"
    page.evaluate(
        """(code) => { window.done = false;
        window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute(
            { code }).done.then(() => { window.done = true; }); }""",
        until_drawn,
    )
    page.wait_for_function(f"({DRAWN})()[0].length > {before + 8}")
    assert page.evaluate("() => window.done") is False
    flag.touch()
    is_clean(page)


def test_pause_is_asked_then_done_and_so_is_a_setting(notebook, trainer):
    folder = trainer(1000, 0.3)
    page, root = shown(notebook, folder)
    root.get_by_role("button", name="Settings and").click()
    root.get_by_role("button", name="Pause").click()
    told = root.locator(".wbp-buttons .wbp-told")
    expect(told).to_contain_text("Pause: done at update")
    expect(root.locator(".wbp-state")).to_have_text("Ⅱ paused")
    field = root.get_by_label("kl_coef, reward/nat")
    field.fill("0.125")
    field.press("Enter")
    setting = root.locator(".wbp-setting", has_text="kl_coef")
    expect(setting.locator(".wbp-told")).to_have_text("asked 0.125 …")  # it is paused
    rows = [json.loads(line) for line in (folder.path / "control.jsonl").read_text().splitlines()]
    assert [row["command"] for row in rows] == ["pause", "set"]
    assert rows[1]["values"] == {"kl_coef": 0.125}
    root.focus()
    page.keyboard.press("p")
    expect(setting.locator(".wbp-told")).to_contain_text("done at update")
    expect(root.locator(".wbp-changed")).to_contain_text("kl_coef 0.125 from update")
    page.wait_for_function("() => document.querySelector('.wbp-plot').layout.shapes.length === 1")
    field.fill("-3")
    field.press("Enter")
    expect(setting.locator(".wbp-why")).to_contain_text("kl_coef is out of range")
    root.focus()
    page.keyboard.press("x")
    assert "stop" not in (folder.path / "control.jsonl").read_text()  # asked for twice only
    expect(root.get_by_role("button", name="Stop? It can be resumed.")).to_be_visible()
    page.keyboard.press("x")
    expect(root.locator(".wbp-state")).to_have_text("■ stopped")
    expect(root.get_by_role("button", name="Resume from the last checkpoint")).to_be_enabled()
    is_clean(page)


def test_a_reload_a_second_view_and_a_saved_notebook_miss_nothing(notebook, trainer, kernel_eval):
    folder = trainer(12, 0.2)
    page, root = shown(notebook, folder, "panel")
    expect(root.locator(".wbp-state")).to_have_text("✓ finished", timeout=30_000)
    drawn(page, 12, panels=2)
    assert kernel_eval(page, "len(asked)") == 1  # Plotly came once for both
    page.wait_for_function(
        "() => document.querySelector('.wb-still')?.textContent.includes('finished')"
    )
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    page.locator(".wbp-plot .main-svg").first.wait_for(timeout=30_000)
    drawn(page, 12, panels=2)
    assert not page.locator(".wb-still").first.is_visible()
    is_clean(page)
    saved = nbformat.read(notebook.path, as_version=4)
    assert notebook.path.stat().st_size < 100_000
    still = saved.cells[0].outputs[0].data["text/html"]
    assert still.count("<svg") == 2 + 4 and "step 12 of 12" in still


def test_a_failed_run_says_why_and_how_to_go_on(notebook, tmp_path):
    folder = made_runs.failed_run(tmp_path / "broken")
    page, root = shown(notebook, folder)
    failure = root.locator(".wbp-failure")
    expect(failure).to_contain_text("The run failed at update 23. OutOfMemoryError")
    expect(failure).to_contain_text(f'wb.open_run("{folder.path}").resume()')
    expect(failure).to_contain_text("checkpoint at update 20")
    expect(failure.locator("pre")).to_contain_text("<script>alert(1)</script>")
    expect(root.get_by_role("button", name="Resume from the last checkpoint")).to_be_enabled()
    is_clean(page)


def test_the_sample_table_goes_back_and_marks_what_changed(notebook, tmp_path):
    folder = made_runs.finished_run(tmp_path / "done")
    page, root = shown(notebook, folder)
    root.click(position={"x": 300, "y": 12})
    first, was = root.locator(".wbp-answer").first, root.locator(".wbp-was").first
    expect(root.locator(".wbp-heads")).to_contain_text("update 1, the first")
    expect(was).to_have_text("it is a tower. tower. tower.")
    expect(was.locator("del").first).to_be_visible()
    page.keyboard.press("d")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(root.locator(".wbp-when")).to_have_text("update 45")
    expect(root.locator(".wbp-heads")).to_contain_text("update 40")
    expect(first.locator("ins").first).to_be_visible()
    expect(root.locator(".wbp-answer").last).to_contain_text("That tag runs scripts")
    page.keyboard.press("d")
    expect(first.locator("ins")).to_have_count(0)
    page.keyboard.press("n")
    expect(root.locator(".wbp-when")).to_have_text("update 60")
    page.keyboard.press("r")
    expect(root.get_by_role("button", name="Since the start")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(first.locator("ins").first).to_be_visible()
    page.keyboard.press("t")
    expect(first.locator(".wb-heat .plus").first).to_have_attribute("title", "KL +0.700 nats")
    expect(first.locator(".wb-strongest")).to_contain_text("“A” +0.700")
    page.keyboard.press("t")
    expect(root.locator(".wbp-legend")).to_contain_text("Value of each token")
    page.keyboard.press("ArrowDown")
    expect(root.locator(".wbp-rows > li.at .wbp-prompt")).to_contain_text("3 things")
    page.keyboard.press("q")
    expect(root.locator(".wb-banner.error").first).to_contain_text("knows no label store")
    expect(root.locator(".wbp-chart:visible")).to_have_count(2)
    page.keyboard.press("m")
    expect(root.locator(".wbp-chart:visible")).to_have_count(16)
    page.keyboard.press("l")
    expect(root.get_by_role("button", name="Log axis")).to_have_attribute("aria-pressed", "true")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1
    is_clean(page)


def test_an_alarm_says_what_to_do_and_is_drawn_where_it_rang(notebook, tmp_path):
    folder = made_runs.create(tmp_path / "alarming", "ppo", steps=20)
    with FolderWriter(folder) as writer:
        for step in range(1, 21):
            figures = made_runs.metrics("ppo", step, 20, made_runs.random.Random(step))
            figures["response/length"] = 20.0 if step <= 10 else 40.0
            figures["policy/clipfrac"] = 0.9 if 3 <= step <= 6 else 0.0
            writer(Progress(step, 20, figures))
        page, root = shown(notebook, folder)
        rings = root.locator(".wbp-ringing")
        expect(rings).to_contain_text("Answers grow and grow since update 13. An answer has 40")
        expect(rings).to_contain_text("What to do: Read the answers.")
        root.get_by_text("1 alarm that is over").click()
        expect(root.locator(".wbp-rang")).to_contain_text("updates 5 to 9")
        expect(root.locator(".wbp-vital.ringing")).to_contain_text("Answer length")
        root.get_by_role("button", name="Settings and").click()
        chart = root.get_by_role("figure", name="Answer length")
        expect(chart.locator(".main-svg").first).to_be_visible()  # it is drawn once it is seen
        shade = chart.locator(".wbp-plot").evaluate("(plot) => plot.layout.shapes")
        assert [one["path"] for one in shade] == ["M12.5,0V1H20.5V0Z"]
        writer.set_state("stopped")
    is_clean(page)


def test_a_long_run_opens_fast(notebook, tmp_path):
    folder = made_runs.create(tmp_path / "long", "ppo", steps=20_000)
    metrics = made_runs.metrics("ppo", 1, 2, made_runs.random.Random(0))
    rows = (json.dumps({"step": i, "time": i, **metrics}) for i in range(1, 20_001))
    (folder.path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    writer = FolderWriter(folder)
    writer(Finished(20_000, False))
    writer.close()
    notebook.page.add_init_script(ASKED_ELSEWHERE)
    page, _ = shown(notebook, folder)
    page.wait_for_function(f"({DRAWN})()[0].at(-1) === 20000")
    assert len(page.evaluate(DRAWN)[0]) <= 2000
    is_clean(page)


def test_the_table_of_runs_is_filtered_and_picked_by_keys(notebook, tmp_path, kernel_eval):
    made_runs.finished_run(tmp_path / "first", steps=12)
    made_runs.finished_run(tmp_path / "second", steps=12)
    made_runs.finished_run(tmp_path / "judge", "reward", steps=12)
    page = notebook(
        f"import os; os.environ['WORKBENCH_RUNS'] = {str(tmp_path)!r}",
        "import workbench as wb; runs = wb.runs()",
        "runs",
    )
    root = page.locator(".wbr")
    rows = root.locator(".wbr-table tbody tr")
    expect(rows).to_have_count(3)
    assert not page.locator(".wb-still").first.is_visible()
    root.focus()
    page.keyboard.press("f")
    page.keyboard.type("ppo")
    expect(rows).to_have_count(2)
    page.keyboard.press("Escape")
    for key in (" ", "ArrowDown", " "):
        page.keyboard.press(key)
    expect(root.locator(".wbr-run")).to_have_count(2)
    page.locator(".wbp-plot .main-svg").first.wait_for(timeout=20_000)
    page.wait_for_function("() => document.querySelector('.wbp-plot').data.length === 2")
    expect(root.locator(".wbr-settings").first).to_be_attached()
    expect(root.locator(".wbr-answers tbody tr")).to_have_count(6)
    root.get_by_label("answers up to which step").fill("5")
    expect(root.locator(".wbr-answers thead")).to_contain_text("at 5")
    assert kernel_eval(page, "len(runs._view.picked)") == 2
    root.focus()
    page.keyboard.press("c")
    expect(root.locator(".wbr-run")).to_have_count(0)
    assert page.locator(".jp-Notebook .jp-Cell").count() == 3
    is_clean(page)


def test_a_row_is_written_in_opened_deleted_and_brought_back(notebook, tmp_path, kernel_eval):
    made_runs.finished_run(tmp_path / "first", steps=12)
    made_runs.finished_run(tmp_path / "judge", "reward", steps=12)
    made_runs.finished_run(tmp_path / "broken", "sft", steps=12)
    (tmp_path / "broken" / "config.json").write_text("")
    page = notebook(
        f"import os; os.environ['WORKBENCH_RUNS'] = {str(tmp_path)!r}",
        "import workbench as wb; runs = wb.runs()",
        "runs",
    )
    root = page.locator(".wbr")
    rows = root.locator(".wbr-table tbody tr")
    expect(rows.filter(has_text="broken")).to_contain_text("config.json is empty")
    root.get_by_role("button", name="KL", exact=True).click()  # the largest first
    expect(rows.first.locator(".wbr-kl")).to_have_text(re.compile(r"^[0-9.]+$"))
    root.focus()
    page.keyboard.press("e")
    page.keyboard.type("held its <b>length</b>")
    page.keyboard.press("Enter")
    expect(rows.first.locator(".wbr-note")).to_have_text("held its <b>length</b>")
    rows.first.get_by_role("button", name="tags of first").click()
    page.keyboard.type("best, short")
    page.keyboard.press("Enter")
    expect(rows.first.locator(".wbr-tags .wb-chip")).to_have_text(["best", "short"])
    assert kernel_eval(page, "wb.open_run('first').tags") == ["best", "short"]
    rows.filter(has_text="judge").get_by_role("button", name="Open judge").click()
    panel = root.locator(".wbr-opened .wbp")
    expect(panel).to_contain_text("held-out pairs", timeout=20_000)
    root.get_by_role("button", name="Close this panel").click()
    expect(panel).to_have_count(0)
    root.focus()
    page.keyboard.press("Delete")
    expect(rows).to_have_count(2)
    assert kernel_eval(page, "len(runs)") == 2 and not (tmp_path / "first").exists()
    page.keyboard.press("z")
    expect(rows).to_have_count(3)
    assert (tmp_path / "first" / "note.json").exists()
    is_clean(page)


def test_the_explorer_computes_keeps_rows_and_reads_back(notebook, kernel_eval):
    page = notebook(
        "from workbench.widgets.explorer.explorer import LossExplorer", "e = LossExplorer()\ne"
    )
    root = page.locator(".wbx")
    rows = root.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("10.000")
    expect(rows.nth(0)).to_contain_text("4.343")
    expect(rows.nth(1)).to_contain_text("0.0067")
    expect(rows.nth(1)).to_contain_text("0.0029")
    expect(root).to_contain_text("The lecture prints 4.39 and 0.003")
    expect(root).not_to_contain_text("null")
    root.get_by_label("r₂ as a number").fill("0")
    root.get_by_label("r₂ as a number").press("Enter")
    expect(root.locator(".wbx-step.natural output")).to_have_text("0.6931")
    root.focus()
    page.keyboard.press("a")
    expect(rows).to_have_count(3)
    assert kernel_eval(page, "e.rows[2]['sigma']") == 0.5
    root.get_by_role("button", name="remove row 1").click()
    expect(rows).to_have_count(2)
    assert kernel_eval(page, "[row['r1'] for row in e.rows]") == [5.0, 0.0]
    is_clean(page)


def test_the_explorer_shows_a_runs_pairs_and_as_much_of_the_curve_as_asked(notebook, kernel_eval):
    rows = "[{'step': 1, 'prompt': '<b>q</b>', 'chosen': 'yes', 'rejected': 'no', %s}]"
    scores = "'chosen_score': 0.5, 'rejected_score': 1.25"
    page = notebook(
        "from workbench.widgets.explorer.explorer import LossExplorer",
        f"e = LossExplorer('mine', {rows % scores})\ne",
    )
    root = page.locator(".wbx")
    expect(root.locator(".wbx-curve .pair.wrong")).to_have_count(1)
    assert "3" in root.locator(".wbx-curve text").all_text_contents()  # ±3 holds the pair
    root.locator(".wbx-pairs button").click()
    expect(root.locator(".wbx-pair")).to_contain_text("<b>q</b>")
    expect(root.locator(".wbx-steps")).to_contain_text("−0.8")  # the margin, to one decimal
    assert kernel_eval(page, "[e.r1, e.r2]") == [0.5, 1.25]
    root.get_by_role("button", name="±20").click()
    assert "20" in root.locator(".wbx-curve text").all_text_contents()
    is_clean(page)


def test_a_page_whose_code_does_not_come_says_so_until_it_comes(notebook, kernel_eval):
    page = notebook(
        "from workbench.widgets.explorer.explorer import LossExplorer\n"
        "send, LossExplorer._send_code = LossExplorer._send_code, lambda self: None",
        "e = LossExplorer()\ne",
    )
    silent = page.get_by_text("Waiting for the kernel to send this view")
    expect(silent).to_be_visible(timeout=15_000)
    kernel_eval(page, "send(e)")  # unasked
    expect(page.locator(".wbx tbody tr")).to_have_count(2)
    expect(silent).to_have_count(0)
    is_clean(page)


COMPARE = """
from workbench.widgets.compare.compare import CompareView
def row(i, gain):
    answers = [{"model": "sft", "text": f"plain {i}", "score": 0.0, "gold": 0.5},
               {"model": "ppo", "text": f"better <b>{i}</b>", "score": 1.0, "gold": 0.5 + gain}]
    return {"prompt": f"question {i} <img src=x onerror=alert(1)>", "answers": answers}
view = CompareView([row(0, 0.1), row(1, 0.4), row(2, -0.2)])
view
"""


def test_the_comparison_is_read_by_keys(notebook, kernel_eval):
    page = notebook(COMPARE)
    root = page.locator(".wbc")
    expect(root.locator(".wbc-means")).to_contain_text("0.600 gold score")
    expect(root.locator(".wbc-means")).to_contain_text("better on 2, the same on 0, worse on 1")
    root.locator(".wbc-list").focus()
    page.keyboard.press("ArrowDown")
    expect(root.locator(".wbc-asked")).to_contain_text("question 1 <img")
    expect(root.locator(".wbc-detail ins").first).to_be_visible()
    assert kernel_eval(page, "view.selected") == 1
    root.get_by_label("order").select_option("down")
    expect(root.locator(".wbc-option").first).to_contain_text("question 2")
    root.focus()
    page.keyboard.press("t")
    expect(root.locator(".wbc-table tbody tr")).to_have_count(3)
    page.keyboard.press("d")
    expect(root.locator(".wbc-table ins")).to_have_count(0)
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1
    is_clean(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_from_disk_and_draws(browser, tmp_path, scheme):
    answers = [{"model": "sft", "text": "a b c", "gold": 0.1}, {"model": "ppo", "text": "a d c"}]
    path = write_report(
        tmp_path / "report.html",
        title="Report",
        runs=[made_runs.finished_run(tmp_path / "reward", "reward")],
        samples=[{"prompt": "p", "answers": answers}],
    )
    context = browser.new_context(color_scheme=scheme)
    page, problems, outside = context.new_page(), [], []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: outside.append(request.url))
    page.goto(path.as_uri())
    expect(page.locator(".wbp-plot .main-svg").first).to_be_visible()
    page.get_by_role("button", name="Mark changed words").click()
    expect(page.locator("ins")).to_have_text("d ")
    dark = page.evaluate("() => document.documentElement.classList.contains('dark')")
    assert dark == (scheme == "dark")
    expect(page.locator(".wb-conclusion")).to_be_visible()
    page.set_viewport_size({"width": 690, "height": 980})  # A4 without its margins
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    expect(page.locator(".wb-print .still svg").first).to_be_visible()
    expect(page.locator(".wbp-plot:visible, button:visible")).to_have_count(0)
    root = "document.documentElement"
    assert not page.evaluate(f"() => {root}.classList.contains('dark')")
    assert page.evaluate(f"() => {root}.scrollWidth <= {root}.clientWidth")
    assert problems == [] and [url for url in outside if not url.startswith("file:")] == []
    context.close()
