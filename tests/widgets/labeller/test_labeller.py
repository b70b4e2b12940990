import json
import sqlite3
import threading

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.errors import ConfigError, DataError
from workbench.widgets.labeller.labeller import AHEAD, KEYS, Labeller

from .made_pages import Page, items, said


@pytest.fixture
def session(store):
    return LabelSession(items(), store, annotator="ada")


@pytest.fixture
def page(session):
    return Page(Labeller(session))


def test_ready_tells_the_whole_state(page):
    state = page.tell(type="ready")
    assert state["type"] == "state" and state["annotator"] == "ada"
    assert state["progress"]["total"] == 12 and state["progress"]["done"] == 0
    assert state["keys"]["left"] == ["1", "ArrowLeft"]
    assert [entry["position"] for entry in state["queue"]] == list(range(AHEAD))
    assert [item["token"] for item in state["items"]] == [e["token"] for e in state["queue"]]
    assert state["items"][0]["prompt"] == said("question 0", "user")
    texts = {response[0]["content"] for response in state["items"][0]["responses"]}
    assert texts == {"good 0", "poor 0"}


def test_nothing_that_tells_the_sides_apart_travels(page):
    state = page.tell(type="ready")
    for _ in range(12):
        state = page.act("choose", token=state["queue"][0]["token"], choice="left")
    sent = json.dumps(page.heard)
    for secret in ("secret", "7.25", "winner", "scores", "chosen", "order", "model"):
        assert secret not in sent
    for ident in items().ids():
        assert ident not in sent


def test_a_label_is_in_the_store_before_it_is_acknowledged(page, store):
    first = page.tell(type="ready")["queue"][0]["token"]
    seen_at_the_answer = []
    keep = page.widget.send
    page.widget.send = lambda content: (
        seen_at_the_answer.append(len(store.event_list())),
        keep(content),
    )
    answer = page.act("choose", token=first, choice="right", ident="event-0001")
    assert seen_at_the_answer == [1]
    assert answer["ack"] == {"id": "event-0001", "ok": True, "changed": True}
    assert answer["progress"]["done"] == 1
    event = store.event_list()[0]
    assert (event.event_id, event.kind, event.payload["choice"]) == ("event-0001", "label", "right")


def test_a_label_goes_to_the_item_that_was_on_screen(page, store, session):
    queue = page.tell(type="ready")["queue"]
    page.act("choose", token=queue[0]["token"], choice="left")
    page.act("choose", token=queue[1]["token"], choice="tie")
    ids = items().ids()
    assert [event.item_id for event in store.event_list()] == ids[:2]
    assert session.current().position == 2


def test_only_items_that_the_page_lacks_travel(page):
    queue = page.tell(type="ready")["queue"]
    answer = page.act("choose", token=queue[0]["token"], choice="left")
    assert len(answer["items"]) == 1
    assert answer["items"][0]["token"] == answer["queue"][-1]["token"]
    back = page.act("undo")  # the item that was labelled is on screen again: its texts travel again
    assert back["queue"][0]["token"] == queue[0]["token"]
    assert queue[0]["token"] in [item["token"] for item in back["items"]]


def test_a_resend_is_acknowledged_and_changes_nothing(page, store):
    token = page.tell(type="ready")["queue"][0]["token"]
    for _ in range(3):
        answer = page.act("choose", token=token, choice="left", ident="event-0001")
        assert answer["ack"]["ok"]
    assert answer["ack"]["changed"] is False
    assert len(store.event_list()) == 1 and answer["progress"]["done"] == 1


def test_every_action_is_an_event(page, store):
    token = page.tell(type="ready")["queue"][0]["token"]
    state = page.act("flag", token=token)
    assert state["queue"][0]["flagged"] and state["queue"][0]["token"] == token
    state = page.act("note", token=token, text="both are curt")
    assert state["queue"][0]["note"] == "both are curt"
    state = page.act("choose", token=token, choice="both_bad")
    state = page.act("skip", token=state["queue"][0]["token"])
    assert state["progress"]["skipped"] == 1
    page.act("undo")
    page.act("redo")
    kinds = [event.kind for event in store.event_list()]
    assert kinds == ["flag", "note", "label", "skip", "undo", "redo"]


def test_nothing_to_undo_is_said(page):
    page.tell(type="ready")
    assert page.act("undo")["ack"] == {"id": page.heard[-1]["ack"]["id"], "ok": True} | {
        "changed": False
    }


def test_a_store_that_refuses_asks_for_the_label_again(page, store, monkeypatch):
    token = page.tell(type="ready")["queue"][0]["token"]

    def full(*_, **__):
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.Error as error:
            raise DataError("the label was not saved", where="labels", fix="make room") from error

    monkeypatch.setattr(store, "append", full)
    answer = page.act("choose", token=token, choice="left", ident="event-0001")
    assert answer["ack"]["ok"] is False and answer["ack"]["again"] is True
    assert (answer["ack"]["what"], answer["ack"]["fix"]) == ("the label was not saved", "make room")
    assert answer["progress"]["done"] == 0 and answer["queue"][0]["token"] == token
    assert isinstance(page.widget.error, DataError)
    monkeypatch.undo()
    answer = page.act("choose", token=token, choice="left", ident="event-0001")
    assert answer["ack"]["ok"] and answer["progress"]["done"] == 1 and page.widget.error is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"action": "choose", "choice": "middle"}, "there is no choice 'middle'"),
        ({"action": "choose", "choice": 5}, "there is no response at place 5"),
        ({"action": "choose", "choice": "left", "token": "stranger"}, "this token was not given"),
        ({"action": "dance"}, "the page asked for 'dance'"),
        ({"action": "skip", "id": "short"}, "an action came without an id"),
    ],
)
def test_what_can_never_be_taken_is_refused_for_good(page, store, content, what):
    token = page.tell(type="ready")["queue"][0]["token"]
    answer = page.tell(**{"type": "act", "id": "event-0001", "token": token, **content})
    assert answer["ack"]["ok"] is False and answer["ack"]["again"] is False
    assert answer["ack"]["what"].startswith(what)
    assert store.event_list() == []


