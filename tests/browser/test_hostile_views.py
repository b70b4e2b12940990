"""Hostile texts in every view but the labeller's pair (see test_hostile.py): nothing of them runs.

They are prompts, answers, names of models, runs, people, metrics and tags, notes of a run, errors,
guidelines. What is on screen has no element that could run, and the page asked nobody for anything.
"""

from pathlib import Path
from typing import Any

import pytest
from hostile import FIRE, SCRIPTS
from hostile_data import IMG, SEEN, SHORT, hostile_pairs, hostile_run, reward_report
from playwright.sync_api import expect

import workbench as wb
from workbench.analysis.quality import examine
from workbench.data.pairs import Pairs
from workbench.reports.quality import Quality
from workbench.reports.run_facts import labelled
from workbench.reports.run_page import write_report
from workbench.runs import Run

SLOW = 60_000  # ms, on a busy machine
# elements that could run something or fetch something, and attributes that are code
LIVE = """(root) => [...root.querySelectorAll('*')].filter((node) =>
    ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'LINK', 'META', 'BASE'].includes(node.tagName)
    || (node.tagName === 'IMG' && !node.src.startsWith('data:'))
    || /^\\s*(javascript|http)/i.test(node.getAttribute('href') ?? '')
    || [...node.attributes].some((one) => one.name.startsWith('on'))
).map((node) => node.outerHTML.slice(0, 200))"""


def nothing_ran(page: Any, root: Any) -> None:
    """No text of ours has become code, and the page threw nothing and asked nobody."""
    assert root.evaluate(LIVE) == []
    assert page.evaluate("() => window.__fired") is None
    assert page.problems == [] and page.outside == []


# --- in JupyterLab -------------------------------------------------------------------------------

SETUP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import workbench as wb
from workbench.data.pairs import Pairs
from hostile import MARKDOWN, SCRIPTS
from hostile_data import *
store = wb.LabelStore("NAME.sqlite")
rows = [{{"prompt": text, "messages": said(text, "user"), "answers": [
    {{"model": IMG, "text": text, "score": 0.5, "gold": 0.5}},
    {{"model": SEEN, "text": text + " ", "score": 1.5, "gold": 0.25}}]}} for text in SHORT]
"""
VIEWS = {
    "browser": ("wb.browse(Pairs.from_items(hostile_pairs()), store)", ".wb"),
    "quality": ("wb.quality(Pairs.from_items(hostile_pairs()))", ".jp-OutputArea-output"),
    "reward report": ("reward_report()", ".jp-OutputArea-output"),
    "report of a pair": ("hostile_pairs()[0]", ".jp-OutputArea-output"),
    "panel": ("wb.open_run('RUNS/' + IMG)", ".wbp"),
    "panel of a failed run": ("wb.open_run('RUNS/failed')", ".wbp"),
    "runs": ("wb.runs()", ".jp-OutputArea-output"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_hostile_texts_shows_them_and_runs_nothing(view, notebook, tmp_path):
    runs = tmp_path / "runs"
    if view.startswith(("panel", "runs")):
        hostile_run(runs / IMG, "ppo")
        hostile_run(runs / "reward", "reward")
        hostile_run(runs / "failed", "ppo", failed=True)
    cell, place = VIEWS[view]
    roots = f"import os\nos.environ['WORKBENCH_RUNS'] = {str(runs)!r}"
    setup = SETUP.replace("NAME", "".join(filter(str.isalpha, view)))
    page = notebook(setup, roots, cell.replace("RUNS", str(runs)), timeout=SLOW)
    root = page.locator(place).last
    root.wait_for(state="attached", timeout=SLOW)
    root.scroll_into_view_if_needed()
    wanted = IMG if view in ("quality", "runs") else "window.__fired=1"
    expect(root).to_contain_text(wanted, timeout=SLOW)
    if view.startswith("panel"):
        page.locator(".wbp-plot .main-svg").first.wait_for(timeout=SLOW)
    if view == "runs":
        for box in root.locator("input[type=checkbox]").all()[:3]:
            box.check()
        page.wait_for_timeout(1500)
    nothing_ran(page, root)


def test_a_comparison_of_hostile_texts_runs_nothing_before_and_after_the_reveal(notebook):
    compare = "from workbench.widgets.compare.compare import CompareView\nCompareView(rows)"
    page = notebook(SETUP.replace("NAME", "compare"), compare)
    root = page.locator(".wbc")
    expect(root.locator(".wbc-means")).to_be_visible(timeout=SLOW)
    root.focus()
    for key in ("ArrowDown", "d", "t"):
        page.keyboard.press(key)
    expect(root).to_contain_text(SEEN)
    nothing_ran(page, root)


def test_a_blind_comparison_of_hostile_texts_runs_nothing(notebook):
    blind = """
from workbench.analysis.blind_comparison import BlindComparison
from workbench.widgets.compare.blind_comparison import BlindComparisonView
BlindComparisonView(BlindComparison(rows, [IMG, SEEN]), store, annotator=IMG)
"""
    page = notebook(SETUP.replace("NAME", "blind"), blind)
    root = page.locator(".wbl")
    expect(root.locator(".wbl-prompt")).to_contain_text("window.__fired", timeout=SLOW)
    root.locator(".wbl-question").click()
    nothing_ran(page, root)
    page.keyboard.press("1")
    page.keyboard.press("v")
    expect(root.locator(".wbl-status")).to_contain_text("Press V again", timeout=SLOW)
    page.keyboard.press("v")
    board = page.locator(".wbc")
    expect(board).to_contain_text(IMG, timeout=SLOW)
    nothing_ran(page, board)


PLAY = """
from workbench.widgets.compare.playground import Playground
def ask(request, told):
    told({"text": SEEN})
    text = " ".join(SCRIPTS)
    return {"text": text, "ended": True, "pieces": [text[:40], text[40:]], "kl": [0.1, 0.8],
            "score": 1.5, "scores": [1.5], "model": IMG}
