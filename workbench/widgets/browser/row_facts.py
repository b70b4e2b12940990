"""What is known of each row of a table of pairs, as one array each: what filters and sorts need.

A million labels are a few hundred different texts, or arrays that Arrow reads without Python;
only lengths and prompts have to be parsed, in the background (``background_job.py``).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from workbench.data.search.arrow_texts import arrow_text
from workbench.data.store.labels import LabelStore
from workbench.data.store.majority import majority
from workbench.widgets.browser.pair_words import label_text, last_user, length, source_name
from workbench.widgets.browser.question import LABEL_KINDS
from workbench.widgets.kit.background_job import BackgroundJob

pc: Any = pyarrow.compute  # its functions are made at import, which no type checker sees

CHOICE = LABEL_KINDS.index("choice")
_CHUNK = 500  # rows parsed at a time; the kernel answers between two chunks
_NUMBERED = ((r',\s*"(?:row|step)":\s*\d+', ""), (r'^\{"(?:row|step)":\s*\d+,?\s*', "{"))
_HEADS = [
    *((f'{{"kind":"choice","winner":{n},', "choice", n) for n in range(4)),
    ('{"kind":"tie"', "tie", -1),
    ('{"kind":"both_bad"', "both_bad", -1),
]
"""How most labels begin: text, kind, winner."""


class RowFacts:
    """What is known of each row: labels and margins at once, the rest by :attr:`jobs`.

    Args:
        frame: the columns of ``Pairs.frame``.
        store: whose labels stand beside those of the data, by majority of the annotators.
        margins: ``(n,)`` a reward model's margins; NaN where there is none. None: of no row.

    Attributes:
        ids: the id of each row.
        kinds: of the data's labels, as an index into ``LABEL_KINDS``, ``(n,)`` uint8.
        winners: the index of the better answer by the data, -1 where no answer is, ``(n,)`` int64.
        judged: whether every label of the data is a choice.
        store_labels: item id to the store's label.
        here: which rows have one, ``(n,)``.
        ranks: the store's labels in the order of their words, ``(n,)``.
        agreement: share of the annotators behind the label, the store's first, ``(n,)``; NaN where
            fewer than two.
        source_names: every source, sorted; empty until that job is done.
        sources: index into ``source_names``, ``(n,)``.
        lengths: of the first and the second answer, ``(n, 2)``. [characters]
        prompts: rank of how the last user turn begins, ``(n,)``.
        jobs: what works out the sources, the lengths and the prompts.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        store: LabelStore | None = None,
        margins: np.ndarray | None = None,
    ) -> None:
        self._frame, self._store = frame, store
        self.scored = margins is not None
        self.margins = np.full(len(frame), np.nan) if margins is None else margins
        self.ids = arrow_text(frame["id"])
        self.kinds, self.winners, self._data_agreement = _labels(arrow_text(frame["label"]))
        self.judged = len(frame) > 0 and bool((self.kinds == CHOICE).all())
        self.look_at_store()
        self.source_names: list[str] = []
        self.sources = np.zeros(len(frame), dtype=np.int64)
        self.lengths = np.zeros((len(frame), 2), dtype=np.int64)
        self.prompts = np.zeros(len(frame), dtype=np.int64)
        self.jobs = {
            "sources": BackgroundJob(self._read_sources),
            "lengths": BackgroundJob(self._read_lengths),
            "prompts": BackgroundJob(self._read_prompts),
        }

    def look_at_store(self) -> None:
        """Take in the labels that the store holds now."""
        votes: dict[str, list[dict[str, Any]]] = {}
        for row in self._store.labels().to_dict("records") if self._store else ():
            winner = {"winner": int(row["winner"])} if row["kind"] == "choice" else {}
            votes.setdefault(str(row["item_id"]), []).append({"kind": row["kind"], **winner})
        self.store_labels = {ident: majority(labels) for ident, labels in votes.items()}
        items = pa.array(list(self.store_labels), pa.large_string())
        places = np.asarray(pc.fill_null(pc.index_in(self.ids, value_set=items), -1))
        labels = list(self.store_labels.values())
        shares = [one["agreement"] if one["annotators"] > 1 else np.nan for one in labels]
        words = [label_text(label, 2) for label in labels]
        self.here = places >= 0
        self.ranks = np.unique([*words, ""], return_inverse=True)[1][places]
        agreement = np.array([*shares, np.nan])[places]
        self.agreement = np.where(np.isnan(agreement), self._data_agreement, agreement)
        self._disagrees: np.ndarray | None = None

    def order(self, row: int, answers: int) -> tuple[int, int]:
        """Return which answers stand first and second: the winner first where all are judged."""
        winner = int(self.winners[row])
        if not self.judged or not 0 <= winner < answers:
            return 0, min(1, answers - 1)
        return winner, 1 if winner == 0 else 0

    def store_label(self, row: int) -> Mapping[str, Any] | None:
        """Return the store's label of a row; its winner counts the store's own copy."""
        return self.store_labels.get(str(self.ids[row].as_py()))

    def store_winner(self, row: int, answers: Sequence[Any]) -> int | None:
        """Return which of a row's answers the store's label calls better; None: none of them."""
        label = self.store_label(row)
        if self._store is None or label is None or label["kind"] != "choice":
            return None
        item = self._store.item(str(self.ids[row].as_py()))
        better = item.responses[label["winner"]] if item else None
        return answers.index(better) if better in answers else None

    def disagrees(self) -> np.ndarray:
        """Return in which rows the reward model prefers another answer than the label, ``(n,)``."""
        if self._disagrees is None:
            self._disagrees = self._compared()
        return self._disagrees

    def _compared(self) -> np.ndarray:
        disagrees = (self.kinds == CHOICE) & (self.margins < 0)
        unlabelled = self.here & (self.kinds == 0) & (np.nan_to_num(self.margins) != 0)
        for row in np.flatnonzero(unlabelled).tolist():
            winner = self.store_winner(row, json.loads(self._frame["responses"].iloc[row]))
            disagrees[row] = winner in (0, 1) and (winner == 0) == (self.margins[row] < 0)
        return disagrees

    def counts(self) -> dict[str, int]:
        """Return how many rows each of ``STATES`` has, and in how many the reward disagrees."""
        rows, here = len(self.kinds), int(np.count_nonzero(self.here))
        sizes = [int(np.count_nonzero(self.kinds == code)) for code in range(len(LABEL_KINDS))]
        by_kind = dict(zip(LABEL_KINDS, sizes, strict=True))
        return {
            "all": rows,
            "labelled": rows - by_kind["unlabelled"],
            **by_kind,
            **({"yours": here, "not_yours": rows - here} if here else {}),
            **({"disagrees": int(np.count_nonzero(self.disagrees()))} if self.scored else {}),
        }

    def _read_sources(self) -> Iterator[float]:
        texts = arrow_text(self._frame["source"])
        for pattern, instead in _NUMBERED:  # what differs from row to row
            texts = pc.replace_substring_regex(texts, pattern, instead)
        packed = _packed(texts)
        names = [source_name(json.loads(text)) for text in packed.dictionary.to_pylist()]
        known, codes = np.unique([*names, "-"], return_inverse=True)
        sources = codes[np.asarray(pc.fill_null(packed.indices, len(names)))]
        present = np.unique(sources)
        self.sources = np.searchsorted(present, sources)
        self.source_names = known[present].tolist()
        yield 1.0

    def _read_lengths(self) -> Iterator[float]:
        for start, rows in self._parsed("responses"):
            for row, answers in enumerate(rows, start):
                first, second = self.order(row, len(answers))
                self.lengths[row] = (length(answers[first]), length(answers[second]))
            yield start / len(self._frame)

    def _read_prompts(self) -> Iterator[float]:
        parts: list[pa.Array] = []
        for start, prompts in self._parsed("prompt"):
            beginnings = [last_user(prompt)[:80].casefold() for prompt in prompts]
            keys = [text.encode("utf-8", "replace") for text in beginnings]
            parts.append(pa.array(keys, pa.large_binary()))
            yield start / len(self._frame)
        keys = pa.chunked_array(parts, pa.large_binary())
        self.prompts = np.asarray(pc.rank(keys, tiebreaker="dense")).astype(np.int64)

    def _parsed(self, name: str) -> Iterator[tuple[int, list[Any]]]:
        """Yield the number of a row and what its cell, and those after it, hold."""
        column = arrow_text(self._frame[name])
        for start in range(0, len(column), _CHUNK):
            yield start, [json.loads(text) for text in column.slice(start, _CHUNK).to_pylist()]