def test_an_error_outside_an_action_is_shown_not_raised(page, session, monkeypatch):
    monkeypatch.setattr(session, "progress", lambda: 1 / 0)
    answer = page.tell(type="ready")
    assert answer["type"] == "fault" and answer["what"] == "ZeroDivisionError: division by zero"
    assert isinstance(page.widget.error, ZeroDivisionError)


def test_what_is_committed_is_acknowledged_even_if_the_next_state_fails(
    page, session, store, monkeypatch
):
    token = page.tell(type="ready")["queue"][0]["token"]
    monkeypatch.setattr(session, "progress", lambda: 1 / 0)
    answer = page.act("choose", token=token, choice="left")
    assert answer["type"] == "fault" and answer["ack"]["ok"] is True
    assert len(store.event_list()) == 1


def test_unknown_messages_are_ignored(page):
    assert page.tell(type="gossip") is None


def test_the_last_item_leaves_an_empty_queue(page):
    state = page.tell(type="ready")
    for _ in range(12):
        state = page.act("choose", token=state["queue"][0]["token"], choice="tie")
    assert state["queue"] == [] and state["progress"]["left"] == 0
    assert page.widget.current is None


def test_two_threads_at_once_lose_nothing(page, store):
    queue = page.tell(type="ready")["queue"]
    threads = [
        threading.Thread(target=page.act, args=("choose", entry["token"]), kwargs={"choice": "tie"})
        for entry in queue
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.event_list()) == AHEAD


def test_hostile_text_crosses_the_wire(store):
    text = "a\x00b\u2028\ud800 \ufdd0 <script>alert(1)</script>"
    pair = Pair.make(said("q\udfff", "user"), [said(text), said("plain")])
    page = Page(Labeller(LabelSession(Pairs.from_items([pair]), store, annotator="ada")))
    state = page.tell(type="ready")
    json.dumps(state, ensure_ascii=False).encode("utf-8")  # no lone surrogate is left
    texts = [response[0]["content"] for response in state["items"][0]["responses"]]
    assert "a\x00b\u2028\ufdd0D800\ufdd1 \ufdd0FDD0\ufdd1 <script>alert(1)</script>" in texts


def test_a_note_with_half_a_character_is_stored(page, store):
    token = page.tell(type="ready")["queue"][0]["token"]
    assert page.act("note", token=token, text="x\ud83d" + "y" * 20_000)["ack"]["ok"]
    assert store.event_list()[0].payload["text"] == "x\ufffd" + "y" * 9_998


def test_long_texts_are_cut_until_asked_for(store):
    pair = Pair.make(said("q", "user"), [said("x" * 50_000), said("y" * 100)])
    page = Page(Labeller(LabelSession(Pairs.from_items([pair]), store, annotator="ada")))
    item = page.tell(type="ready")["items"][0]
    long = max((response[0] for response in item["responses"]), key=lambda m: len(m["content"]))
    assert long["cut"] == 50_000 and len(long["content"]) == 6_000
    whole = page.tell(type="whole", token=item["token"])
    assert whole["type"] == "item" and whole["token"] == item["token"]
    assert sorted(len(response[0]["content"]) for response in whole["responses"]) == [100, 50_000]
    assert all("cut" not in response[0] for response in whole["responses"])
    assert page.tell(type="whole", token="stranger") is None


def test_more_than_two_responses_are_chosen_by_place(store):
    pair = Pair.make(said("q", "user"), [said("a"), said("b"), said("c")])
    page = Page(Labeller(LabelSession(Pairs.from_items([pair]), store, annotator="ada")))
    item = page.tell(type="ready")["items"][0]
    wanted = item["responses"][2][0]["content"]
    page.act("choose", token=item["token"], choice=2)
    (labelled,) = store.pairs()
    assert labelled.responses[labelled.label["winner"]] == said(wanted)


def test_keys_can_be_changed(session):
    widget = Labeller(session, keys={"left": "j", "right": ["k", "ArrowRight"]})
    assert widget.key_map["left"] == ["j"] and widget.key_map["right"] == ["k", "ArrowRight"]
    assert widget.key_map["tie"] == list(KEYS["tie"])


def test_a_key_for_no_action_or_for_two_is_refused(session):
    with pytest.raises(ConfigError, match="there is no action 'dance'"):
        Labeller(session, keys={"dance": "j"})
    with pytest.raises(ConfigError, match="'t' would mean both"):
        Labeller(session, keys={"left": "t"})


def test_the_state_of_the_widget_holds_no_texts(session):
    widget = Labeller(session)
    Page(widget).tell(type="ready")
    state = widget.get_state()
    kept = json.dumps({k: str(v) for k, v in state.items() if k not in ("_esm", "_css")})
    assert "question" not in kept and len(kept) < 2_000
