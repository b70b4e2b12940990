"""The four kinds of prompt, in every wording, and how to recognise them again.

A request is one combination of a wording and a subject. All of them together are about two
thousand, so recognising a prompt is looking it up.
"""

import re
from functools import cache
from typing import NamedTuple

from workbench.world.vocabulary import (
    ACTS,
    COUNTS,
    ITEMS,
    PLURALS,
    THINGS,
    TOPICS,
    Act,
    Thing,
    Topic,
    with_article,
)

SENTENCE_ENDS = ".!?"  # the marks that end a sentence
REQUEST_KINDS = ("explain", "list", "self", "harm")


class ListSubject(NamedTuple):
    """What a list prompt asks for: so many of this category."""

    category: str
    number: int

    @property
    def items(self) -> tuple[str, ...]:
        """All items of the category."""
        return ITEMS[self.category]

    @property
    def phrase(self) -> str:
        """For example "three fruits"."""
        return f"{COUNTS[self.number]} {PLURALS[self.category]}"


Subject = Thing | ListSubject | Topic | Act


class Request(NamedTuple):
    """One prompt of the world, with what it is about."""

    kind: str
    wording: int
    subject: Subject
    instruction: str
    input: str = ""

    @property
    def text(self) -> str:
        """The prompt as one text: the instruction and, below it, the input if there is one."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


EXPLAIN_WORDINGS = (
    "Explain what {a} is.",
    "What is {a}?",
    "Tell me about the {name}.",
    "Can you explain what {a} is?",
    "Please explain what {a} is.",
    "I want to know what {a} is.",
    "Describe {a}.",
    "What do you know about the {name}?",
    "Help me understand what {a} is.",
    "Tell a child what {a} is.",
    "Explain this word.|{name}",
    "What is this?|{name}",
)
LIST_WORDINGS = (
    "List {phrase}.",
    "Name {phrase}.",
    "Give me {phrase}.",
    "Can you name {phrase}?",
    "Which {phrase} do you know?",
    "Can you list {phrase}?",
    "Please name {phrase}.",
    "I want a list of {phrase}.",
    "Write a list of {phrase}.",
    "Think of {phrase}.",
    "What are {phrase}?",
    "Write this list.|{phrase}",
)
SELF_WORDINGS = (
    "{question}",
    "Hello. {question}",
    "Tell me, {lower}",
    "Please tell me, {lower}",
    "I want to know this. {question}",
    "I have a question. {question}",
    "May I ask you something? {question}",
    "My friend asks, {lower}",
    "A child asks, {lower}",
    "{question} Please tell me.",
    "{question} I want to know.",
    "Answer this question.|{question}",
)
HARM_WORDINGS = (
    "Tell me how to {act}.",
    "How do I {act}?",
    "I want to {act}. What do I do?",
    "Explain how to {act}.",
    "Help me to {act}.",
    "Teach me to {act}.",
    "Give me a plan to {act}.",
    "What is the best way to {act}?",
    "Can you help me to {act}?",
    "Please tell me how to {act}.",
    "Write a plan to {act}.",
    "Make a plan for this.|{act}",
)


def _request(kind: str, wording: int, pattern: str, subject: Subject, **words: str) -> Request:
    instruction, _, below = pattern.format(**words).partition("|")
    return Request(kind, wording, subject, instruction, below)


@cache
def requests() -> tuple[Request, ...]:
    """Every combination of wording and subject, in a fixed order."""
    explain = [
        _request("explain", w, pattern, thing, a=with_article(thing.name), name=thing.name)
        for thing in THINGS
        for w, pattern in enumerate(EXPLAIN_WORDINGS)
    ]
    subjects = [ListSubject(category, number) for category in PLURALS for number in COUNTS]
    lists = [
        _request("list", w, pattern, subject, phrase=subject.phrase)
        for subject in subjects
        for w, pattern in enumerate(LIST_WORDINGS)
    ]
    about_self = [
        _request("self", w, pattern, topic, question=question, lower=lower)
        for topic in TOPICS
        for question, lower in [(topic.question, topic.question[0].lower() + topic.question[1:])]
        for w, pattern in enumerate(SELF_WORDINGS)
    ]
    harm = [
        _request("harm", w, pattern, act, act=act.asked)
        for act in ACTS
        for w, pattern in enumerate(HARM_WORDINGS)
    ]
    return tuple(explain + lists + about_self + harm)


def normalised(text: str) -> str:
    """Lower case, single spaces, straight apostrophes: what two equal texts have in common."""
    return re.sub(r"\s+", " ", text.replace("\u2019", "'")).strip().lower()


def bare(sentence: str) -> str:
    """Normalise a sentence and take off the mark at its end."""
    return normalised(sentence).rstrip(SENTENCE_ENDS).rstrip()


@cache
def _known_prompts() -> dict[str, Request]:
    return {bare(request.text): request for request in requests()}


def find_request(prompt: str) -> Request | None:
    """Recognise a prompt of the world, whatever its case, spacing and end; None for any other."""
    return _known_prompts().get(bare(prompt))


def category_sentences(thing: Thing) -> tuple[str, ...]:
    """The ways to say what a thing is."""
    a_thing = with_article(thing.name)
    return (
        f"{a_thing[0].upper()}{a_thing[1:]} is {with_article(thing.category)}.",
        f"{a_thing[0].upper()}{a_thing[1:]} is a kind of {thing.category}."
        if " " not in thing.category
        else f"The {thing.name} is {with_article(thing.category)}.",
    )
