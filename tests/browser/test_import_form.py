"""From a file with unknown columns to labelled pairs, by mouse and by keyboard; nothing runs."""

import json

from hostile import TEXTS
from labeller_page import is_clean
from playwright.sync_api import expect

WRITE = """
import csv
import workbench as wb
with open("unknown.csv", "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["frage", "links", "rechts", "wahl"])
    for n in range(6):
        table.writerow([f"question {n}", f"left {n}", f"right {n}", "xy"[n % 2]])
"""
FORM = "form = wb.import_pairs('unknown.csv'); form"
WINNERS = "[p.responses[p.label['winner']][0]['content'] for p in form.pairs]"
PAIRS = ["right 0", "left 1", "right 2", "left 3", "right 4", "left 5"]


def opened(page):
    root = page.locator(".wbi")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root.locator(".wbi-columns tbody tr")).to_have_count(4)
    return root


def same_without_the_form(page, kernel_eval, root):
    code = root.locator(".wbi-code").inner_text()
    assert code.startswith("wb.load_pairs('unknown.csv', columns={")
    assert kernel_eval(page, f"list({code}) == list(form.pairs)")
    assert kernel_eval(page, "form.code") == code


def test_by_mouse(notebook, kernel_eval):
    page = notebook(WRITE, FORM)
    root = opened(page)
    root.get_by_label("prompt").select_option(label="frage")
    root.get_by_label("left answer").select_option(label="links")
    root.get_by_label("right answer").select_option(label="rechts")
    root.get_by_label("always the right one").check()
    expect(root.locator(".wbi-answer.better")).to_have_count(3)
    expect(root.locator(".wbi-answer.better").first).to_contain_text("right 0")
    root.get_by_label("the column that says which is better").select_option(label="wahl")
    expect(root.get_by_role("alert")).to_contain_text("values that are not explained: x, y")
    expect(root.locator(".wbi-read")).to_be_disabled()
    root.get_by_label("what x means").select_option(label="rechts is better")
    root.get_by_label("what y means").select_option(label="links is better")
    expect(root.locator(".wbi-answer.better").first).to_contain_text("right 0")
    expect(root.locator(".wbi-answer.better").nth(1)).to_contain_text("left 1")
    root.locator(".wbi-read").click()
    expect(root.locator(".wbi-done")).to_contain_text("6 pairs are read, 6 with a label.")
    assert kernel_eval(page, WINNERS) == PAIRS
    same_without_the_form(page, kernel_eval, root)
    is_clean(page)


def choose(page, name, label):
    """Reach a select by Tab, and its option by the keys."""
    for _ in range(40):
        if page.evaluate("() => document.activeElement.ariaLabel") == name:
            break
        page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.ariaLabel") == name
    page.keyboard.type(label)
    page.wait_for_function(
        "(label) => document.activeElement.selectedOptions[0].textContent.startsWith(label)",
        arg=label,
    )


def test_by_keyboard(notebook, kernel_eval):
    page = notebook(WRITE, FORM)
    root = opened(page)
    root.evaluate("(node) => node.focus()")
    choose(page, "prompt", "frage")
    choose(page, "left answer", "links")
    choose(page, "right answer", "rechts")
    root.evaluate("(node) => node.focus()")
    page.keyboard.press("l")
    expect(root.locator(".wbi-answer.better").first).to_contain_text("left 0")
    page.keyboard.press("r")
    expect(root.locator(".wbi-answer.better").first).to_contain_text("right 0")
    page.keyboard.press("n")
    expect(root.locator(".wbi-answer.better")).to_have_count(0)
    choose(page, "the column that says which is better", "wahl")
    choose(page, "what x means", "rechts")
    choose(page, "what y means", "links")
    expect(root.locator(".wbi-answer.better")).to_have_count(3)
    root.evaluate("(node) => node.focus()")
    page.keyboard.press("i")
    expect(root.locator(".wbi-done")).to_contain_text("6 pairs are read, 6 with a label.")
    assert kernel_eval(page, WINNERS) == PAIRS
    same_without_the_form(page, kernel_eval, root)
    is_clean(page)


HOSTILE = """
import sys
sys.path.insert(0, FOLDER)
from hostile import TEXTS
import workbench as wb
rows = [{"q" + TEXTS[0]: text, TEXTS[2]: text + " ", "<b>r</b>": "plain", "w" + TEXTS[3]: TEXTS[4]}
        for text in TEXTS]
form = wb.import_pairs(rows)
"""


def test_hostile_columns_and_texts_run_nothing(notebook, kernel_eval):
    folder = json.dumps(str(__file__).rsplit("/", 1)[0])
    page = notebook(HOSTILE.replace("FOLDER", folder), "form")
    root = opened(page)
    root.get_by_label("prompt").select_option(index=1)
    root.get_by_label("left answer").select_option(index=2)
    root.get_by_label("right answer").select_option(index=3)
    root.get_by_label("the column that says which is better").select_option(index=4)
    root.locator(".wbi-value select").select_option(index=1)
    expect(root.locator(".wbi-pair")).to_have_count(3)
    root.locator(".wbi-read").click()
    expect(root.locator(".wbi-done")).to_contain_text("pairs are read")
    assert root.locator("script, img, iframe, svg, a, object, embed, link").count() == 0
    assert page.evaluate("() => window.__fired") is None
    read = kernel_eval(page, "form.report.imported + sum(form.report.quarantined.values())")
    assert read == len(TEXTS)
    is_clean(page)
