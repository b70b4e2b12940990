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
