"""Files that people and machines spoil: byte order marks, NUL, deep nesting, cut gzip and Parquet.

The files are those of tests/benchmarks/faults_pairs.py, but for its bombs, which take seconds.
"""

from pathlib import Path

import faults_pairs
import pytest

BOMBS = ("bomb", "huge", "many-rows", "million")
FILES = [name for name in faults_pairs.FILES if not any(word in name for word in BOMBS)]


@pytest.mark.parametrize("name", FILES)
def test_a_spoiled_file_is_read_with_every_row_accounted_for_or_told(
    name: str, tmp_path: Path
) -> None:
    kind, make = faults_pairs.FILES[name]
    path = tmp_path / f"{name}.{kind}"
    make(path)
    assert faults_pairs.read(path) in ("read", "told")


@pytest.mark.parametrize("name", ["bom", "crlf", "no-last-newline", "csv", "tsv", "json-list"])
def test_a_file_that_is_only_written_in_another_way_is_read_whole(
    name: str, tmp_path: Path
) -> None:
    from workbench.data.reading.formats import load_pairs

    kind, make = faults_pairs.FILES[name]
    path = tmp_path / f"{name}.{kind}"
    make(path)
    report = load_pairs(path).report
    assert report.imported > 0 and not report.quarantined


def test_a_table_with_semicolons_and_one_of_an_old_windows_are_read_or_told(tmp_path: Path) -> None:
    from workbench.data.reading.formats import load_pairs

    text = "prompt;chosen;rejected\nCafé?;Très bien.;Non.\n"
    for encoding in ("utf-8", "utf-8-sig", "cp1252", "utf-16"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.encode(encoding))
        assert faults_pairs.read(path) in ("read", "told")
    (pair,) = load_pairs(tmp_path / "utf-8.csv")
    assert pair.prompt[0]["content"] == "Café?"


def test_lists_that_parquet_gives_as_arrays_are_messages(tmp_path: Path) -> None:
    import pandas as pd

    from workbench.data.reading.formats import load_pairs

    ask = [{"role": "user", "content": "Is rain wet?"}]
    row = {"prompt": ask, "chosen": [{"role": "assistant", "content": "Yes."}]}
    frame = pd.DataFrame([{**row, "rejected": [{"role": "assistant", "content": "No."}]}])
    frame.to_parquet(tmp_path / "a.parquet")
    read_back = pd.read_parquet(tmp_path / "a.parquet")
    assert type(read_back["prompt"][0]).__name__ == "ndarray"
    for source in (tmp_path / "a.parquet", read_back):
        (pair,) = load_pairs(source)
        assert pair.prompt == ask and pair.responses[0][0]["content"] == "Yes."
