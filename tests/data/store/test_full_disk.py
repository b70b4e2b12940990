"""A disk that is full, for real: what was saved stays, nothing half is, and labelling goes on."""

import sqlite3
from typing import Any

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError


def table(count: int) -> Pairs:
    def said(role: str, text: str) -> list[Any]:
        return [{"role": role, "content": text}]

    return Pairs.from_items(
        Pair.make(said("user", f"q {n}"), [said("assistant", f"{w} {n} " * 300) for w in "ab"])
        for n in range(count)
    )


def test_labels_wait_for_room_and_none_is_lost(small_disk: Any) -> None:
    pairs = table(200)
    store = LabelStore(small_disk.path / "labels.sqlite")
    session = LabelSession(pairs, store, annotator="ada")
    saved: list[str] = []

    def label_until_full() -> None:
        for n in range(200):
            session.choose("left", event_id=f"event-{n}")
            saved.append(f"event-{n}")

    with pytest.raises(DataError, match=r"the label was not saved: .*full") as caught:
        label_until_full()
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert "make room" in caught.value.fix
    assert 5 <= len(saved) < 150
    shown, following = session.current(), session.upcoming(3)  # reading goes on
    assert shown is not None and shown.position == len(saved) and len(following) == 3
    with pytest.raises(DataError, match="full"):
        session.choose("right", event_id="once more", token=shown.token)
    assert session.progress()["done"] == len(saved)
    with LabelStore(store.path) as again:  # opened anew while there is no room
        assert [event.event_id for event in again.event_list()] == saved
        assert len(again.pairs()) == store.counts()["items"] == len(saved)
    small_disk.hold(8192, "remount")
    assert session.choose("right", event_id="once more", token=shown.token)
    label_rest = [session.choose("tie") for _ in range(20)]
    assert all(label_rest) and store.counts()["labelled"] == len(saved) + 21
    stored = [event.event_id for event in store.event_list()]
    assert stored[: len(saved) + 1] == [*saved, "once more"]
    store.close()
    db = sqlite3.connect(store.path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_main_file_half_brought_up_to_date_is_no_replaced_one(small_disk: Any) -> None:
    """Labels at a person's pace: each is brought into the main file, until that is too full."""
    pairs = table(200)
    store = LabelStore(small_disk.path / "labels.sqlite")
    session = LabelSession(pairs, store, annotator="ada")
    saved: list[str] = []

    def label_until_full() -> None:
        for n in range(200):
            store._saved.clear()  # as if a while had passed
            session.choose("left", event_id=f"event-{n}")
            saved.append(f"event-{n}")

    for _ in range(3):
        with pytest.raises(DataError, match=r"the label was not saved: .*full"):
            label_until_full()
    assert "save_copy" in repr(store) or store.is_whole
    small_disk.hold(8192, "remount")
    store._saved.clear()
    assert session.choose("right", event_id="once more") and store.is_whole
    store.close()
    with LabelStore(store.path) as again:
        stored = {event.event_id for event in again.event_list()}
        assert stored == {*saved, "once more"}
