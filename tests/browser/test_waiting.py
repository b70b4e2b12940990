"""Widgets come up by themselves however busy the machine is, and say nothing false meanwhile."""

import os
import subprocess
import sys
from contextlib import contextmanager

import made_runs
import pytest
from playwright.sync_api import expect

# anywidget lets a model hear nothing any more that was not ready within 2 s. A page in which that
# time is over at once stands for one on a machine that is too busy to make it.
TOO_SLOW = """
    const timeout = AbortSignal.timeout.bind(AbortSignal);
    AbortSignal.timeout = (ms) => timeout(ms === 2000 ? 0 : ms);
"""
PAIRS = "[{'prompt': f'question {n}', 'responses': ['yes', 'no']} for n in range(40)]"
LABEL = f"import tempfile, workbench as wb\nwb.label({PAIRS}, wb.LabelStore(tempfile.mktemp()))"
BROWSE = f"import workbench as wb\nwb.browse({PAIRS})"
OPEN = "import workbench as wb\nwb.open_run({path!r})"


@pytest.fixture
def run_path(tmp_path):
    return str(made_runs.finished_run(tmp_path / "mine", steps=5).path)


@contextmanager
def burners(count):
    """So many processes that do nothing but keep the processor busy."""
    code = "while True: pass"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def are_up(page, timeout):
    """The labeller, the table and the panel show what the kernel has sent."""
    expect(page.locator(".wbl-prompt")).to_contain_text("question 0", timeout=timeout)
    expect(page.locator(".wbl-head")).to_contain_text("0 of 40 labelled", timeout=timeout)
    expect(page.locator(".wbb")).to_contain_text("question 1", timeout=timeout)
    expect(page.locator(".wbp-state")).to_contain_text("finished", timeout=timeout)
    expect(page.get_by_text("Waiting for the kernel")).to_have_count(0, timeout=timeout)


def test_a_page_that_missed_anywidgets_two_seconds_comes_up_all_the_same(notebook, run_path):
    notebook.page.add_init_script(TOO_SLOW)
    page = notebook(LABEL, BROWSE, OPEN.format(path=run_path))
    are_up(page, 30_000)
    page.locator(".wbl-question").click()
    page.keyboard.press("1")
    expect(page.locator(".wbl-head")).to_contain_text("1 of 40 labelled")


@pytest.mark.timeout(600)
def test_with_all_cores_busy_each_comes_up_without_a_second_run(notebook, run_path):
    with burners(4 * (os.cpu_count() or 2)):
        page = notebook(LABEL, BROWSE, OPEN.format(path=run_path), timeout=300_000)
        are_up(page, 120_000)


def test_what_the_kernel_has_not_said_is_not_on_the_screen(notebook, kernel_eval):
    """The first answer is held back: no bar, no prompt, but what is waited for."""
    page = notebook(
        "from workbench.widgets.labeller.labeller import Labeller\n"
        "answer, asked = Labeller._answer, []\n"
        "Labeller._answer = lambda self, content: asked.append(content['type'])",
        LABEL,
    )
    waiting = page.get_by_text("Waiting for the kernel to send what it shows")
    expect(waiting).to_be_visible(timeout=15_000)
    expect(page.locator(".wbl")).to_be_hidden()
    kernel_eval(page, "setattr(Labeller, '_answer', answer)")
    expect(page.locator(".wbl-prompt")).to_contain_text("question 0", timeout=15_000)  # asked again
    expect(waiting).to_have_count(0)
    assert kernel_eval(page, "asked.count('ready')") >= 1
