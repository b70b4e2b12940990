"""From a key to the next pair on screen, in real JupyterLab, with 150,000 pairs to label."""

import json

import pytest
from labelling import SOONEST, keep
from playwright.sync_api import expect

ITEMS, LABELS, BURST = 150_000, 200, 50
SETUP = f"""
import workbench as wb
from workbench.data.pairs import Pair, Pairs
def said(text, role="assistant"):
    return [{{"role": role, "content": text}}]
pairs = Pairs.from_items(
    Pair.make(said(f"question {{i}}", "user"),
              [said(f"{{word}} {{i}} " * 40) for word in ("good", "poor")])
    for i in range({ITEMS}))
store = wb.LabelStore("speed.sqlite")
"""
CELL = "widget = wb.label(pairs, store, repeats=0.0); widget"
# One key after another, each as soon as the pair before it is on screen and saved.
PRESS = """async (count) => {
    const root = document.querySelector(".wbl");
    const prompt = () => root.querySelector(".wbl-prompt .wb-text").textContent;
    const painted = () => new Promise((done) =>
        requestAnimationFrame(() => { const c = new MessageChannel();
            c.port1.onmessage = done; c.port2.postMessage(0); }));
    const saved = () => root.querySelector(".wbl-status").textContent.includes("saved");
    const shown = [], acknowledged = [];
    for (let i = 0; i < count; i++) {
        const before = prompt(), start = performance.now();
        root.dispatchEvent(new KeyboardEvent("keydown",
            { key: "12tb"[i % 4], bubbles: true, cancelable: true }));
        while (prompt() === before) await painted();
        await painted();
        shown.push(performance.now() - start);
        while (!saved()) await painted();
        acknowledged.push(performance.now() - start);
    }
    return { shown, acknowledged };
}"""

# All at once, none waiting for another.
FLOOD = """(count) => {
    const root = document.querySelector(".wbl");
    for (let i = 0; i < count; i++)
        root.dispatchEvent(new KeyboardEvent("keydown",
            { key: "12tb"[i % 4], bubbles: true, cancelable: true }));
}"""
FIRST = f"pairs.ids()[:{LABELS + BURST}]"
SAID = ("left", "right", "tie", "both_bad")


def percentile(values, share):
    return sorted(values)[int(share * (len(values) - 1))]


@pytest.mark.slow  # a timing: it belongs to a machine that does nothing else
def test_the_next_pair_is_painted_at_once_among_150_000(notebook, kernel_eval):
    page = notebook(SETUP, CELL, timeout=120_000)
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root).to_contain_text("0 of 150,000 labelled")
    root.locator(".wbl-question").click()
    took = page.evaluate(PRESS, LABELS)
    assert len(took["shown"]) == LABELS == kernel_eval(page, "len(store.event_list())")
    found = {
        f"{name}_{int(100 * share)}_ms": round(percentile(took[name], share), 1)
        for name in took
        for share in (0.5, 0.95)
    }
    page.evaluate(FLOOD, BURST)
    expect(root).to_contain_text(f"{LABELS + BURST} of 150,000 labelled", timeout=30_000)
    said = kernel_eval(page, "[e.payload['choice'] for e in store.event_list()]")
    assert said == [SAID[i % 4] for i in (*range(LABELS), *range(BURST))]
    assert kernel_eval(page, f"[e.item_id for e in store.event_list()] == {FIRST}")
    found |= {"burst": BURST, "burst_events": len(said) - LABELS}
    print(json.dumps(found))
    keep("painted", {"items": ITEMS, "labels": LABELS, **found})
    assert found["shown_95_ms"] < SOONEST, found
    assert page.problems == [] and page.outside == []
