"""Which rows of a table answer a question, and in which order."""

from collections.abc import Callable

import numpy as np

from workbench.data.search.index import Search, TextIndex
from workbench.widgets.browser.question import ANY, KINDS, Question, Range
from workbench.widgets.browser.row_facts import Columns


class Filters:
    """The filters and orders of a table.

    Args:
        columns: what is known of each row.
        margins: ``(n,)`` a reward model's margins, or None.
        better: the better answer of a row by the store, as an index into the row's answers.
    """

    def __init__(
        self, columns: Columns, margins: np.ndarray | None, better: Callable[[int], int | None]
    ) -> None:
        self._columns, self.margins, self._better = columns, margins, better
        self._count = len(columns.labels.kinds)
        self.forget()

    def forget(self) -> None:
        """Work out anew what depends on the store."""
        self._disagreeing: np.ndarray | None = None
        self._counts: dict[str, int] = {}

    def counts(self) -> dict[str, int]:
        """Return how many rows each of ``STATES`` has, and in how many the reward disagrees."""
        self._counts = self._counts or self._counted()
        return self._counts

    def _counted(self) -> dict[str, int]:
        kinds = self._columns.labels.kinds
        found = {kind: int((kinds == code).sum()) for code, kind in enumerate(KINDS)}
        mine = int(self._columns.store.mine.sum())
        labelled = self._count - found["unlabelled"]
        yours = {"yours": mine, "not_yours": self._count - mine} if mine else {}
        doubts = {} if self.margins is None else {"disagrees": int(self.disagreeing().sum())}
        return {"all": self._count, "labelled": labelled, **found, **yours, **doubts}

    def kept(self, question: Question) -> np.ndarray:
        """Return which rows the filters leave, ``(n,)``."""
        keep = self._state(question.state)
        sources = self._columns.sources
        if question.source and sources:
            known = question.source in sources.names
            code = sources.names.index(question.source) if known else -1
            keep = keep & (sources.codes == code)
        if question.gap != ANY:
            keep = keep & _within(self._gaps(), question.gap)
        if question.margin != ANY:
            keep = keep & _within(self._margins(), question.margin)
        if question.agreement != ANY:
            keep = keep & _within(self._columns.agreement, question.agreement)
        return keep & self.disagreeing() if question.disagrees else keep

    def arranged(self, rows: np.ndarray, question: Question) -> np.ndarray:
        """Return rows, given in the order of the file, in the order asked for.

        Rows without what is sorted by come last, whichever way.
        """
        if question.sort == "row":
            return rows[::-1] if question.descending else rows
        key = self._key(question.sort)[rows]
        bare = np.isnan(key)
        rows, last = rows[~bare], rows[bare]
        order = np.argsort(key[~bare], kind="stable")
        return np.concatenate([rows[order[::-1] if question.descending else order], last])

    def disagreeing(self) -> np.ndarray:
        """Return in which rows the reward model prefers another answer than the label, ``(n,)``."""
        if self._disagreeing is None:
            self._disagreeing = self._compared()
        return self._disagreeing

    def _compared(self) -> np.ndarray:
        margins, labels = self._margins(), self._columns.labels
        found = (labels.kinds == KINDS.index("choice")) & (margins < 0)
        ours = self._columns.store.mine & (labels.kinds == 0) & (np.nan_to_num(margins) != 0)
        for row in np.flatnonzero(ours).tolist():
            winner = self._better(row)
            found[row] = winner in (0, 1) and (winner == 0) == (margins[row] < 0)
        return found

    def _margins(self) -> np.ndarray:
        return np.full(self._count, np.nan) if self.margins is None else self.margins

    def _gaps(self) -> np.ndarray:
        return self._columns.lengths[:, 0] - self._columns.lengths[:, 1]

    def _state(self, state: str) -> np.ndarray:
        kinds = self._columns.labels.kinds
        if state == "all":
            return np.ones(self._count, dtype=bool)
        if state == "labelled":
            return kinds != 0
        if state in ("yours", "not_yours"):
            return self._columns.store.mine == (state == "yours")
        return kinds == KINDS.index(state)

    def _key(self, sort: str) -> np.ndarray:
        columns, sources = self._columns, self._columns.sources
        keys = {
            "label": lambda: columns.labels.kinds.astype(np.int64) * 100 + columns.labels.winners,
            "first": lambda: columns.lengths[:, 0],
            "second": lambda: columns.lengths[:, 1],
            "gap": self._gaps,
            "yours": lambda: columns.store.ranks,
            "prompt": lambda: columns.prompts,
            "source": lambda: sources.codes if sources else np.zeros(self._count),
            "margin": self._margins,
            "uncertain": lambda: np.abs(self._margins()),
            "agreement": lambda: columns.agreement,
        }
        return keys[sort]()


class View:
    """The rows that answer a question, in order; with a search, those found so far.

    In the order of the file the first hits stand as soon as they are found. Any other order
    needs all of them: until then there are no rows.

    Args:
        filters: of the table; what the question needs is worked out.
        index: of its texts.
        question: what is asked.
    """

    def __init__(self, filters: Filters, index: TextIndex, question: Question) -> None:
        self._filters, self.question = filters, question
        keep = filters.kept(question)
        self._rows = np.empty(0, np.int64)
        self._search: Search | None = None
        self.grows = bool(question.wanted) and question.sort == "row"
        if question.wanted:
            backwards = self.grows and question.descending
            self._search = Search(index, question.wanted, keep=keep, backwards=backwards)
        else:
            self._rows = filters.arranged(np.flatnonzero(keep), question)

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
            self._rows = self._filters.arranged(self._search.rows, self.question)


def _within(values: np.ndarray, bounds: Range) -> np.ndarray:
    """Return which values lie between two bounds; NaN lies nowhere."""
    low, high = (-np.inf if bounds[0] is None else bounds[0], bounds[1])
    return (values >= low) & (values <= (np.inf if high is None else high))
