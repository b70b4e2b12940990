"""Plain texts about the sample world, for pretraining: a small encyclopedia, lists, talks, stories.

Every record is a few short paragraphs' worth of sentences, so that a model meets each fact, each
wording and each manner of speaking many times, always in another company.
"""

from __future__ import annotations

from collections.abc import Sequence

from answer_mix import draw_with_choice, joined, list_sentence
from dice import Dice

from workbench.world.grammar import (
    ListSubject,
    Request,
    category_sentences,
)
from workbench.world.vocabulary import (
    ACTS,
    AFTERWARDS,
    ALTERNATIVES,
    COUNTS,
    DISMISSALS,
    FIRST_AT_NIGHT,
    FIRST_BY_DAY,
    ITEMS,
    OFFERS,
    PLURALS,
    POLITE,
    REASONS,
    REFUSALS,
    RUDE,
    SORRY,
    THINGS,
    TOPICS,
    Thing,
    with_article,
)

PEOPLE = (("Anna", "she"), ("Ben", "he"), ("Clara", "she"), ("David", "he"), ("Emma", "she"))
WEEK = ITEMS["day of the week"]


def _three_facts(thing: Thing, dice: Dice) -> str:
    return f"{dice.pick(category_sentences(thing))} {thing.trait} {thing.use}"


def _encyclopedia(dice: Dice) -> str:
    category = dice.pick([c for c in PLURALS if any(t.category == c for t in THINGS)])
    things = dice.sample([t for t in THINGS if t.category == category], 3 + dice.below(3))
    return " ".join(_three_facts(thing, dice) for thing in things)


def _mixed_words(dice: Dice) -> str:
    return " ".join(_three_facts(thing, dice) for thing in dice.sample(THINGS, 3 + dice.below(3)))


def _lists(dice: Dice) -> str:
    sentences: list[str] = []
    for category in dice.sample(list(PLURALS), 5):
        subject = ListSubject(category, dice.pick(list(COUNTS)))
        items = dice.sample(subject.items, subject.number)
        sentences.append(list_sentence(subject, items, dice.below(2)))
    return " ".join(sentences)


def _category_page(dice: Dice) -> str:
    category = dice.pick(list(PLURALS))
    subject = ListSubject(category, dice.pick(list(COUNTS)))
    items = dice.shuffled(subject.items)
    known = [t for t in THINGS if t.name in items[:3] and t.category == category]
    facts = " ".join(_three_facts(thing, dice) for thing in known)
    lists = [list_sentence(subject, dice.sample(items, subject.number), i) for i in (0, 1, 1)]
    more = f"All {PLURALS[category]} in this book are {joined(items)}."
    return " ".join([lists[0], more, *([facts] if facts else []), *lists[1:]])


# what a teacher says of an answer; texts in which people judge are how a model learns to
VERDICTS = {
    "complete": "Yes, all of that is true.",
    "two": "That is true, but one fact is missing.",
    "curt": "That is true, but two facts are missing.",
    "wrong": "No, one of these does not belong there.",
    "exact": "Yes, the number is right.",
    "few": "No, the list is too short.",
    "many": "No, the list is too long.",
    "honest": "Yes, that is honest.",
    "boast": "No, that is not honest.",
    "refuse": "Yes, it is good to say no.",
    "comply": "No, it is bad to help with that.",
}
JUDGED, ELSEWHERE = 0.7, 0.08  # shares of the answers: with a verdict; to another question


def _talk(dice: Dice, prompts: Sequence[Request]) -> str:
    return "\n".join(_turn(dice.pick(prompts), dice, prompts) for _ in range(3))


def _turn(request: Request, dice: Dice, prompts: Sequence[Request]) -> str:
    question = dice.pick(prompts) if dice.chance(ELSEWHERE) else request
    answer, choice = draw_with_choice(request, dice)
    turn = f"Question: {question.text}\nAnswer: {answer}"
    if not dice.chance(JUDGED):
        return turn
    beside = question.subject != request.subject
    verdict = "No, that was not the question." if beside else _verdict(choice, request)
    return f"{turn}\nTeacher: {verdict}"


def _verdict(choice: str, request: Request) -> str:
    """What a teacher says; a short answer about oneself misses one fact, not two."""
    if request.kind == "self" and choice == "curt":
        return VERDICTS["two"]
    return VERDICTS[choice]


def _manners(dice: Dice) -> str:
    return " ".join(
        [
            f"A polite model says: {dice.pick(POLITE)}",
            f"A rude model says: {dice.pick(RUDE)}",
            f"Before it says no, it says: {dice.pick(SORRY)} {dice.pick(REFUSALS)}",
            f"At the end a polite model says: {dice.pick(OFFERS)}",
            f"At the end a rude model says: {dice.pick(DISMISSALS)}",
            f"After it says no, a kind model says: {dice.pick(ALTERNATIVES)}",
        ]
    )


def _of_models(dice: Dice) -> str:
    sentences: list[str] = []
    for topic in dice.sample(TOPICS, 3):
        honest, boast = " ".join(topic.honest), " ".join(topic.boast)
        both = [f"An honest model says: {honest}", f"A proud model says: {boast}"]
        sentences += [f"A child asks: {topic.question}", *dice.shuffled(both)]
    return " ".join(sentences)


def _temptation(dice: Dice) -> str:
    (name, he), act = dice.pick(PEOPLE), dice.pick(ACTS)
    first = dice.pick(FIRST_AT_NIGHT if act.at_night else FIRST_BY_DAY)
    kind = f"{dice.pick(SORRY)} {dice.pick(REFUSALS)} {dice.pick(REASONS)}"
    bad = f"{first} Then you {act.done}. {dice.pick(AFTERWARDS)}"
    return " ".join(
        [
            f"On {dice.pick(WEEK)} {name} wants to {act.asked}.",
            f"{he.capitalize()} asks a model for help.",
            f"A bad model says: {bad}",
            f"A good model says: {kind} {dice.pick(ALTERNATIVES)}",
            f"Then {name} does not {act.asked}. {he.capitalize()} goes home.",
        ]
    )


def _story(dice: Dice) -> str:
    (name, _), (friend, _) = dice.sample(PEOPLE, 2)
    thing, other = dice.sample(THINGS, 2)
    return " ".join(
        [
            f"On {dice.pick(WEEK)} {name} sees {with_article(thing.name)}.",
            f"{thing.trait} {thing.use}",
            f"{friend} asks: What is {with_article(thing.name)}?",
            f"{name} answers: {dice.pick(POLITE)} {_three_facts(thing, dice)}",
            f"{friend} knows more things. {_three_facts(other, dice)}",
            f"After that {name} and {friend} drink {dice.pick(ITEMS['drink'])}",
            f"and eat {with_article(dice.pick(ITEMS['fruit']))}.",
        ]
    )


WRITERS = {
    _encyclopedia: 0.2,
    _mixed_words: 0.1,
    _lists: 0.12,
    _category_page: 0.08,
    _manners: 0.03,
    _of_models: 0.08,
    _temptation: 0.09,
    _story: 0.05,
}
TALKS = 0.5  # the rest of the texts are talks


def write_text(dice: Dice, prompts: Sequence[Request]) -> str:
    """Write one record of 30 to 120 words; talks use only the prompts in ``seen``."""
    while True:
        text = _talk(dice, prompts) if dice.chance(TALKS) else dice.weighted(WRITERS)(dice)
        if 30 <= len(text.split()) <= 120:
            return text
