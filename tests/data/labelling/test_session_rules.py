"""The rules beyond one label an item: strength, rankings, edits, repeats, gold, order, overlap."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.labelling.shown_item import DisplayedItem
from workbench.data.pairs import Pair, Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store import claims
from workbench.data.store.claims import LEASE, is_gone
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError

from .made_sessions import Clock, said, table


def three(size: int = 1) -> Pairs:
    return load_pairs([{"prompt": f"q{n}", "responses": ["a", "b", "c"]} for n in range(size)])


def seen(session: LabelSession) -> DisplayedItem:
    shown = session.current()
    assert shown is not None
    return shown


def places(shown: DisplayedItem) -> dict[str, int]:
    return {turns[0]["content"]: place for place, turns in enumerate(shown.responses)}


# Strength ---------------------------------------------------------------------------------------


def test_strength_is_asked_for_in_named_levels(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada", strength=3)
    assert session.levels == ("slightly", "clearly", "far")
    assert LabelSession(table(), store, annotator="b", strength=4).levels == ("1", "2", "3", "4")
    assert LabelSession(table(), store, annotator="b", strength=["a", "b"]).levels == ("a", "b")
    assert LabelSession(table(), store, annotator="b").levels == ()
    session.choose("left", strength=3)
    assert list(store.labels()["strength"]) == [3]
    with pytest.raises(ConfigError, match="a strength of 4 does not fit") as caught:
        session.choose("left", strength=4)
    assert "1 to 3" in caught.value.fix
    for levels in (1, 10, ["only"]):
        with pytest.raises(ConfigError, match="levels cannot be asked for"):
            LabelSession(table(), store, annotator="ada", strength=levels)


# Rankings ---------------------------------------------------------------------------------------


def test_a_ranking_is_kept_in_the_items_own_terms(store: LabelStore) -> None:
    session = LabelSession(three(8), store, annotator="ada")
    for n in range(8):
        at = places(session.jump(n))
        assert session.rank([at["b"], [at["a"], at["c"]]])
        assert session.jump(n).decided == f"{at['b']}>{at['a']}={at['c']}"
        session.undo()
        session.redo()
    assert [label and label["ranks"] for label in store.pairs().labels()] == [[2, 1, 2]] * 8
    rows = store.pairs().training_rows()[:2]
    assert [row["chosen"][0]["content"] for row in rows] == ["b", "b"]
    assert next(iter(store.labels()["ranks"])) == [2, 1, 2]


def test_a_ranking_of_all_equals_is_a_tie_and_of_two_is_a_choice(store: LabelStore) -> None:
    session = LabelSession(three(2), store, annotator="ada")
    session.rank([[0, 1, 2]])
    session.rank([[], [2, 0, 1]])
    assert list(store.labels()["kind"]) == ["tie", "tie"]
    two = LabelSession(table(1), store, annotator="ada")
    two.rank([1, 0])
    assert list(store.labels()["kind"]) == ["tie", "tie", "choice"]
    assert two.jump(0).decided == "right"


@pytest.mark.parametrize("wrong", [[], [0, 1], [0, 1, 1], [0, 1, 3], [[0, 1], 2, 2]])
def test_a_ranking_that_leaves_one_out_is_refused(store: LabelStore, wrong: Any) -> None:
    session = LabelSession(three(), store, annotator="ada")
    with pytest.raises(ConfigError, match="does not name each response once"):
        session.rank(wrong)
    assert len(store.events()) == 0


# Edits ------------------------------------------------------------------------------------------


def test_an_edit_becomes_a_response_above_the_one_it_was_made_from(store: LabelStore) -> None:
    session = LabelSession(table(2), store, annotator="ada")
    side = "left" if seen(session).left[0]["content"] == "good 0" else "right"
    text = "better still\x00\u2028"
    assert session.edit(side, text)
    assert said(session.current()) == "q1"
    (row,) = store.labels().to_dict("records")
    assert (row["kind"], row["winner"], row["choice"]) == ("choice", 0, side)
    (pair,) = store.pairs()
    assert [turns[0]["content"] for turns in pair.responses] == ["good 0", "bad 0", text]
    assert pair.label == {
        **{"kind": "rank", "ranks": [2, 3, 1]},
        **{"annotators": 1, "agreement": 1.0},
    }
    assert pair.meta["edited"] == {"item": table(1)[0].id, "of": 0, "by": ["ada"]}
    assert pair.id != table(1)[0].id
    assert len(pair.as_dict()["responses"]) == 3
    assert session.jump(0).decided == side
    session.undo()
    assert len(store.pairs()) == 0
    session.redo()
    assert len(store.pairs()) == 1


def test_an_edit_of_an_answer_that_lost_is_only_better_than_its_source(store: LabelStore) -> None:
    pairs = table(1)
    for who in ("ada", "bob", "cyd"):
        session = LabelSession(pairs, store, annotator=who, overlap=None)
        at = places(seen(session))
        if who == "ada":
            session.edit(at["bad 0"], "mended")
        else:
            session.choose(at["good 0"])
    whole, alone = store.pairs()
    assert whole.label is not None
    assert (whole.label["winner"], whole.label["agreement"]) == (0, 2 / 3)
    assert [turns[0]["content"] for turns in alone.responses] == ["mended", "bad 0"]
    assert alone.label is not None and alone.label["winner"] == 0
    assert len(store.pairs(min_agreement=0.7)) == 1  # what was reworded still holds
    with pytest.raises(ConfigError, match="min_agreement cannot be 70"):
        store.pairs(min_agreement=70)


def test_the_same_wording_by_two_people_is_one_response(store: LabelStore) -> None:
    for who in ("ada", "bob"):
        session = LabelSession(table(1), store, annotator=who, overlap=2)
        session.edit(places(seen(session))["good 0"], "best")
    (pair,) = store.pairs()
    assert len(pair.responses) == 3 and pair.meta["edited"]["by"] == ["ada", "bob"]


def test_an_edit_that_says_nothing_new_is_refused(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    with pytest.raises(DataError, match="nothing was changed"):
        session.edit("left", seen(session).left[0]["content"])
    with pytest.raises(DataError, match="the better answer is empty"):
        session.edit("left", " \n")
    with pytest.raises(ConfigError, match="does not fit 'tie'"):
        session.edit("tie", "x")
    assert len(store.events()) == 0


# Items that come back swapped -------------------------------------------------------------------


def test_some_items_come_back_swapped_and_only_the_first_label_counts(store: LabelStore) -> None:
    session = LabelSession(table(40), store, annotator="ada", repeats=0.1)
    first: dict[str, DisplayedItem] = {}
    again: dict[str, int] = {}
    while (shown := session.current()) is not None:
        prompt = said(shown)
        if prompt in first:
            assert shown.responses == first[prompt].responses[::-1]
            assert shown.token != first[prompt].token and shown.decided is None
            again[prompt] = shown.position - first[prompt].position
        else:
            first[prompt] = shown
        good = prompt != "q3"
        session.choose(places(shown)[("good" if good else "bad") + prompt.replace("q", " ")])
    assert len(first) == 40 and len(again) == 4
    assert session.progress()["total"] == 44 == session.progress()["done"]
    assert all(1 <= gap <= 30 for gap in again.values())
    assert len(store.labels()) == 40 == len(store.pairs())
    assert session.progress()["consistency"] == 1.0
    assert len(store.events()) == 44
    reasons = [event.payload["reason"] for event in store.event_list()]
    assert reasons.count("repeat") == 4 and reasons.count("file") == 40


def test_consistency_is_the_share_labelled_the_same(store: LabelStore) -> None:
    session = LabelSession(table(10), store, annotator="ada", repeats=0.2)
    assert session.progress()["consistency"] is None
    met: set[str] = set()
    while (shown := session.current()) is not None:
        if said(shown) in met:
            session.note("seen before")
        session.choose("left")  # always left: never the same answer twice
        met.add(said(shown))
    assert session.progress()["consistency"] == 0.0
    for row in store.annotators().to_dict("records"):
        assert (row["annotator"], row["labels"], row["repeats"]) == ("ada", 10, 2)
        assert row["consistency"] == 0.0
    session.undo()
    session.choose("right")
    assert session.progress()["consistency"] == 0.5
    restarted = LabelSession(table(10), store, annotator="ada", repeats=0.2)
    assert restarted.progress()["consistency"] == 0.5 and restarted.current() is None
    assert restarted.undo() and seen(restarted).note == "seen before"
    assert not LabelSession(table(10), store, annotator="ada").progress()["left"]


def test_where_items_come_back_is_seeded(store: LabelStore) -> None:
    def order(seed: int) -> list[str]:
        session = LabelSession(table(40), store, annotator="ada", repeats=0.1, seed=seed)
        return [said(session.jump(n)) for n in range(44)]

    assert order(0) == order(0) != order(1)


# Gold items -------------------------------------------------------------------------------------


def gold(size: int = 3) -> Pairs:
    rows = [{"prompt": f"g{n}", "chosen": "right", "rejected": "wrong"} for n in range(size)]
    return load_pairs(rows)


def test_gold_items_check_a_person_and_are_not_exported(store: LabelStore) -> None:
    session = LabelSession(table(40), store, annotator="ada", gold=gold())
    assert session.progress()["gold"] is None
    asked: list[int] = []
    while (shown := session.current()) is not None:
        if said(shown).startswith("g"):
            asked.append(shown.position)
            session.choose(places(shown)["wrong" if said(shown) == "g0" else "right"])
        else:
            session.choose("tie")
    assert len(asked) == 3 and session.progress()["total"] == 43
    assert session.progress()["gold"] == pytest.approx(2 / 3)
    assert len(store.labels()) == 40
    assert {said_of(pair) for pair in store.pairs(ties="keep")} == {f"q{n}" for n in range(40)}
    (row,) = store.annotators().to_dict("records")
    assert (row["gold"], row["gold_passed"], row["labels"]) == (3, 2, 40)
    assert row["gold_rate"] == pytest.approx(2 / 3)
    bob = LabelSession(table(40), store, annotator="bob", gold=gold())
    assert said(bob.current()).startswith("g")  # gold is for each person; the rest is labelled


def said_of(pair: Pair) -> str:
    return pair.prompt[0]["content"]


def test_gold_is_checked_in_the_order_that_the_store_has_it(store: LabelStore) -> None:
    turned = [Pair.make(pair.prompt, pair.responses[::-1]) for pair in gold(1)]
    store.add_items(turned)
    session = LabelSession(table(2), store, annotator="ada", gold=gold(1))
    while (shown := session.current()) is not None:
        session.choose(places(shown)["right"] if said(shown) == "g0" else "tie")
    assert session.progress()["gold"] == 1.0


def test_gold_may_be_a_ranking_or_all_there_is(store: LabelStore) -> None:
    (item,) = three()
    ranking = Pair.make(item.prompt, item.responses, label={"kind": "rank", "ranks": [3, 1, 2]})
    known = Pairs.from_items([ranking])
    session = LabelSession(known, store, annotator="ada", gold=known)
    at = places(seen(session))
    session.rank([at["b"], at["c"], at["a"]])
    assert session.progress()["gold"] == 1.0 and session.current() is None


def test_gold_without_a_label_is_refused(store: LabelStore) -> None:
    with pytest.raises(DataError, match="a gold item has no label") as caught:
        LabelSession(table(), store, annotator="ada", gold=three())
    assert "row 0" in caught.value.where


# Order ------------------------------------------------------------------------------------------


def test_the_least_certain_come_first_and_the_reason_is_stored(store: LabelStore) -> None:
    margins = [3.0, -0.5, None, 1.0, float("nan"), -2.0]
    session = LabelSession(
        table(6),
        store,
        annotator="ada",
        order="uncertain",
        scores=margins,
        model="reward-7",
        explore=0.0,
    )
    assert [said(session.jump(n)) for n in range(6)] == ["q1", "q3", "q5", "q0", "q2", "q4"]
    session.jump(0)
    session.choose("left")
    payload = store.event_list()[0].payload
    assert (payload["reason"], payload["model"], payload["margin"]) == (
        *("uncertain", "reward-7"),
        -0.5,
    )
    assert "margin" not in repr(session.jump(0)) and "reward-7" not in repr(session.jump(0))


def test_a_random_slice_is_kept_and_said(store: LabelStore) -> None:
    session = LabelSession(
        table(200),
        store,
        annotator="ada",
        order="uncertain",
        scores=lambda pairs: [float(n) for n in range(len(pairs))],
        explore=0.2,
    )
    while session.current() is not None:
        session.choose("tie")
    events = store.event_list()
    reasons = [event.payload["reason"] for event in events]
    assert 20 <= reasons.count("random") <= 60  # 40 expected
    sure = [e.payload["margin"] for e in events if e.payload["reason"] == "uncertain"]
    assert sure == sorted(sure) and len(set(store.labels()["item_id"])) == 200


@pytest.mark.parametrize(
    ("wishes", "error", "words"),
    [
        ({"order": "uncertain"}, ConfigError, "needs a reward model's margins"),
        ({"order": "uncertain", "scores": [1.0]}, DataError, "there are 1 margins for 4 rows"),
        ({"repeats": 1.5}, ConfigError, "repeats cannot be 1.5"),
        ({"explore": -1}, ConfigError, "explore cannot be -1"),
        ({"overlap": 0}, ConfigError, "an overlap of 0 leaves nobody"),
    ],
)
def test_what_cannot_be_wished_for(
    store: LabelStore, wishes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        LabelSession(table(), store, annotator="ada", **wishes)


# Several people ---------------------------------------------------------------------------------


def test_nobody_is_shown_what_somebody_else_is_on_or_has_labelled(store: LabelStore) -> None:
    ada = LabelSession(table(6), store, annotator="ada")
    bob = LabelSession(table(6), store, annotator="bob")
    assert [said(ada.current()), *map(said, ada.upcoming(1))] == ["q0", "q1"]
    assert said(bob.current()) == "q2"
    ada.choose("left")
    assert said(ada.current()) == "q1"
    bob.choose("left")
    assert said(bob.current()) == "q3"
    assert bob.progress()["left"] == 4
    ada.skip()  # who skips an item lets go of it; bob gets it when he comes back to it
    assert [said(ada.current()), said(bob.current())] == ["q4", "q3"]


def test_two_windows_of_one_person_never_show_the_same(store: LabelStore) -> None:
    one = LabelSession(table(4), store, annotator="ada")
    two = LabelSession(table(4), store, annotator="ada", overlap=None)
    assert [said(one.current()), said(two.current())] == ["q0", "q1"]
    mine = seen(one)
    two.jump(0)
    with pytest.raises(DataError, match="somebody else labels this item"):
        two.choose("left")
    assert said(two.current()) == "q1"
    one.choose("left", token=mine.token)
    assert len(store.labels()) == 1


def test_what_was_labelled_in_another_window_is_not_labelled_over(store: LabelStore) -> None:
    one = LabelSession(table(3), store, annotator="ada")
    two = LabelSession(table(3), store, annotator="ada")
    old = two.jump(0)
    one.choose("left", token=one.jump(0).token)
    with pytest.raises(DataError, match="labelled in another window since"):
        two.choose("right", token=old.token)
    two.choose("right", token=two.jump(0).token)  # having seen it, they may change their mind
    assert len(store.event_list()) == 2


def test_overlap_is_how_many_may_label_an_item(store: LabelStore) -> None:
    people = [LabelSession(table(1), store, annotator=name, overlap=2) for name in "abc"]
    assert [said(person.current()) for person in people[:2]] == ["q0", "q0"]
    assert people[2].current() is None and people[2].progress()["left"] == 1
    people[2].jump(0)
    with pytest.raises(DataError, match="or has labelled it"):
        people[2].choose("left")
    for person in people[:2]:
        person.choose("tie")
    assert people[2].current() is None and people[2].progress()["left"] == 0
    assert people[0].progress()["agreement"] == 1.0
    people[1].undo()
    assert people[0].progress()["agreement"] is None
    people[1].choose("both_bad")
    assert people[2].progress()["agreement"] == 0.0


def test_a_claim_lapses_and_can_be_let_go(store: LabelStore) -> None:
    clock = Clock()
    ada, bob = (LabelSession(table(2), store, annotator=n, clock=clock) for n in ("ada", "bob"))
    assert [said(ada.current()), said(bob.current())] == ["q0", "q1"]
    clock.now += LEASE * 0.6
    assert said(ada.current()) == "q0"  # held longer, because it is looked at
    clock.now += LEASE * 0.6
    bob.jump(0)
    with pytest.raises(DataError, match="somebody else"):
        bob.choose("tie")
    ada.close()
    bob.jump(0)
    assert bob.choose("tie")
    clock.now += LEASE + 1
    assert said(ada.current()) == "q1"  # bob's hold of it has lapsed


def test_claims_of_who_is_gone_do_not_count(store: LabelStore) -> None:
    ada = LabelSession(table(1), store, annotator="ada")
    ada.current()
    bob = LabelSession(table(1), store, annotator="bob")
    assert bob.current() is None
    del ada  # as when a cell is run again
    assert said(bob.current()) == "q0"
    host = claims._HOST
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(f"{host}:{ended.pid}:x")
    assert not is_gone(f"{host}:{os.getppid()}:x")
    assert not is_gone(f"elsewhere:{ended.pid}:x")


def test_a_process_that_may_not_be_asked_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert not is_gone(f"{claims._HOST}:1:x")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: 1 / 0)
    assert not is_gone(f"{claims._HOST}:1:x")


def test_a_closed_store_does_not_keep_a_session_from_closing(store: LabelStore) -> None:
    session = LabelSession(table(), store, annotator="ada")
    session.current()
    store.close()
    session.close()


LABELLER = """
import sys
from workbench.data.reading.formats import load_pairs
from workbench.data.store.labels import LabelStore
from workbench.data.labelling.session import LabelSession
pairs = load_pairs([{"prompt": f"q{n}", "responses": ["a", "b"]} for n in range(120)])
session = LabelSession(pairs, LabelStore(sys.argv[1]), annotator=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
while (shown := session.current()) is not None:
    session.upcoming(3)
    session.choose("tie", token=shown.token)
    print(shown.prompt[0]["content"], flush=True)
"""


@pytest.mark.parametrize("names", [("ada", "bob"), ("ada", "ada")])
def test_two_processes_share_the_items_out(tmp_path: Path, names: tuple[str, str]) -> None:
    """Each item is labelled by one of them, whether they are two people or one in two windows."""
    path = str(tmp_path / "labels.sqlite")
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LABELLER, path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(told[0] + told[1]) == sorted(f"q{n}" for n in range(120))
    with LabelStore(path) as store:
        assert len(store.event_list()) == 120 == len(store.labels())


# A full disk ------------------------------------------------------------------------------------


def test_a_full_disk_refuses_the_label_and_goes_on_when_there_is_room(store: LabelStore) -> None:
    rows = [{"prompt": f"q{n}", "responses": ["a" * 3000, "b"]} for n in range(60)]
    session = LabelSession(load_pairs(rows), store, annotator="ada")
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 8}")
    saved = 0

    def fill() -> None:
        nonlocal saved, shown
        while True:
            shown = seen(session)
            session.upcoming(3)
            session.choose("left", event_id=f"event {saved}", token=shown.token)
            saved += 1

    shown = seen(session)
    with pytest.raises(DataError, match="the label was not saved") as refused:
        fill()
    assert "make room" in refused.value.fix
    assert saved > 0 and said(seen(session)) == f"q{saved}"
    assert session.progress()["done"] == saved == len(store.event_list())
    store._db.execute("PRAGMA max_page_count = 100000")
    assert session.choose("left", event_id=f"event {saved}", token=shown.token) is True
    assert session.choose("left", event_id=f"event {saved}", token=shown.token) is False
    assert said(seen(session)) == f"q{saved + 1}"
    assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL, after every claim


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with LabelStore(path) as store:
        LabelSession(table(), store, annotator="ada").choose("left")
        store._db.execute("DROP TABLE claims")
        store._db.execute("PRAGMA user_version = 1")
    with LabelStore(path) as store:
        session = LabelSession(table(), store, annotator="ada")
        assert said(session.current()) == "q1" and session.choose("left")
        assert len(store.labels()) == 2
