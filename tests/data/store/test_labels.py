"""The label store: what is acknowledged is there, whatever happens."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from workbench.data.pairs import Pair, Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store import journal, store_tables
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.data.store.majority import majority
from workbench.errors import ConfigError, DataError


def table(size: int = 3) -> Pairs:
    rows = [{"prompt": f"q{n}", "chosen": "good", "rejected": "bad"} for n in range(size)]
    return load_pairs(rows)


def label(item: Pair, who: str, winner: int | None, **rest: Any) -> LabelEvent:
    given: dict[str, Any] = {"kind": "tie"}
    if winner is not None:
        given = {"kind": "choice", "winner": winner, "strength": None}
    return LabelEvent("label", item.id, who, {"label": given, **rest.pop("payload", {})}, **rest)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "deep" / "er" / "labels.sqlite")


def test_an_event_is_stored_once_and_a_resend_changes_nothing(store: LabelStore) -> None:
    item = table()[0]
    event = label(item, "ada", 1, event_id="one")
    assert store.append(event, item) is True
    assert store.append(event, item) is False
    assert store.has_event("one") and not store.has_event("two")
    frame = store.events()
    assert list(frame["event_id"]) == ["one"] and list(frame["seq"]) == [1]
    assert store.counts() == {"items": 1, "events": 1, "annotators": 1, "labelled": 1}
    assert "1 events" in repr(store)


def test_safety_is_switched_on(store: LabelStore) -> None:
    assert store.journal == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._db.execute("PRAGMA busy_timeout").fetchone() == (30_000,)


@pytest.mark.parametrize("change", ["UPDATE events SET kind = 'x'", "DELETE FROM events"])
def test_an_event_is_never_changed(store: LabelStore, change: str) -> None:
    item = table()[0]
    store.append(label(item, "ada", 0), item)
    with pytest.raises(sqlite3.IntegrityError, match="events are never"):
        store._db.execute(change)


def test_labels_do_not_depend_on_the_file_they_came_from(store: LabelStore) -> None:
    item = Pair.make(
        [{"role": "user", "content": "p\ud800\x00\u2028"}],
        [[{"role": "assistant", "content": text}] for text in ("日本", "é\x00")],
        label={"kind": "tie"},
        source={"file": "x", "row": 3},
        meta={"n": [1, None]},
    )
    store.append(label(item, "ada", 1), item)
    assert store.item(item.id) == item
    assert store.item("other") is None
    made = store.pairs()[0]
    assert made.label == {
        "kind": "choice",
        "winner": 1,
        "strength": None,
        "annotators": 1,
        "agreement": 1.0,
    }
    assert made.meta == {"n": [1, None], "imported_label": {"kind": "tie"}}
    assert (made.prompt, made.source) == (item.prompt, item.source)


def test_items_may_be_copied_beforehand(store: LabelStore) -> None:
    assert store.add_items(table(3)) == 3
    assert store.add_items(table(5)) == 2
    assert store.add_items([]) == 0
    assert store.counts()["items"] == 5


def test_an_item_with_its_responses_the_other_way_round_is_refused(store: LabelStore) -> None:
    item = table()[0]
    store.append(label(item, "ada", 0), item)
    turned = Pair.make(item.prompt, item.responses[::-1])
    assert turned.id == item.id
    with pytest.raises(DataError, match="in another order"):
        store.append(label(turned, "ada", 0), turned)
    assert store.counts()["events"] == 1


def test_the_majority_decides_and_ties_are_left_out_or_kept(store: LabelStore) -> None:
    items = list(table(4))
    votes = {0: (0, 0, 1), 1: (0, 1), 2: (None, None, 1), 3: (1,)}
    for index, winners in votes.items():
        for who, winner in zip(("ada", "bob", "cyd"), winners, strict=False):
            store.append(label(items[index], who, winner), items[index])
    assert [pair.label for pair in store.pairs()] == [
        {"kind": "choice", "annotators": 3, "agreement": 2 / 3, "winner": 0, "strength": None},
        {"kind": "choice", "annotators": 1, "agreement": 1.0, "winner": 1, "strength": None},
    ]
    kept = store.pairs(ties="keep").labels()
    assert [found and found["kind"] for found in kept] == ["choice", "tie", "tie", "choice"]
    assert [found and found["agreement"] for found in kept] == [2 / 3, 0.0, 2 / 3, 1.0]
    assert [pair.id for pair in store.pairs(["bob"])] == [items[0].id, items[1].id]
    assert len(store.labels()) == 9 and len(store.labels(["cyd"])) == 2
    with pytest.raises(ConfigError, match="ties cannot be 'both'"):
        store.pairs(ties="both")
    with pytest.raises(DataError, match="no events by dan") as caught:
        store.pairs(["ada", "dan"])
    assert "ada, bob, cyd" in caught.value.fix


def test_strength_is_the_mean_of_those_who_chose_the_winner() -> None:
    votes: list[dict[str, Any]] = [
        {"kind": "choice", "winner": 1, "strength": 3},
        {"kind": "choice", "winner": 1, "strength": 2},
        {"kind": "choice", "winner": 1, "strength": None},
        {"kind": "choice", "winner": 0, "strength": 1},
    ]
    assert majority(votes)["strength"] == 2.5
    assert majority([{"kind": "both_bad"}])["kind"] == "both_bad"


def test_the_rows_of_the_labels_frame_can_be_added_up(store: LabelStore) -> None:
    items = list(table(2))
    store.append(label(items[0], "ada", 1), items[0])
    store.append(label(items[1], "ada", None), items[1])
    rows = store.labels().to_dict("records")
    assert [majority([row])["kind"] for row in rows] == ["choice", "tie"]
    assert majority(rows[:1])["strength"] is None


def test_an_empty_store_gives_empty_tables(store: LabelStore) -> None:
    assert len(store.pairs()) == 0
    assert next(iter(store.events().columns)) == "seq"
    assert next(iter(store.labels().columns)) == "item_id"


def test_undone_labels_do_not_count_whoever_asks(store: LabelStore) -> None:
    item = table()[0]
    store.append(label(item, "ada", 0, event_id="a"), item)
    store.append(label(item, "ada", 1, event_id="b"), item)
    store.append(LabelEvent("undo", item.id, "ada", {"event": "b"}))
    assert list(store.labels()["winner"]) == [0]
    store.append(LabelEvent("undo", item.id, "ada", {"event": "a"}))
    store.append(LabelEvent("undo", item.id, "ada", {"event": "a"}))  # twice, from two tabs
    assert len(store.labels()) == 0
    store.append(LabelEvent("redo", item.id, "ada", {"event": "b"}))
    assert list(store.labels()["winner"]) == [1]


# What can go wrong ------------------------------------------------------------------------------


def test_a_file_that_is_no_label_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("This is not a database, only a long enough text." * 40)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    db.close()
    newer = tmp_path / "newer.sqlite"
    LabelStore(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    cases = [
        (text, "file is not a database"),
        (other, "not a label store"),
        (newer, "newer version"),
        (tmp_path, "this is a folder"),
        (text / "below" / "x.sqlite", "cannot be opened"),
    ]
    before = [path.read_bytes() for path in (text, other, newer)]
    for path, words in cases:
        with pytest.raises(DataError, match=words) as caught:
            LabelStore(path)
        assert str(path) in caught.value.where and caught.value.fix
    assert [path.read_bytes() for path in (text, other, newer)] == before


def test_a_full_disk_refuses_the_label_and_keeps_the_rest(store: LabelStore) -> None:
    items = list(table(40))
    store.append(label(items[0], "ada", 0), items[0])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = {"note": "x" * 2000}
    saved = 1

    def fill() -> None:
        nonlocal saved
        for item in items[1:]:
            store.append(label(item, "ada", 0, payload=big), item)
            saved += 1

    with pytest.raises(DataError, match=r"the label was not saved: .*full") as caught:
        fill()
    assert "make room" in caught.value.fix
    counts = store.counts()
    assert counts["events"] == counts["items"] == saved  # nothing half-written
    store._db.execute("PRAGMA max_page_count = 100000")
    assert store.append(label(items[-1], "ada", 0, payload=big), items[-1])


def test_a_store_held_by_another_program_says_so(store: LabelStore) -> None:
    store._db.execute("PRAGMA busy_timeout = 20")
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    item = table()[0]
    with pytest.raises(DataError, match="locked") as caught:
        store.append(label(item, "ada", 0), item)
    assert "another process" in caught.value.fix
    holder.execute("ROLLBACK")
    holder.close()
    assert store.append(label(item, "ada", 0), item)


def test_a_closed_store_says_so(store: LabelStore) -> None:
    with store:
        pass
    with pytest.raises(DataError, match="cannot be read"):
        store.events()


def test_a_name_that_cannot_be_stored_is_refused(store: LabelStore) -> None:
    with pytest.raises(DataError, match="not saved"):
        store.append(LabelEvent("skip", "x", "\ud800"))


@pytest.mark.parametrize("payload", [{}, {"label": 1}, {"label": {"kind": "choice"}}])
def test_a_label_that_says_nothing_is_refused(store: LabelStore, payload: dict[str, Any]) -> None:
    item = table()[0]
    with pytest.raises(DataError, match="says neither choice, tie, both_bad nor rank"):
        store.append(LabelEvent("label", item.id, "ada", payload), item)


def test_a_label_without_its_texts_is_refused(store: LabelStore) -> None:
    item = table()[0]
    with pytest.raises(DataError, match="no copy of"):
        store.append(label(item, "ada", 0))
    store.add_items([item])
    assert store.append(label(item, "ada", 0))


class Refusing:
    """A connection on a file system that cannot share the log's memory."""

    def __init__(self, real: sqlite3.Connection, words: str) -> None:
        self.real, self.words = real, words

    def execute(self, query: str) -> Any:
        if "WAL" in query:
            raise sqlite3.OperationalError(self.words)
        return self.real.execute(query)


