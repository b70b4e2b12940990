"""The browser: look at any number of pairs, search, filter, sort, read one, select many."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from workbench.data.pairs import Pairs
from workbench.data.search.arrow_texts import rows_of
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, nearest
from workbench.widgets.browser.pair_table import PairTable
from workbench.widgets.browser.question import Question, question_from
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.wire import fault

MOST_SOURCES = 200
"""Names that the source filter offers."""
MOST_ROWS = 200
"""Rows that one answer carries; the page asks again for others."""
FIRST_HITS = 100
"""Hits of a search after which the page gets its answer; the others are counted behind it."""
SEARCH_SECONDS = 0.15
"""How long an answer may take to search on. [s]"""

PairScores = str | Sequence[float | None] | np.ndarray | pd.Series


class Browser(LoadedWidget):
    """A table of pairs, served from Python page by page.

    Nothing but what is seen travels, and nothing is kept in the notebook: the page asks
    ("ready", "ask", "more", "rows", "open", "select") and Python answers. What is on screen reads
    back as :attr:`query`, :attr:`question`, :attr:`current` and :attr:`selection`.

    Args:
        pairs: what to look at.
        store: a label store whose labels are shown beside those that came with the data, and to
            whose queue a key sends a pair, to be judged blind.
        scores: a reward model's margin for each pair, or the name of a column of ``pairs.frame``
            that has it: the score of the better answer minus the other's, or of the first minus
            the second where no label says which is better. None or NaN where there is none.

    Raises:
        ConfigError: the scores are not one number a pair, or there is no such column.
    """

    _script = "widgets/browser/browser.js"
    _styles = ("widgets/browser/browser.css",)

    def __init__(
        self, pairs: Pairs, store: LabelStore | None = None, scores: PairScores | None = None
    ) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._store = store
        self._table = PairTable(pairs.frame, store, _margins(pairs.frame, scores))
        self._view = self._table.view(Question())
        self._coming = self._view  # the answer to the last question, on screen or being searched
        self._version = 0
        self._chosen = np.zeros(len(pairs), dtype=bool)
        self._cursor = 0
        self._open: int | None = None  # position in the view
        self._answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]] = {
            "ready": self._begin,
            "ask": self._ask,
            "more": self._more,
            "rows": self._window,
            "select": self._select,
            "open": self._read,
            "queue": self._send_to_labeller,
            "shut": self._shut,
        }

    # --- what is on screen, for Python

    @property
    def question(self) -> Question:
        """What the table shows: search, filters and order."""
        return self._view.question

    @property
    def query(self) -> str:
        """The text that is searched for."""
        return self.question.query

    @property
    def current(self) -> pd.Series | None:
        """The row of the frame that is open for reading, or None."""
        if self._open is None or self._open >= len(self._view.rows):
            return None
        return self._table.frame.iloc[int(self._view.rows[self._open])]

    @property
    def shown(self) -> pd.DataFrame:
        """The rows that the search and filters leave, in the order shown: all of them."""
        with self._guard:
            self._view.go_on()
            return rows_of(self._table.frame, self._view.rows)

    @property
    def selection(self) -> pd.DataFrame:
        """The selected rows, in file order, with the columns of ``pairs.frame``."""
        return rows_of(self._table.frame, np.flatnonzero(self._chosen))

    # --- messages

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any] | None:
        answer = self._answers.get(str(content.get("type")))
        with self._guard:
            try:
                return answer(content) if answer else None
            except Exception as error:
                self.error = error
                return {"type": "fault", **fault(error)}

    def _begin(self, _content: Mapping[str, Any]) -> dict[str, Any]:
        self._table.reading.start()
        self._table.facts.look_at_store()
        return self._describe()

    def _describe(self) -> dict[str, Any]:
        facts = self._table.facts
        return {
            "type": "table",
            "total": len(self._table),
            "selected": int(self._chosen.sum()),
            "judged": facts.judged,
            "yours": bool(facts.store_labels),
            "scored": facts.scored,
            "queues": self._store is not None,
            "shared": bool(np.isfinite(facts.agreement).any()),
            "counts": facts.counts(),
            "sources": facts.source_names[:MOST_SOURCES],
            "listing": not facts.jobs["sources"].is_done,
            "question": asdict(self.question),
            "cursor": self._cursor,
            "open": self._open,
            **self._progress(),
        }

    def _progress(self) -> dict[str, Any]:
        view = self._view
        about = {"shown": len(view.rows), "counting": not view.is_complete}
        return {"version": self._version, **about, "fraction": view.fraction}

    def _ask(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Arrange the rows anew, or say what that has to wait for."""
        question = question_from(content.get("question", {}))
        request = content.get("req")
        if question != self._coming.question:
            missing = self._table.missing(question)
            if missing and missing[0].failure is None:
                about = {"doing": "reading", "fraction": missing[0].fraction}
                return {"type": "wait", "req": request, **about}
            self._coming = self._table.view(question)
        view = self._coming
        if view is not self._view:
            self._coming = self._view  # unless the search goes well
            view.go_on(hits=FIRST_HITS if view.grows else None, seconds=SEARCH_SECONDS)
            if not (view.grows or view.is_complete):  # its order needs all of them
                self._coming = view
                about = {"doing": "searching", "fraction": view.fraction}
                return {"type": "wait", "req": request, **about}
            self._view = self._coming = view
            self._version += 1
            self._cursor, self._open = 0, None
        return {**self._describe(), "req": request}

    def _more(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Search on behind what is shown."""
        if content.get("version") != self._version:
            return None
        self._view.go_on(seconds=SEARCH_SECONDS)
        return {"type": "found", **self._progress()}

    def _window(self, content: Mapping[str, Any]) -> dict[str, Any]:
        start = max(0, int(content["start"]))
        count = min(MOST_ROWS, max(0, int(content["count"])))
        rows = self._view.rows[start : start + count]
        cells = self._table.rows(rows, self.question.query)
        for cell, row in zip(cells, rows, strict=True):
            cell["selected"] = bool(self._chosen[row])
        about = {"req": content.get("req"), "version": self._version, "start": start}
        return {"type": "rows", **about, "rows": cells}

    def _select(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Change the selection: only, toggle, range (from the anchor), all (shown) or none."""
        mode = content.get("mode")
        position, anchor = int(content.get("position", 0)), int(content.get("anchor", 0))
        if mode in ("only", "none", "range"):
            self._chosen[:] = False
        if mode == "all":
            self._view.go_on()
            self._chosen[self._view.rows] = True
        elif mode == "range":
            low, high = sorted((position, anchor))
            self._chosen[self._view.rows[max(0, low) : high + 1]] = True
        elif mode in ("only", "toggle") and 0 <= position < len(self._view.rows):
            row = self._view.rows[position]
            self._chosen[row] = not self._chosen[row] if mode == "toggle" else True
        self._cursor = max(0, position)
        return {"type": "selection", "selected": int(self._chosen.sum())}

    def _read(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        position, whole = int(content["position"]), bool(content.get("whole"))
        if not 0 <= position < len(self._view.rows):
            return None
        self._open = self._cursor = position
        pair = self._table.pair(int(self._view.rows[position]), whole)
        return {"type": "pair", "position": position, "whole": whole, **pair}

    def _shut(self, _content: Mapping[str, Any]) -> None:
        self._open = None

    def _send_to_labeller(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Send a pair to the labeller's queue."""
        position = int(content["position"])
        if self._store is None or not 0 <= position < len(self._view.rows):
            return None
        row = int(self._view.rows[position])
        sent = self._store.send(self._table.item(row), seen_in="browser")
        return {"type": "queued", "row": row, "sent": sent}


def _margins(frame: pd.DataFrame, scores: PairScores | None) -> np.ndarray | None:
    """Return margins as ``(n,)`` float64."""
    if scores is None:
        return None
    if isinstance(scores, str) and scores not in frame.columns:
        raise ConfigError(
            f"the pairs have no column {scores!r}",
            where=f"columns: {', '.join(map(str, frame.columns))}",
            fix=f"{nearest(scores, map(str, frame.columns))}name one of these, or give the "
            "margins themselves, one a pair",
        )
    margins: Any = frame[scores] if isinstance(scores, str) else scores
    try:
        return pd.Series(margins).astype("Float64").to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the scores are not numbers ({error})",
            where="browse(pairs, scores=...)",
            fix="give one number a pair: the better answer's score minus the other's",
        ) from error
