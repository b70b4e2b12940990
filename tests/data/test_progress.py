"""How far a long import is."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.data import progress
from workbench.data.progress import reading
from workbench.data.reading import formats
from workbench.data.reading.formats import load_pairs

ROWS = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(25)]


def told(source: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float | None]]:
    monkeypatch.setattr(formats, "TELL_EVERY", 10)
    words: list[tuple[int, float | None]] = []
    pairs = load_pairs(source, on_progress=lambda rows, share: words.append((rows, share)))
    assert len(pairs) == 25
    return words


def test_progress_is_told_in_rows_and_where_known_in_shares(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_rows = [(10, 0.4), (20, 0.8), (25, 1.0)]
    assert told(ROWS, monkeypatch) == by_rows
    assert told(pd.DataFrame(ROWS), monkeypatch) == by_rows
    pd.DataFrame(ROWS).to_parquet(tmp_path / "x.parquet")
    assert told(tmp_path / "x.parquet", monkeypatch) == by_rows
    assert told(iter(ROWS), monkeypatch) == [(10, None), (20, None), (25, 1.0)]
    (tmp_path / "x.json").write_text(json.dumps(ROWS))
    assert told(tmp_path / "x.json", monkeypatch) == [(10, None), (20, None), (25, 1.0)]


def test_the_share_of_a_file_is_that_of_its_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Each line is larger than what Python reads ahead, so that the place is nearly exact; the
    # first 100 are read at once, to find the format.
    line = json.dumps({"prompt": "p", "chosen": "x" * 100_000, "rejected": "y"}) + "\n"
    path = tmp_path / "x.jsonl"
    path.write_text(line * 200)
    words: list[tuple[int, float | None]] = []
    monkeypatch.setattr(formats, "TELL_EVERY", 50)
    load_pairs(path, on_progress=lambda rows, share: words.append((rows, share)))
    assert [rows for rows, _ in words] == [50, 100, 150, 200, 200]
    assert [share for _, share in words] == pytest.approx([0.5, 0.5, 0.75, 1.0, 1.0], abs=0.01)
    path.write_text(line * 60)  # all of which is read before the first is taken
    words.clear()
    load_pairs(path, on_progress=lambda rows, share: words.append((rows, share)))
    assert words == [(50, 1.0), (60, 1.0)]


class Kernel(io.StringIO):
    """Stands for a notebook's output."""


Kernel.__module__ = "ipykernel.iostream"


class Terminal(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_short_import_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Kernel()
    monkeypatch.setattr(sys, "stdout", notebook)
    with reading("x") as shown:
        shown(1_000, 0.5)
    assert notebook.getvalue() == ""


def test_a_long_import_has_one_line_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook, now = Kernel(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stdout", notebook)
    with reading("x.jsonl") as shown:
        for at, rows, share in ((101.9, 10, 0.1), (102.0, 1_000, 0.25), (102.4, 1_500, 0.3)):
            now[0] = at
            shown(rows, share)
        # 2 s for a quarter: 6 s for the rest. What comes within half a second is not said.
        assert notebook.getvalue() == "\rreading x.jsonl: 1,000 rows, 25%, 6 s left"
        now[0] = 103.0
        shown(2_000, None)
        assert "\rreading x.jsonl: 2,000 rows " in notebook.getvalue()
    assert notebook.getvalue().endswith(" \r")


def test_a_terminal_has_a_bar_and_a_script_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    screen, silent = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    with reading("x.jsonl") as shown:
        shown(1_234, 0.5)
    assert "reading x.jsonl" in screen.getvalue() and "1,234 rows" in screen.getvalue()
    monkeypatch.setattr(sys, "stderr", silent)
    with reading("x.jsonl") as shown:
        shown(1_234, 0.5)
    assert silent.getvalue() == ""
