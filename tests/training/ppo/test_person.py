"""A person in the reward's place: what is asked, and what counts as an answer."""

import pytest

from workbench.data.labelling.session import LabelSession
from workbench.training.ppo.person import Person

from ...models.tiny import user

ANSWERS = ("a b", "c d")


@pytest.fixture
def person(tmp_path):
    return Person(tmp_path)


def labelled(person, choose, annotator="ada"):
    session = LabelSession(person.store.queue(), person.store, annotator=annotator, overlap=None)
    shown = session.current()
    choose(session, ("left", "right") if shown.left[-1]["content"] == "a b" else ("right", "left"))
    session.close()


@pytest.mark.parametrize(
    ("choose", "better"),
    [
        (lambda session, sides: session.choose(sides[0]), "a b"),
        (lambda session, sides: session.choose(sides[1]), "c d"),
        (lambda session, sides: session.edit(sides[1], "c d e"), "c d"),
        (lambda session, _: session.choose("tie"), None),
        (lambda session, _: session.choose("both_bad"), None),
        (lambda session, _: session.skip(), None),
    ],
)
def test_the_better_answer_is_what_was_chosen(person, choose, better):
    item = person.ask(user("q"), ANSWERS, "step 1")
    assert person.said([item]) == {}
    labelled(person, choose)
    assert person.said([item]) == {item: better}
    assert person.said(["another"]) == {}


def test_what_is_taken_back_was_not_said(person):
    item = person.ask(user("q"), ANSWERS, "step 1")
    labelled(person, lambda session, sides: (session.choose(sides[0]), session.undo()))
    assert person.said([item]) == {}


def test_asked_again_in_another_order_it_is_the_same_item(person):
    item = person.ask(user("q"), ANSWERS, "step 1")
    labelled(person, lambda session, sides: session.choose(sides[0]))
    assert person.ask(user("q"), ANSWERS[::-1], "step 2") == item
    assert len(person.store.queue()) == 0
    assert person.said([item]) == {item: "a b"}
