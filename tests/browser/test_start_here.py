"""The first notebook as a newcomer sees it: real runs, real keys, curves that grow."""

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from workbench.errors import RunError
from workbench.runs import open_run

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATIENCE = 400_000  # ms for the whole notebook, on a machine that has other things to do
SLOW = 30_000  # ms for one answer there
LIVE = "watched_live"
# The quick runs are over after two updates; this one goes on until it is told to stop.
LONGER = f"""
import os
os.environ["WORKBENCH_QUICK"] = "0"
tiny = dict(steps=400, batch_size=8, watch_prompts=2, watch_every=1)
live = wb.train_ppo("builtin:tiny-chat", reward, "sample:prompts_ppo", name="{LIVE}", **tiny)
live
"""
# What the first chart of each panel shows: how many points its longest line has (a reward run's
# held-out line has but one an evaluation), and the line that is drawn.
CHARTS = """() => [...document.querySelectorAll('.wbp')].map((panel) => {
    const plot = panel.querySelector('.wbp-plot');
    const line = plot?.querySelector('.scatterlayer .js-line')?.getAttribute('d') ?? '';
    const sizes = (plot?.data ?? []).filter((trace) => !trace.fill).map((trace) => trace.x.length);
    return { points: Math.max(0, ...sizes), line };
})"""


@pytest.fixture
def start_here(lab, tmp_path):
    """The notebook with a longer run at its end, which is stopped whatever happens."""
    shutil.copytree(NOTEBOOKS / "images", lab.root / "images", dirs_exist_ok=True)
    source = nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    source.cells.append(nbformat.v4.new_code_cell(LONGER.strip()))
    path = tmp_path / "start_here.ipynb"
    nbformat.write(source, path)
    yield path
    with suppress(RunError):  # it never began, or is over
        open_run(LIVE).stop(wait=True)


def the_last_curve(page, since):
    """Wait until the last panel's curve has gained points and was drawn anew; what it is then.

    The data of a plot changes before its line does, so both are waited for.
    """
    longer = "(([now, old]) => now.points > old.points && now.line !== old.line)"
    charts = f"[({CHARTS})().at(-1), {json.dumps(since)}]"
    page.wait_for_function(f"{longer}({charts})", timeout=4 * SLOW)
    return page.evaluate(CHARTS)[-1]


@pytest.mark.timeout(600)
def test_start_here_runs_is_labelled_and_its_plot_gains_points(notebook, start_here, kernel_eval):
    page = notebook.file(start_here, timeout=PATIENCE)
    assert kernel_eval(page, "[reward.status, ppo.status]") == ["finished", "finished"]
    expect(page.locator("img[alt^='The complete pipeline']")).to_be_visible(timeout=SLOW)

    panels = page.locator(".wbp")
    expect(panels).to_have_count(3, timeout=SLOW)
    live = panels.last
    first = the_last_curve(page, since={"points": 1, "line": ""})
    expect(live.locator(".wbp-state")).to_have_text("● running", timeout=SLOW)

    keys_label(page, kernel_eval)

    last = the_last_curve(page, since=the_last_curve(page, since=first))
    assert kernel_eval(page, "len(live.metrics())") >= last["points"]
    expect(live.locator(".wbp-answer").first).to_be_visible(timeout=SLOW)
    live.focus()
    page.keyboard.press("x")
    page.keyboard.press("x")
    expect(live.locator(".wbp-state")).to_have_text("■ stopped", timeout=4 * SLOW)
    assert [chart["points"] for chart in page.evaluate(CHARTS)[:2]] == kernel_eval(
        page, "[len(reward.metrics()), len(ppo.metrics())]"
    )
    expect(page.locator(".wbc-means")).to_contain_text("gold score", timeout=SLOW)
    assert page.problems == [] and page.outside == []


def keys_label(page, kernel_eval):
    """Five pairs by keys, one of them undone and judged again; the store has it in that order."""
    desk = page.locator(".wbl")
    desk.scroll_into_view_if_needed()
    desk.locator(".wbl-question").click()
    expect(desk).to_be_focused(timeout=SLOW)
    for key in ("1", "2", "t", "b", "1", "u", "2"):
        page.keyboard.press(key)
    expect(desk.locator(".wbl-head")).to_contain_text(
        re.compile(r"5 of \d+ labelled"), timeout=SLOW
    )
    expect(desk.locator(".wbl-status")).to_have_text("✓ Right is better · saved", timeout=SLOW)
    kinds = [*["label"] * 5, "undo", "label"]
    choices = ["left", "right", "tie", "both_bad", "left", "", "right"]
    assert kernel_eval(page, "store.events()['kind'].tolist()") == kinds
    assert kernel_eval(page, "store.events()['choice'].fillna('').tolist()") == choices
    labelled = "[e.item_id for e in store.event_list() if e.kind == 'label']"
    order = "(lambda ids: [*ids[:5], ids[4]])(wb.load_pairs('sample:unlabelled').ids())"
    assert kernel_eval(page, f"{labelled} == {order}") is True
