"""The text code of the widgets in a bare page: marks for what cannot be seen, word differences."""

import pytest
from playwright.sync_api import expect

from workbench.widgets.kit.theme import module

NAMES = "{ arrive, compareTurns, guardKeys, turns, visible, wordDiff, words }"
LOAD = """async (code) => {
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    window.wb = await import(url);
}"""
SHOW = """(text) => {
    const node = document.createElement("div");
    node.append(wb.visible(text));
    return [node.textContent, node.querySelectorAll(".wb-mark").length, node.children.length];
}"""


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    page.evaluate(LOAD, f"{module('widgets/kit/safe_text.js')}\nexport {NAMES};")
    yield page
    page.close()


@pytest.mark.parametrize(
    ("text", "shown", "marks"),
    [
        ("plain <b>text</b> &amp;", "plain <b>text</b> &amp;", 0),
        ("a\x00b\x07\x7f", "a␀b␇␡", 3),
        ("x\u200by\ufeffz", "xZWSPyBOMz", 2),
        ("\u202eabc\u202c", "RLOabcPDF", 2),
        ("a\u2028b\u2029c\x85", "aLSbPSc⟨0085⟩", 3),
        ("👩\u200d👩\u200d👧 \U0001f3f4\U000e0067\U000e007f", None, 0),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None, 0),
        ("ad\u200cmin", "adZWNJmin", 1),
        ("tab\tand\nline", "tab\tand\nline", 0),
        ("  a \n", "··a·↵\n", 4),
        ("two\n\nparagraphs", "two\n\nparagraphs", 0),
        ("", "", 0),
    ],
)
def test_what_cannot_be_seen_is_marked_and_the_rest_left_alone(page, text, shown, marks):
    assert page.evaluate(SHOW, text) == [text if shown is None else shown, marks, marks]


def test_lone_surrogates_arrive_and_are_marked(page):
    show = (
        "(text) => { const n = document.createElement('p'); n.append(wb.visible(wb.arrive(text)));"
    )
    assert page.evaluate(show + " return n.textContent; }", "a\ufdd0D800\ufdd1b") == "a⟨D800⟩b"


def test_a_megabyte_of_blanks_takes_no_time(page):
    slow = (
        "(text) => { const t = performance.now(); wb.visible(text); return performance.now() - t; }"
    )
    assert page.evaluate(slow, "a" + " " * 1_000_000 + "b") < 1_000


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello, world!  ok\nnew", ["Hello", ", ", "world", "!  ", "ok\n", "new"]),
        ("don't stop", ["don't ", "stop"]),
        ("日本語のテキスト", ["日本語", "の", "テキスト"]),
        ("  lead", ["  ", "lead"]),
        ("", []),
    ],
)
def test_words_keep_the_space_that_follows_them(page, text, tokens):
    assert page.evaluate("(text) => wb.words(text)", text) == tokens


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("the cat sat", "the dog sat", ("the [cat ]sat", "the [dog ]sat")),
        ("same", "same", ("same", "same")),
        ("", "x y", ("", "[x y]")),
        ("a b", "a b c d", ("a b", "a b [c d]")),
        ("one, two", "one. two", ("one[, ]two", "one[. ]two")),
    ],
)
def test_differences_in_words(page, left, right, expected):
    found = page.evaluate("([a, b]) => wb.wordDiff(a, b)", [left, right])
    drawn = tuple(
        "".join(f"[{text}]" if changed else text for text, changed in found[side])
        for side in ("left", "right")
    )
    assert drawn == expected


def test_what_is_kept_is_a_longest_common_subsequence(page):
    wrong = page.evaluate("""() => {
        const longest = (x, y) => {
            const best = Array.from({ length: x.length + 1 }, () => Array(y.length + 1).fill(0));
            x.forEach((p, i) => y.forEach((q, j) => { best[i + 1][j + 1] =
                p === q ? best[i][j] + 1 : Math.max(best[i][j + 1], best[i + 1][j]); }));
            return best[x.length][y.length];
        };
        let seed = 7;
        const random = (n) => (seed = (seed * 16807) % 2147483647) % n;
        const text = () => Array.from({ length: random(12) }, () => "abc"[random(3)]);
        const kept = (runs) => runs.filter((r) => !r[1]).map((r) => r[0]).join("").split(/\\s+/)
            .filter(Boolean);
        const wrong = [];
        for (let round = 0; round < 2000; round++) {
            const [x, y] = [text(), text()];
            const { left, right } = wb.wordDiff(x.join(" "), y.join(" "));
            const [p, q] = [kept(left), kept(right)];
            const whole = left.map((r) => r[0]).join("") === x.join(" ");
            if (p.join() !== q.join() || p.length !== longest(x, y) || !whole) wrong.push([x, y]);
        }
        return wrong;
    }""")
    assert wrong == []


