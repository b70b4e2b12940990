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
    expect(first).to_contain_text("score 1.50")
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
