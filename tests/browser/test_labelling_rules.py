"""Strength, rankings, edits, numbers to go to and Markdown, by keys in real JupyterLab."""

import re

from labeller_page import focus_labeller, is_clean
from playwright.sync_api import expect

SETUP = """
import workbench.widgets.labeller.labeller as labeller
from workbench.data.store.labels import LabelStore
from workbench.data.pairs import Pair, Pairs
from workbench.data.labelling.session import LabelSession
def said(text, role="assistant"):
    return [{"role": role, "content": text}]
def pairs(n, answers=("good", "poor")):
    return Pairs.from_items(
        Pair.make(said(f"question {i}", "user"), [said(f"{word} {i}") for word in answers])
        for i in range(n))
def labels():
    return [e.payload["label"] for e in store.event_list() if e.kind in ("label", "edit")]
def seen():
    return [[r[0]["content"].split()[0] for r in s.responses] for s in shown]
"""
CELL = """
store = LabelStore("STORE.sqlite")
session = LabelSession(TABLE, store, annotator="ada"WISHES)
widget = labeller.Labeller(session)
widget
"""


def open_labeller(notebook, name, table="pairs(40)", wishes=""):
    cell = CELL.replace("STORE", name).replace("TABLE", table).replace("WISHES", wishes)
    page = notebook(SETUP, cell)
    return page, focus_labeller(page)


def test_the_strength_is_a_second_key(notebook, kernel_eval):
    page, root = open_labeller(notebook, "strength", wishes=", strength=3")
    page.keyboard.press("1")
    expect(root.locator(".wbl-asked")).to_have_text("Left is better: how much?")
    expect(root.locator(".wbl-verdict").first).to_have_text("1slightly")
    expect(root).to_contain_text("0 of 40 labelled")
    page.keyboard.press("Backspace")  # not after all
    expect(root.locator(".wbl-asked")).to_have_count(0)
    for key in ("2", "3", "t", "1", "Escape", "1", "u", "ArrowLeft", "1"):
        page.keyboard.press(key)  # right, far; tie; begun and left twice; left, slightly
    expect(root).to_contain_text("3 of 40 labelled")
    expect(root).to_be_focused()
    told = "[(l['kind'], l.get('strength')) for l in labels()]"
    assert kernel_eval(page, told) == [["choice", 3], ["tie", None], ["choice", 1]]
    assert kernel_eval(page, "[e.payload['choice'] for e in store.event_list()]") == [
        *("right", "tie", "left")
    ]
    root.locator('[data-action="left"]').click()
    root.get_by_role("button", name="clearly").click()
    expect(root.locator(".wbl-status")).to_have_text("✓ Left is better (2) · saved")
    is_clean(page)


def test_fifty_labels_with_strength_as_fast_as_a_program_can(notebook, kernel_eval):
    page, root = open_labeller(notebook, "strong_burst", "pairs(60)", ", strength=3")
    page.evaluate(
        """() => {
            const press = (key) => document.activeElement.dispatchEvent(
                new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
            for (let i = 0; i < 50; i++) { press("12"[i % 2]); press("123"[i % 3]); }
        }"""
    )
    expect(root).to_contain_text("50 of 60 labelled", timeout=30_000)
    wanted = [[["left", "right"][i % 2], i % 3 + 1] for i in range(50)]
    told = "[[e.payload['choice'], e.payload['label']['strength']] for e in store.event_list()]"
    assert kernel_eval(page, told) == wanted
    assert kernel_eval(page, "[e.item_id for e in store.event_list()] == pairs(60).ids()[:50]")
    is_clean(page)


def test_answers_are_put_in_order_by_their_digits(notebook, kernel_eval):
    page, root = open_labeller(notebook, "ranking", "pairs(9, ('a', 'b', 'c', 'd'))")
    cards = root.locator(".wbl-answer")
    expect(cards).to_have_count(4)
    for key in ("3", "1", "=", "4"):
        page.keyboard.press(key)
    expect(cards.nth(2).locator(".wbl-rank")).to_have_text("1st")
    expect(cards.nth(0).locator(".wbl-rank")).to_have_text("2nd")
    expect(cards.nth(3).locator(".wbl-rank")).to_have_text("2nd")
    expect(root.get_by_role("button", name="the rest share the last rank")).to_be_visible()
    page.keyboard.press("Backspace")
    expect(cards.nth(3).locator(".wbl-rank")).to_have_count(0)
    page.keyboard.press("2")
    expect(cards.nth(1).locator(".wbl-rank")).to_have_text("3rd")
    page.keyboard.press("Enter")
    expect(root).to_contain_text("1 of 9 labelled")
    expect(cards.first.locator(".wbl-rank")).to_have_count(0)
    assert kernel_eval(page, "[e.payload['choice'] for e in store.event_list()]") == ["2>0>1>3"]
    page.keyboard.press("Enter")  # nothing is ranked: nothing happens, and no cell runs
    expect(root.locator(".wbl-status")).to_contain_text("Rank the best answer first")
    for key in ("4", "Enter", "t", "b", "u"):
        page.keyboard.press(key)
    expect(root).to_contain_text("3 of 9 labelled")
    assert kernel_eval(page, "[l['kind'] for l in labels()]") == ["rank", "rank", "tie", "both_bad"]
    cards_order = "[session.jump(n).decided for n in range(4)]"
    assert kernel_eval(page, cards_order) == ["2>0>1>3", "3>0=1=2", "tie", None]
    is_clean(page)


