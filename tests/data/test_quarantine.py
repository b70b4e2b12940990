"""Rows put aside: whole, however many."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.data import quarantine
from workbench.data.quarantine import QuarantinedRows
from workbench.data.reading.formats import load_pairs
from workbench.errors import DataError


@pytest.mark.parametrize("in_memory", [1_000_000, 50])
def test_rows_come_back_whole_from_memory_and_from_disk(in_memory: int, tmp_path: Path) -> None:
    aside = QuarantinedRows(in_memory)
    rows: list[Any] = [{"text": "a\u2028\x00\ud800b\n"}, "plain", [1, None, 10**30], 0.1]
    for number, value in enumerate(rows, start=1):
        aside.add(number, "why", value)
        assert len(list(aside)) == len(aside) == number  # read while it grows
    assert next(iter(aside))["row"] == 1  # one is looked at, and more come
    aside.add(5, "why", "more")
    assert [row["value"] for row in aside] == [*rows, "more"]
    aside.write(tmp_path / "new" / "x.jsonl")
    written = (tmp_path / "new" / "x.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in written[:-1]] == list(aside)
    assert list(aside)[2] == {"row": 3, "reason": "why", "value": [1, None, 10**30]}


def test_what_is_no_json_is_kept_as_text() -> None:
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    aside = QuarantinedRows()
    for value in ({("a", 1): 2}, ring, deep):
        aside.add(1, "why", value)
    kept = [row["value"] for row in aside]
    assert kept[:2] == ["{('a', 1): 2}", "[[...]]"]
    assert kept[2] == "a list, nested too deeply to be written"


def test_a_disk_without_room_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full:
        def __init__(self, size: int) -> None:
            pass

        def seek(self, *place: int) -> None:
            pass

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(quarantine.tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(DataError, match="No space left on device") as caught:
        load_pairs([{"prompt": "p", "chosen": "a", "rejected": "a"}])
    assert "TMPDIR" in caught.value.fix
    with pytest.raises(DataError, match="could not be written"):
        QuarantinedRows().write(tmp_path)


def test_lines_that_could_not_be_read_are_written_whole(tmp_path: Path) -> None:
    bad = b'{"prompt": "\xff\xfe caf\xc3\xa9'
    path = tmp_path / "x.jsonl"
    good = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b", "n": 1}).encode()
    path.write_bytes(good + b"\n" + bad + b"\n{broken\n" + good.replace(b'"a"', b'"b"') + b"\n")
    report = load_pairs(path).report
    out = report.write_quarantined(tmp_path / "aside.jsonl")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in rows] == [2, 3, 4]
    assert rows[0]["value"].encode("utf-8", "surrogateescape") == bad + b"\n"
    assert rows[1]["value"] == "{broken"
    assert rows[2]["value"] == {"prompt": "p", "chosen": "b", "rejected": "b", "n": 1}
    table = tmp_path / "x.csv"
    table.write_bytes(b'prompt,chosen,rejected\np,a,b\n"x, y",\xff,b\nonly,two\n')
    values = [row["value"] for row in load_pairs(table).report.quarantined_rows]
    assert values == [["x, y", "\udcff", "b"], ["only", "two"]]