def _labels(labels: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the kinds, the winners and the agreement of the data's labels, ``(n,)`` each."""
    kinds = np.zeros(len(labels), dtype=np.uint8)
    winners = np.full(len(labels), -1, dtype=np.int64)
    agreement = np.full(len(labels), np.nan)
    rest = np.asarray(pc.is_valid(labels), dtype=bool)
    shared = _flags(pc.match_substring_regex(labels, '"agreement"'))
    for head, kind, winner in _HEADS:  # by far the most, whatever else a label holds
        alike = _flags(pc.starts_with(labels, head)) & ~shared
        kinds[alike], winners[alike] = LABEL_KINDS.index(kind), winner
        rest &= ~alike
    rows = np.flatnonzero(rest)
    packed = _packed(labels.take(rows))
    table = np.array([(0, -1, np.nan), *(_label(text) for text in packed.dictionary.to_pylist())])
    kinds[rows], winners[rows], agreement[rows] = table[np.asarray(packed.indices) + 1].T
    return kinds, winners, agreement


def _label(text: str) -> tuple[int, int, float]:
    """Return the kind, the winner and the agreement of a label."""
    label: Mapping[str, Any] = json.loads(text)
    kind = str(label.get("kind"))
    code = LABEL_KINDS.index(kind) if kind in LABEL_KINDS[1:4] else LABEL_KINDS.index("other")
    agreement = label.get("agreement") if label.get("annotators", 2) > 1 else None
    return code, int(label.get("winner", -1)), np.nan if agreement is None else float(agreement)


def _packed(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    """Return the different texts, and which of them each row has."""
    return pc.dictionary_encode(pa.concat_arrays([pa.array([], texts.type), *texts.chunks]))


def _flags(values: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False), dtype=bool)
