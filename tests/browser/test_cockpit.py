"""The run panel's composition, measured in real JupyterLab: what one sees without scrolling."""

import json

import made_runs
from playwright.sync_api import expect

OPEN = "import workbench as wb; wb.open_run({path!r})"
# of each element: whether its corners are seen, so that nothing cuts it off or lies over it
SEEN = """(selector) => [...document.querySelectorAll(selector)].map((node) => {
    const { left, right, top, bottom, width, height } = node.getBoundingClientRect();
    const corners = [[left + 1, top + 1], [right - 1, top + 1], [left + 1, bottom - 1],
        [right - 1, bottom - 1]];
    return width > 0 && height > 0
        && corners.every(([x, y]) => node.contains(document.elementFromPoint(x, y)));
})"""
# the numbers beside the answers that are cut off at either side of the panel or of their own box
CUT = """() => {
    const panel = document.querySelector('.wbp').getBoundingClientRect();
    const figures = [...document.querySelectorAll('.wbp-figures b, .wbp-figures small')];
    const cut = figures.filter((node) => {
        const { left, right, width } = node.getBoundingClientRect();
        let whole = width > 0 && left >= panel.left && right <= panel.right;
        for (let box = node.parentElement; !box.matches('.wbp'); box = box.parentElement)
            whole &&= getComputedStyle(box).overflowX === 'visible'
                || right <= box.getBoundingClientRect().right;
        return !whole;
    });
    return { count: figures.length, cut: cut.map((node) => node.textContent) };
}"""


def opened(notebook, folder, width=None):
    """A run's panel, drawn; ``width`` of the panel alone in pixels."""
    page = notebook(OPEN.format(path=str(folder.path)))
    page.locator(".wbp-chart.large .main-svg").nth(1).wait_for(timeout=30_000)
    root = page.locator(".wbp").first
    if width:
        root.evaluate("(node, width) => { node.style.width = `${width}px`; }", width)
    return page, root


def is_clean(page):
    assert page.problems == [] and page.outside == []


def are_seen(page, count, selector):
    """Wait until the first so many of these lie in the first view: a busy page lays out late."""
    first = f"([selector, count]) => {{ const seen = ({SEEN})(selector).slice(0, count);"
    page.wait_for_function(
        f"{first} return seen.length === count && seen.every(Boolean); }}",
        arg=[selector, count],
        timeout=30_000,
    )


def test_both_curves_and_three_answers_are_in_the_first_view(notebook, tmp_path):
    notebook.page.set_viewport_size({"width": 1400, "height": 900})
    page, _ = opened(notebook, made_runs.character(tmp_path / "healthy", "healthy"))
    wanted = {".wbp-verdict": 1, ".wbp-chart.large .wbp-plot": 2}
    wanted |= {f".wbp-rows > li {part}": 3 for part in (".wbp-was", ".wbp-answer", ".wbp-figures")}
    for selector, count in wanted.items():
        are_seen(page, count, selector)
    # the same where the file browser is closed: curves and answers beside each other
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.wait_for_function("() => document.querySelector('.wbp').offsetWidth > 1100")
    right = page.locator(".wbp-right").bounding_box()["x"]
    assert right > page.locator(".wbp-chart.large .wbp-plot").first.bounding_box()["x"] + 400
    for selector, count in wanted.items():
        are_seen(page, count, selector)
    is_clean(page)


def test_why_the_score_rose_is_a_line_that_opens(notebook, tmp_path):
    page, root = opened(notebook, made_runs.finished_run(tmp_path / "done"), 560)
    line = root.locator(".wbp-rise summary")
    expect(line).to_contain_text("Why it rose: of +")
    rows = root.locator(".wbp-rise tbody tr")
    expect(rows.last).not_to_be_visible()
    line.click()
    expect(rows.last).to_contain_text("rest")
    expect(root.locator(".wbp-rise code")).to_have_text(f'wb.why_rose("{tmp_path / "done"}")')
    wide = root.locator(".wbp-rise").evaluate("(node) => node.scrollWidth - node.clientWidth")
    assert wide == 0
    is_clean(page)


WHY = """
import json
from pathlib import Path
from workbench.widgets.run_panel.panel import RunPanel
config = Path({path!r}, "config.json")
config.write_text(json.dumps({{**json.loads(config.read_text()), "inputs": {{"reward": "/r"}}}}))
panel = RunPanel({path!r})
panel.explain = lambda request: {{
    "texts": [request["response"][:3], "<b>", request["response"][3:]], "parts": [0.5, -0.25, 0.0],
    "score": 1.5, "empty": 1.25, "together": 1, "sentences": []}}
panel
"""


def test_a_key_takes_the_marked_answer_apart(notebook, tmp_path):
    folder = made_runs.finished_run(tmp_path / "done")
    page = notebook(WHY.format(path=str(folder.path)))
    rows = page.locator(".wbp-rows > li")
    rows.first.locator(".wbp-prompt").click()
    page.keyboard.press("w")
    heat = rows.first.locator(".wb-heat")
    expect(heat.locator(".plus")).to_have_attribute("title", "Score part +0.500 points")
    expect(heat).to_contain_text("<b>")
    expect(rows.first).to_contain_text("score +1.50: +1.25 without a word, +0.25 by its tokens")
    expect(rows.nth(1).locator(".wb-heat")).to_have_count(0)
    page.keyboard.press("w")  # as before
    expect(heat).to_have_count(0)
    rows.nth(1).get_by_role("button", name="why the score").click()
    expect(rows.nth(1).locator(".wb-heat")).to_have_count(1)
    is_clean(page)


