"""The labeller and the browser in real JupyterLab: keys, notes, reloads, hostile text."""

import re

from labeller_page import focus_labeller, is_clean
from playwright.sync_api import expect

SETUP = """
import threading
import workbench.widgets.browser.browser as browser
import workbench.widgets.labeller.labeller as labeller
from workbench.data.store.labels import LabelStore
from workbench.data.pairs import Pair, Pairs
from workbench.data.labelling.session import LabelSession
def said(text, role="assistant"):
    return [{"role": role, "content": text}]
def pairs(n, answer="good {}", **more):
    return Pairs.from_items(
        Pair.make(said(f"question {i}", "user"), [said(answer.format(i)), said(f"poor {i}")],
                  source={"file": "f.jsonl", "row": i}) for i in range(n))
"""
CELL = """
store = LabelStore("STORE.sqlite")
widget = labeller.Labeller(LabelSession(pairs(40), store, annotator="ada"))
widget
"""
CHOICES = "store.events()['choice'].fillna('').tolist()"
KINDS = "store.events()['kind'].tolist()"


def open_labeller(notebook, name, *more, cell=CELL):
    page = notebook(SETUP, cell.replace("STORE", name), *more)
    return page, focus_labeller(page)


def cells(page):
    return page.locator(".jp-Notebook .jp-Cell").count()


def test_keys_label_in_order_and_the_notebook_sees_none(notebook, kernel_eval):
    page, root = open_labeller(notebook, "keys", "other = 1")
    before = cells(page)
    keys = ["1", "2", "t", "b", "ArrowLeft", "ArrowRight", "0", "1", "2", "T"]
    for key in keys:
        page.keyboard.press(key)
    expect(root).to_contain_text("10 of 40 labelled")
    expect(root.locator(".wbl-status")).to_have_text("✓ Tie · saved")
    wanted = ["left", "right", "tie", "both_bad", "left", "right", "tie", "left", "right", "tie"]
    assert kernel_eval(page, CHOICES) == wanted
    ids = "[e.item_id for e in store.event_list()] == pairs(40).ids()[:10]"
    assert kernel_eval(page, ids) is True
    for key in ("a", "m", "x", "y", "Enter", "ArrowDown"):
        page.keyboard.press(key)
    root.get_by_role("button", name=re.compile("Differences")).click()  # now a button was pressed
    for key in ("a", "m", "x", "d", "d"):
        page.keyboard.press(key)
    assert cells(page) == before and len(kernel_eval(page, CHOICES)) == 10
    assert page.locator(".jp-MarkdownCell").count() == 0
    page.keyboard.press("Escape")  # the notebook has the keyboard again: "b" makes a cell below
    page.keyboard.press("b")
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(before + 1)
    assert len(kernel_eval(page, CHOICES)) == 10
    is_clean(page)


def test_fifty_keys_as_fast_as_a_program_can(notebook, kernel_eval):
    cell = CELL.replace("pairs(40)", "pairs(60)")
    page, root = open_labeller(notebook, "burst", cell=cell)
    page.evaluate(
        """() => {
            const press = (key) => document.activeElement.dispatchEvent(
                new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
            for (let i = 0; i < 50; i++) press("12tb"[i % 4]);
        }"""
    )
    expect(root).to_contain_text("50 of 60 labelled", timeout=30_000)
    wanted = [["left", "right", "tie", "both_bad"][i % 4] for i in range(50)]
    assert kernel_eval(page, CHOICES) == wanted
    assert kernel_eval(page, "[e.item_id for e in store.event_list()] == pairs(60).ids()[:50]")
    is_clean(page)


def test_notes_marks_undo_and_redo(notebook, kernel_eval):
    page, root = open_labeller(notebook, "notes")
    page.keyboard.press("n")
    expect(root.get_by_label("Note")).to_be_focused()
    page.keyboard.type("1 is curt, 2 too: dd undo?")
    page.keyboard.press("Enter")
    expect(root.locator(".wbl-marks")).to_contain_text("1 is curt, 2 too: dd undo?")
    page.keyboard.press("n")
    page.keyboard.type("12t")
    page.keyboard.press("Escape")  # not saved, and the labeller has the keyboard again
    expect(root).to_be_focused()
    page.keyboard.press("f")
    expect(root.locator(".wbl-marks")).to_contain_text("flagged")
    page.keyboard.press("1")
    page.keyboard.press("s")
    expect(root.locator(".wbl-prompt")).to_contain_text("question 2")
    for key in "uur2":  # two back; the label again; a new one for the item that was skipped
        page.keyboard.press(key)
    expect(root.locator(".wbl-prompt")).to_contain_text("question 2")
    expect(root).to_contain_text("2 of 40 labelled")
    kinds = ["note", "flag", "label", "skip", "undo", "undo", "redo", "label"]
    assert kernel_eval(page, KINDS) == kinds
    assert (
        kernel_eval(page, "store.events()['payload'][0]") == '{"text":"1 is curt, 2 too: dd undo?"}'
    )
    is_clean(page)


