"""What is known of each row of a table of pairs, as one array each: what filters and sorts need.

A million labels are a few hundred different texts, or arrays that Arrow reads without Python;
only lengths and prompts have to be parsed, in the background (``job.py``).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from workbench.data.search.arrow_texts import arrow_text
from workbench.data.store.label_values import majority
from workbench.data.store.labels import LabelStore
from workbench.widgets.browser.pair_words import label_text, last_user, length, source_name
from workbench.widgets.browser.question import KINDS
from workbench.widgets.kit.background_job import Job

pc: Any = pyarrow.compute  # its functions are made at import, which no type checker sees

CHUNK = 500  # rows parsed at a time; the kernel answers between two chunks
_NUMBERED = ((r',\s*"(?:row|step)":\s*\d+', ""), (r'^\{"(?:row|step)":\s*\d+,?\s*', "{"))


_HEADS = [
    *((f'{{"kind":"choice","winner":{n},', "choice", n) for n in range(4)),
    ('{"kind":"tie"', "tie", -1),
    ('{"kind":"both_bad"', "both_bad", -1),
]
"""How most labels begin: text, kind, winner."""


class LabelColumns:
    """The labels that came with the data.

    Attributes:
        kinds: index into ``KINDS``, ``(n,)`` uint8.
        winners: the index of the better answer, -1 where no answer is, ``(n,)`` int64.
        agreement: share of the annotators behind the label, ``(n,)``; NaN where fewer than two.
        judged: whether every label is a choice.
    """

    def __init__(self, labels: pa.ChunkedArray) -> None:
        count = len(labels)
        self.kinds = np.zeros(count, dtype=np.uint8)
        self.winners = np.full(count, -1, dtype=np.int64)
        self.agreement = np.full(count, np.nan)
        rest = np.asarray(pc.is_valid(labels), dtype=bool)
        shared = _flags(pc.match_substring_regex(labels, '"agreement"'))
        for head, kind, winner in _HEADS:  # by far the most, whatever else a label holds
            these = _flags(pc.starts_with(labels, head)) & ~shared
            self.kinds[these], self.winners[these] = KINDS.index(kind), winner
            rest &= ~these
        rows = np.flatnonzero(rest)
        packed = _packed(labels.take(rows))
        found = [(0, -1, np.nan), *(_label(text) for text in packed.dictionary.to_pylist())]
        table = np.array(found)[np.asarray(packed.indices) + 1]
        self.kinds[rows], self.winners[rows], self.agreement[rows] = table.T
        self.judged = bool(count) and bool((self.kinds == KINDS.index("choice")).all())


class StoreColumns:
    """The labels that a store holds now, by majority of the annotators.

    Attributes:
        labels: item id to label.
        mine: which rows have one, ``(n,)``.
        agreement: share of the annotators behind it, ``(n,)``; NaN where fewer than two.
        ranks: the labels in the order of their words, ``(n,)``.
    """

    def __init__(self, store: LabelStore | None, ids: pa.ChunkedArray) -> None:
        votes: dict[str, list[dict[str, Any]]] = {}
        if store is not None:
            for row in store.labels().to_dict("records"):
                won = {"winner": int(row["winner"])} if row["kind"] == "choice" else {}
                votes.setdefault(str(row["item_id"]), []).append({"kind": row["kind"], **won})
        self.labels = {ident: majority(labels) for ident, labels in votes.items()}
        keys = pa.array(list(self.labels), pa.large_string())
        places = np.asarray(pc.fill_null(pc.index_in(ids, value_set=keys), -1))
        told = list(self.labels.values())
        shares = [one["agreement"] if one["annotators"] > 1 else np.nan for one in told]
        words = [label_text(label, 2) for label in told]
        self.mine = places >= 0
        self.agreement = np.array([*shares, np.nan])[places]
        self.ranks = np.unique([*words, ""], return_inverse=True)[1][places]


class Sources:
    """Where the rows come from.

    Attributes:
        names: every source, sorted.
        codes: index into ``names``, ``(n,)``.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        texts = column
        for pattern, instead in _NUMBERED:  # what differs from row to row
            texts = pc.replace_substring_regex(texts, pattern, instead)
        packed = _packed(texts)
        found = [source_name(json.loads(text)) for text in packed.dictionary.to_pylist()]
        names, codes = np.unique([*found, "-"], return_inverse=True)
        self.codes = codes[np.asarray(pc.fill_null(packed.indices, len(found)))]
        here = np.unique(self.codes)
        self.names: list[str] = names[here].tolist()
        self.codes = np.searchsorted(here, self.codes)