def test_a_difference_that_takes_too_long_is_given_up(page):
    found, spent = page.evaluate("""() => {
        const text = (k) => Array.from({ length: 20000 }, (_, i) => `w${(i * k) % 9973}`).join(" ");
        const [a, b] = [text(7), text(11)];
        const start = performance.now();
        return [wb.wordDiff(a, b, 50), performance.now() - start];
    }""")
    assert found is None and spent < 2_000


# --- the browser's filters, in JupyterLab

SCORED = """
import workbench as wb
from workbench.data.pairs import Pair, Pairs
def said(text, role="assistant"):
    return [{"role": role, "content": text}]
pairs = Pairs.from_items(
    Pair.make(said(f"question {n}", "user"), [said("word " * (n + 2)), said(f"poor {n} 熊猫")],
              label={"kind": "choice", "winner": n % 2}, source={"file": "f.jsonl", "row": n})
    for n in range(300))
store = wb.LabelStore("seen.sqlite")
table = wb.browse(pairs, store, scores=[(n - 30) / 10 for n in range(300)])
table
"""


def test_filters_by_numbers_and_by_what_the_reward_model_says(notebook, kernel_eval):
    page = notebook(SCORED)
    root = page.locator(".wbb")
    count = root.locator(".wbb-count")
    expect(count).to_have_text("300 pairs")
    expect(root.locator(".wbb-bounds")).to_be_hidden()
    root.get_by_role("button", name="Filters").click()
    root.get_by_role("button", name="Reward disagrees (30)").click()
    expect(count).to_have_text("30 of 300 pairs")
    expect(root.locator(".wbb-row .wbb-against").first).to_have_text("≠ −3.00")
    root.get_by_label("Reward margin, from, score").fill("-1")
    expect(count).to_have_text("10 of 300 pairs")
    assert kernel_eval(page, "table.question.margin") == [-1.0, None]
    root.get_by_role("button", name="Most uncertain first").click()
    expect(root.locator(".wbb-row .row").first).to_have_text("29")
    root.get_by_label("Search all text").fill("熊猫")
    expect(count).to_have_text("10 of 300 pairs")
    assert kernel_eval(page, "len(table.shown)") == 10
    root.get_by_role("button", name="Filters").click()
    expect(root.locator(".wbb-active")).to_have_text("2")
    root.locator(".wbb-row .prompt").first.click()
    expect(root.locator(".wbb-title")).to_contain_text("reward disagrees: −0.10")
    assert kernel_eval(page, "table.selection['id'].tolist() == [pairs[29].id]") is True
    page.keyboard.press("q")
    expect(root.locator(".wbb-sent")).to_have_text("✓ pair 29 waits for wb.label")
    assert kernel_eval(page, "store.queue().ids() == [pairs[29].id]") is True
    root.get_by_label("Search all text").fill("nowhere")
    root.get_by_role("button", name="Show all pairs").click()
    expect(count).to_have_text("300 pairs")
    assert page.problems == [] and page.outside == []


def test_a_gap_points_where_its_sign_does(notebook):
    """Of each pair the first answer is the longer one: above 0, so to the right of the middle."""
    scores = ", scores=[(n - 30) / 10 for n in range(300)]"
    notebook.page.set_viewport_size({"width": 1600, "height": 1000})
    page = notebook(SCORED.replace("seen.sqlite", "gap.sqlite").replace(scores, ""))
    row = page.locator(".wbb-row").nth(20)
    expect(row.locator(".gap")).to_contain_text("+")
    middle, bar = row.locator(".wbb-gap").bounding_box(), row.locator(".wbb-gap i").bounding_box()
    assert bar["width"] > 1 and bar["x"] >= middle["x"] + middle["width"] / 2 - 1


def test_at_560_pixels_the_texts_have_the_room(notebook, kernel_eval):
    page = notebook(
        SCORED.replace("seen.sqlite", "slim.sqlite").replace(
            "table = ",
            "desk = wb.label(pairs, store, repeats=0.0)\ndesk.session.choose('left')\ntable = ",
        )
    )
    root = page.locator(".wbb")
    heads = root.locator(".wbb-head [role=columnheader]")
    expect(heads.filter(has_text="Your labels")).to_be_visible()
    expect(heads.filter(has_text="Gap")).to_have_count(1)
    root.evaluate("table => (table.style.width = '560px')")
    expect(heads.filter(has_text="Gap")).to_have_count(0)
    expect(root.locator(".wbb-row .first").first).to_be_visible(timeout=30_000)
    widths = root.evaluate(
        "table => ['prompt', 'first', 'second'].map((name) =>"
        " table.querySelector(`.wbb-row .${name}`).clientWidth)"
    )
    assert sum(widths) > 560 / 2 and min(widths) > 80  # eight characters take about 60
    assert root.evaluate("table => table.scrollWidth <= table.clientWidth")
    assert page.problems == [] and page.outside == []
