"""Views that a visitor of the gallery works in, recorded in every way that it can go.

As in ``workbench/reports/without_kernel/recording.py`` the widgets' own message handlers are
driven; a page that plays it back (``recorded_page.js``) goes from node to node as the visitor
chooses.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.store.label_events import new_id
from workbench.data.store.labels import LabelStore
from workbench.reports.without_kernel.recording import (
    Recording,
    answer_of,
    as_key,
    recording_of,
    without_kernel,
)
from workbench.widgets.compare.blind_comparison import BlindComparisonView
from workbench.widgets.explorer.explorer import LossExplorer
from workbench.widgets.labeller.labeller import AHEAD, Labeller

MOST_JUDGED = 5
"""Items of a recorded session: every way through it is recorded."""

_CHOICES = ("left", "right", "tie", "both_bad")
_UNMOVED = ("per_hour", "agreement", "consistency")  # of the progress: no figures of a visitor's
_KEPT = {"saved": "not kept: a recording"}  # in the place of "saved"


def record_explorer() -> Recording:
    """Record the loss explorer, which asks its kernel nothing."""
    explorer = LossExplorer()
    state = {name: getattr(explorer, name) for name in ("r1", "r2", "kept", "pairs", "run")}
    return recording_of(explorer, {"messages": [], "answers": {}, **without_kernel("")}, **state)


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
    return recording_of(view, kernel)


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
    return recording_of(view, kernel, selected=0)


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
        ready = answer_of(self.view, {"type": "ready"})
        tokens = [entry["token"] for entry in ready["queue"]]
        assert len(ready["items"]) <= min(MOST_JUDGED, AHEAD), "a recorded session is short"
        answers = {as_key({"type": "ready"}): self._place({**_still(ready), **_KEPT})}
        for kind in ("rendered", "whole"):
            for token in tokens:
                question = {"type": kind, "token": token}
                answers[as_key(question)] = self._place(answer_of(self.view, question))
        self._visit()
        return {
            "messages": self.messages,
            "answers": answers,
            "nodes": self.nodes,
            **without_kernel(instead),
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
        answer = answer_of(self.view, act)
        assert answer["ack"]["ok"], answer
        return self._shown(answer)

    def _state(self) -> dict[str, Any]:
        return self._shown(answer_of(self.view, {"type": "here"}))

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
        told = {**answer_of(other, {"type": "reveal"}), "queues": False}
        other.close()
        return {"reveal": self._place(told)}


def _still(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A state without what a clock or other people put into it."""
    progress = {**answer["progress"], **dict.fromkeys(_UNMOVED)}
    return {**answer, "progress": progress}
