"""The labeller beyond one label an item: strength, rankings, edits, jumps, Markdown, blindness."""

import json

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.widgets.labeller.labeller import PROGRESS, Labeller

from .made_pages import Page, items, said


def page_of(store, pairs=None, **wishes):
    ranking = wishes.pop("ranking", True)
    session = LabelSession(pairs or items(), store, annotator="ada", **wishes)
    return Page(Labeller(session, ranking=ranking))


def three():
    return Pairs.from_items([Pair.make(said("q", "user"), [said(t) for t in "abc"])])


def test_the_page_learns_what_to_ask(store):
    state = page_of(store, strength=["weak", "str\ud800ng"], ranking=False).tell(type="ready")
    assert state["levels"] == ["weak", "str\ufdd0D800\ufdd1ng"] and state["ranking"] is False
    state = page_of(store).tell(type="ready")
    assert state["levels"] == [] and state["ranking"] is True


def test_a_strength_comes_with_the_choice(store):
    page = page_of(store, strength=3)
    token = page.tell(type="ready")["queue"][0]["token"]
    assert page.act("choose", token=token, choice="left", strength=2)["ack"]["ok"]
    assert list(store.labels()["strength"]) == [2]


@pytest.mark.parametrize("strength", [4, "2", 1.5, True])
def test_a_strength_that_is_none_is_refused(store, strength):
    page = page_of(store, strength=3)
    token = page.tell(type="ready")["queue"][0]["token"]
    ack = page.act("choose", token=token, choice="left", strength=strength)["ack"]
    assert ack["ok"] is False and ack["again"] is False and store.event_list() == []


def test_a_ranking_is_one_event(store):
    page = page_of(store, three())
    item = page.tell(type="ready")["items"][0]
    at = {response[0]["content"]: n for n, response in enumerate(item["responses"])}
    answer = page.act("rank", token=item["token"], places=[[at["c"]], [at["a"], at["b"]]])
    assert answer["ack"]["ok"] and answer["queue"] == []
    assert store.pairs()[0].label["ranks"] == [2, 2, 1]
    back = page.act("undo")["queue"][0]
    assert back["decided"] is None


def test_an_edit_is_one_event_and_keeps_what_was_not_touched(store):
    page = page_of(store)
    item = page.tell(type="ready")["items"][0]
    text = "better\ud800\x00" + "x" * 20_000
    answer = page.act("edit", token=item["token"], choice="right", text=text)
    assert answer["ack"]["ok"] and answer["progress"]["done"] == 1
    assert store.pairs()[0].responses[2] == said(text)
    again = page.act("edit", token=answer["queue"][0]["token"], choice=0, text="  ")
    assert again["ack"]["what"] == "the better answer is empty" and not again["ack"]["again"]


def test_going_to_a_number_shows_that_item(store):
    page = page_of(store)
    page.tell(type="ready")
    state = page.tell(type="jump", position=9)
    assert state["queue"][0]["position"] == 9 and state["items"][0]["prompt"] == said(
        "question 9", "user"
    )
    for wrong in (12, -1, "3", None):
        answer = page.tell(type="jump", position=wrong)
        assert answer["type"] == "fault" and answer["what"]
    assert store.event_list() == []


def test_who_looks_keeps_what_is_shown(store):
    page = page_of(store)
    first = page.tell(type="ready")["queue"][0]["token"]
    state = page.tell(type="here")
    assert state["queue"][0]["token"] == first and state["items"] == []
    other = Page(Labeller(LabelSession(items(), store, annotator="bob")))
    assert other.tell(type="ready")["queue"][0]["position"] == 8  # ada's page holds eight


def test_a_pair_that_somebody_took_meanwhile_is_refused_and_left(store):
    page = page_of(store)
    queue = page.tell(type="ready")["queue"]
    page.widget.session.close()
    other = LabelSession(items(), store, annotator="bob")
    other.choose("tie")
    answer = page.act("choose", token=queue[0]["token"], choice="left")
    assert answer["ack"]["ok"] is False and answer["ack"]["again"] is False
    assert "somebody else" in answer["ack"]["what"]
    assert answer["queue"][0]["position"] == 1 and len(store.event_list()) == 1


def test_markdown_is_rendered_when_it_is_asked_for(store):
    pair = Pair.make(said("**q** <b>", "user"), [said("`a`"), said("> " * 500 + "deep")])
    page = page_of(store, Pairs.from_items([pair]))
    token = page.tell(type="ready")["items"][0]["token"]
    got = page.tell(type="rendered", token=token)
    assert (got["type"], got["token"]) == ("rendered", token)
    assert got["prompt"] == ["<p><strong>q</strong> &lt;b&gt;</p>\n"]
    assert sorted(got["responses"], key=str) == [["<p><code>a</code></p>\n"], [None]]
    assert page.tell(type="rendered", token="stranger") is None


def test_no_message_tells_what_is_gold_what_comes_back_or_why(store):
    """Every message of a whole session: no id, label, model, margin, side or reason is in it."""
    gold = Pairs.from_items(
        Pair.make(
            said(f"known {n}", "user"),
            [said("fine"), said("wrong")],
            label={"kind": "choice", "winner": 0},
        )
        for n in range(3)
    )
    page = page_of(
        store,
        gold=gold,
        repeats=0.2,
        order="uncertain",
        scores=[0.123456 + n for n in range(12)],
        model="reward-secret",
    )
    state = page.tell(type="ready")
    total = state["progress"]["total"]
    assert total == 12 + 2 + 3
    for n in range(total):
        token = state["queue"][0]["token"]
        page.tell(type="rendered", token=token)
        if n % 5 == 0:
            page.act("edit", token=token, choice="left", text=f"worded better {n}")
            page.act("undo")
        state = page.act("choose", token=token, choice="left")
    sent = json.dumps(page.heard)
    reasons = {event.payload.get("reason") for event in store.event_list()}
    assert {"gold", "repeat", "uncertain"} <= reasons
    for secret in ("secret", "0.123", "winner", "margin", "gold", "repeat", "uncertain", "reason"):
        assert secret not in sent
    for secret in ("7.25", "scores", "chosen", '"order"', "passed", "random", "file"):
        assert secret not in sent
    for ident in [*items().ids(), *gold.ids()]:
        assert ident not in sent
    assert set(state["progress"]) == set(PROGRESS)
    fields = {name for entry in page.heard for shown in entry.get("queue", []) for name in shown}
    assert fields == {"token", "position", "decided", "flagged", "note", "tags"}
