"""The texts of many pairs as they lie in Arrow memory, and the few things a search does to them."""

import importlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

pa: Any = importlib.import_module("pyarrow")  # without types
pc: Any = importlib.import_module("pyarrow.compute")

CORES = min(4, os.cpu_count() or 1)
ROWS_A_CORE = 1024  # rows that are worth a core of their own

_POOL = ThreadPoolExecutor(CORES, thread_name_prefix="search")  # starts a thread when it is used

RowNumbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Texts:
    """The messages of many pairs as JSON text in Arrow memory: ``prompt`` and ``responses``.

    Args:
        prompt: a column of JSON texts, each a list of messages.
        responses: the same, each a list of such lists.
    """

    def __init__(self, prompt: Any, responses: Any) -> None:
        self.columns = [arrow_text(column) for column in (prompt, responses)]
        self._starts = [_starts(column) for column in self.columns]

    def __len__(self) -> int:
        return len(self.columns[0])

    def folded(self, rows: RowNumbers) -> list[str]:
        """Return what is said in some rows, folded: all messages, one a line.

        Args:
            rows: ``(n,)``, ascending.

        Raises:
            DataError: a row is not the JSON text of messages.
        """
        prompts, answers = (self._cells(n, rows) for n in range(2))
        cells = list(zip(prompts, answers, strict=True))
        try:
            together = ",".join(f"[{prompt},{responses}]" for prompt, responses in cells)
            read = json.loads(f"[{together}]")
            if len(read) == len(cells):
                return [_folded_text(*parts) for parts in read]
        except (ValueError, KeyError, TypeError):
            pass  # one of them is bad: say which
        return [self._one(row, *cell) for row, cell in zip(rows.tolist(), cells, strict=True)]

    def _cells(self, column: int, rows: RowNumbers) -> list[str]:
        """Return some cells, chunk by chunk: Arrow's own ``take`` first joins all chunks to one."""
        chunks, starts = self.columns[column].chunks, self._starts[column]
        owners = np.searchsorted(starts, rows, side="right") - 1
        cells: list[str] = []
        for owner in np.unique(owners).tolist():
            local = rows[owners == owner] - starts[owner]
            cells += chunks[owner].take(pa.array(local)).to_pylist()
        return cells

    def _one(self, row: int, prompt: str, responses: str) -> str:
        try:
            return _folded_text(json.loads(prompt), json.loads(responses))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"the prompt or the responses are not JSON messages ({error})",
                where=f"row {row} of the frame",
                fix="read the data with load_pairs, or write the cells with json.dumps",
            ) from error


def arrow_text(column: Any) -> Any:
    """Return a frame's column as a chunked Arrow array of large strings, without a copy of one."""
    return _chunked(column).cast(pa.large_string())


def _chunked(column: Any) -> Any:
    array: Any = pa.array(column.array if hasattr(column, "array") else column, from_pandas=True)
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _starts(column: Any) -> RowNumbers:
    """Return the row that each chunk begins with; of empty ones, too, which no row is in."""
    lengths = [len(chunk) for chunk in column.chunks]
    return np.cumsum([0, *lengths[:-1]]) if lengths else np.zeros(0, np.int64)


def rows_of(frame: Any, rows: RowNumbers) -> Any:
    """Return some rows of a frame, in the order given, without a copy of all the others.

    pandas would join the chunks of every Arrow column first, which takes seconds and gigabytes.
    """
    ordered = np.sort(rows)
    kept = np.zeros(len(frame), dtype=bool)
    kept[ordered] = True
    few = {name: _filtered(frame[name], kept) for name in frame.columns}
    part = type(frame)(few, columns=frame.columns)
    part.index = frame.index[ordered]
    return part if (rows == ordered).all() else part.iloc[np.searchsorted(ordered, rows)]


def _filtered(column: Any, kept: Mask) -> Any:
    array = column.array
    if not hasattr(column.dtype, "pyarrow_dtype"):
        return array[kept]
    return type(array)(_chunked(column).filter(pa.array(kept)))


def _folded_text(prompt: Any, responses: Any) -> str:
    return "\n".join(turn["content"] for side in (prompt, *responses) for turn in side).casefold()


def bytes_of(texts: Any) -> tuple[list[int], bytes]:
    """Return where each text begins and ends, ``(n + 1,)``, in the bytes of all of them."""
    array = texts.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # older Arrow, where there is nothing to combine
        array = pa.concat_arrays(array.chunks)
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    return offsets.tolist(), b"" if data is None else data.to_pybytes()


def part_of(column: Any, runs: list[tuple[int, int]]) -> Any:
    """Return some runs of a column as one array, without a copy."""
    parts = [column.slice(start, stop - start) for start, stop in runs]
    chunks = [chunk for part in parts for chunk in part.chunks]
    return pa.chunked_array(chunks, pa.large_string())


def has(texts: Any, pattern: str) -> Mask:
    """Return which texts a regular expression is found in, ``(n,)``; several cores look at many."""
    count = len(texts)
    workers = min(CORES, 1 + count // ROWS_A_CORE)
    if workers == 1:
        return _has(texts, pattern)
    ends = np.linspace(0, count, workers + 1).astype(int).tolist()
    slices = [texts.slice(start, stop - start) for start, stop in pairwise(ends)]
    return np.concatenate(list(_POOL.map(_has, slices, [pattern] * workers)))


def _has(texts: Any, pattern: str) -> Mask:
    return np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern), False), dtype=bool)
