"""The playground in real JupyterLab: asked by keys, answers grow, one is preferred, one is sent."""

from playwright.sync_api import expect

SETUP = """
import threading
from workbench.data.store.labels import LabelStore
from workbench.widgets.compare.playground import Playground
go, asked = threading.Event(), []
def ask(request, told):
    asked.append(request)
    told({"text": "a <img src=x onerror=alert(1)> gro"})
    go.wait(60)
    drawn = request["settings"]
    text = f"{request['model']} at {drawn['temperature']:g} <b>{drawn['seed']}</b>"
    pieces = [text[:5], text[5:]]
    return {"text": text, "ended": True, "pieces": pieces, "kl": [0.1, 0.8], "score": 1.5,
            "scores": [1.5]}
store = LabelStore("play.sqlite")
"""
DESK = """
desk = Playground({"sft": "/sft", "ppo": "/ppo"}, ask, reward="/reward", store=store)
desk
"""
SLOW = 60_000  # ms, on a busy machine


def test_a_prompt_is_asked_and_its_best_answer_becomes_a_label(notebook, kernel_eval):
    page = notebook(SETUP, DESK)
    root = page.locator(".wbg")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root).to_contain_text("write a prompt and press Enter", timeout=SLOW)
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    root.locator("textarea").click()
    page.keyboard.type("Describe a crow.")
    root.locator("input[aria-label=temperatures]").fill("0.5")
    root.locator("textarea").click()
    page.keyboard.press("Enter")
    first = root.locator(".wbg-card").first
    expect(first).to_contain_text("<img src=x onerror=alert(1)> gro", timeout=SLOW)  # it grows
    expect(root.locator(".wbg-card").nth(1)).to_contain_text("waits")
    kernel_eval(page, "go.set()")
    expect(root.locator(".wbg-card").nth(1)).to_contain_text("/ppo at 0.5", timeout=SLOW)
    expect(first).to_contain_text("reward score 1.50")
    expect(first).to_contain_text("KL 0.90 nats")
    expect(first.locator(".wbg-token").nth(1)).to_have_attribute("title", "0.800 nats")
    page.keyboard.press("2")  # prefer the second
    expect(root.locator(".wbg-said")).to_have_text("Saved: this answer is the better one.")
    won = "(lambda p: p.responses[p.label['winner']][0]['content'])(next(iter(store.pairs())))"
    assert kernel_eval(page, won) == "/ppo at 0.5 <b>0</b>"
    page.keyboard.press("r")  # another draw
    expect(first).to_contain_text("/sft at 0.5 <b>1</b>", timeout=SLOW)
    expect(root.locator(".wbg-card").nth(1)).to_contain_text("/ppo at 0.5 <b>1</b>", timeout=SLOW)
    assert kernel_eval(page, "[r['settings']['seed'] for r in asked]") == [0, 0, 1, 1]
    page.keyboard.press("a")  # no key of ours, and none of the notebook's
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert page.problems == [] and page.outside == []


WHY = """
def explain(request, told):
    texts = [request["response"][:4], request["response"][4:]]
    sentences = [{"first": 0, "end": 1, "without": 1.0}, {"first": 1, "end": 2, "without": 0.25}]
    return {"texts": texts, "parts": [0.5, -0.25], "score": 1.5, "empty": 1.25,
            "errors": [0.0, 0.0], "together": 1, "sentences": sentences}
go.set()
desk = Playground({"sft": "/sft"}, ask, explain=explain, reward="/reward")
desk
"""


