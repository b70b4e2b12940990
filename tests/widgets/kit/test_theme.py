import re

import pytest

from workbench.widgets.kit.theme import OKABE_ITO, PACKAGE, module, style

FILES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in PACKAGE.rglob("*.js")
}
WIDGETS = sorted(
    name for name, source in FILES.items() if re.search(r"^export default", source, re.MULTILINE)
)


def test_the_widgets_are_found():
    assert {"widgets/browser/browser.js", "widgets/labeller/labeller.js"} <= set(WIDGETS)


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_module_has_no_imports_left_and_exports_its_widget_alone(widget):
    source = module(widget)
    assert not re.search(r"^\s*import\b", source, re.MULTILINE)
    exports = re.findall(r"^export .*$", source, re.MULTILINE)
    assert len(exports) == 1 and exports[0].startswith("export default")


@pytest.mark.parametrize("widget", WIDGETS)
def test_no_two_files_of_a_module_declare_the_same_name(widget):
    declared = r"^(?:async )?(?:function|class|const|let)\s+(\w+)"
    found = re.findall(declared, module(widget), re.MULTILINE)
    assert sorted(found) == sorted(set(found))


def test_files_come_once_and_before_those_that_import_them():
    source = module("widgets/kit/safe_text.js", "widgets/labeller/labeller.js")
    marks = [
        "function h(",
        "function wordDiff(",
        "function visible(",
        "class Outbox",
        "class Labeller",
    ]
    assert [source.count(mark) for mark in marks] == [1] * len(marks)
    places = [source.index(mark) for mark in marks]
    assert places == sorted(places)


@pytest.mark.parametrize("name", sorted(FILES))
def test_text_never_becomes_html_and_nothing_is_fetched(name):
    source = FILES[name]
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in source
    assert not re.search(r"https?://(?!www\.w3\.org)", source)


def test_the_style_takes_the_hosts_colours_first():
    css = style("widgets/labeller/labeller.css", "widgets/browser/browser.css")
    assert "var(--jp-ui-font-color1, var(--vscode-foreground" in css
    assert ".wbl-answers" in css and ".wbb-row" in css
    assert len(set(OKABE_ITO.values())) == 8
