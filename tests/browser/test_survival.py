"""What a run panel outlives, in real JupyterLab: kernels, pages, JupyterLab itself, the trainer."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lab as machinery
import made_runs
import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from workbench.runs import process

OPEN = "import workbench as wb\nwb.open_run({path!r})"
# what each panel has drawn of its first curve
DRAWN = """() => [...document.querySelectorAll('.wbp')].map(
    (panel) => panel.querySelector('.wbp-plot')?.data?.[0]?.x ?? [])"""
STEP = "() => Number(document.querySelector('.wbp-how')?.textContent.match(/\\d+/)?.[0] ?? 0)"
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"
RUN = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
FAKE = Path(__file__).parents[1] / "runs" / "fake_child.py"


@pytest.fixture
def trainer(tmp_path):
    """A process that fills a run folder, five steps a second, until it is told to stop."""
    folder = made_runs.create(tmp_path / "live", "ppo", steps=5000, kl_coef=0.05)
    command = [sys.executable, made_runs.__file__, folder.path, "5000", "0.2"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(command, env=env)
    yield folder
    child.kill()
    child.wait()


def is_complete(page, timeout=20_000):
    """Wait until the first panel has drawn every step from 1 to the one that it names."""
    page.wait_for_function(
        f"""() => {{
            const [x] = ({DRAWN})(), step = ({STEP})();
            return x?.length > 2 && x.every((value, i) => value === i + 1) && x.length >= step - 3;
        }}""",
        timeout=timeout,
    )


def test_kernel_restart_second_tab_and_reload_show_every_step(notebook, trainer):
    page = notebook(OPEN.format(path=str(trainer.path)))
    is_complete(page)
    page.evaluate(SAVE)

    other = page.context.new_page()  # a second tab, of the notebook as it was saved
    other.goto(f"{notebook.lab.url}/lab/workspaces/second/tree/{notebook.path.name}?reset")
    is_complete(other, 40_000)
    other.close()

    notebook.restart_kernel()
    root = page.locator(".wbp").first
    expect(root.locator(".wb-banner.warn")).to_contain_text("No answer from the kernel")
    before = len(page.evaluate(DRAWN)[0])
    page.evaluate(RUN)  # the same cell again
    expect(root.locator(".wb-banner.warn")).to_be_hidden(timeout=20_000)
    is_complete(page)
    page.wait_for_function(f"({DRAWN})()[0].length > {before}")

    page.evaluate(SAVE)
    notebook.again()  # a reload: the kernel lives, the page is new
    is_complete(page, 40_000)
    assert page.outside == []


def test_a_saved_notebook_opened_tomorrow_shows_its_picture_and_then_everything(
    browser, trainer, tmp_path
):
    """The browser is closed and JupyterLab restarted: no kernel, no widget state."""
    with (
        machinery.start_lab(tmp_path / "lab") as lab,
        machinery.Notebook(lab, browser, "kept") as opened,
    ):
        page = opened(OPEN.format(path=str(trainer.path)))
        is_complete(page)
        page.evaluate(SAVE)
    saved = nbformat.read(opened.path, as_version=4)
    still, _ = HTMLExporter().from_notebook_node(saved)
    assert still.count("<polyline") >= 6 and trainer.name in still
    with (
        machinery.start_lab(tmp_path / "lab") as lab,
        machinery.Notebook(lab, browser, "kept") as opened,
    ):
        page = opened.again()
        expect(page.locator(".wb-still svg").first).to_be_visible(timeout=20_000)
        page.evaluate(RUN)
        is_complete(page, 40_000)
        expect(page.locator(".wb-still svg").first).to_be_hidden()
        assert page.outside == []


def test_a_killed_trainer_reads_as_failed_and_resume_continues_exactly(notebook, tmp_path):
    folder = made_runs.create(tmp_path / "mortal", "fake", steps=60, delay=0.2, checkpoint_every=10)
    command = [sys.executable, str(FAKE), str(folder.path)]
    cell = f"""
import os; os.environ['WORKBENCH_LOCKS'] = {str(tmp_path / "locks")!r}
from workbench.runs import Run, RunFolder
from workbench.widgets.run_panel.panel import RunPanel
run = Run(RunFolder({str(folder.path)!r}), {command!r}).start()
panel = RunPanel(run)
panel"""
    page = notebook(cell)
    page.wait_for_function(f"({STEP})() >= 12")
    os.kill(process.read_record(folder.path).pid, signal.SIGKILL)
    root = page.locator(".wbp").first
    expect(root.locator(".wbp-state")).to_have_text("✕ failed", timeout=15_000)
    expect(root.locator(".wbp-failure")).to_contain_text("killed")
    expect(root.locator(".wbp-failure")).to_contain_text("goes on from the checkpoint at step")
    root.focus()
    page.keyboard.press("p")  # resume
    expect(root.locator(".wbp-state")).to_have_text("✓ finished", timeout=30_000)
    steps = [json.loads(line)["step"] for line in (folder.path / "metrics.jsonl").open()]
    assert steps == list(range(1, 61))
    page.wait_for_function(f"({DRAWN})()[0].length === 60")
    assert page.problems == [] and page.outside == []
