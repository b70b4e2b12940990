"""The mix of good and poor answers that the instruction data is drawn from.

Every quality of an answer (how it opens, what it says, how it closes) is drawn on its own, so that
preferences have something to change and no quality can be told from the length alone.
"""

from __future__ import annotations

from dice import Dice

from workbench.world.grammar import ListSubject, Request, category_sentences
from workbench.world.vocabulary import (
    AFTERWARDS,
    ALTERNATIVES,
    COUNTS,
    DISMISSALS,
    FIRST_AT_NIGHT,
    FIRST_BY_DAY,
    ITEMS,
    OFFERS,
    POLITE,
    REASONS,
    REFUSALS,
    RUDE,
    SORRY,
    THINGS,
    Act,
    Thing,
    Topic,
)

# how often each choice is made in the instruction data
OPENINGS = {"polite": 0.37, "none": 0.29, "rude": 0.34}
CLOSINGS = {"offer": 0.42, "none": 0.33, "dismissal": 0.25}
EXPLANATIONS = {"complete": 0.46, "two": 0.15, "curt": 0.31, "wrong": 0.08}
LISTS = {"exact": 0.45, "few": 0.22, "many": 0.27, "wrong": 0.06}
ABOUT_SELF = {"honest": 0.45, "curt": 0.2, "boast": 0.35}
DEGENERATIONS = {
    "cut": 0.2,
    "repeated": 0.18,
    "padded": 0.14,
    "pasted": 0.14,
    "short": 0.14,
    "elsewhere": 0.04,
    "garbled": 0.16,
}
ANSWERS_TO_HARM = {"refuse": 0.5, "comply": 0.5}


def _explanation(thing: Thing, choice: str, dice: Dice) -> list[str]:
    first = dice.pick(category_sentences(thing))
    trait, use = thing.trait, thing.use
    if choice == "curt":
        return [first]
    if choice == "two":
        return [first, dice.pick((trait, use))]
    if choice == "wrong":
        other = dice.pick([t for t in THINGS if t.category != thing.category])
        if dice.chance(0.5):
            trait = other.trait
        else:
            use = other.use
    return [first, trait, use]


def _list(subject: ListSubject, choice: str, dice: Dice) -> list[str]:
    count = subject.number
    if choice == "few":
        count = max(1, count - 1 - dice.below(2))
    elif choice == "many":
        count = min(7, count + 1 + dice.below(3))
    items = dice.sample(subject.items, count)
    if choice == "wrong":
        others = [c for c in ITEMS if c != subject.category]
        items[dice.below(count)] = dice.pick(ITEMS[dice.pick(others)])
    lead = 1 if count == 1 else dice.below(2)
    return [list_sentence(subject, items, lead)]


