"""Pages without a kernel: a shared run, and the gallery, each one file that asks for nothing."""

import importlib.util
import re

import made_runs
import pytest
from lab import PROJECT
from playwright.sync_api import expect

import workbench as wb
from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.pairs import Pairs
from workbench.runs import Run
from workbench.widgets.kit import theme

pytestmark = pytest.mark.browser
WIDTHS = (400, 800, 1600)
DRAWN = 60_000  # ms: unpacking Plotly, on a busy machine
# in a notebook every view brings the shared style, and the last one is the page's last word
ANOTHER_ORDER = """(shared) => {
    const style = document.querySelector("head style");
    const parts = style.textContent.split(shared);
    const looks = () => [...document.querySelectorAll(".wb-recorded :not(svg *)")].map((node) => {
        const look = getComputedStyle(node);
        const names = ["padding", "margin", "border-width", "color", "font", "min-height"];
        return `${node.className}: ${names.map((name) => look.getPropertyValue(name))}`;
    });
    const before = looks();
    style.textContent = parts.join("\\n") + shared;
    return { times: parts.length - 1, changed: looks().filter((look, i) => look !== before[i]) };
}"""


def answer(model, text, gold):
    return {"model": model, "text": text, "score": gold, "gold": gold}


def row(number):
    messages = [{"role": "user", "content": f"What is number {number}?"}]
    answers = [answer("before", f"it is {number}", 0.2), answer("after", f"It is {number}!", 0.8)]
    return {"prompt": messages[0]["content"], "messages": messages, "answers": answers}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """The gallery's page, of a made-up run and made-up answers."""
    spec = importlib.util.spec_from_file_location("gallery", PROJECT / ".ci" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    place = tmp_path_factory.mktemp("gallery")
    run = Run(made_runs.character(place / "too-far", "over-optimised"))
    pairs = Pairs.from_items(list(wb.load_pairs("sample:unlabelled"))[: module.LABELLED])
    judged = BlindComparison([row(i) for i in range(module.COMPARED)], ["before", "after"])
    page = module.write_gallery(place / "index.html", run, pairs, judged)
    assert page.stat().st_size <= module.MOST_BYTES
    return page


@pytest.fixture
def opened(browser):
    """``opened(path, …)``: the page of a file, with its ``problems`` and ``requests``."""
    contexts = []

    def open_file(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.problems, page.requests = [], []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda m: m.type == "error" and page.problems.append(m.text))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        expect(page.locator(".wb-loading")).to_have_count(0)
        return page

    yield open_file
    for context in contexts:
        context.close()


def is_clean(page, path):
    """It threw nothing, and nothing but the file itself was ever asked for."""
    assert page.problems == [] and page.requests == [path.as_uri()]


def test_a_visitor_labels_five_pairs_by_keys_and_one_by_the_mouse(gallery, opened):
    page = opened(gallery)
    root = page.locator("#label .wbl")
    root.locator(".wbl-question").click()
    count = root.locator(".wbl-head .wb-num").first
    prompt = root.locator(".wbl-prompt")
    first = prompt.inner_text()
    page.keyboard.press("1")
    expect(count).to_have_text("1 of 5 labelled")
    expect(root.locator(".wbl-status")).to_have_text("✓ Left is better · not kept: a recording")
    assert prompt.inner_text() != first
    page.keyboard.press("u")
    expect(count).to_have_text("0 of 5 labelled")
    expect(prompt).to_have_text(first, use_inner_text=True)
    page.keyboard.press("r")
    expect(count).to_have_text("1 of 5 labelled")
    page.keyboard.press("f")  # what was not recorded is told, in its place
    expect(root.locator(".wb-banner")).to_contain_text("no kernel stands behind it")
    root.locator("[data-action=right]").click()
    expect(count).to_have_text("2 of 5 labelled")
    for key in "tbs":
        page.keyboard.press(key)
    expect(root.locator(".wbl-end")).to_contain_text("4 labelled, 1 skipped")
    is_clean(page, gallery)


def test_the_explorer_moves_and_keeps_rows(gallery, opened):
    page = opened(gallery)
    root = page.locator("#loss .wbx")
    slider = root.get_by_label("r₁, score of the chosen answer")
    slider.focus()
    before = root.locator(".wbx-steps").inner_text()
    page.keyboard.press("ArrowRight")
    assert root.locator(".wbx-steps").inner_text() != before
    slider.fill("10")
    expect(root.locator(".wbx-step.natural output")).to_have_text("0.6931")  # ln 2: both are 10
    root.focus()
    page.keyboard.press("a")
    expect(root.locator("tbody tr")).to_have_count(3)
    root.get_by_label("remove row 1").click()
    expect(root.locator("tbody tr")).to_have_count(2)
    is_clean(page, gallery)


def test_the_cockpit_scrubs_a_run_and_says_what_rings(gallery, opened):
    page = opened(gallery)
    root = page.locator("#run .wbp")
    expect(root.locator(".wbp-large .main-svg").first).to_be_visible(timeout=DRAWN)
    expect(root.locator(".wbp-alarms")).to_contain_text("The policy exploits the reward model")
    root.focus()
    expect(root.locator(".wbp-when")).to_have_text("update 48")
    page.keyboard.press("ArrowLeft")
    expect(root.locator(".wbp-when")).to_have_text("update 44")
    expect(root.locator(".wbp-rows li")).to_have_count(len(made_runs.PROMPTS))
    chart = root.locator(".wbp-large .wbp-plot").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    expect(root.locator(".wbp-when")).to_have_text(re.compile(r"update (4|8|12|16|20)$"))
    root.focus()
    page.keyboard.press("m")
    expect(root.locator(".wbp-grid .main-svg").first).to_be_visible(timeout=DRAWN)
    page.keyboard.press("q")
    expect(root.locator(".wb-banner.error").first).to_contain_text("no kernel stands behind it")
    is_clean(page, gallery)


def test_three_answers_are_judged_blind_and_then_revealed(gallery, opened):
    page = opened(gallery)
    place = page.locator("#compare")
    root = place.locator(".wbl")
    root.locator(".wbl-question").click()
    assert "after" not in root.inner_text()
    page.keyboard.press("2")
    page.keyboard.press("t")
    root.locator("[data-action=left]").click()
    expect(root.locator(".wbl-end")).to_contain_text("Everything is judged")
    page.keyboard.press("v")
    shown = place.locator(".wbc")
    expect(shown.locator(".wbc-results")).to_contain_text("after against before")
    expect(shown.locator(".wbc-rate").first).to_contain_text("1 tied")
    expect(shown.locator(".wbc-option")).to_have_count(3)
    page.keyboard.press("ArrowDown")
    expect(shown.locator(".wbc-where")).to_contain_text("Prompt 2 of 3")
    is_clean(page, gallery)


@pytest.mark.parametrize("dress", ["light", "dark"])
def test_it_fits_every_width_and_follows_the_systems_dress(gallery, opened, dress):
    for width in WIDTHS:
        page = opened(gallery, viewport={"width": width, "height": 900}, color_scheme=dress)
        expect(page.locator("#run .main-svg").first).to_be_visible(timeout=DRAWN)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        surface = page.locator("#run .wbp").evaluate("(n) => getComputedStyle(n).backgroundColor")
        assert (surface == "rgb(255, 255, 255)") == (dress == "light")
    page.locator("#wb-theme").click()
    other = page.locator("#run .wbp").evaluate("(n) => getComputedStyle(n).backgroundColor")
    assert other != surface
    expect(page.locator("#to-start + div")).to_contain_text("make lab")


def test_no_view_looks_otherwise_where_another_brings_the_shared_style_after_it(gallery, opened):
    page = opened(gallery)
    page.locator("#run .wbp").focus()
    page.keyboard.press("m")
    expect(page.locator(".wbp-grid .main-svg").first).to_be_visible(timeout=DRAWN)
    assert page.evaluate(ANOTHER_ORDER, theme.style()) == {"times": 1, "changed": []}


@pytest.mark.parametrize("kind", ["sft", "reward", "failed"])
def test_a_shared_run_of_any_kind_is_its_panel(tmp_path, opened, kind):
    make = made_runs.failed_run if kind == "failed" else made_runs.finished_run
    run = Run(make(tmp_path / "mine", *([kind] if kind != "failed" else [])))
    path = wb.share(run, tmp_path / "mine.html")
    page = opened(path)
    root = page.locator(".wbp")
    expect(root.locator(".main-svg").first).to_be_visible(timeout=DRAWN)
    if kind == "failed":
        root.get_by_role("button", name=re.compile("^Resume")).click()
        expect(root.locator(".wb-banner.error").first).to_contain_text("no kernel stands behind it")
    is_clean(page, path)
