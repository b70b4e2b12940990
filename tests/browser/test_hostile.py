"""Fifty hostile texts as prompt and as answer: nothing runs, all of it is seen, all comes back."""

import json

from hostile import TEXTS
from playwright.sync_api import expect

SETUP = """
import sys
sys.path.insert(0, FOLDER)
from hostile import TEXTS
import workbench as wb
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.labels import LabelStore
def said(text, role="assistant"):
    return [{"role": role, "content": text}]
table = Pairs.from_items(
    Pair.make(said(text, "user"), [said(text + " "), said("plain")]) for text in TEXTS)
store = LabelStore("fifty.sqlite")
"""
DESK = "desk = wb.label(table, store, annotator='<b>ada</b>'); desk"
# What is on screen, as text: marks by their signs, a cut text whole.
SEEN = "(node) => node.textContent"


def signs(text: str) -> list[str]:
    """What must be on screen for the characters of a text that have no glyph."""
    found = []
    for character in sorted(set(text)):
        code = ord(character)
        if 0xD800 <= code <= 0xDFFF or code in (0xFDD0, 0xFFFE, 0xFFFF):
            found.append(f"⟨{code:04X}⟩")
        elif code < 0x20 and character not in "\n\t":
            found.append(chr(0x2400 + code))
        elif named := {0x7F: "␡", 0x202E: "RLO", 0x2028: "LS", 0x200B: "ZWSP", 0xFEFF: "BOM"}.get(
            code
        ):
            found.append(named)
    return found


def visible(text: str) -> str:
    """A text's characters that have a glyph, without space: what can be compared on screen."""
    return "".join(c for c in text if c.isprintable() and not c.isspace())


def test_fifty_hostile_texts_are_seen_and_never_run(notebook, kernel_eval):
    assert len(TEXTS) == 50 == len(set(TEXTS))
    folder = json.dumps(str(__file__).rsplit("/", 1)[0])
    page = notebook(SETUP.replace("FOLDER", folder), DESK)
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    root.locator(".wbl-question").click()
    page.keyboard.press("m")  # as Markdown first, then as it was written
    for number, text in enumerate(TEXTS):
        expect(root.locator(".wbl-head")).to_contain_text(f"{number} of 50 labelled")
        expect(root.locator(".wbl-prompt .wb-markdown, .wbl-prompt .wb-text").first).to_be_visible()
        page.keyboard.press("m")
        page.keyboard.press("e")
        prompt = root.locator(".wbl-prompt .wb-fold")
        answer = root.locator(".wbl-answer", has_not_text="plain").locator(".wb-fold")
        if len(text) > 7_500:
            page.wait_for_function(
                "(n) => document.querySelector('.wbl-prompt .wb-fold').textContent.length >= n",
                arg=len(text),
            )
        for place in (prompt, answer):
            seen = place.evaluate(SEEN)
            for sign in signs(text):
                assert sign in seen, (number, sign)
            plain = [c for c in visible(text) if c.isalnum() or c in "<>&;\"'`*[]()!|#"]
            on_screen = iter(visible(seen))
            assert all(c in on_screen for c in plain), (number, text[:80], seen[:200])
        assert root.locator("script, img, iframe, svg, a, object, embed, link, style").count() == 0
        page.keyboard.press("m")
        page.keyboard.press("1")
    expect(root).to_contain_text("pairs are decided")
    assert page.evaluate("() => window.__fired") is None
    same = "[store.item(p.id).prompt[0]['content'] for p in table] == TEXTS"
    assert kernel_eval(page, same) is True
    for name in ("canonical", "trl"):
        again = f"wb.load_pairs(str(store.pairs().save('out.jsonl'))) if {name!r} == 'canonical'"
        again += (
            " else wb.load_pairs(str(__import__('workbench.data.writing.writers', fromlist=['x'])"
        )
        again += f".write_pairs(store.pairs(), 'out.jsonl', format={name!r})))"
        read = f"sorted(p.prompt[0]['content'] for p in ({again})) == sorted(TEXTS)"
        assert kernel_eval(page, read) is True, name
    assert page.problems == [] and page.outside == []
