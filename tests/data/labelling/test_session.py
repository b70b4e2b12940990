"""Every labelling rule, without a browser."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workbench.data.labelling.session import LabelSession
from workbench.data.labelling.shown_item import DisplayedItem
from workbench.data.pairs import Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError

from .made_sessions import Clock, said, table


def test_choices_are_kept_in_the_items_own_terms(store: LabelStore) -> None:
    session = LabelSession(table(30), store, annotator="ada")
    sides: set[bool] = set()
    for _ in range(30):
        shown = session.current()
        assert shown is not None
        good_left = shown.left[0]["content"].startswith("good")
        sides.add(good_left)
        assert session.choose("left" if good_left else "right", strength=2)
    assert session.current() is None
    assert sides == {True, False}
    frame = store.labels()
    assert set(frame["winner"]) == {0} and set(frame["strength"]) == {2}
    assert set(store.events()["choice"]) == {"left", "right"}
    assert {row["chosen"][0]["content"][:4] for row in store.pairs().training_rows()} == {"good"}
    with pytest.raises(DataError, match="every item is decided"):
        session.choose("tie")


def test_a_notebook_shows_the_texts_in_order_as_text_and_nothing_else(store: LabelStore) -> None:
    pairs = load_pairs([{"prompt": "<b>q</b>\ud800", "chosen": "good <i>", "rejected": "x" * 2000}])
    shown = LabelSession(pairs, store, annotator="ada").current()
    assert shown is not None
    told = shown._repr_html_()
    assert "&lt;b&gt;q&lt;/b&gt;" in told and "good &lt;i&gt;" in told and "<i>" not in told
    assert told.index("left") < told.index("right") and shown.token not in told
    good_left = shown.left[0]["content"].startswith("good")
    assert (told.index("good") < told.index("xxx")) is good_left
    assert "x" * 999 + "…" in told and "x" * 1000 not in told
    ranking = load_pairs([{"prompt": "q", "responses": ["a", "b", "c"]}])
    three = LabelSession(ranking, store, annotator="ada").current()
    assert three is not None and "answer 3" in three._repr_html_()


def test_about_half_of_the_winners_stand_on_the_left(store: LabelStore) -> None:
    session = LabelSession(table(400), store, annotator="ada")
    left = sum(session.jump(n).left[0]["content"].startswith("good") for n in range(400))
    assert 160 <= left <= 240  # four deviations of a fair coin


def test_sides_are_seeded_by_item_and_person_and_hold_once_stored(store: LabelStore) -> None:
    pairs = table(40)

    def sides(annotator: str, seed: int = 0) -> list[str]:
        session = LabelSession(pairs, store, annotator=annotator, seed=seed)
        return [session.jump(n).left[0]["content"] for n in range(40)]

    first = sides("ada")
    assert sides("ada") == first
    assert sides("bob") != first and sides("ada", seed=1) != first
    LabelSession(pairs, store, annotator="ada").choose("tie")
    differing = next(n for n in range(40) if sides("ada", seed=1)[n] != first[n])
    session = LabelSession(pairs, store, annotator="ada")
    session.jump(differing)
    session.choose("left")
    assert sides("ada", seed=1)[differing] == first[differing]
    assert store.side(pairs[differing].id, "ada") is not None


def test_nothing_but_the_texts_reaches_the_screen(store: LabelStore) -> None:
    row = {
        "prompt": "q",
        "chosen": "x",
        "rejected": "y",
        "model": "secret-7b",
        "score_chosen": 0.9125,
    }
    pairs = load_pairs([row])
    session = LabelSession(pairs, store, annotator="ada")
    shown = session.current()
    assert shown is not None
    fields = {field.name for field in dataclasses.fields(DisplayedItem)}
    assert fields == {
        *("position", "total", "prompt", "responses", "token"),
        *("decided", "strength", "flagged", "note", "tags"),
    }
    seen = repr(shown)
    for secret in ("secret-7b", "0.9125", pairs[0].id, "choice", "winner", "chosen", "list"):
        assert secret not in seen


def test_the_token_stands_for_the_item_that_was_on_screen(store: LabelStore) -> None:
    session = LabelSession(table(4), store, annotator="ada")
    first = session.current()
    later = session.upcoming(2)
    assert first is not None
    assert [said(shown) for shown in later] == ["q1", "q2"]
    session.choose("tie", token=later[0].token)
    session.choose("both_bad", token=first.token)
    frame = store.labels().set_index("item_id")["kind"]
    ids = table(4).ids()
    assert (frame[ids[0]], frame[ids[1]]) == ("both_bad", "tie")
    assert said(session.current()) == "q2"
    with pytest.raises(DataError, match="this token was not given out"):
        session.choose("tie", token="nonsense")


def test_there_is_nothing_upcoming_at_the_end(store: LabelStore) -> None:
    session = LabelSession(table(1), store, annotator="ada")
    assert session.upcoming() == []
    session.choose("tie")
    assert session.upcoming() == []


def test_sending_again_changes_nothing(store: LabelStore) -> None:
    session = LabelSession(table(4), store, annotator="ada")
    assert session.choose("left", event_id="a") is True
    assert session.choose("right", event_id="a") is False
    assert session.skip(event_id="b") is True
    assert session.skip(event_id="b") is False
    assert session.undo(event_id="c") is True
    assert session.undo(event_id="c") is False
    assert session.redo(event_id="d") is True
    assert session.redo(event_id="d") is False
    assert session.flag(event_id="e") and not session.flag(event_id="e")
    assert session.note("n", event_id="f") and not session.note("n", event_id="f")
    assert list(store.events()["event_id"]) == list("abcdef")
    assert said(session.current()) == "q2"


def test_undo_shows_the_item_again_and_redo_goes_on(store: LabelStore) -> None:
    session = LabelSession(table(4), store, annotator="ada")
    assert session.undo() is False and session.redo() is False
    session.choose("left", strength=3)
    session.skip()
    session.choose("tie")
    assert session.undo()
    assert said(session.current()) == "q2"
    assert session.undo() and session.undo() and not session.undo()
    assert said(session.current()) == "q0"
    assert session.redo()
    assert said(session.current()) == "q1"
    assert session.jump(0).decided == "left" and session.jump(0).strength == 3
    assert session.redo() and session.redo() and not session.redo()
    assert said(session.current()) == "q3"
    assert session.undo()
    session.choose("both_bad")  # something new: what was taken back is gone for good
    assert not session.redo()
    assert list(store.labels()["kind"]) == ["choice", "both_bad"]


def test_a_restart_goes_on_where_this_person_stopped(store: LabelStore) -> None:
    session = LabelSession(table(6), store, annotator="ada")
    session.jump(3)
    session.choose("left")
    assert said(LabelSession(table(6), store, annotator="ada").current()) == "q4"


def test_undo_and_redo_go_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with LabelStore(path) as store:
        session = LabelSession(table(), store, annotator="ada")
        session.choose("left")
        session.choose("right")
        session.undo()
    with LabelStore(path) as store:
        session = LabelSession(table(), store, annotator="ada")
        assert said(session.current()) == "q1"
        assert session.redo()
        assert said(session.current()) == "q2"
        assert session.undo() and session.undo() and not session.undo()
        assert said(session.current()) == "q0"


def test_a_later_decision_stands_and_undo_brings_the_earlier_one_back(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    session.choose("tie")
    session.jump(0)
    session.choose("both_bad")
    session.jump(0)
    session.skip()
    assert session.jump(0).decided == "skip"
    assert len(store.labels()) == 0
    session.undo()
    assert session.jump(0).decided == "both_bad"
    session.undo()
    assert session.jump(0).decided == "tie"


def test_flag_and_note_stay_on_the_item(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    session.flag("rude")
    session.note("first")
    session.note("second\ud800\x00")
    shown = session.current()
    assert shown is not None
    assert (said(shown), shown.flagged, shown.note) == ("q0", True, "second\ud800\x00")
    assert session.progress()["flagged"] == 1
    session.choose("left")
    session.undo()
    session.undo()
    assert session.jump(0).note == "first"
    session.undo()
    session.undo()
    assert not session.jump(0).flagged
    assert session.progress()["flagged"] == 0
    session.redo()
    assert said(session.current()) == "q0"


def test_jumping_back_and_then_on(store: LabelStore) -> None:
    session = LabelSession(table(4), store, annotator="ada")
    session.choose("left")
    session.choose("left")
    assert said(session.jump(0)) == "q0"
    assert said(session.current()) == "q0"
    session.choose("tie")
    assert said(session.current()) == "q2"
    session.jump(3)
    session.choose("tie")
    assert said(session.current()) == "q2"  # what was passed over comes at the end
    for position in (-1, 4):
        with pytest.raises(DataError, match="there is no item"):
            session.jump(position)


def test_progress_counts_and_measures_without_pauses(store: LabelStore) -> None:
    clock = Clock()
    session = LabelSession(table(6), store, annotator="ada", clock=clock)
    assert session.progress() == {
        **{"done": 0, "skipped": 0, "flagged": 0},
        **{"left": 6, "total": 6, "per_hour": None},
        **{"agreement": None, "consistency": None, "gold": None},
    }
    for gap in (0, 10, 10, 100_000):
        clock.now += gap
        session.choose("left")
    session.skip()
    got = session.progress()
    assert (got["done"], got["skipped"], got["left"]) == (4, 1, 1)
    assert got["per_hour"] == pytest.approx(3 * 3600 / (10 + 10 + 300), abs=0.1)


def test_the_event_says_what_was_seen_and_when(store: LabelStore) -> None:
    clock = Clock()
    session = LabelSession(table(), store, annotator="ada", order="random", clock=clock)
    session.current()
    clock.now += 7
    session.choose("right", strength=1)
    event = store.event_list()[0]
    order = event.payload["order"]
    assert event.payload == {
        "label": {"kind": "choice", "winner": order[1], "strength": 1},
        "choice": "right",
        "order": order,
        "left": order[0],
        "shown_at": 1000.0,
        "decided_at": 1007.0,
        "reason": "random",
    }
    assert event.time == 1007.0


def test_a_random_order_is_the_same_for_the_same_seed_and_person(store: LabelStore) -> None:
    def order(annotator: str, seed: int) -> list[str]:
        session = LabelSession(table(20), store, annotator=annotator, seed=seed, order="random")
        return [said(session.jump(n)) for n in range(20)]

    plain = [f"q{n}" for n in range(20)]
    assert order("ada", 0) == order("ada", 0) != plain
    assert sorted(order("ada", 0)) == sorted(plain)
    assert order("ada", 1) != order("ada", 0) != order("bob", 0)


def test_people_do_not_see_each_others_labels(store: LabelStore) -> None:
    LabelSession(table(), store, annotator="ada", overlap=2).choose("left")
    bob = LabelSession(table(), store, annotator="bob", overlap=2)
    shown = bob.current()
    assert shown is not None
    assert (said(shown), shown.decided) == ("q0", None)
    assert not bob.undo()


def test_two_tabs_of_one_person_share_what_was_done(store: LabelStore) -> None:
    one = LabelSession(table(), store, annotator="ada")
    two = LabelSession(table(), store, annotator="ada")
    one.choose("left")
    assert said(two.current()) == "q1"
    two.undo()
    assert one.progress()["done"] == 0
    assert said(one.current()) == "q2"  # another tab's undo does not move this one; q1 is two's
    assert said(two.current()) == "q0"
    two.choose("tie")
    two.choose("tie")
    assert said(one.current()) == "q2"


def test_labels_of_other_tables_are_left_alone(store: LabelStore) -> None:
    LabelSession(table(4)[2:], store, annotator="ada").choose("left")
    session = LabelSession(table(4)[:2], store, annotator="ada")
    assert not session.undo()
    assert session.progress()["total"] == 2


def test_the_stores_copy_is_labelled_when_a_table_turns_the_responses(store: LabelStore) -> None:
    row = {"prompt": "q", "responses": ["a", "b"]}
    LabelSession(load_pairs([row]), store, annotator="ada").choose("left")
    turned = load_pairs([{"prompt": "q", "responses": ["b", "a"]}])
    for n in range(6):
        session = LabelSession(turned, store, annotator=f"p{n}", overlap=None)
        shown = session.current()
        assert shown is not None
        session.choose("left" if shown.left[0]["content"] == "a" else "right")
    winners = store.labels([f"p{n}" for n in range(6)])["winner"]
    assert set(winners) == {0}  # "a" in the store's copy


def test_of_more_than_two_responses_a_place_is_chosen(store: LabelStore) -> None:
    rows = [{"prompt": f"q{n}", "responses": ["a", "b", "c"]} for n in range(9)]
    session = LabelSession(load_pairs(rows), store, annotator="ada")
    for n in range(8):
        shown = session.jump(n)
        place = [turns[0]["content"] for turns in shown.responses].index("c")
        session.choose(place)
        assert session.jump(n).decided == place
    assert set(store.labels()["winner"]) == {2}
    session.jump(8)
    session.choose("left")
    assert session.jump(8).decided == 0
    with pytest.raises(ConfigError, match="there is no response at place 3"):
        session.choose(3)


def test_a_place_of_two_is_a_side(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    session.choose(1)
    assert list(store.events()["choice"]) == ["right"]


def test_what_cannot_be_done_is_said(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    with pytest.raises(ConfigError, match="there is no choice 'middle'"):
        session.choose("middle")
    with pytest.raises(ConfigError, match="does not fit 'tie'"):
        session.choose("tie", strength=1)
    with pytest.raises(ConfigError, match="a strength of 0"):
        session.choose("left", strength=0)
    assert len(store.events()) == 0
    with pytest.raises(DataError, match="the annotator has no name"):
        LabelSession(table(), store, annotator=" ")
    with pytest.raises(ConfigError, match="there is no order 'best'"):
        LabelSession(table(), store, annotator="ada", order="best")
    with pytest.raises(DataError, match="there is nothing to label"):
        LabelSession(Pairs.from_items([]), store, annotator="ada")


def test_a_refused_label_leaves_the_item_on_screen(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(DataError, match="the label was not saved"):
        session.choose("left", event_id="x")
    store._db.execute("PRAGMA query_only = 0")
    assert said(session.current()) == "q0"
    assert session.choose("left", event_id="x") is True
    assert said(session.current()) == "q1"


def test_an_item_that_stands_twice_is_asked_once(store: LabelStore) -> None:
    twice = Pairs.from_items([*table(2), *table(2)])
    session = LabelSession(twice, store, annotator="ada")
    assert session.progress()["total"] == 2


def test_fast_keys_from_several_threads_are_as_many_events(store: LabelStore) -> None:
    session = LabelSession(table(60), store, annotator="ada")

    def press(keys: range) -> None:
        for key in keys:
            session.choose("left", event_id=f"k{key}")

    threads = [threading.Thread(target=press, args=(range(n, 60, 3),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.progress()["done"] == 60 == len(store.labels())


SIZE = 4
PAIRS = table(SIZE)


class UndoMachine(RuleBasedStateMachine):
    """The session against a model that keeps every state it was ever in."""

    @initialize()
    def start(self) -> None:
        self.store = LabelStore(":memory:")
        self.pairs = PAIRS
        self.session = LabelSession(self.pairs, self.store, annotator="ada")
        self.past: list[dict[str, Any]] = []
        self.now: dict[str, Any] = {}
        self.future: list[dict[str, Any]] = []

    def did(self, **change: Any) -> None:
        self.past.append(self.now)
        self.now = {**self.now, **change}
        self.future = []

    def here(self) -> str | None:
        shown = self.session.current()
        return None if shown is None else said(shown)

    @rule(choice=st.sampled_from(["left", "right", "tie", "both_bad", "skip"]))
    def decide(self, choice: str) -> None:
        here = self.here()
        if here is None:
            return
        if choice == "skip":
            self.session.skip()
        else:
            self.session.choose(choice)
        self.did(**{here: choice})

    @rule(text=st.text(max_size=3))
    def write(self, text: str) -> None:
        here = self.here()
        if here is not None:
            self.session.note(text)
            self.did(**{"note " + here: text})

    @rule(position=st.integers(0, SIZE - 1))
    def go(self, position: int) -> None:
        assert said(self.session.jump(position)) == f"q{position}"

    @rule()
    def undo(self) -> None:
        assert self.session.undo() is bool(self.past)
        if self.past:
            self.future.append(self.now)
            self.now = self.past.pop()

    @rule()
    def redo(self) -> None:
        assert self.session.redo() is bool(self.future)
        if self.future:
            self.past.append(self.now)
            self.now = self.future.pop()

    @rule()
    @precondition(lambda self: hasattr(self, "store"))
    def restart(self) -> None:
        self.session = LabelSession(self.pairs, self.store, annotator="ada")

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        watcher = LabelSession(self.pairs, self.store, annotator="ada")
        for position in range(SIZE):
            shown = watcher.jump(position)
            assert shown.decided == self.now.get(f"q{position}")
            assert shown.note == self.now.get(f"note q{position}", "")
        labelled = sum(self.now.get(f"q{n}", "skip") != "skip" for n in range(SIZE))
        assert self.session.progress()["done"] == labelled == len(self.store.labels())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


TestUndo = UndoMachine.TestCase
TestUndo.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
