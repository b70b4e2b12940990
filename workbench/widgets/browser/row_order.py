"""Which rows of a table answer a question, and in which order."""

import numpy as np

from workbench.data.search.index import Search, TextIndex
from workbench.widgets.browser.question import ANY, LABEL_KINDS, Question, Range
from workbench.widgets.browser.row_facts import RowFacts


class View:
    """The rows that answer a question, in order; with a search, those found so far.

    In the order of the file the first hits stand as soon as they are found. Any other order
    needs all of them: until then there are no rows.

    Args:
        facts: of the table's rows; what the question needs is worked out.
        index: of its texts.
        question: what is asked.
    """

    def __init__(self, facts: RowFacts, index: TextIndex, question: Question) -> None:
        self._facts, self.question = facts, question
        keep = _kept(facts, question)
        self._rows = np.empty(0, np.int64)
        self._search: Search | None = None
        self.grows = bool(question.wanted) and question.sort == "row"
        if question.wanted:
            backwards = self.grows and question.descending
            self._search = Search(index, question.wanted, keep=keep, backwards=backwards)
        else:
            self._rows = _arranged(facts, np.flatnonzero(keep), question)

    @property
    def rows(self) -> np.ndarray:
        """Row numbers of the frame, ``(n,)``."""
        return self._search.rows if self._search and self.grows else self._rows

    @property
    def is_complete(self) -> bool:
        """Whether there are no more rows to come."""
        return self._search is None or self._search.is_complete

    @property
    def fraction(self) -> float:
        """How much is searched, 0 to 1."""
        return 1.0 if self._search is None else self._search.fraction

    def go_on(self, *, hits: int | None = None, seconds: float | None = None) -> None:
        """Search on until there are so many rows, or so much time is over, or to the end."""
        if self._search is None or self._search.is_complete:
            return
        self._search.go_on(hits=hits, seconds=seconds)
        if self._search.is_complete and not self.grows:
            self._rows = _arranged(self._facts, self._search.rows, self.question)


def _kept(facts: RowFacts, question: Question) -> np.ndarray:
    """Return which rows the filters leave, ``(n,)``."""
    keep = _in_state(facts, question.state)
    if question.source:
        codes = [n for n, name in enumerate(facts.source_names) if name == question.source]
        keep = keep & np.isin(facts.sources, codes)
    if question.gap != ANY:
        keep = keep & _within(_gaps(facts), question.gap)
    if question.margin != ANY:
        keep = keep & _within(facts.margins, question.margin)
    if question.agreement != ANY:
        keep = keep & _within(facts.agreement, question.agreement)
    return keep & facts.disagrees() if question.disagrees else keep


def _in_state(facts: RowFacts, state: str) -> np.ndarray:
    if state == "all":
        return np.ones(len(facts.kinds), dtype=bool)
    if state == "labelled":
        return facts.kinds != 0
    if state in ("yours", "not_yours"):
        return facts.here == (state == "yours")
    return facts.kinds == LABEL_KINDS.index(state)


def _within(values: np.ndarray, bounds: Range) -> np.ndarray:
    """Return which values lie between two bounds; NaN lies nowhere."""
    low, high = (-np.inf if bounds[0] is None else bounds[0], bounds[1])
    return (values >= low) & (values <= (np.inf if high is None else high))


def _gaps(facts: RowFacts) -> np.ndarray:
    return facts.lengths[:, 0] - facts.lengths[:, 1]


def _arranged(facts: RowFacts, rows: np.ndarray, question: Question) -> np.ndarray:
    """Return rows, which are in the order of the file, in the order asked for.

    Rows without what is sorted by come last, whichever way.
    """
    if question.sort == "row":
        return rows[::-1] if question.descending else rows
    key = _key(facts, question.sort)[rows]
    bare = np.isnan(key)
    rows, last = rows[~bare], rows[bare]
    order = np.argsort(key[~bare], kind="stable")
    return np.concatenate([rows[order[::-1] if question.descending else order], last])


def _key(facts: RowFacts, sort: str) -> np.ndarray:
    keys = {
        "label": lambda: facts.kinds.astype(np.int64) * 100 + facts.winners,
        "first": lambda: facts.lengths[:, 0],
        "second": lambda: facts.lengths[:, 1],
        "gap": lambda: _gaps(facts),
        "yours": lambda: facts.ranks,
        "prompt": lambda: facts.prompts,
        "source": lambda: facts.sources,
        "margin": lambda: facts.margins,
        "uncertain": lambda: np.abs(facts.margins),
        "agreement": lambda: facts.agreement,
    }
    return keys[sort]()
