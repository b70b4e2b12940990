"""Every widget: its code comes on request, no saved notebook holds it, and no error is raised."""

import json

import made_runs
import pytest

from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.runs import Runs
from workbench.widgets.all_runs.runs_view import RunsView
from workbench.widgets.browser.browser import Browser
from workbench.widgets.compare.blind_comparison import BlindComparisonView
from workbench.widgets.compare.compare import CompareView
from workbench.widgets.compare.playground import Playground
from workbench.widgets.explorer.explorer import LossExplorer
from workbench.widgets.importer.import_form import ImportForm
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.theme import style
from workbench.widgets.labeller.labeller import Labeller
from workbench.widgets.microscope.microscope import Microscope
from workbench.widgets.run_panel.panel import RunPanel

ASKED = [{"role": "user", "content": "q"}]
ANSWERS = [{"model": "x", "text": "a"}, {"model": "y", "text": "b"}]
ROWS = [{"prompt": "q", "messages": ASKED, "answers": ANSWERS}]
EXAMPLE = {
    "step": 1,
    "prompt_tokens": ["q"],
    "tokens": ["a"],
    "learned": [True],
    "logprobs": [-1.0],
    "expected": [[["a", 0.37]]],
}
SHARED_CSS = style()
RESPONSES = [[{"role": "assistant", "content": text}] for text in "ab"]
PAIRS = Pairs.from_items([Pair.make(ASKED, RESPONSES)])
MAKE = {
    "browser.js": lambda place, store: Browser(PAIRS),
    "labeller.js": lambda place, store: Labeller(LabelSession(PAIRS, store, annotator="me")),
    "panel.js": lambda place, store: RunPanel(made_runs.create(place / "mine", "ppo", steps=1)),
    "runs_view.js": lambda place, store: RunsView(Runs(place)),
    "compare.js": lambda place, store: CompareView(ROWS),
    "blind_comparison.js": lambda place, store: BlindComparisonView(
        BlindComparison(ROWS, ["x", "y"]), store
    ),
    "playground.js": lambda place, store: Playground({"x": "x"}, lambda request, told: {}),
    "explorer.js": lambda place, store: LossExplorer(),
    "import_form.js": lambda place, store: ImportForm([{"a": "q", "b": "x", "c": "y"}]),
    "microscope.js": lambda place, store: Microscope(
        lambda: [EXAMPLE], lambda record, **used: {}, name="mine", kind="sft"
    ),
}


@pytest.fixture(params=list(MAKE))
def widget(request, tmp_path, store):
    made = MAKE[request.param](tmp_path, store)
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append(content)
    assert made._script.endswith(request.param)
    yield made
    made.close()


def test_every_widget_is_here(widget):
    assert len(MAKE) == len({kind.__name__ for kind in below(LoadedWidget)})


def below(kind):
    """The classes of the package under one; an instance may have one of its own, of that name."""
    for one in kind.__subclasses__():
        if one.__module__.startswith("workbench."):
            yield one
            yield from below(one)


def test_its_code_comes_when_it_is_asked_for(widget):
    widget._handle_custom_msg({"type": "code"}, [])
    (answer,) = widget.sent
    assert answer["type"] == "code" and "export default " in answer["esm"]
    assert SHARED_CSS in answer["css"] and len(answer["css"]) > len(SHARED_CSS)


def test_no_saved_notebook_holds_its_code(widget):
    widget._handle_custom_msg({"type": "code"}, [])
    kept = json.dumps({name: str(value) for name, value in widget.get_state().items()})
    assert len(kept) < 8_000 and "guardKeys" not in kept and "--wb-" not in kept


def test_what_a_cell_shows_has_no_code_either(widget):
    shown, _ = LoadedWidget._repr_mimebundle_(widget)
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "<script" not in json.dumps(shown) and "--wb-" not in json.dumps(shown)