Playground({IMG: "/sft", SEEN: "/ppo"}, ask, reward=IMG, store=store, annotator=IMG)
"""


def test_a_playground_of_hostile_answers_runs_nothing(notebook):
    page = notebook(SETUP.replace("NAME", "play"), PLAY)
    root = page.locator(".wbg")
    expect(root).to_contain_text("write a prompt and press Enter", timeout=SLOW)
    root.locator("textarea").click()
    page.keyboard.insert_text(f"{SEEN} {IMG}")
    page.keyboard.press("Enter")
    expect(root.locator(".wbg-card").nth(1)).to_contain_text(SEEN, timeout=SLOW)
    expect(root.locator(".wbg-card").first).to_contain_text(SCRIPTS[-1], timeout=SLOW)
    page.keyboard.press("2")
    nothing_ran(page, root)


GUIDED = """
told = {"scripts": SCRIPTS, "markdown": MARKDOWN, "all": SHORT}["WHICH"]
tags = [*SCRIPTS[:8], "\\ud800 lone", "a\\u202eb"]
desk = wb.label(Pairs.from_items(hostile_pairs()[:9]), store, annotator=IMG,
    guidelines="\\n\\n".join(told), tags=dict(zip("acjklopqxy", tags)))
desk
"""


@pytest.mark.parametrize("which", ["scripts", "markdown", "all"])
def test_hostile_guidelines_and_tags_run_nothing_and_are_kept_as_they_are(
    which, notebook, kernel_eval
):
    page = notebook(SETUP.replace("NAME", f"told{which}"), GUIDED.replace("WHICH", which))
    root = page.locator(".wbl")
    expect(root.locator(".wbl-prompt")).to_contain_text("window.__fired", timeout=SLOW)
    root.locator(".wbl-question").click()
    guide = root.locator(".wbl-guide-text")
    expect(guide).to_contain_text("window.__fired")
    expect(root.locator(".wbl-reason").first).to_contain_text(SEEN)
    expect(root.locator(".wbl-reason").nth(8)).to_contain_text("\ufffd lone")
    for key in ("a", "x", "?", "1"):
        page.keyboard.press(key)
    expect(root.locator(".wbl-status")).to_contain_text("· saved", timeout=SLOW)
    nothing_ran(page, root)
    kept = (
        "[t.replace('\\ufffd', '\\ud800') for t in store.labels()['tags'][0]] == [tags[0], tags[8]]"
    )
    assert kernel_eval(page, kept) is True
    held = "''.join('\\ufffd' if '\\ud800' <= c <= '\\udfff' else c for c in '\\n\\n'.join(told))"
    assert kernel_eval(page, f"store.sessions()['guidelines'][0] == ({held}).strip()") is True


# --- reports on disk -----------------------------------------------------------------------------


def opened(browser: Any, path: Path) -> Any:
    """A report's page, from disk, with what went wrong in it."""
    page = browser.new_context().new_page()
    page.problems, page.outside = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.outside.append(request.url))
    page.goto(path.as_uri())
    page.outside = [url for url in page.outside if not url.startswith(("file:", "data:", "blob:"))]
    return page


@pytest.mark.parametrize("kind", ["ppo", "reward", "sft", "failed", "round"])
def test_the_report_of_a_hostile_run_opens_and_runs_nothing(kind, browser, tmp_path):
    if kind == "round":
        folder = hostile_run(tmp_path / IMG, "ppo")
        sample = {"prompt": SEEN, "answers": [{"model": IMG, "text": t} for t in SHORT[:2]]}
        path = write_report(
            tmp_path / "report.html",
            title=IMG,
            runs=[folder],
            summary={IMG: SEEN},
            samples=[sample],
            more=labelled(hostile_pairs()),
        )
    else:
        run = "ppo" if kind == "failed" else kind
        folder = hostile_run(tmp_path / IMG, run, failed=kind == "failed")
        path = wb.report(Run(folder))
    page = opened(browser, path)
    expect(page.locator(".wbp-plot .main-svg").first).to_be_visible(timeout=SLOW)
    expect(page.locator("body")).to_contain_text(IMG)
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.__fired") is None
    live = page.locator("body").evaluate(LIVE)
    assert [node for node in live if not node.startswith("<script")] == []
    scripts = page.locator("script").evaluate_all("(all) => all.map((one) => one.textContent)")
    assert all(FIRE not in text or text.lstrip().startswith(("[", "{")) for text in scripts)
    assert page.problems == [] and page.outside == []
    page.context.close()


@pytest.mark.parametrize("kind", ["quality", "reward"])
def test_a_report_that_is_shown_in_a_notebook_is_dead_html(kind, browser, tmp_path):
    pairs = Pairs.from_items(hostile_pairs())
    shown: Any = Quality(examine(pairs)) if kind == "quality" else reward_report()
    path = tmp_path / "shown.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{shown._repr_html_()}", "utf-8")
    page = opened(browser, path)
    expect(page.locator("body")).to_contain_text(IMG)
    page.wait_for_timeout(500)
    nothing_ran(page, page.locator("body"))
    page.context.close()
