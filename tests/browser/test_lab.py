"""The fixtures themselves: what they promise to notice, they notice."""

import os
import sys

import ipykernel
import pytest
from playwright.sync_api import expect

BUTTON = """
import threading
import ipywidgets as W
go, told, live = W.Button(description="go"), W.Label("0 clicks"), W.Label("tick 0")
clicks, stop = [], threading.Event()
def clicked(_):
    clicks.append(1)
    told.value = f"{len(clicks)} clicks"
go.on_click(clicked)
def tick():
    count = 0
    while not stop.wait(0.05):
        count += 1
        live.value = f"tick {count}"
threading.Thread(target=tick, daemon=True).start()
W.VBox([go, told, live])
"""


def test_a_widget_answers_and_a_thread_moves_it_while_the_kernel_is_free(notebook, kernel_eval):
    page = notebook(BUTTON, "x = 41 + 1")
    page.get_by_role("button", name="go").click()
    expect(page.locator(".widget-label", has_text="1 clicks")).to_be_visible()
    ticking = page.locator(".widget-label", has_text="tick")
    expect(ticking).not_to_have_text(ticking.inner_text())
    assert kernel_eval(page, "x") == 42
    kernel_eval(page, "stop.set()")
    assert page.problems == [] and page.outside == []


def test_a_failing_cell_ends_the_wait_and_is_told(notebook, kernel_eval):
    page = notebook("1 / 0", "never = 1", fails="ZeroDivisionError: division by zero")
    with pytest.raises(AssertionError, match="'never' is not defined"):
        kernel_eval(page, "never")


def test_a_page_that_reaches_outside_or_throws_is_noticed(notebook):
    page = notebook("x = 1")
    with page.expect_event("requestfailed"):
        page.evaluate("() => void fetch('http://elsewhere.invalid/x.js').catch(() => {})")
    with page.expect_event("pageerror"):
        page.evaluate("() => void setTimeout(() => { throw new Error('a slip') })")
    assert page.outside == ["http://elsewhere.invalid/x.js"]
    assert any("a slip" in problem for problem in page.problems)


def test_the_kernel_is_the_one_that_was_asked_for(notebook, kernel_eval):
    page = notebook("import ipykernel, sys")
    other = os.environ.get("WORKBENCH_KERNEL")
    assert kernel_eval(page, "sys.executable") == (other or sys.executable)
    version = kernel_eval(page, "ipykernel.__version__")
    assert version != ipykernel.__version__ if other else version == ipykernel.__version__
