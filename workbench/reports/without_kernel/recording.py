"""Widgets recorded: what their Python side answers to all that a page can ask, as plain JSON.

Nothing is answered anew: the widgets' own message handlers are driven, and what they say is kept
(``recorded_page.js`` plays it back). So a recording shows what the widget of today shows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from workbench.runs import Run
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.run_panel.panel import RunPanel

MOST_TABLES = 200
"""Steps of a run whose answers are recorded; of more, so many evenly apart."""
MOST_CHARACTERS = 20_000_000
"""Of these answers; where a step's are long, fewer steps are recorded, two at the least."""
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
    whole = answer_of(panel, {"type": "ready"})
    whole["header"]["address"] = run.name  # not the folder of whoever sends the page
    whole["header"]["explains"] = False  # that takes a kernel
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
    answers = {as_key({"type": "ready"}): 0, as_key({"type": "poll"}): 1}
    for place, table in enumerate(tables):
        for question in ({"index": place}, {"at": table["step"]}):
            answers[as_key({"type": "samples", **question})] = place + 2
    messages = [whole, {"type": "alive"}, *({"type": "samples", "samples": t} for t in tables)]
    instead = f"wb.open_run({run.name!r}) opens it in a notebook, where the run is"
    kernel = {"messages": messages, "answers": answers, **without_kernel(instead)}
    panel.close()
    return recording_of(panel, kernel, still=panel.still)._replace(missing=count - len(kept))


def answer_of(widget: LoadedWidget, question: dict[str, Any]) -> dict[str, Any]:
    """What a widget answers; it has an answer."""
    answer = widget.answer_to(question)
    assert answer is not None, question
    return answer


def recording_of(widget: LoadedWidget, kernel: dict[str, Any], **state: Any) -> Recording:
    """A widget with its code, these traits, and what stands in its kernel's place."""
    code = widget.front_end()
    return Recording(code["esm"], code["css"], state, kernel)


def without_kernel(instead: str) -> dict[str, Any]:
    """What is said where something needs a kernel."""
    return {"nobody": {**_WORDS, "fix": instead}}


def as_key(question: Mapping[str, Any]) -> str:
    """A question as text, as ``recorded_page.js`` writes it."""
    return json.dumps(question, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _apart(count: int, most: int) -> Sequence[int]:
    """The numbers below ``count``; of more than ``most``, so many evenly apart, with both ends."""
    if count <= most:
        return range(count)
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]
