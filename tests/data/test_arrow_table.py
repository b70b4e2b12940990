"""A table saved as Arrow and opened again."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from workbench.data.pairs import Pairs
from workbench.data.reading.formats import load_pairs
from workbench.errors import DataError

ROWS = [
    {"prompt": "p", "chosen": "a\ud800\u2028", "rejected": "b\x00"},
    {"prompt": "q", "responses": ["日本", "b"]},
    {"prompt": "q", "chosen": "x", "rejected": "x"},
]


def test_a_saved_table_is_open_again_with_its_report(tmp_path: Path) -> None:
    pairs = load_pairs(ROWS, "trl")
    assert len(pairs.report.quarantined) == 2
    path = pairs.save(tmp_path / "new" / "x.arrow")
    again = load_pairs(path)
    assert list(again) == list(pairs)
    assert again.report == pairs.report and str(again.report) == str(pairs.report)
    assert list(again.frame.dtypes) == list(pairs.frame.dtypes)
    both = Pairs.from_items([*pairs, *load_pairs(ROWS, "unlabelled")])
    whole = load_pairs(both.save(path))  # over the file that ``again`` still shows
    assert whole.labels() == [{"kind": "choice", "winner": 0, "strength": None}, None]
    assert len(again) == 1 and again[0].responses[0][0]["content"] == "a\ud800\u2028"
    assert len(whole.unlabelled()) == 1 and list(whole[1:]) == list(both)[1:]
    empty = load_pairs(Pairs.from_items([]).save(tmp_path / "none.arrow"))
    assert (len(empty), list(empty)) == (0, [])
    assert [child.name for child in path.parent.iterdir()] == ["x.arrow"]


def test_the_name_of_the_report_in_a_saved_table_never_changes(tmp_path: Path) -> None:
    path = load_pairs(ROWS, "trl").save(tmp_path / "x.arrow")
    metadata = pa.ipc.open_file(str(path)).schema.metadata
    assert b"workbench.report" in metadata  # else tables that people have saved open no more


def test_what_was_not_saved_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_pairs(tmp_path / "none.arrow")
    (tmp_path / "junk.arrow").write_bytes(b"junk" * 100)
    with pytest.raises(DataError, match="this is not a table"):
        load_pairs(tmp_path / "junk.arrow")
    other = pa.Table.from_pandas(pd.DataFrame({"a": ["b"]}))
    with (
        pa.OSFile(str(tmp_path / "other.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, other.schema) as writer,
    ):
        writer.write_table(other)
    with pytest.raises(DataError, match="this is not a table"):
        load_pairs(tmp_path / "other.arrow")
    (tmp_path / "folder.arrow").mkdir()
    with pytest.raises(DataError, match="could not be written"):
        load_pairs(ROWS, "trl").save(tmp_path / "folder.arrow")