def test_at_560_pixels_no_number_of_the_answers_is_cut_off(notebook, tmp_path):
    page, root = opened(notebook, made_runs.finished_run(tmp_path / "done"), 560)
    found = page.evaluate(CUT)
    assert found == {"count": 6 * 6, "cut": []}  # three figures and their changes, six prompts
    assert root.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    is_clean(page)


def test_at_560_pixels_no_number_of_the_pairs_is_cut_off(notebook, tmp_path):
    page, root = opened(notebook, made_runs.finished_run(tmp_path / "judge", "reward"), 560)
    found = page.evaluate(CUT)
    assert found == {"count": 8 * 2, "cut": []}  # two scores, eight pairs
    assert root.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    is_clean(page)


def test_one_crosshair_and_the_answers_go_together(notebook, tmp_path):
    page, root = opened(notebook, made_runs.finished_run(tmp_path / "done"))
    plots = root.locator(".wbp-chart.large .wbp-plot")
    plots.first.scroll_into_view_if_needed()
    place = "(plot, step) => { const { xaxis, yaxis } = plot._fullLayout;"
    place += " const box = plot.getBoundingClientRect();"
    place += " return [box.left + xaxis._offset + xaxis.l2p(step), box.top + yaxis._offset + 40]; }"
    page.mouse.move(*plots.first.evaluate(place, 33))
    expect(root.locator(".wbp-hair:visible")).to_have_count(2)
    for large in root.locator(".wbp-chart.large").all():
        expect(large.locator(".wbp-from")).to_have_text("at update 33")
    rows = [json.loads(line) for line in (tmp_path / "done" / "metrics.jsonl").open()]
    kl = f"{rows[32]['objective/kl']:.2f}"
    expect(root.locator(".wbp-chart.large .wbp-big").nth(1)).to_have_text(kl)
    page.mouse.down()
    page.mouse.up()
    expect(root.locator(".wbp-when")).to_have_text("update 30")  # the newest not behind it
    page.mouse.move(10, 10)
    pinned = root.locator(".wbp-hair.pinned:visible")
    expect(pinned).to_have_count(2)
    root.focus()
    page.keyboard.press("ArrowLeft")  # and the other way round
    expect(root.locator(".wbp-when")).to_have_text("update 25")
    at = plots.first.evaluate(place, 25)[0]
    assert abs(pinned.first.bounding_box()["x"] - at) < 2
    page.keyboard.press("n")
    expect(root.locator(".wbp-hair:visible")).to_have_count(0)
    is_clean(page)


def test_the_drawer_remembers_that_it_was_open(notebook, tmp_path):
    folder = made_runs.character(tmp_path / "starting", "starting")
    page = notebook(OPEN.format(path=str(folder.path)))
    root = page.locator(".wbp").first
    expect(root.locator(".wbp-verdict")).to_contain_text("Still starting.")
    expect(root.locator(".wbp-drawer")).to_be_hidden()
    root.get_by_role("button", name="Settings and").click()
    setting = root.locator(".wbp-setting", has_text="kl_coef")  # before there is any step
    expect(setting.locator(".wbp-reach")).to_have_text("0.011")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    expect(root.locator(".wbp-drawer")).to_be_visible(timeout=30_000)
    is_clean(page)


def test_answers_that_have_no_room_beside_the_curves_are_a_click_away(notebook, tmp_path):
    notebook.page.set_viewport_size({"width": 1600, "height": 1000})
    page, root = opened(notebook, made_runs.character(tmp_path / "racing", "racing"), 1200)
    more = root.get_by_role("button", name="more below")
    rows = root.locator(".wbp-rows > li")
    bottom = lambda node: sum(node.bounding_box()[name] for name in ("y", "height"))  # noqa: E731
    end = more.bounding_box()["y"]  # of what is seen of them
    assert bottom(more) <= bottom(root.locator(".wbp-left")) + 1 < end + 90  # beside, all of it
    whole = sum(bottom(row) <= end + 1 for row in rows.all())
    assert 3 <= whole < 6 and more.inner_text() == f"{6 - whole} more below"
    more.click()
    fewer = root.get_by_role("button", name="Fewer, beside the curves")
    expect(fewer).to_be_visible()
    assert all(bottom(row) <= fewer.bounding_box()["y"] + 1 for row in rows.all())
    fewer.click()
    expect(more).to_be_visible()
    is_clean(page)


def test_a_refusal_goes_by_itself(notebook, tmp_path):
    folder = made_runs.character(tmp_path / "live", "healthy")
    page, root = opened(notebook, folder)
    root.get_by_role("button", name="Settings and").click()
    field = root.get_by_label("temperature", exact=True)
    field.fill("99")
    field.press("Enter")
    why = root.locator(".wbp-setting", has_text="temperature").locator(".wbp-why")
    expect(why).to_contain_text("temperature is out of range")
    expect(why).to_be_hidden(timeout=20_000)
    expect(field).to_have_value("1")
    is_clean(page)
