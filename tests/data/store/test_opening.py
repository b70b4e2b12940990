"""A store from elsewhere: damaged, with a stranger's triggers, of an older version, read-only."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store import opening
from workbench.data.store.labels import LabelStore
from workbench.data.store.store_tables import TABLES, VERSION
from workbench.errors import DataError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def table(size: int = 40) -> Pairs:
    texts = ("a" * 300, "b" * 300)
    return load_pairs([{"prompt": f"q{n}", "responses": list(texts)} for n in range(size)])


def labelled(path: Path, count: int = 40) -> Path:
    with LabelStore(path) as store:
        session = LabelSession(table(), store, annotator="ada")
        for _ in range(count):
            session.choose("left")
    return path


def changed(path: Path, old: bytes, new: bytes) -> bytes:
    data = path.read_bytes()
    assert data.count(old) >= 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new, 1))
    return path.read_bytes()


def page_of(path: Path, text: bytes) -> int:
    """Where the page begins that holds this text."""
    return path.read_bytes().index(text) // 4096 * 4096


def test_stores_damaged_at_random_are_told_or_whole() -> None:
    command = [sys.executable, str(BENCHMARKS / "faults_store.py"), "--stores", "25", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_letter_changed_in_a_text_is_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = labelled(tmp_path / "labels.sqlite")
    after = changed(path, b'"content":"q7"', b'"content":"q8"')
    with pytest.raises(DataError, match="the label store is damaged") as told:
        LabelStore(path)
    assert "40 labels by 1 people and 39 items can still be read" in str(told.value)
    assert "LabelStore.rescue" in told.value.fix
    assert path.read_bytes() == after


def test_a_large_store_is_checked_row_by_row_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = labelled(tmp_path / "labels.sqlite")
    changed(path, b'"content":"q7"', b'"content":"q8"')
    monkeypatch.setattr(opening, "CHECKED_WHOLE", 0)
    with LabelStore(path) as store:
        assert len(store.labels()) == 40  # the events are as they were
        with pytest.raises(DataError, match=r"damaged \(what is stored of item"):
            store.pairs()


def test_an_item_that_an_index_has_lost_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = labelled(tmp_path / "labels.sqlite", 3)
    monkeypatch.setattr(opening, "CHECKED_WHOLE", 0)
    with LabelStore(path) as store:
        store._db.execute("DELETE FROM items WHERE prompt LIKE '%q1%'")
        with pytest.raises(DataError, match="cannot be found"):
            store.pairs()


def test_what_can_be_read_makes_a_new_store(tmp_path: Path) -> None:
    path = labelled(tmp_path / "labels.sqlite")
    before = [event.event_id for event in LabelStore(path).event_list()]
    start = page_of(path, b'"content":"q20"')
    data = bytearray(path.read_bytes())
    data[start : start + 4096] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(DataError, match="can still be read"):
        LabelStore(path)
    found = LabelStore.rescue(path, tmp_path / "new.sqlite")
    assert 20 <= found.items < 40 and found.events + found.left_out == 40
    assert found.items == found.events  # a label an item, each of an item that was found
    assert len(found.store.pairs()) == found.events
    kept = [event.event_id for event in found.store.event_list()]
    assert [ident for ident in before if ident in kept] == kept
    assert path.read_bytes() == bytes(data)
    with pytest.raises(DataError, match="a file of that name already"):
        LabelStore.rescue(path, tmp_path / "new.sqlite")
    (tmp_path / "none.sqlite").write_bytes(b"SQLite format 3\x00" + bytes(9000))
    with pytest.raises(DataError, match="nothing can be read"):
        LabelStore.rescue(tmp_path / "none.sqlite", tmp_path / "other.sqlite")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "CREATE TRIGGER spy AFTER INSERT ON events BEGIN DELETE FROM items; END",
            "a trigger that the workbench did not make: 'spy'",
        ),
        ("CREATE VIEW twice AS SELECT * FROM events", "a view that the workbench did not make"),
        ("CREATE INDEX odd ON items (length(prompt))", "an? index that the workbench did not"),
        ("CREATE VIRTUAL TABLE v USING fts5(a)", "a table that the workbench did not make: 'v'"),
        ("DROP TRIGGER events_stay", "'events_stay' is missing"),
        ("DROP TABLE sides", "'sides' is missing"),
    ],
)
def test_what_would_act_by_itself_is_refused(statement: str, said: str, tmp_path: Path) -> None:
    path = labelled(tmp_path / "labels.sqlite", 2)
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match=said) as told:
        LabelStore(path)
    assert told.value.fix and path.read_bytes() == before


def test_a_trigger_of_ours_with_other_words_is_refused(tmp_path: Path) -> None:
    path = labelled(tmp_path / "labels.sqlite", 2)
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER events_last")
        db.execute(
            "CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN DELETE FROM items; END"
        )
    db.close()
    with pytest.raises(DataError, match="'events_last' is changed"):
        LabelStore(path)


def test_a_table_of_somebody_elses_beside_ours_is_left_alone(tmp_path: Path) -> None:
    path = labelled(tmp_path / "labels.sqlite", 2)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    db.close()
    assert len(LabelStore(path).labels()) == 2


def test_a_store_of_the_version_before_gets_its_checksums(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    labelled(tmp_path / "new.sqlite", 3)
    with sqlite3.connect(path) as db:
        for statement in TABLES:
            db.execute(
                statement.replace("    checksum INTEGER,\n", "").replace(
                    ",\n    checksum INTEGER\n", "\n"
                )
            )
        db.execute("ATTACH ? AS new", (str(tmp_path / "new.sqlite"),))
        for name, cells in (
            ("events", "seq, event_id, time, item_id, annotator, kind, payload"),
            ("items", "id, prompt, responses, label, source, meta"),
            ("sides", 'item_id, annotator, "order"'),
        ):
            db.execute(f"INSERT INTO {name} ({cells}) SELECT {cells} FROM new.{name}")
        db.execute("PRAGMA application_id = 0x524C4846")
        db.execute("PRAGMA user_version = 2")
    db.close()
    with LabelStore(path) as store, LabelStore(tmp_path / "new.sqlite") as new:
        assert store.event_list() == new.event_list()
        assert list(store.pairs()) == list(new.pairs())
        session = LabelSession(table(), store, annotator="ada")
        assert session.choose("right")
    with LabelStore(path) as store:  # its tables are those of a new one
        assert len(store.labels()) == 4
        assert store._rows("PRAGMA user_version") == [(VERSION,)]
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            store._db.execute("UPDATE events SET kind = 'x'")


# Read-only media ---------------------------------------------------------------------------------


@pytest.fixture
def medium(small_disk: Any) -> Any:
    small_disk.hold(8192, "remount")
    return small_disk


@pytest.mark.parametrize("log", ["closed", "open"])
def test_a_read_only_medium_is_read(log: str, medium: Any, tmp_path: Path) -> None:
    """A store that was closed, and one whose log still holds labels."""
    path = labelled(tmp_path / "labels.sqlite", 3)
    store = LabelStore(path)
    if log == "open":
        store._db.execute("PRAGMA wal_autocheckpoint = 0")
        store._file.settle = lambda: False  # type: ignore[method-assign]
        session = LabelSession(table(), store, annotator="bob", overlap=None)
        assert session.choose("left")
        assert (tmp_path / "labels.sqlite-wal").stat().st_size
    for file in tmp_path.glob("labels.sqlite*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, medium.path)
    store.close()
    medium.hold(8192, "remount", "ro")
    there = medium.path / "labels.sqlite"
    with LabelStore(there) as reading:
        assert len(reading.labels()) == (4 if log == "open" else 3)
        assert "to read only" in repr(reading) and reading.read_only
        assert len(reading.pairs()) == 3
        with pytest.raises(DataError, match="can only be read") as told:
            LabelSession(table(), reading, annotator="cyd", overlap=None).choose("left")
        assert "save_copy" in told.value.fix
        copy = reading.save_copy(tmp_path / "copy.sqlite")
    with LabelStore(copy) as writable:
        assert LabelSession(table(), writable, annotator="cyd", overlap=None).choose("left")
