"""Search in the texts of a million pairs: the first hits in milliseconds, the rest behind them.

The rows stand in blocks, and a block remembers which grams its texts have (``grams.py``): one bit
a gram, under a number that grams may share. A search looks only into blocks that have all grams
of what is wanted, there with a regular expression (``case_folding.py``), and decodes what that
finds before it believes it. So the index may be wrong in one direction only, and a search needs
none: rows that are not indexed yet are looked at all.

Why not SQLite's FTS5 or tantivy: FTS5's trigrams find nothing under three characters, and most
Chinese and Japanese words have two; tantivy finds tokens, and here any part of a text is found.
Either would keep an index on disk, in step with the data; this one is in memory, made anew.
"""

import importlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.data.search import case_folding, grams
from workbench.data.search.arrow_texts import Mask, RowNumbers, Texts, bytes_of, has, part_of

pc: Any = importlib.import_module("pyarrow.compute")  # without types

_HEADS = re.compile(rb'\{"role":"(?:user|assistant|system)","content":"')

BLOCK = 128  # rows
BLOCKS = 64  # in a group: the bits of one word
BITS = (12, 18)  # of a gram's number: at least, at most
SAMPLE = 12  # blocks from which the number of bits is worked out
SPARE = 3  # bits for each gram that a block has
BATCH = (512, 8192)  # rows looked at in one go: at first, and at most


