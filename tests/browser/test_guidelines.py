"""Guidelines beside the pair, reasons by keys, and a labeller before its kernel, in JupyterLab."""

import itertools

from labeller_page import focus_labeller, is_clean
from playwright.sync_api import expect

SETUP = """
import workbench as wb
pairs = wb.load_pairs(
    [{"prompt": f"question {i}", "responses": [f"good {i}", f"poor {i}"]} for i in range(32)])
"""
LABEL = """
widget = wb.label(pairs, "NAME.sqlite", annotator="ada",
    guidelines="# Which is better?\\n\\nThe one that is **true**.",
    tags=["accurate", "too long", "style"])
store = widget.store
widget
"""
TAGS = "[e.payload.get('tags') for e in store.event_list() if e.kind in ('label', 'skip')]"


def test_reasons_go_with_the_label_by_keys_and_by_mouse(notebook, kernel_eval):
    page = notebook(SETUP, LABEL.replace("NAME", "reasons"))
    root = focus_labeller(page)
    guide = root.locator(".wbl-guide")
    expect(guide.locator("h1")).to_have_text("Which is better?")
    expect(guide.locator("strong")).to_have_text("true")
    reasons = root.locator(".wbl-reason")
    expect(reasons).to_have_text(["Aaccurate", "Otoo long", "Ystyle"])  # t and s are taken
    page.keyboard.press("a")
    page.keyboard.press("y")
    expect(reasons.nth(0)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("y")  # not after all
    expect(reasons.nth(2)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("1")
    expect(root.locator(".wbl-status")).to_have_text("✓ Left is better · accurate · saved")
    expect(reasons.nth(0)).to_have_attribute("aria-pressed", "false")  # the next pair has none
    reasons.nth(1).click()
    root.locator('[data-action="right"]').click()
    page.keyboard.press("s")
    for key in "oa2":  # in a burst, in the order of the list
        page.keyboard.press(key)
    expect(root).to_contain_text("3 of 32 labelled")
    expect(root.locator(".wbl-unsaved")).to_have_count(0)
    assert kernel_eval(page, TAGS) == [["accurate"], ["too long"], None, ["accurate", "too long"]]
    for key in ("u", "g", "1", "Enter"):  # back at the first one, what was given stands there
        page.keyboard.press(key)
    expect(root.locator(".wbl-marks")).to_have_text("you said: left is better")
    expect(reasons.nth(0)).to_have_attribute("aria-pressed", "true")
    expect(reasons.nth(1)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("i")
    expect(guide).to_be_hidden()
    page.keyboard.press("i")
    expect(guide).to_be_visible()
    told = "store.sessions()[['annotator', 'guidelines']].values.tolist()"
    assert kernel_eval(page, told) == [["ada", "# Which is better?\n\nThe one that is **true**."]]
    is_clean(page)


def test_edit_asks_in_one_row_without_a_hole(notebook):
    page = notebook(SETUP, LABEL.replace("NAME", "edit"))
    root = focus_labeller(page)
    page.keyboard.press("w")
    expect(root.locator(".wbl-verdict")).to_have_count(3)
    boxes = [button.bounding_box() for button in root.locator(".wbl-verdict").all()]
    group = root.locator(".wbl-verdicts").bounding_box()
    assert len({round(box["y"]) for box in boxes}) == 1
    gaps = [b["x"] - a["x"] - a["width"] for a, b in itertools.pairwise(boxes)]
    assert all(5 <= gap <= 15 for gap in gaps), gaps
    right = boxes[-1]["x"] + boxes[-1]["width"]
    assert 5 <= group["x"] + group["width"] - right <= 25


def test_what_others_labelled_is_counted(notebook, kernel_eval):
    others = """
from workbench.data.labelling.session import LabelSession
with wb.LabelStore("others.sqlite") as other:
    bob = LabelSession(pairs, other, annotator="bob")
    for _ in range(24):
        bob.choose("left")
    bob.close()
"""
    page = notebook(SETUP + others, LABEL.replace("NAME", "others"))
    root = focus_labeller(page)
    expect(root.locator(".wbl-head")).to_contain_text("0 of 32 labelled8 left · 24 by others")
    back = "LabelSession(pairs, wb.LabelStore('others.sqlite'), annotator='bob').undo()"
    kernel_eval(page, back)  # while this one looks
    expect(root.locator(".wbl-head")).to_contain_text("9 left · 23 by others", timeout=30_000)


SLOW = """
import threading
late = wb.label(pairs, "late.sqlite")
answer, asked, go = late._answer, [], threading.Event()
def first_words_are_lost(content):
    asked.append(content["type"])
    return answer(content) if go.is_set() else None
late._answer = first_words_are_lost
late
"""


def test_a_labeller_whose_kernel_does_not_answer_shows_nothing_false_and_asks_again(
    notebook, kernel_eval
):
    page = notebook(SETUP, SLOW)
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    waiting = page.get_by_text("Waiting for the kernel to send what it shows")
    expect(waiting).to_be_visible(timeout=20_000)
    for part in (".wbl-track", ".wbl-item", ".wbl-verdicts", ".wbl-end"):
        expect(root.locator(part)).to_be_hidden()
    page.wait_for_timeout(3_000)  # it asks again by itself
    assert kernel_eval(page, "asked.count('ready')") >= 2
    for part in (".wbl-track", ".wbl-item", ".wbl-verdicts", ".wbl-end"):
        expect(root.locator(part)).to_be_hidden()
    kernel_eval(page, "go.set()")
    expect(root.locator(".wbl-prompt")).to_contain_text("question", timeout=20_000)
    expect(root.locator(".wbl-wait")).to_be_hidden()
    expect(root.locator(".wb-banner")).to_be_hidden()
    expect(waiting).to_have_count(0)