def test_an_answer_is_worded_better(notebook, kernel_eval):
    page, root = open_labeller(notebook, "edit")
    left = root.locator(".wbl-answer.left .wb-text").inner_text()
    page.keyboard.press("w")
    expect(root.locator(".wbl-asked")).to_have_text("Which answer will you word better?")
    page.keyboard.press("1")
    box = root.get_by_label("A better answer, made from left")
    expect(box).to_be_focused()
    expect(box).to_have_value(left)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("12tb dd")
    page.keyboard.press("Enter")
    page.keyboard.type("second line")
    expect(root).to_contain_text("0 of 40 labelled")
    page.keyboard.press("ControlOrMeta+Enter")
    expect(root).to_contain_text("1 of 40 labelled")
    expect(root).to_be_focused()
    assert kernel_eval(page, "store.pairs()[0].responses[2][0]['content']") == (
        "12tb dd\nsecond line"
    )
    assert kernel_eval(page, "store.pairs()[0].label['ranks'][2]") == 1
    for key in ("w", "ArrowRight", "Escape", "w", "Escape"):  # thought better of it, twice
        page.keyboard.press(key)
    page.keyboard.press("w")
    page.keyboard.press("2")
    page.keyboard.press("ControlOrMeta+Enter")
    expect(root.locator(".wbl-status")).to_contain_text("nothing was changed")
    assert kernel_eval(page, "len(store.event_list())") == 1
    is_clean(page)


def test_no_key_acts_while_a_word_is_put_together(notebook, kernel_eval):
    page, root = open_labeller(notebook, "composing")
    page.keyboard.press("n")
    for how in ("{ isComposing: true }", "{ keyCode: 229 }"):
        page.evaluate(
            f"""() => document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
                {{ key: "Enter", bubbles: true, cancelable: true, ...{how} }}))"""
        )
    expect(root.get_by_label("Note")).to_be_focused()
    page.keyboard.press("Escape")
    page.evaluate(
        """() => document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
            { key: "1", bubbles: true, cancelable: true, isComposing: true }))"""
    )
    page.keyboard.press("t")
    expect(root).to_contain_text("1 of 40 labelled")
    assert kernel_eval(page, "[l['kind'] for l in labels()]") == ["tie"]
    is_clean(page)


def test_going_to_a_number_and_back(notebook, kernel_eval):
    page, root = open_labeller(notebook, "jump")
    page.keyboard.press("g")
    page.keyboard.type("31")
    page.keyboard.press("Enter")
    expect(root.locator(".wbl-prompt")).to_contain_text("question 30")
    expect(root).to_be_focused()
    page.keyboard.press("1")
    expect(root.locator(".wbl-prompt")).to_contain_text("question 31")
    page.keyboard.press("g")
    page.keyboard.type("31")
    page.keyboard.press("Enter")
    expect(root.locator(".wbl-marks")).to_contain_text("you said: left is better")
    page.keyboard.press("g")
    page.keyboard.type("41")
    page.keyboard.press("Enter")
    expect(root.locator(".wbl-status")).to_contain_text("There is no number 41")
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(root.locator(".wbl-prompt")).to_contain_text("question 31")
    assert kernel_eval(page, "[e.payload['choice'] for e in store.event_list()]") == [
        *("left", "right")
    ]
    is_clean(page)


MARKDOWN = r"""
store = LabelStore("markdown.sqlite")
text = "# Title\n\n- **bold** and `code < 1`\n\n```python\nprint('<b>')\n```\n\n"
text += "[link](http://outside.example/x) ![i](http://outside.example/p.png)"
other = "plain <img src=x onerror=alert(1)>"
item = Pair.make(said("question *one*", "user"), [said(text), said(other)])
widget = labeller.Labeller(LabelSession(Pairs.from_items([item]), store, annotator="ada"))
widget
"""


def test_markdown_is_one_key_away_and_does_nothing(notebook, kernel_eval):
    page = notebook(SETUP, MARKDOWN)
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root).to_contain_text("**bold**")
    root.locator(".wbl-question").click()
    page.keyboard.press("m")
    for selector, text in {
        "h1": "Title",
        "li strong": "bold",
        "li code": "code < 1",
        "pre code": "print('<b>')",
        ".wbl-prompt em": "one",
    }.items():
        expect(root.locator(selector)).to_have_text(re.compile(re.escape(text)))
    expect(root).to_contain_text("link (http://outside.example/x)")
    expect(root).to_contain_text("<img src=x onerror=alert(1)>")
    assert root.locator("a, img, script, b").count() == 0
    page.keyboard.press("d")  # differences are of the text as it was written
    expect(root.locator("del, ins").first).to_be_visible()
    page.keyboard.press("d")
    page.keyboard.press("m")
    expect(root).to_contain_text("**bold**")
    is_clean(page)
