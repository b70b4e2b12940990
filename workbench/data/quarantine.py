"""Rows put aside by an import: each is kept whole, in memory while few, on disk when many."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from json import loads
from pathlib import Path
from typing import Any

from workbench.errors import DataError
from workbench.json_lines import dumps

IN_MEMORY = 4_000_000  # [bytes] of rows; what goes beyond lies in a file that goes with the process


class QuarantinedRows:
    """Quarantined rows, oldest first: each as ``{"row", "reason", "value"}``."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        # Nothing else can close it: it lives as long as the report that people look at.
        self._file = tempfile.SpooledTemporaryFile(in_memory)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        place = 0
        for _ in range(self._rows):
            self._file.seek(place)
            line = self._file.readline()
            place += len(line)
            yield loads(line.decode("utf-8"))

    def add(self, row: int, reason: str, value: Any) -> None:
        """Put one row aside.

        Raises:
            DataError: there is no room left on the disk for it.
        """
        try:
            text = dumps({"row": row, "reason": reason, "value": value})
        except (TypeError, ValueError, RecursionError):  # not JSON at all: its text is what is left
            text = dumps({"row": row, "reason": reason, "value": _as_text(value)})
        try:
            self._file.seek(0, 2)
            self._file.write(text.encode("utf-8") + b"\n")
        except OSError as error:
            raise DataError(
                f"no room for the rows that are put aside: {error.strerror}",
                where=tempfile.gettempdir(),
                fix="make room there, or set TMPDIR to another folder",
            ) from error
        self._rows += 1

    def write(self, path: Path) -> None:
        """Write the rows, one JSON object a line.

        Raises:
            DataError: the file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                self._file.seek(0)
                shutil.copyfileobj(self._file, file)
        except OSError as error:
            raise DataError(
                f"the quarantined rows could not be written: {error.strerror}",
                where=str(path),
                fix="give a path that can be written to",
            ) from error


def _as_text(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return f"a {type(value).__name__}, nested too deeply to be written"