def test_a_key_shows_where_the_scores_come_from(notebook):
    page = notebook(SETUP.replace("play.sqlite", "why.sqlite"), WHY)
    root = page.locator(".wbg")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    why = root.get_by_role("button", name="Why these scores")
    expect(why).to_be_disabled(timeout=SLOW)
    root.locator("textarea").click()
    page.keyboard.type("Describe a crow.")
    page.keyboard.press("Enter")
    expect(root.locator(".wbg-card")).to_contain_text("reward score 1.50", timeout=SLOW)
    page.keyboard.press("w")
    heat = root.locator(".wbg-card .wb-heat")
    expect(heat.locator("span").first).to_have_attribute("title", "Score part +0.500 points")
    expect(heat).to_contain_text("<b>0</b>")
    expect(root.locator(".wb-strongest").last).to_have_text(
        "score +1.50: +1.25 without a word, +0.25 by its tokens"
    )
    expect(root.locator(".wb-sentences li").last).to_contain_text(
        "−0.25 (left out by itself: +1.25)"
    )
    why.click()  # as before
    expect(heat).to_have_count(0)
    assert page.problems == [] and page.outside == []


def test_each_card_is_preferred_by_mouse_and_a_conversation_goes_on(notebook, kernel_eval):
    quick = SETUP.replace("go.wait(60)", 'told({"phase": "loading sft"}); go.wait(60)')
    quick = quick.replace('told({"text": "a <img src=x onerror=alert(1)> gro"})', "")
    page = notebook(quick.replace("play.sqlite", "mouse.sqlite"), DESK)
    root = page.locator(".wbg")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    root.get_by_text("System prompt").click()
    root.get_by_label("system prompt").fill("You are terse.")
    root.get_by_label("answer length").fill("7")
    root.locator("input[aria-label=temperatures]").fill("0.5, 1")
    root.locator("textarea").fill("Describe a crow.")
    root.get_by_role("button", name="Answer Enter").click()
    cards = root.locator(".wbg-card")
    expect(cards.first).to_contain_text("loading sft…", timeout=SLOW)
    expect(cards.nth(1)).to_contain_text("waits for its turn")
    assert "(empty)" not in root.inner_text()
    kernel_eval(page, "go.set()")
    won = "(lambda p: p.responses[p.label['winner']][0]['content'])(next(iter(store.pairs())))"
    for at, name in ((0, "/sft at 0.5"), (2, "/ppo at 0.5"), (3, "/ppo at 1"), (1, "/sft at 1")):
        prefer = cards.nth(at).get_by_role("button", name="Prefer this one")
        expect(prefer).to_be_enabled(timeout=SLOW)
        prefer.click()
        expect(cards.nth(at).get_by_role("button", name="Preferred")).to_be_visible(timeout=SLOW)
        assert kernel_eval(page, won) == f"{name} <b>0</b>"
    inks = [cards.nth(at).evaluate("card => card.className") for at in range(4)]
    assert ["c0" in ink for ink in inks] == [True, True, False, False]  # a model, a colour
    shades = [cards.nth(at).evaluate(SHADE) for at in range(4)]
    assert shades == ["40%", "100%", "40%", "100%"]  # the hotter, the darker

    cards.nth(3).get_by_role("button", name="Go on from here").click()
    expect(root.locator(".wbg-turn")).to_have_count(2, timeout=SLOW)
    expect(root.locator(".wbg-turn").first).to_contain_text("Describe a crow.")
    root.locator("textarea").fill("And a raven?")
    root.get_by_role("button", name="Answer Enter").click()
    expect(cards.nth(3)).to_contain_text("/ppo at 1", timeout=SLOW)
    expect(root.get_by_role("button", name="Stop")).to_be_disabled(timeout=SLOW)
    last = kernel_eval(page, "asked[-1]")
    assert [turn["role"] for turn in last["prompt"]] == ["system", "user", "assistant", "user"]
    assert last["prompt"][0]["content"] == "You are terse."
    assert last["settings"]["response_length"] == 7
    root.get_by_role("button", name="New conversation").click()
    expect(root.locator(".wbg-turn")).to_have_count(0, timeout=SLOW)
    assert page.problems == [] and page.outside == []


SHADE = "card => card.style.getPropertyValue('--wbg-shade')"
