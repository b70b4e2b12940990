"""A store that is handed on, moved, replaced: the file is whole, and nothing is lost unsaid."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store import sqlite_file
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError


def table(size: int = 40) -> Pairs:
    return load_pairs([{"prompt": f"q{n}", "responses": ["good", "bad"]} for n in range(size)])


@pytest.fixture
def session(store: LabelStore) -> LabelSession:
    session = LabelSession(table(), store, annotator="ada")
    session.choose("left", event_id="event one")
    session.choose("left", event_id="event two")
    return session


def events(path: Path) -> list[str]:
    with LabelStore(path) as store:
        return [event.event_id for event in store.event_list()]


def test_a_plain_copy_made_while_a_person_labels_is_whole(
    session: LabelSession, store: LabelStore, tmp_path: Path
) -> None:
    shutil.copy(store.path, tmp_path / "copy.sqlite")
    assert events(tmp_path / "copy.sqlite") == ["event one", "event two"]
    assert store.is_whole and "whole in this one file" in repr(store)


def test_while_a_program_labels_repr_says_that_the_log_is_needed(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    for _ in range(30):
        session.choose("left")
    assert not store.is_whole
    assert "-wal file beside it: save_copy(path) has all" in repr(store)
    until = time.monotonic() + 10 * sqlite_file.IDLE
    while not store.is_whole and time.monotonic() < until:
        time.sleep(0.05)
    assert store.is_whole and "whole in this one file" in repr(store)


def test_a_saved_copy_is_one_file_with_everything(
    session: LabelSession, store: LabelStore, tmp_path: Path
) -> None:
    for _ in range(20):
        session.choose("left")
    to = store.save_copy(tmp_path / "hand" / "on.sqlite")
    assert [file.name for file in to.parent.iterdir()] == ["on.sqlite"]
    with LabelStore(to) as copy:
        assert copy.event_list() == store.event_list()
        assert list(copy.items()) == list(store.items())
        assert copy._rows("SELECT COUNT(*) FROM claims") == [(0,)]
    with pytest.raises(DataError, match="a file of that name already"):
        store.save_copy(to)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="the copy was not written"):
        store.save_copy(tmp_path / "file" / "on.sqlite")


def deleted(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("away.sqlite"))


def folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def replaced(path: Path) -> None:
    other = path.with_name("other.sqlite")
    with LabelStore(other) as store:
        LabelSession(table(), store, annotator="bob").choose("right")
    os.replace(other, path)


def copied_over(path: Path) -> None:
    other = path.with_name("other.sqlite")
    with LabelStore(other) as store:
        session = LabelSession(table(), store, annotator="bob")
        for _ in range(9):
            session.choose("right")
    time.sleep(0.02)
    path.write_bytes(other.read_bytes())  # the same file, as `cp` does it


def emptied(path: Path) -> None:
    time.sleep(0.02)
    path.write_bytes(b"")


def log_deleted(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def index_of_the_log_deleted(path: Path) -> None:
    path.with_name(path.name + "-shm").unlink()


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (deleted, "deleted or moved"),
        (renamed, "deleted or moved"),
        (folder_removed, "deleted or moved"),
        (replaced, "another file was put in its place"),
        (copied_over, "another file was copied over it"),
        (emptied, "another file was copied over it"),
        (log_deleted, "-wal was deleted"),
        (index_of_the_log_deleted, "-shm was deleted"),
    ],
)
def test_what_happens_to_the_file_is_told_at_the_next_label(
    happened: Callable[[Path], None], said: str, session: LabelSession, store: LabelStore
) -> None:
    happened(store.path)
    for _ in range(2):  # asked again, as the page does, it is not taken for saved
        with pytest.raises(DataError, match=f"not saved: .*{said}") as told:
            session.choose("left", event_id="event three")
        assert str(store.path) in told.value.where and told.value.fix
        assert isinstance(told.value.__cause__, OSError)  # the labeller sends it again
    if happened in (replaced, copied_over):
        assert not {"event one", "event three"} & set(events(store.path))
    store.close()
    if happened is copied_over:
        assert len(events(store.path)) == 9  # what was put there is as it was


def test_a_file_that_comes_back_is_labelled_in_again(
    session: LabelSession, store: LabelStore
) -> None:
    renamed(store.path)
    with pytest.raises(DataError, match="deleted or moved"):
        session.choose("left", event_id="event three")
    store.path.with_name("away.sqlite").rename(store.path)
    assert session.choose("left", event_id="event three")
    store.close()
    assert events(store.path) == ["event one", "event two", "event three"]


def test_an_older_copy_put_back_while_open_is_told(
    session: LabelSession, store: LabelStore, tmp_path: Path
) -> None:
    older = store.save_copy(tmp_path / "older.sqlite")
    session.choose("left", event_id="event three")
    time.sleep(0.02)
    store.path.write_bytes(older.read_bytes())
    with pytest.raises(DataError, match="another file was copied over it"):
        session.choose("left", event_id="event four")
    with pytest.raises(DataError, match="another file was copied over it"):
        store.save_copy(tmp_path / "mixed.sqlite")


@pytest.mark.parametrize("happened", [deleted, folder_removed, replaced])
def test_what_was_saved_can_be_saved_elsewhere(
    happened: Callable[[Path], None], session: LabelSession, store: LabelStore, tmp_path: Path
) -> None:
    happened(store.path)
    with pytest.raises(DataError, match="save_copy"):
        session.choose("left", event_id="event three")
    rescued = store.save_copy(tmp_path / "rescued.sqlite")
    assert events(rescued) == ["event one", "event two"]


def test_a_log_without_its_file_is_not_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "labels.sqlite-wal").write_bytes(b"labels")
    with pytest.raises(DataError, match="only its log is there"):
        LabelStore(tmp_path / "labels.sqlite")
    assert (tmp_path / "labels.sqlite-wal").read_bytes() == b"labels"


def test_a_second_window_on_the_store_is_no_replacement(
    session: LabelSession, store: LabelStore
) -> None:
    with LabelStore(store.path) as other:
        second = LabelSession(table(), other, annotator="bob")
        for n in range(12):
            assert second.choose("right", event_id=f"other {n}")
            assert session.choose("left", event_id=f"again {n}")
    assert store.counts()["events"] == 26