def test_a_reload_keeps_the_state_and_the_notebook_stays_small(notebook, kernel_eval):
    page, root = open_labeller(notebook, "reload")
    for key in "12":
        page.keyboard.press(key)
    expect(root.locator(".wbl-prompt")).to_contain_text("question 2")
    save = "() => window.jupyterapp.commands.execute('docmanager:save')"
    page.evaluate(save)
    path = page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    assert kernel_eval(page, f"__import__('os').path.getsize({path!r})") < 10_000
    page.reload()
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    expect(root).to_contain_text("2 of 40 labelled")
    expect(root.locator(".wbl-prompt")).to_contain_text("question 2")
    root.scroll_into_view_if_needed()
    root.locator(".wbl-question").click()
    page.keyboard.press("t")
    expect(root).to_contain_text("3 of 40 labelled")
    assert kernel_eval(page, CHOICES) == ["left", "right", "tie"]
    is_clean(page)


def test_a_label_given_to_a_dead_kernel_is_saved_by_the_next(notebook, kernel_eval):
    page, root = open_labeller(notebook, "restart")
    page.keyboard.press("1")
    expect(root).to_contain_text("1 of 40 labelled")
    context = "window.jupyterapp.shell.currentWidget.sessionContext"
    page.evaluate(f"() => {context}.session.kernel.restart()")
    page.wait_for_function(f"() => {context}.session.kernel.status === 'idle'")
    page.keyboard.press("2")
    expect(root.locator(".wbl-status")).not_to_contain_text("saved")
    expect(root.locator(".wb-banner")).to_contain_text("The kernel does not answer", timeout=10_000)
    expect(root.locator(".wbl-foot")).to_contain_text("1 unsaved")
    expect(root.locator(".wbl-head")).to_contain_text("1 of 40 labelled")
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    expect(page.locator(".wbl-head")).to_contain_text("2 of 40 labelled", timeout=30_000)
    assert kernel_eval(page, CHOICES) == ["left", "right"]


def test_a_store_that_refuses_is_said_and_the_label_is_kept(notebook, kernel_eval):
    page, root = open_labeller(notebook, "refused")
    kernel_eval(page, "store._db.execute('PRAGMA query_only = 1').fetchall()")
    page.keyboard.press("1")
    expect(root.locator(".wb-banner")).to_contain_text("The label was not saved")
    expect(root.locator(".wbl-foot")).to_contain_text("1 unsaved")
    page.keyboard.press("2")
    expect(root.locator(".wbl-status")).to_contain_text("Not taken")
    kernel_eval(page, "store._db.execute('PRAGMA query_only = 0').fetchall()")
    root.get_by_role("button", name="Try again now").click()
    expect(root.locator(".wbl-status")).to_have_text("✓ Left is better · saved")
    page.keyboard.press("2")
    expect(root).to_contain_text("2 of 40 labelled")
    assert kernel_eval(page, CHOICES) == ["left", "right"]
    is_clean(page)


