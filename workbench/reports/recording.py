"""Widgets recorded: what their Python side answers to all that a page can ask, as plain JSON.

Nothing is answered anew: the widgets' own message handlers are driven, and what they say is kept
(``recorded_page.js`` plays it back). So a recording shows what the widget of today shows.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.store.label_events import new_id
from workbench.data.store.labels import LabelStore
from workbench.runs import Run
from workbench.widgets.compare.blind_comparison import BlindComparisonView
from workbench.widgets.explorer.explorer import LossExplorer
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.labeller.labeller import AHEAD, Labeller
from workbench.widgets.run_panel.panel import RunPanel

MOST_TABLES = 200
"""Steps of a run whose answers are recorded; of more, so many evenly apart."""
MOST_CHARACTERS = 20_000_000
"""Of these answers; where a step's are long, fewer steps are recorded, two at the least."""
MOST_JUDGED = 5
"""Items of a recorded session: every way through it is recorded."""

_CHOICES = ("left", "right", "tie", "both_bad")
_UNMOVED = ("per_hour", "agreement", "consistency")  # of the progress: no figures of a visitor's
_KEPT = {"saved": "not kept: a recording"}  # in the place of "saved"
_WORDS = {"what": "this page is a recording, and no kernel stands behind it", "where": ""}


class Recording(NamedTuple):
    """One widget as it was recorded."""

    script: str
    """Its JavaScript: one module with an ``export default``."""
    style: str
    """Its CSS."""
    state: dict[str, Any]
    """Its traits, by name."""
    kernel: dict[str, Any]
    """What is answered: ``messages``, and by question (``answers``) or turn (``nodes``) which."""
    missing: int = 0
    """Of a run's watched steps, how many are not in it."""


