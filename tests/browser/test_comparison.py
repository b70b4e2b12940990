"""Models compared blind in real JupyterLab: thirty prompts by keys, then the reveal."""

from playwright.sync_api import expect

SETUP = """
from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.store.labels import LabelStore
from workbench.widgets.compare.blind_comparison import BlindComparisonView
def answer(model, text, gold):
    return {"model": model, "text": text, "gold": gold, "score": 4 * gold - 2}
rows = [{"prompt": f"question {n}", "messages": [{"role": "user", "content": f"question {n}"}],
         "answers": [answer("before", f"poor {n} <img src=x onerror=alert(1)>", 0.25),
                     answer("after", f"good {n}", 0.75)]} for n in range(30)]
store = LabelStore("blind.sqlite")
"""
SLOW = 60_000  # ms; a busy machine may take a second a label
DESK = """
comparison = BlindComparison(rows, ["before", "after"])
desk = BlindComparisonView(comparison, store, annotator="ada", seed=1)
desk
"""


def test_thirty_pairs_by_keys_are_in_the_store_and_the_reveal_says_who_won(notebook, kernel_eval):
    page = notebook(SETUP, DESK)
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root.locator(".wbl-prompt")).to_contain_text("question 0")
    assert "before" not in root.inner_text() and "after" not in root.inner_text()
    root.locator(".wbl-question").click()
    lefts = kernel_eval(
        page,
        "[desk.session.jump(n).left[0]['content'].startswith('good') for n in range(30)]"
        " + [bool(desk.session.jump(0))]",
    )[:30]
    # what a person would press: the good answer on 20, the other on 6, no difference on 4
    keys = ["1" if (left == (n < 20)) else "2" for n, left in enumerate(lefts)]
    keys[26:] = ["t", "t", "b", "t"]
    for key in keys[:5]:
        page.keyboard.press(key)
    page.keyboard.press("v")  # too early: it asks again
    status = root.locator(".wbl-status")
    expect(status).to_contain_text("25 prompts are not judged", timeout=SLOW)
    for key in keys[5:]:
        page.keyboard.press(key)
    expect(root.locator(".wbl-end")).to_contain_text("30 judged", timeout=SLOW)
    expect(root.locator(".wbl-end")).not_to_contain_text("after")
    events = "[(e.kind, e.payload['label']['kind']) for e in store.event_list()]"
    kinds = [["label", "choice"]] * 26 + [["label", "tie"]] * 2
    kinds += [["label", "both_bad"], ["label", "tie"]]
    assert kernel_eval(page, events) == kinds
    page.keyboard.press("v")
    board = page.locator(".wbc")
    results = board.locator(".wbc-results")
    expect(results).to_contain_text("You: after against before", timeout=SLOW)
    expect(results).to_contain_text("20 won, 4 tied, 6 lost")
    expect(results).to_contain_text("Against your verdict on 6 of 26")
    rows = results.locator(".wbc-rate")
    expect(rows).to_have_count(3)  # the person, the reward model, the gold judge
    shown = [rows.nth(at).locator(".wbc-fill").evaluate("bar => bar.style.width") for at in (0, 1)]
    assert [round(float(width[:-1])) for width in shown] == [73, 100]  # (20 + 4 / 2) / 30
    expect(rows.first.locator(".wbc-track")).to_have_attribute(
        "aria-label", "73 %, 95 % interval 56 % to 86 %"
    )
    rows.nth(2).get_by_role("button", name="against you on 6 of 26").click()
    expect(board.locator(".wbc-option")).to_have_count(6)
    expect(board.locator(".wbc-detail")).to_contain_text("question 20")
    board.get_by_role("button", name="only where the gold judge is against you").click()
    expect(board.locator(".wbc-option")).to_have_count(30)
    expect(page.locator(".wbl")).to_have_count(0)
    page.keyboard.press("ArrowDown")  # the board has the keyboard
    expect(board.locator(".wbc-detail")).to_contain_text("Prompt 2 of 30")
    page.keyboard.press("q")
    expect(board.locator(".wbc-said")).to_have_text("prompt 2 waits already, or has a label")
    board.locator("select[aria-label=order]").select_option("against")
    expect(board.locator(".wbc-option").first).to_contain_text("question 20")
    wins = "desk.result().to_dict('records')[0]['wins']"
    assert kernel_eval(page, wins) == 20
    assert page.problems == [] and page.outside == []


def test_a_second_v_reveals_however_long_it_takes_to_decide(notebook):
    page = notebook(SETUP.replace("blind.sqlite", "again.sqlite"), DESK)
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root.locator(".wbl-prompt")).to_contain_text("question 0")
    root.locator(".wbl-question").click()
    status = root.locator(".wbl-status")
    page.keyboard.press("v")
    expect(status).to_contain_text("30 prompts are not judged", timeout=SLOW)
    page.keyboard.press("1")  # judged on instead: whoever presses V now is asked again
    expect(status).to_contain_text("Left is better", timeout=SLOW)
    page.keyboard.press("v")
    expect(status).to_contain_text("29 prompts are not judged", timeout=SLOW)
    page.evaluate("performance.now = () => 1e9")  # much later
    page.keyboard.press("v")
    expect(page.locator(".wbc-results")).to_contain_text("You: after against before", timeout=SLOW)