class Columns:
    """What is known of each row: labels at once, the rest when it is asked for.

    Args:
        frame: the columns of ``Pairs.frame``.
        store: whose labels stand beside those of the data.
    """

    def __init__(self, frame: pd.DataFrame, store: LabelStore | None = None) -> None:
        self._frame, self._store = frame, store
        self.labels = LabelColumns(arrow_text(frame["label"]))
        self.ids = arrow_text(frame["id"])
        self.look_at_store()
        self.sources: Sources | None = None
        self.lengths = np.zeros((len(frame), 2), dtype=np.int64)  # first and second answer
        self.prompts = np.zeros(len(frame), dtype=np.int64)  # rank of the last user turn's start
        self.jobs = {
            "sources": Job(self._read_sources),
            "lengths": Job(self._read_lengths),
            "prompts": Job(self._read_prompts),
        }

    def look_at_store(self) -> None:
        """Take in the labels that the store holds now."""
        self.store = StoreColumns(self._store, self.ids)
        ours = self.store.agreement
        # share of the annotators behind each label, the store's first, (n,)
        self.agreement = np.where(np.isnan(ours), self.labels.agreement, ours)
        self.shared = bool(np.isfinite(self.agreement).any())

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        return str(self.ids[row].as_py())

    def order(self, row: int, answers: int) -> tuple[int, int]:
        """Return which answers stand first and second: the winner first where all are judged."""
        winner = int(self.labels.winners[row])
        if not self.labels.judged or not 0 <= winner < answers:
            return 0, min(1, answers - 1)
        return winner, 1 if winner == 0 else 0

    def _read_sources(self) -> Iterator[float]:
        self.sources = Sources(arrow_text(self._frame["source"]))
        yield 1.0

    def _read_lengths(self) -> Iterator[float]:
        for start, answers in self._parsed("responses"):
            for row, given in enumerate(answers, start):
                first, second = self.order(row, len(given))
                self.lengths[row] = (length(given[first]), length(given[second]))
            yield start / len(self._frame)

    def _read_prompts(self) -> Iterator[float]:
        parts: list[pa.Array] = []
        for start, prompts in self._parsed("prompt"):
            keys = [last_user(prompt)[:80].casefold() for prompt in prompts]
            known = [key.encode("utf-8", "replace") for key in keys]
            parts.append(pa.array(known, pa.large_binary()))
            yield start / len(self._frame)
        keys = pa.chunked_array(parts, pa.large_binary())
        self.prompts = np.asarray(pc.rank(keys, tiebreaker="dense")).astype(np.int64)

    def _parsed(self, name: str) -> Iterator[tuple[int, list[Any]]]:
        """Yield the number of a row and what its cell, and those after it, hold."""
        column = arrow_text(self._frame[name])
        for start in range(0, len(column), CHUNK):
            yield start, [json.loads(text) for text in column.slice(start, CHUNK).to_pylist()]


def _packed(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    """Return the different texts, and which of them each row has."""
    return pc.dictionary_encode(pa.concat_arrays([pa.array([], texts.type), *texts.chunks]))


def _flags(found: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(found, False), dtype=bool)


def _label(text: str) -> tuple[int, int, float]:
    """Return the kind, the winner and the agreement of a label."""
    label: Mapping[str, Any] = json.loads(text)
    kind = str(label.get("kind"))
    code = KINDS.index(kind) if kind in KINDS[1:4] else KINDS.index("other")
    several = label.get("annotators", 2) > 1
    agreement = label.get("agreement") if several else None
    return code, int(label.get("winner", -1)), np.nan if agreement is None else float(agreement)