def record_panel(run: Run) -> Recording:
    """Record a run's panel as it is now: it is not live, and cannot be steered.

    Args:
        run: which; a live one is recorded as far as it has come.
    """
    panel = RunPanel(run)
    whole = _asked(panel, {"type": "ready"})
    whole["header"]["address"] = run.name  # not the folder of whoever sends the page
    parts = whole["parts"]
    parts["status"] |= {"live": False, "left": None, "silent": 0}
    parts["commands"] = [row for row in parts["commands"] if row["answer"]]
    count, longest = parts["samples"]["count"], len(json.dumps(parts["samples"]))
    kept = _apart(count, max(2, min(MOST_TABLES, MOST_CHARACTERS // longest)))
    tables = [panel.feed.samples(index) for index in kept]
    for place, table in enumerate(tables):
        table |= {"index": place, "count": len(kept)}
    if tables:
        parts["samples"] = tables[-1]
    answers = {_key({"type": "ready"}): 0, _key({"type": "poll"}): 1}
    for place, table in enumerate(tables):
        for question in ({"index": place}, {"at": table["step"]}):
            answers[_key({"type": "samples", **question})] = place + 2
    messages = [whole, {"type": "alive"}, *({"type": "samples", "samples": t} for t in tables)]
    instead = f"wb.open_run({run.name!r}) opens it in a notebook, where the run is"
    kernel = {"messages": messages, "answers": answers, **_told(instead)}
    panel.close()
    return _recording(panel, kernel, still=panel.still)._replace(missing=count - len(kept))


def record_explorer() -> Recording:
    """Record the loss explorer, which asks its kernel nothing."""
    explorer = LossExplorer()
    state = {name: getattr(explorer, name) for name in ("r1", "r2", "kept", "pairs", "run")}
    return _recording(explorer, {"messages": [], "answers": {}, **_told("")}, **state)


def record_labeller(pairs: Pairs, annotator: str = "you") -> Recording:
    """Record a labelling session in every way that it can go, by the keys that label and skip.

    Args:
        pairs: at most :data:`MOST_JUDGED`.
        annotator: what the visitor is called.
    """
    with tempfile.TemporaryDirectory() as place, LabelStore(Path(place, "labels.sqlite")) as store:
        view = Labeller(LabelSession(pairs, store, annotator=annotator))
        kernel = _Walk(view).kernel("wb.label(pairs) does it in a notebook")
        view.close()
    return _recording(view, kernel)


def record_comparison(contest: BlindComparison, annotator: str = "you") -> Recording:
    """Record a blind comparison in every way that it can go, with what is revealed after each.

    Args:
        contest: at most :data:`MOST_JUDGED` prompts.
        annotator: who judges.
    """
    with tempfile.TemporaryDirectory() as place, LabelStore(Path(place, "labels.sqlite")) as store:
        view = BlindComparisonView(contest, store, annotator=annotator)
        kernel = _ComparisonWalk(view).kernel("wb.compare(a, b, store=...) does it in a notebook")
        view.close()
    return _recording(view, kernel, selected=0)


class _Walk:
    """Goes every way through a session: each choice on each item, taken back by undo.

    A page that plays it back keeps the way it has come; so undo and redo must lead to what was
    seen before, which is checked on every way.
    """

    alike = True  # whether what comes after a label does not depend on which it was

    def __init__(self, view: Labeller) -> None:
        self.view = view
        self.messages: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self._places: dict[str, int] = {}

    def kernel(self, instead: str) -> dict[str, Any]:
        """Everything that can be asked, and what is said of the rest."""
        ready = _asked(self.view, {"type": "ready"})
        tokens = [entry["token"] for entry in ready["queue"]]
        assert len(ready["items"]) <= min(MOST_JUDGED, AHEAD), "a recorded session is short"
        answers = {_key({"type": "ready"}): self._place({**_still(ready), **_KEPT})}
        for kind in ("rendered", "whole"):
            for token in tokens:
                question = {"type": kind, "token": token}
                answers[_key(question)] = self._place(_asked(self.view, question))
        self._visit()
        return {
            "messages": self.messages,
            "answers": answers,
            "nodes": self.nodes,
            **_told(instead),
        }

    def _visit(self) -> int:
        """Record what stands now, and all that can come after it; the place of its node."""
        state, node = self._state(), {"next": {}, **self.beside()}
        at = len(self.nodes)
        self.nodes.append(node)
        node["state"] = self._place(state)
        for choice in (*_CHOICES, "skip") if state["queue"] else ():
            acted = self._act(choice)
            known = node["next"].get("left") if self.alike and choice != "skip" else None
            after = self._visit() if known is None else known
            node["next"][choice] = after
            assert acted == self.messages[self.nodes[after]["state"]], "labels are not alike"
            assert self._act("undo") == state, "undo leads elsewhere"
            assert self._act("redo") == acted, "redo leads elsewhere"
            self._act("undo")
        return at

    def beside(self) -> dict[str, Any]:
        """What else can be asked for at this place."""
        return {}

    def _act(self, choice: str) -> dict[str, Any]:
        """Do it on the item shown; what the page is told to show then."""
        act: dict[str, Any] = {"type": "act", "id": new_id(), "action": choice}
        current = self.view.current
        if current is not None:
            act["token"] = current.token
        if choice in _CHOICES:
            act |= {"action": "choose", "choice": choice}
        answer = _asked(self.view, act)
        assert answer["ack"]["ok"], answer
        return self._shown(answer)

    def _state(self) -> dict[str, Any]:
        return self._shown(_asked(self.view, {"type": "here"}))

    @staticmethod
    def _shown(answer: Mapping[str, Any]) -> dict[str, Any]:
        """A state without the texts, which the page has from the start."""
        return {**_still(answer), "items": [], "ack": None}

    def _place(self, message: dict[str, Any]) -> int:
        """Where a message is kept; the same one once."""
        text = json.dumps(message, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.messages)
            self.messages.append(message)
        return self._places[text]


class _ComparisonWalk(_Walk):
    """A blind comparison: what is revealed depends on every choice, so no two are alike."""

    alike = False

    def beside(self) -> dict[str, Any]:
        """What is revealed here, by a second view: after it nothing is judged any more."""
        view = self.view
        assert isinstance(view, BlindComparisonView)
        other = BlindComparisonView(view.contest, view.store, annotator=view.session.annotator)
        told = {**_asked(other, {"type": "reveal"}), "queues": False}
        other.close()
        return {"reveal": self._place(told)}


def _asked(widget: LoadedWidget, question: dict[str, Any]) -> dict[str, Any]:
    """What a widget answers; it has an answer."""
    answer = widget.answer_to(question)
    assert answer is not None, question
    return answer


def _still(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A state without what a clock or other people put into it."""
    progress = {**answer["progress"], **dict.fromkeys(_UNMOVED)}
    return {**answer, "progress": progress}


def _recording(widget: LoadedWidget, kernel: dict[str, Any], **state: Any) -> Recording:
    code = widget.front_end()
    return Recording(code["esm"], code["css"], state, kernel)


def _told(instead: str) -> dict[str, Any]:
    """What is said where something needs a kernel."""
    return {"nobody": {**_WORDS, "fix": instead}}


def _key(question: Mapping[str, Any]) -> str:
    """A question as text, as ``recorded_page.js`` writes it."""
    return json.dumps(question, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _apart(count: int, most: int) -> Sequence[int]:
    """The numbers below ``count``; of more than ``most``, so many evenly apart, with both ends."""
    if count <= most:
        return range(count)
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]
