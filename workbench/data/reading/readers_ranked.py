"""Readers of rows that hold many answers, ranked or rated, and of whole trees of replies."""

from collections.abc import Iterator
from typing import Any, cast

from workbench.data.messages import Message, Unusable, as_messages
from workbench.data.reading.parsed import (
    Parsed,
    RatedAnswer,
    Row,
    Tree,
    about,
    both_of,
    by_ranks,
    by_scores,
    listed,
    mapping,
    number,
    rest,
    several,
    take_name,
    take_prompt,
    unpacked,
)
from workbench.data.reading.transcripts import read_prompt


def read_ultrafeedback(row: Row) -> Parsed:
    """Read UltraFeedback's completions: the higher mean of an answer's ratings is better.

    ``overall_score`` stands in only where no aspect has a number: some of them were 10 for 1.
    """
    completions = listed(row.pop("completions", None), "completions")
    entries = [mapping(one) for one in completions]
    if row.get("models") == [one.get("model") for one in entries]:
        row.pop("models", None)  # each completion says its own
    prompt = take_prompt(row, "instruction")
    parsed = several(prompt, [_rated(one) for one in entries], by_scores, rest(row))
    return parsed._replace(unread=frozenset(name for one in entries for name in _unread(one)))


_READ = ("annotations", "overall_score", "principle", "custom_system_prompt", "model", "response")


def _unread(completion: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of a completion that are not read: long texts about it, mostly."""
    yield from rest(completion, _READ)
    for aspect, annotation in mapping(completion.get("annotations")).items():
        rated = mapping(annotation)
        yield from rest(rated, ("Rating",)) if "Rating" in rated else (aspect,)


def _rated(completion: dict[str, Any]) -> RatedAnswer:
    aspects = {
        name: number(mapping(annotation).get("Rating"))
        for name, annotation in mapping(completion.get("annotations")).items()
    }
    ratings = [rating for rating in aspects.values() if rating is not None]
    overall = number(completion.get("overall_score"))
    value = sum(ratings) / len(ratings) if ratings else overall
    flags = {name: completion.get(name) for name in ("principle", "custom_system_prompt")}
    known = about(completion.get("model"), {**aspects, "overall": overall}, flags)
    return RatedAnswer(as_messages(completion.get("response"), "assistant"), known, value)


def read_nectar(row: Row) -> Parsed:
    """Read Nectar's answers: rank 1 is best."""
    answers = [
        RatedAnswer(
            as_messages(one.get("answer"), "assistant"),
            about(take_name(one, "model"), others=rest(one, ("answer", "rank"))),
            number(one.get("rank")),
        )
        for one in map(dict, map(mapping, listed(row.pop("answers", None), "answers")))
    ]
    return several(read_prompt(row.pop("prompt", None)), answers, by_ranks, rest(row))


def read_oasst(row: Row) -> Tree:
    """Read an OASST tree: one item for each prompt with two ranked replies or more; 0 is best.

    What was deleted, or did not pass review, is left out with all that was said in answer to it.
    """
    left_out: dict[str, int] = {}
    items: list[Parsed] = []
    root = mapping(row.pop("prompt", None))
    shared = rest(row)
    for prompt, node in _prompts(root, left_out):
        replies = [reply for reply in _sound(node, left_out) if reply.get("role") == "assistant"]
        ranked = [reply for reply in replies if number(reply.get("rank")) is not None]
        if len(ranked) < 2:
            _count(left_out, "a reply has no ranked reply beside it", len(replies))
            continue
        _count(left_out, "a reply has no rank", len(replies) - len(ranked))
        meta = both_of(shared, rest(node, _IN_ITEM))
        try:
            items.append(several(prompt, map(_reply, ranked), by_ranks, meta))
        except Unusable as why:
            _count(left_out, why.reason, len(ranked))
    return Tree(items, left_out, _unread_of_tree(root))


_IN_ITEM = ("text", "role", "replies", "rank", "labels", "emojis")
_OF_REPLY = ("message_id", "synthetic", "lang", "labels")


def _unread_of_tree(root: dict[str, Any]) -> frozenset[str]:
    """Return the fields of a tree that are not in its items: those of turns that lead to them."""
    unread: set[str] = set()
    waiting: list[tuple[dict[str, Any], bool]] = [(root, False)]
    while waiting:
        node, leads = waiting.pop()
        replies = [mapping(one) for one in listed(node.get("replies") or [], "replies")]
        waiting += [(reply, True) for reply in replies]
        used = ("text", "role", "replies", "rank")
        if node.get("role") == "assistant":
            unread |= rest(node, used if replies else (*used, *_OF_REPLY, "model_name")).keys()
        else:
            unread |= rest(node, () if leads else _IN_ITEM).keys() - set(used)
        if not leads:
            unread |= {name for name in ("labels", "emojis") if node.get(name)}
    return frozenset(unread)


def _prompts(
    root: dict[str, Any], left_out: dict[str, int]
) -> Iterator[tuple[list[Message], dict[str, Any]]]:
    """Yield each prompt of a tree with the turns that lead to it, from the top."""
    waiting: list[tuple[list[Message], dict[str, Any]]] = [([], root)] if _passed(root) else []
    if root and not waiting:
        _count(left_out, _NOT_PASSED, 1)
    while waiting:
        before, node = waiting.pop(0)
        role = "user" if node.get("role") == "prompter" else "assistant"
        turns = [*before, *as_messages(node.get("text"), role)]
        if role == "user":
            yield turns, node
        # The replies of a prompt are counted where they are ranked, the others here.
        counts = {} if role == "user" else left_out
        waiting += [(turns, reply) for reply in _sound(node, counts)]


_NOT_PASSED = "a message was deleted or did not pass review"


def _sound(node: dict[str, Any], left_out: dict[str, int]) -> list[dict[str, Any]]:
    replies = [mapping(one) for one in listed(node.get("replies") or [], "replies")]
    sound = [reply for reply in replies if _passed(reply)]
    _count(left_out, _NOT_PASSED, len(replies) - len(sound))
    return sound


def _passed(node: dict[str, Any]) -> bool:
    return bool(node) and not node.get("deleted") and node.get("review_result", True) is True


def _reply(node: dict[str, Any]) -> RatedAnswer:
    known = about(node.get("model_name"), flags={name: node.get(name) for name in _OF_REPLY})
    return RatedAnswer(as_messages(node.get("text"), "assistant"), known, number(node.get("rank")))


def _count(left_out: dict[str, int], why: str, replies: int) -> None:
    if replies:
        left_out[why] = left_out.get(why, 0) + replies


def is_tree(row: Row) -> bool:
    """Whether the prompt is the top of a tree of replies."""
    return "replies" in mapping(row["prompt"])


def are_ranked(row: Row) -> bool:
    """Whether the answers are objects with a rank."""
    answers = unpacked(row["answers"], ("[",))
    return isinstance(answers, list) and any("rank" in mapping(one) for one in cast("Any", answers))