def test_a_full_disk_is_said_and_labelling_goes_on_when_there_is_room(
    notebook, kernel_eval, small_disk
):
    cell = CELL.replace('"STORE.sqlite"', f'"{small_disk.path}/full.sqlite"')
    cell = cell.replace("pairs(40)", 'pairs(40, "good {0} " * 2000)')
    page, root = open_labeller(notebook, "full", cell=cell)
    done = 0
    while root.locator(".wb-banner").is_hidden():
        assert done < 40, "512 kB held 40 pairs of 30 kB"
        page.keyboard.press("1")
        expect(root.locator(".wbl-status.saved, .wb-banner:visible").first).to_be_visible()
        done = kernel_eval(page, "len(store.event_list())")
    banner = root.locator(".wb-banner")
    expect(banner).to_contain_text("The label was not saved: database or disk is full")
    expect(banner).to_contain_text("make room on the disk")
    expect(root.locator(".wbl-foot")).to_contain_text("1 unsaved")
    expect(root.locator(".wbl-head")).to_contain_text(f"{done} of 40 labelled")
    page.keyboard.press("2")
    expect(root.locator(".wbl-status")).to_contain_text("Not taken")
    small_disk.hold(16_384, "remount")
    root.get_by_role("button", name="Try again now").click()
    expect(banner).to_be_hidden()
    expect(root.locator(".wbl-status")).to_have_text("✓ Left is better · saved")
    page.keyboard.press("2")
    expect(root).to_contain_text(f"{done + 2} of 40 labelled")
    assert kernel_eval(page, CHOICES) == ["left"] * (done + 1) + ["right"]
    is_clean(page)


HOSTILE = r"""
store = LabelStore("hostile.sqlite")
bad = "<img src=x onerror='window.__fired=1'><script>window.__fired=1</script>\n[x](javascript:1)"
bad += " \u202eabc\u202c \x00 \ud800 \u2028 z\u200bw **bold** <b>tag</b> &amp;"
item = Pair.make(said("question " + bad, "user"), [said(bad), said("plain")])
widget = labeller.Labeller(LabelSession(Pairs.from_items([item]), store, annotator="<i>ada</i>"))
table = browser.Browser(Pairs.from_items([item]))
widget
"""


def test_hostile_text_is_all_seen_and_never_runs(notebook, kernel_eval):
    page, root = open_labeller(notebook, "hostile", "table", cell=HOSTILE)
    table = page.locator(".wbb")
    table.scroll_into_view_if_needed()
    table.locator(".wbb-row").click()
    table.locator(".wbb-detail").wait_for()
    for place in (root.locator(".wbl-prompt"), table.locator(".wbb-card.prompt")):
        for text in ("<script>window.__fired=1</script>", "⟨D800⟩", "␀", "RLO", "LS", "ZWSP"):
            expect(place).to_contain_text(text)
        for text in ("<b>tag</b>", "&amp;", "**bold**"):
            expect(place).to_contain_text(text)
    expect(root.locator(".wbl-head")).to_contain_text("<i>ada</i>")
    root.locator(".wbl-question").click()
    page.keyboard.press("d")
    expect(root.locator("del, ins").first).to_be_visible()
    page.keyboard.press("1")
    expect(root).to_contain_text("The one pair is decided")
    assert page.evaluate("() => window.__fired") is None
    assert kernel_eval(page, "store.item(item.id).responses == item.responses")
    is_clean(page)


TABLE = """
big = pairs(20_000)
table = browser.Browser(big)
table
"""


def test_a_big_table_is_searched_sorted_selected_and_read(notebook, kernel_eval):
    page = notebook(SETUP, TABLE)
    root = page.locator(".wbb")
    root.locator(".wbb-row").first.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root.locator(".wbb-count")).to_have_text("20,000 pairs")
    before = cells(page)
    root.locator(".wbb-row").nth(1).click()
    expect(root.locator(".wbb-detail")).to_contain_text("question 1")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    expect(root.locator(".wbb-chosen")).to_have_text("3 selected")
    assert kernel_eval(page, "table.selection.index.tolist()") == [1, 2, 3]
    root.locator(".wbb-row").nth(0).locator(".tick").click()
    page.keyboard.press("d")
    for key in ("a", "m", "x"):
        page.keyboard.press(key)
    assert cells(page) == before
    assert kernel_eval(page, "table.selection.index.tolist()") == [0, 1, 2, 3]
    page.keyboard.press("End")
    expect(root.locator(".wbb-row.cursor")).to_contain_text("question 19999")
    assert root.locator(".wbb-row").count() < 60
    page.keyboard.press("/")
    page.keyboard.type("QUESTION 1234")
    expect(root.locator(".wbb-count")).to_have_text("11 of 20,000 pairs")
    expect(root.locator(".wbb-row mark").first).to_have_text("question 1234")
    assert kernel_eval(page, "[table.query, len(table.shown)]") == ["QUESTION 1234", 11]
    root.get_by_role("columnheader", name="#").click()
    expect(root.locator(".wbb-row").first).to_contain_text("question 12349")
    page.keyboard.press("Enter")
    expect(root.locator(".wbb-detail")).to_contain_text("question 12349")
    is_clean(page)
