"""The microscope in real JupyterLab: tokens by keys, sliders by hand, and what they recompute."""

from playwright.sync_api import expect

SETUP = """
from workbench.algos.one_answer import take_apart
from workbench.verbs.look_closely import recorded
from workbench.widgets.microscope.microscope import Microscope
made = {
    "prompt": "<img src=x onerror=alert(1)>", "response": "a", "tokens": ["<b>a</b>", " b", " c"],
    "score": 2.0, "kl": 0.5, "paid": 2.0, "advantage": "gae", "estimator": "k1",
    "kl_coef": 0.1, "gamma": 1.0, "lam": 1.0, "clip_range": 0.2,
    "logprobs": [-1.0, -2.0, -0.5], "ref_logprobs": [-1.5, -2.0, -0.5],
    "after_logprobs": [-0.5, -2.0, -0.5], "values": [0.0, 1.0, 1.0], "advantages": [0.0] * 3,
}
rows = [{**made, "rank": rank, "step": step} for step in (3, 8) for rank in ("best", "worst")]
compute = lambda record, **used: take_apart(recorded(record), **used)._asdict()
"""
SHOW = """
scope = Microscope(lambda: rows, compute, name="made", kind="ppo")
scope
"""


def test_one_answer_is_taken_apart_by_hand(notebook, kernel_eval):
    page = notebook(SETUP, SHOW)
    root = page.locator(".wbm")
    root.scroll_into_view_if_needed()
    charge = root.locator(".wbm-row.charge")
    expect(charge.locator(".wbm-worked")).to_have_text("−0.100 × 0.500 = −0.050")
    expect(root.locator(".wbm-prompt")).to_contain_text("<img src=x onerror=alert(1)>")
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    beta = root.get_by_label("β, charge a nat")
    beta.focus()
    page.keyboard.press("ArrowRight")  # one step of 0.005
    expect(charge.locator(".wbm-worked")).to_have_text("−0.105 × 0.500 = −0.052")
    expect(root.locator(".wbm-was.changed")).to_have_text("the run: 0.100")
    assert kernel_eval(page, "round(scope.frame['charge'][0], 4)") == -0.0525
    root.locator(".wbm-title").click()
    root.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")  # of the sheet: the last token
    reward = root.locator(".wbm-row.reward .wbm-worked")
    expect(reward).to_have_text("0.000 + 2.000 = 2.000: the score comes here")
    page.keyboard.press("r")
    expect(root.locator(".wbm-was.changed")).to_have_count(0)
    page.keyboard.press("ArrowUp")
    expect(root.locator(".wbm-update output")).to_have_text("3 of 8")
    root.get_by_role("button", name="Worst").click()
    expect(root.get_by_role("button", name="Worst")).to_have_attribute("aria-pressed", "true")
    assert kernel_eval(page, "[scope.step, scope.rank, scope.token]") == [3, "worst", 2]
    root.locator(".wbm-token").nth(0).click()
    expect(root.locator(".wbm-row.ratio .wbm-worked")).to_have_text("exp(0.500) = 1.649")
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    root.evaluate("(node) => { node.style.width = '560px'; }")
    cut = """(node) => [...node.querySelectorAll('.wbm-worked, .wbm-slider output, .wbm-sums')]
        .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent)"""
    assert root.evaluate(cut) == []
    assert page.problems == [] and page.outside == []


WHY = """
parts = {"texts": ["<b>a</b>", " b"], "parts": [0.5, -0.25], "score": 2.0, "empty": 1.75,
         "together": 1, "sentences": []}
scope = Microscope(lambda: rows, compute, name="why", kind="ppo", explain=lambda record: parts)
scope
"""


def test_a_key_shows_the_parts_of_the_score(notebook):
    page = notebook(SETUP, WHY)
    root = page.locator(".wbm")
    root.scroll_into_view_if_needed()
    root.locator(".wbm-title").click()
    page.keyboard.press("w")
    heat = root.locator(".wb-heat")
    expect(heat.locator(".plus")).to_have_attribute("title", "Score part +0.500 points")
    expect(root.locator(".wbm-why")).to_contain_text("score +2.00: +1.75 without a word")
    root.get_by_role("button", name="Worst").click()
    expect(heat).to_contain_text("<b>a</b>")  # of the other answer
    root.get_by_role("button", name="Why this score").click()
    expect(heat).to_have_count(0)
    assert page.problems == [] and page.outside == []