def test_where_the_log_is_refused_another_journal_is_used(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    refusing: Any = Refusing(db, "locking protocol")
    assert journal.set_journal(refusing, tmp_path) == "delete"
    assert db.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
    locked: Any = Refusing(db, "database is locked")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        journal.set_journal(locked, tmp_path)
    db.close()


def test_tables_are_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_tables, "TABLES", ("CREATE TABLE a (b)", "CREATE TABLE ("))
    with pytest.raises(DataError, match="cannot be opened"):
        LabelStore(tmp_path / "x.sqlite")
    monkeypatch.undo()
    assert LabelStore(tmp_path / "x.sqlite").counts()["events"] == 0


# Several threads, several processes, sudden death ------------------------------------------------


def test_threads_share_a_store(store: LabelStore) -> None:
    items = list(table(30))

    def work(who: str) -> None:
        for item in items:
            store.append(label(item, who, 0), item)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts() == {"items": 30, "events": 120, "annotators": 4, "labelled": 30}
    assert list(store.events()["seq"]) == list(range(1, 121))


WORKER = """
import sys
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.data.pairs import Pair

path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = LabelStore(path)
print("open", flush=True)
for n in range(count):
    turns = [[{"role": "assistant", "content": text}] for text in ("a" * 500, "b")]
    item = Pair.make([{"role": "user", "content": f"{who} {n}"}], turns)
    store.append(LabelEvent("label", item.id, who, {"label": {"kind": "tie"}}, f"{who}-{n}"), item)
    print(f"{who}-{n}", flush=True)
"""


