"""Pairs sent to be labelled, from wherever they were seen."""

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.store.labels import LabelStore
from workbench.verbs.views import with_queue

from ..made_items import item as made


def item(n):
    return made(f"question {n}", [f"good {n}", f"poor {n}"])


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


def test_what_was_sent_waits_until_it_has_a_label(store):
    one, two = item(1), item(2)
    assert store.send(one, annotator="ada", seen_in="playground") is True
    assert store.send(one) is False  # it waits already
    assert store.send(two) is True
    assert store.queue().ids() == [one.id, two.id]
    event = store.event_list()[0]
    assert (event.kind, event.annotator, event.payload) == ("queue", "ada", {"from": "playground"})
    session = LabelSession(store.queue(), store, annotator="ada")
    assert session.current().position == 0
    session.choose("left")
    assert store.queue().ids() == [two.id]
    assert store.send(one) is False  # it has a label
    session.undo()
    assert store.queue().ids() == [one.id, two.id]
    assert len(store.pairs()) == 0


def test_sending_moves_nobody_and_is_not_undone(store):
    items = Pairs.from_items(item(n) for n in range(3))
    session = LabelSession(items, store, annotator="ada")
    session.choose("left")
    store.send(items[2], annotator="ada")
    assert LabelSession(items, store, annotator="ada").current().position == 1
    assert session.undo() is True
    assert session.undo() is False
    assert store.queue().ids() == [items[2].id]


def test_the_queue_comes_first_and_an_item_once(store):
    items = Pairs.from_items(item(n) for n in range(3))
    assert with_queue(items, store) is items
    store.send(item(2))
    store.send(item(7))
    found = with_queue(items, store)
    assert found.ids() == [item(n).id for n in (2, 7, 0, 1)]
    assert found[0].prompt == item(2).prompt
