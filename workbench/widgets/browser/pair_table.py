"""A table of pairs as it is seen: one page of rows, one pair to read, questions about all of them.

Only what is asked for is made. Lengths, sources and the search index are worked out in the
background (``background_job.py``); the first page waits for none of them, and a search not even
for its index.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.data.pairs import Pair, Pairs
from workbench.data.search.arrow_texts import Texts
from workbench.data.search.index import TextIndex
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError
from workbench.widgets.browser.pair_words import (
    joined_text,
    label_text,
    last_user,
    length,
    letter,
    named_values,
    snippet,
    source_text,
)
from workbench.widgets.browser.question import ANY, LABEL_KINDS, Question
from workbench.widgets.browser.row_facts import RowFacts
from workbench.widgets.browser.row_order import View
from workbench.widgets.kit.background_job import BackgroundJob
from workbench.widgets.kit.wire import CUT, outgoing, outgoing_messages

_NEEDS = {"source": "sources", "prompt": "prompts"} | dict.fromkeys(
    ("first", "second", "gap"), "lengths"
)


class PairTable:
    """A frame of pairs as a table that can be searched, filtered and sorted.

    Args:
        frame: the columns of ``Pairs.frame``; nested values are JSON text.
        store: whose labels stand beside those of the data, by majority of the annotators.
        margins: ``(n,)`` a reward model's score of the better answer minus the other's, or of the
            first minus the second where no label says which is better; NaN where there is none.

    Raises:
        ConfigError: there is not one margin a row.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        store: LabelStore | None = None,
        margins: np.ndarray | None = None,
    ) -> None:
        if margins is not None and margins.shape != (len(frame),):
            raise ConfigError(
                f"there are {margins.size:,} scores for {len(frame):,} pairs",
                where="browse(pairs, scores=...)",
                fix="give one number a pair, in the order of the pairs",
            )
        self.frame = frame
        self.facts = RowFacts(frame, store, margins)
        self.index = TextIndex(Texts(frame["prompt"], frame["responses"]))
        self.jobs = {**self.facts.jobs, "index": BackgroundJob(self._build_index)}
        self.reading = BackgroundJob(self._do_all)  # of what later questions will need

    def __len__(self) -> int:
        return len(self.frame)

    # --- work in the background

    def read(self) -> None:
        """Work out all that questions can need, and return when it is there.

        Raises:
            Exception: what went wrong.
        """
        for job in self.jobs.values():
            job.wait()

    def _do_all(self) -> Iterator[float]:
        for name in ("sources", "index", "lengths"):
            self.jobs[name].run()
            yield 1.0

    def _build_index(self) -> Iterator[float]:
        while not self.index.is_built:
            self.index.grow()
            yield self.index.indexed / len(self)

    def missing(self, question: Question) -> list[BackgroundJob]:
        """Return the work that an answer has to wait for, started."""
        names = [_NEEDS.get(question.sort)]
        names += ["sources"] if question.source else []
        names += ["lengths"] if question.gap != ANY else []
        jobs = [self.jobs[name] for name in dict.fromkeys(names) if name]
        for job in jobs:
            job.start()
        return [job for job in jobs if not job.is_done]

    # --- which rows

    def view(self, question: Question) -> View:
        """Return the rows that answer a question.

        Raises:
            Exception: what went wrong in work that the answer needs.
        """
        for job in self.missing(question):
            job.wait()
        return View(self.facts, self.index, question)

    # --- what travels

    def rows(self, rows: Sequence[int] | np.ndarray, query: str = "") -> list[dict[str, Any]]:
        """Return some rows as the cells that are seen."""
        return [self._row(int(row), query.strip()) for row in rows]

    def _row(self, row: int, query: str) -> dict[str, Any]:
        prompt, answers, label, source = self._cells(row)
        first, second = self.facts.order(row, len(answers))
        winner = int(self.facts.winners[row])
        return {
            "row": row,
            "prompt": snippet(last_user(prompt), query),
            "first": snippet(joined_text(answers[first]), query),
            "second": snippet(joined_text(answers[second]), query),
            "source": outgoing(source_text(source)),
            "turns": sum(turn["role"] == "user" for turn in prompt),
            "more": len(answers) - 2,
            "label": outgoing(label_text(label, len(answers))),
            "better": None if self.facts.judged or winner < 0 else winner,
            "gap": length(answers[first]) - length(answers[second]),
            **self._standing(row, answers),
        }

    def item(self, row: int) -> Pair:
        """Return one pair as it is stored."""
        return Pairs(self.frame.iloc[row : row + 1])[0]

    def pair(self, row: int, whole: bool = False) -> dict[str, Any]:
        """Return one pair to read: all of it, or with very long messages cut."""
        prompt, answers, label, source = self._cells(row)
        cut = None if whole else CUT
        first, second = self.facts.order(row, len(answers))
        others = [n for n in range(len(answers)) if n not in (first, second)]
        meta = json.loads(self.frame["meta"].iloc[row])
        return {
            "row": row,
            "prompt": outgoing_messages(prompt, cut),
            "answers": [
                {
                    "name": self._name(row, n),
                    "better": n == int(self.facts.winners[row]),
                    "messages": outgoing_messages(answers[n], cut),
                    "words": len(joined_text(answers[n]).split()),
                }
                for n in dict.fromkeys((first, second, *others))
            ],
            "label": "" if self.facts.judged else outgoing(label_text(label, len(answers))),
            "facts": named_values({"source": source_text(source), **(label or {}), **meta}),
            **self._standing(row, answers),
        }

    def _standing(self, row: int, answers: list[Any]) -> dict[str, Any]:
        """Return what the labels and the reward model say of a row."""
        margin, agreement = float(self.facts.margins[row]), float(self.facts.agreement[row])
        return {
            "kind": LABEL_KINDS[int(self.facts.kinds[row])],
            "yours": self._yours(row, answers),
            "margin": None if np.isnan(margin) else margin,
            "disagrees": bool(self.facts.disagrees()[row]),
            "agreement": None if np.isnan(agreement) else agreement,
        }

    def _name(self, row: int, answer: int) -> str:
        if self.facts.judged:
            return "chosen" if answer == int(self.facts.winners[row]) else "rejected"
        return f"answer {letter(answer)}"

    def _yours(self, row: int, answers: list[Any]) -> str:
        """Return the store's label in words, of this row's answers."""
        label = self.facts.store_label(row)
        if label is None or label["kind"] != "choice":
            return label_text(label, len(answers))
        winner = self.facts.store_winner(row, answers)
        if winner is None:
            return "labelled"
        if self.facts.judged:
            return "agrees" if winner == int(self.facts.winners[row]) else "disagrees"
        return label_text({**label, "winner": winner, "strength": None}, len(answers))

    def _cells(
        self, row: int
    ) -> tuple[list[Any], list[Any], dict[str, Any] | None, dict[str, Any]]:
        cells = self.frame.iloc[row]
        label = cells["label"] if isinstance(cells["label"], str) else "null"
        prompt, answers = json.loads(cells["prompt"]), json.loads(cells["responses"])
        return prompt, answers, json.loads(label), json.loads(cells["source"])