def worker(path: Path, who: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_four_annotators_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    workers = [worker(path, who, 75) for who in ("ada", "bob", "cem", "dee")]  # all make the file
    said = [process.communicate(timeout=120)[0].split() for process in workers]
    assert [process.returncode for process in workers] == [0, 0, 0, 0]
    with LabelStore(path) as store:
        events = list(store.events()["event_id"])
        assert store.counts()["items"] == 300
    assert sorted(events) == sorted(event for lines in said for event in lines[1:])
    assert len(events) == len(set(events)) == 300


def test_a_store_that_another_process_makes_meanwhile_is_a_label_store(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"

    class Slow:
        """A connection between whose first look and its second another process makes the store."""

        def __init__(self) -> None:
            self.inner, self.looks = sqlite3.connect(path), 0

        def execute(self, statement: str) -> sqlite3.Cursor:
            self.looks += 1
            if self.looks == 2:
                LabelStore(path).close()
            return self.inner.execute(statement)

    store_tables.check_kind(Slow(), path)  # type: ignore[arg-type]


def test_what_was_acknowledged_survives_a_sudden_death(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    acknowledged: list[str] = []
    for trial in range(5):
        process = worker(path, f"t{trial}", 100_000)
        assert process.stdout is not None
        for _ in range(3 + 7 * trial):
            acknowledged.append(process.stdout.readline().strip())
        time.sleep(0.01 * trial)
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    wanted = {ident for ident in acknowledged if ident != "open"}
    with LabelStore(path) as store:
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = set(store.events()["event_id"])
        assert wanted <= stored and len(wanted) > 50
        assert len(stored - wanted) <= 5  # at most the one under way at each death
        assert store.counts()["items"] == len(stored)


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
tmpfs /home/ada/local tmpfs rw 0 0
drive /content/my\\040drive fuse.drive rw 0 0
overlay /box fuse.fuse-overlayfs rw 0 0
//host/share /mnt cifs rw 0 0
/dev/vdb /mnt ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/home/ada/labels.sqlite", True),
        ("/home/ada/local/labels.sqlite", False),
        ("/homework/labels.sqlite", False),
        ("/content/my drive/labels.sqlite", True),
        ("/box/labels.sqlite", False),
        ("/mnt/labels.sqlite", False),  # what was mounted over it last
        ("/labels.sqlite", False),
    ],
)
def test_a_store_that_other_machines_may_write_is_known(
    path: str, shared: bool, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert journal.is_shared(Path(path), mounts) is shared
    assert journal.is_shared(Path(path), tmp_path / "none") is False


def test_on_such_a_file_system_the_log_is_not_even_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "is_shared", lambda path: True)
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert store.journal == "delete"
        assert store._rows("PRAGMA synchronous") == [(3,)]  # EXTRA
        item = table()[0]
        assert store.append(label(item, "ada", 0), item)
    assert [file.name for file in tmp_path.iterdir()] == ["labels.sqlite"]
    monkeypatch.undo()
    with LabelStore(tmp_path / "labels.sqlite") as store:  # copied home, it has its log again
        assert store.journal == "wal" and store.counts()["events"] == 1