class TextIndex:
    """Which grams the texts of each block have; grows by :meth:`grow`, and may be used meanwhile.

    Args:
        texts: what to search.
        block: rows in a block.
    """

    def __init__(self, texts: Texts, *, block: int = BLOCK) -> None:
        self.texts, self.block = texts, block
        self.odd: Mask = np.zeros(len(texts), dtype=bool)  # rows that only decoding can read
        self.strange: Mask = np.zeros(len(texts), dtype=bool)  # rows with ``strangers()``
        self.bits = 0  # of a gram's number; 0: not yet known
        self._groups: list[npt.NDArray[np.uint64]] = []  # each (2 ** bits,), a bit a block

    @property
    def group(self) -> int:
        """How many rows a group has."""
        return self.block * BLOCKS

    @property
    def indexed(self) -> int:
        """How many rows are indexed, from the first."""
        return min(len(self._groups) * self.group, len(self.texts))

    @property
    def is_built(self) -> bool:
        """Whether all rows are indexed."""
        return self.indexed == len(self.texts)

    @property
    def size(self) -> int:
        """How much memory it takes, in bytes."""
        return 2 * self.odd.nbytes + sum(group.nbytes for group in self._groups)

    def build(self) -> None:
        """Index all rows."""
        while not self.is_built:
            self.grow()

    def grow(self) -> None:
        """Index the next group of rows: thousands, in a fraction of a second."""
        start = self.indexed
        stop = min(start + self.group, len(self.texts))
        if not self.bits:
            self.bits = self._sampled()
        marks = np.zeros((BLOCKS, 1 << self.bits), dtype=bool)
        for block, text in enumerate(self._blocks(start, stop)):
            grams.mark(text, marks[block])
        packed = np.packbits(marks, axis=0, bitorder="little")
        self._groups.append(np.ascontiguousarray(packed.T).view("<u8")[:, 0])

    def candidates(self, group: int, wanted: Sequence[int]) -> list[int]:
        """Return the blocks of a group, by number in it, that have all the wanted grams."""
        start = group * self.group
        blocks = range(-(-min(self.group, len(self.texts) - start) // self.block))
        if group >= len(self._groups) or not wanted:
            return list(blocks)
        word = int(np.bitwise_and.reduce(self._groups[group][list(wanted)]))
        return [block for block in blocks if word >> block & 1]

    def _sampled(self) -> int:
        """Return how many bits suit these texts, by how many grams some of the blocks have."""
        most = BITS[1]
        blocks = -(-len(self.texts) // self.block)
        counts: list[int] = []
        for block in np.unique(np.linspace(0, blocks - 1, SAMPLE).astype(int)).tolist():
            start = block * self.block
            marks = np.zeros(1 << most, dtype=bool)
            for text in self._blocks(start, min(start + self.block, len(self.texts))):
                grams.mark(text, marks)
            counts.append(int(marks.sum()))
        wanted = int(np.quantile(counts, 0.75)) * SPARE
        return min(most, max(BITS[0], wanted.bit_length()))

    def _blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the folded texts of rows ``start`` to ``stop``, block by block."""
        count = stop - start
        lowered: list[tuple[Any, Any]] = []
        for column in self.texts.columns:
            part = column.slice(start, count)
            self.odd[start:stop] |= has(part, case_folding.ODD)
            self.strange[start:stop] |= has(part, case_folding.strangers())
            lowered.append(bytes_of(pc.utf8_lower(part)))
        apart = self.odd[start:stop] | self.strange[start:stop]
        for first in range(0, count, self.block):
            last = min(first + self.block, count)
            text = b"\n".join(data[ends[first] : ends[last]] for ends, data in lowered)
            text = _HEADS.sub(b'"', text)  # else "tent" would seem to stand in every block
            strange = np.flatnonzero(apart[first:last]) + start + first
            more = self.texts.folded(strange) if len(strange) else []
            yield b"\n".join((text, *(one.encode("utf-8", "surrogatepass") for one in more)))


class Search:
    """One search, which goes as far as it is told and later goes on from there.

    Hits are exact: ``wanted in text``, both folded, where the text is all messages of the row,
    one a line.

    Args:
        index: of the texts; it may grow while the search goes on.
        wanted: folded text, not empty.
        keep: ``(n,)`` which rows may be found; None for all.
        backwards: find the last rows first.
    """

    def __init__(
        self, index: TextIndex, wanted: str, *, keep: Mask | None = None, backwards: bool = False
    ) -> None:
        self._index, self._wanted, self._keep = index, wanted, keep
        self._patterns = case_folding.patterns(wanted)
        self._pieces = [piece.encode() for piece in case_folding.BROKEN.split(wanted)]
        groups = range(-(-len(index.texts) // index.group))
        self._todo = list(groups if backwards else reversed(groups))  # the next one last
        self._groups, self._backwards = max(1, len(groups)), backwards
        self._numbers: list[int] | None = None  # of the grams; once the index has its bits
        self._batch = BATCH[0]
        self._hits: list[RowNumbers] = []
        self._runs: list[tuple[int, int]] = []  # rows to look at, the next ones last
        self.is_complete = False

    @property
    def rows(self) -> RowNumbers:
        """The hits so far, ``(n,)``, in the order of the search."""
        self._hits = [np.concatenate(self._hits)] if self._hits else [np.empty(0, np.int64)]
        return self._hits[0]

    @property
    def fraction(self) -> float:
        """How much of the rows is searched, 0 to 1."""
        return 1 - len(self._todo) / self._groups

    def go_on(self, *, hits: int | None = None, seconds: float | None = None) -> None:
        """Search on until there are so many hits in all, or so much time is over, or to the end.

        Raises:
            DataError: a row that may hold the text cannot be read.
        """
        count = sum(map(len, self._hits))
        deadline = None if seconds is None else time.perf_counter() + seconds
        while hits is None or count < hits:
            if not (self._todo or self._runs):
                self.is_complete = True
                return
            batch_hits = self._next()
            self._hits.append(batch_hits)
            count += len(batch_hits)
            if deadline is not None and time.perf_counter() > deadline:
                return

    def _next(self) -> RowNumbers:
        """Look at the next rows; return the hits among them."""
        batch: list[tuple[int, int]] = []
        room = self._batch
        while room > 0 and (self._runs or self._todo):
            if not self._runs:  # a rare word is in few blocks of a group: go on to the next
                self._runs = self._runs_of(self._todo.pop())
                continue
            batch.append(self._cut(room))
            room -= batch[-1][1] - batch[-1][0]
        self._batch = min(2 * self._batch, BATCH[1])
        return self._look(sorted(batch))

    def _cut(self, room: int) -> tuple[int, int]:
        """Take the next rows off the next run, from its end where it goes backwards."""
        start, stop = self._runs.pop()
        taken = min(room, stop - start)
        if self._backwards:
            if taken < stop - start:
                self._runs.append((start, stop - taken))
            return stop - taken, stop
        if taken < stop - start:
            self._runs.append((start + taken, stop))
        return start, start + taken

    def _runs_of(self, group: int) -> list[tuple[int, int]]:
        """Return the rows of a group to look at, as runs from start to stop, the next one last."""
        index = self._index
        if index.bits and self._numbers is None:
            wanted = (grams.numbers(piece, index.bits) for piece in self._pieces)
            self._numbers = sorted({number for numbers in wanted for number in numbers})
        runs: list[tuple[int, int]] = []
        for block in index.candidates(group, self._numbers or ()):
            start = group * index.group + block * index.block
            stop = min(start + index.block, len(index.texts))
            if self._keep is not None and not self._keep[start:stop].any():
                continue
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((start, stop))
        return runs if self._backwards else runs[::-1]

    def _look(self, runs: list[tuple[int, int]]) -> RowNumbers:
        """Return the rows of these runs that hold the text, in the order of the search."""
        if not runs:
            return np.empty(0, np.int64)
        rows = np.concatenate([np.arange(start, stop) for start, stop in runs])
        index = self._index
        parts = [part_of(column, runs) for column in index.texts.columns]
        if int(rows[-1]) < index.indexed:
            odd, strange = index.odd[rows], np.flatnonzero(index.strange[rows])
        else:
            odd, strange = self._have(parts, case_folding.ODD), np.arange(len(rows))
        maybe = odd.copy()
        if self._patterns is not None:
            maybe |= self._have(parts, self._patterns.plain)
            if len(strange):
                few = [part.take(strange) for part in parts]
                maybe[strange] |= self._have(few, self._patterns.strange)
        if self._keep is not None:
            maybe &= self._keep[rows]
        rows = rows[maybe]
        texts = index.texts.folded(rows) if len(rows) else []
        hits = rows[np.fromiter((self._wanted in text for text in texts), bool, len(texts))]
        return hits[::-1] if self._backwards else hits

    @staticmethod
    def _have(parts: list[Any], pattern: str) -> Mask:
        """Return the rows in which either part has what is looked for."""
        return has(parts[0], pattern) | has(parts[1], pattern)