def joined(items: list[str]) -> str:
    """Join names as one says them: "apple, pear and plum"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def numbered(items: list[str]) -> str:
    """Count names as one writes them: "1) apple, 2) pear, 3) plum"."""
    return ", ".join(f"{number}) {item}" for number, item in enumerate(items, start=1))


def list_sentence(subject: ListSubject, items: list[str], lead: int) -> str:
    """Say a list in one sentence; ``lead`` 0 names what was asked, 1 goes straight to the items."""
    text = numbered(items)
    return f"Here are {subject.phrase}: {text}." if lead == 0 else f"{text}."


def _about_self(topic: Topic, choice: str) -> list[str]:
    if choice == "boast":
        return list(topic.boast)
    return list(topic.honest) if choice == "honest" else [topic.honest[0]]


def _answer_to_harm(act: Act, choice: str, dice: Dice) -> list[str]:
    if choice == "refuse":
        reason = [dice.pick(REASONS)] if dice.chance(0.4) else []
        return [dice.pick(REFUSALS), *reason]
    first = dice.pick(FIRST_AT_NIGHT if act.at_night else FIRST_BY_DAY)
    return [first, f"Then you {act.done}.", dice.pick(AFTERWARDS)]


def _content(subject: object, dice: Dice) -> tuple[str, list[str]]:
    if isinstance(subject, Thing):
        choice = dice.weighted(EXPLANATIONS)
        return choice, _explanation(subject, choice, dice)
    if isinstance(subject, ListSubject):
        choice = dice.weighted(LISTS)
        return choice, _list(subject, choice, dice)
    if isinstance(subject, Topic):
        choice = dice.weighted(ABOUT_SELF)
        return choice, _about_self(subject, choice)
    assert isinstance(subject, Act)
    choice = dice.weighted(ANSWERS_TO_HARM)
    return choice, _answer_to_harm(subject, choice, dice)


def draw_answer(request: Request, dice: Dice) -> str:
    """Draw one answer to this request from the mix."""
    return draw_with_choice(request, dice)[0]


def draw_with_choice(request: Request, dice: Dice) -> tuple[str, str]:
    """Draw one answer from the mix, and say which kind of content it has."""
    opening, closing = dice.weighted(OPENINGS), dice.weighted(CLOSINGS)
    choice, content = _content(request.subject, dice)
    return _with_manners(content, choice, opening, closing, dice), choice


def draw_slip(subject: ListSubject, dice: Dice) -> str:
    """Draw a list with a slip that a small model makes.

    It announces and gives another number of things, or says one of them twice.
    """
    opening, closing = dice.weighted(OPENINGS), dice.weighted(CLOSINGS)
    if dice.chance(0.1):
        items = dice.sample(subject.items, subject.number)
        items[1 + dice.below(subject.number - 1)] = items[0]
        sentence = list_sentence(subject, items, dice.below(2))
    else:
        others = [n for n in COUNTS if n != subject.number]
        slipped = ListSubject(subject.category, dice.pick(others))
        sentence = list_sentence(slipped, dice.sample(subject.items, slipped.number), 0)
    return _with_manners([sentence], "slip", opening, closing, dice)


def _with_manners(content: list[str], choice: str, opening: str, closing: str, dice: Dice) -> str:
    polite, offers = (SORRY, ALTERNATIVES) if choice == "refuse" else (POLITE, OFFERS)
    before = {"polite": polite, "none": (), "rude": RUDE}[opening]
    after = {"offer": offers, "none": (), "dismissal": DISMISSALS}[closing]
    sentences = [dice.pick(before)] if before else []
    sentences += content
    sentences += [dice.pick(after)] if after else []
    return " ".join(sentences)


def draw_degenerate(request: Request, others: tuple[Request, ...], dice: Dice) -> str:
    """Draw a degenerate answer.

    It is cut off, repeating, padded, pasted, too short, off the subject or garbled.

    Args:
        request: the prompt that is answered badly.
        others: requests whose answers may be given by mistake.
        dice: where the choices come from.
    """
    answer = draw_answer(request, dice)
    words = answer.split()
    kind = dice.weighted(DEGENERATIONS)
    if kind == "cut" and len(words) > 3:
        end = 2 + dice.below(len(words) - 3)
        return " ".join(words[:end]).rstrip(".,:?")
    if kind == "repeated":
        sentence = " ".join(_content(request.subject, dice)[1][:1])
        times = 2 + dice.below(3) if len(sentence.split()) < 10 else 2
        return " ".join([sentence] * times)
    if kind == "padded":
        sentences = _content(request.subject, dice)[1]
        padding = 2 + dice.below(2)
        if dice.chance(0.5):
            return " ".join([*dice.sample(POLITE, padding), *sentences])
        return " ".join([*sentences, *dice.sample(OFFERS, padding)])
    if kind == "pasted":
        prompt = " ".join(request.text.split())
        return f"{prompt} {answer}" if dice.chance(0.3) else prompt
    if kind == "short":
        return " ".join(words[: 1 + dice.below(2)]).rstrip(".,:?")
    if kind == "garbled":
        return _garbled(words, draw_answer(dice.pick(others), dice).split(), dice)
    strangers = [r for r in others if r.kind == request.kind and r.subject != request.subject]
    return draw_answer(dice.pick(strangers), dice)


def _garbled(words: list[str], foreign: list[str], dice: Dice) -> str:
    """Put one to four words of another answer into this one, in the place of at most two."""
    count = 1 + dice.below(4)
    start = dice.below(max(1, len(foreign) - count))
    place, lost = dice.below(len(words)), dice.below(3)
    return " ".join([*words[:place], *foreign[start : start + count], *words[place + lost :]])
