"""The formats that pairs are written in: what a row looks like, and what of an item it can hold.

:data:`HOLDS` is the one table of that. The writers refuse what their format cannot hold, the tests
hold each format to its row of the table, and the documents show it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from workbench.data.comparisons import Comparison, comparisons, places
from workbench.data.manifest import Options
from workbench.data.messages import Message, Unusable, turn_key, without_prompt
from workbench.data.reading.parsed import Row
from workbench.data.reading.transcripts import has_markers, read_transcript, split_common

if TYPE_CHECKING:
    from workbench.data.pairs import Pair

FACTS: dict[str, str] = {
    "choice": "which of two answers is the better one",
    "turns": "prompts of several turns",
    "answer turns": "answers of several turns",
    "blanks": "blanks before and after a text",
    "margin": "by how much the better one is better",
    "no choice": "ties, both bad, and items without a label",
    "many": "three or more answers in one item, with ranks and scores",
    "meta": "strength, source, meta and every other field",
    "events": "every event of a label store: who, when, undone or not",
}
"""What a format may hold, in words."""

HOLDS: dict[str, frozenset[str]] = {
    "trl": frozenset({"choice", "turns", "answer turns", "blanks", "margin"}),
    "trl-standard": frozenset({"choice", "blanks", "margin"}),
    "trl-implicit": frozenset({"choice", "turns", "answer turns", "blanks", "margin"}),
    "trl-implicit-standard": frozenset({"choice", "turns", "answer turns", "margin"}),
    "trl-unpaired": frozenset({"choice", "turns", "answer turns", "blanks"}),
    "trl-unpaired-standard": frozenset({"choice", "blanks"}),
    "openai-dpo": frozenset({"choice", "turns", "blanks"}),
    "hh": frozenset({"choice", "turns", "answer turns"}),
    "instruction": frozenset({"choice", "blanks", "margin"}),
    "canonical": frozenset(FACTS) - {"events"},
    "events": frozenset(FACTS),
}
"""What each format holds: it comes back equal when the file is read again."""


UNPAIRED = ("trl-unpaired", "trl-unpaired-standard")


class Preference(NamedTuple):
    """One row's worth: a better and a worse answer to a prompt."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


def rows_in_format(pair: "Pair", format: str, options: Options) -> list[Row]:
    """Return an item's rows in a format.

    Raises:
        Unusable: the format cannot hold the item, or nothing is to be written of it.
    """
    if format == "canonical":
        return [pair.as_dict()]
    if pair.label is None:
        raise Unusable("no label")
    if format in UNPAIRED:
        return _unpaired_rows(pair, options, plain=format.endswith("standard"))
    compared, weight = _weighted_comparisons(pair, options)
    shape = _SHAPES[format]
    margin = pair.label.get("margin", pair.label.get("strength"))
    rows: list[Row] = []
    for winner, loser in compared:
        row = shape(Preference(pair.prompt, pair.responses[winner], pair.responses[loser]))
        if margin is not None and "margin" in HOLDS[format] and pair.label["kind"] == "choice":
            row["margin"] = float(margin)
        if weight != 1 and format not in ("hh", "openai-dpo"):  # which have no other column
            row["weight"] = weight
        rows.append(row)
    return rows


def _weighted_comparisons(pair: "Pair", options: Options) -> tuple[list[Comparison], float]:
    """Return an item's comparisons and the weight of each: an item's weights add up to 1."""
    compared = comparisons(pair.label, len(pair.responses), options.k_way)
    if not compared and options.ties == "both":
        every = range(len(pair.responses))
        compared = [Comparison(one, other) for one in every for other in every if one != other]
    if not compared:
        raise Unusable(_why_none(pair))
    return compared, 1 / len(compared)


def _why_none(pair: "Pair") -> str:
    return "both_bad" if pair.label and pair.label["kind"] == "both_bad" else "tie"


def _unpaired_rows(pair: "Pair", options: Options, *, plain: bool) -> list[Row]:
    judged = _good_and_bad(pair, options)
    rows: list[Row] = []
    for index, good in judged:
        row: Row = {"prompt": pair.prompt, "completion": pair.responses[index], "label": good}
        if plain:
            row["prompt"] = _plain_prompt(pair.prompt)
            row["completion"] = _only_text(pair.responses[index])
        if len(judged) != 2:
            row["weight"] = 2 / len(judged)  # two rows are what a pair has
        rows.append(row)
    return rows


def _good_and_bad(pair: "Pair", options: Options) -> list[tuple[int, bool]]:
    """Return which answers are good and which bad.

    The best are good. Bad are the worst alone under ``k_way`` "best-worst", else all but the best.
    Of ties the answers are all good, of "both bad" all bad.
    """
    levels = places(pair.label, len(pair.responses))
    if len(levels) > 1:
        worse = levels[-1:] if options.k_way == "best-worst" else levels[1:]
        bad = [(n, False) for level in worse for n in level]
        return sorted([(n, True) for n in levels[0]] + bad)
    if options.ties == "unpaired":
        good = _why_none(pair) == "tie"
        return [(n, good) for n in range(len(pair.responses))]
    raise Unusable(_why_none(pair))


def _explicit(preference: Preference) -> Row:
    for answer in (preference.chosen, preference.rejected):
        if without_prompt(answer, preference.prompt) is not answer:
            raise Unusable("an answer begins with the prompt, which readers take for a repetition")
    return preference._asdict()


def _answers(preference: Preference) -> Row:
    answers = {"chosen": preference.chosen, "rejected": preference.rejected}
    return {name: _only_text(turns) for name, turns in answers.items()}


def _implicit(preference: Preference) -> Row:
    whole = [preference.prompt + preference.chosen, preference.prompt + preference.rejected]
    if len(split_common(whole[0], whole[1])[0]) != len(preference.prompt):
        raise Unusable("both answers begin with the same turns, which would join the prompt")
    return {"chosen": whole[0], "rejected": whole[1]}


def _transcripts(preference: Preference) -> Row:
    return {name: _transcript(turns) for name, turns in _implicit(preference).items()}


def _openai(preference: Preference) -> Row:
    for answer in (preference.chosen, preference.rejected):
        if len(answer) != 1:
            raise Unusable("an answer of several turns, which openai-dpo cannot hold")
    return {
        "input": {"messages": preference.prompt},
        "preferred_output": preference.chosen,
        "non_preferred_output": preference.rejected,
    }


_SHAPES: dict[str, Callable[[Preference], Row]] = {
    "trl": _explicit,
    "trl-standard": lambda one: {"prompt": _plain_prompt(one.prompt), **_answers(one)},
    "trl-implicit": _implicit,
    "trl-implicit-standard": _transcripts,
    "openai-dpo": _openai,
    "hh": _transcripts,
    "instruction": lambda one: {"instruction": _only_text(one.prompt), **_answers(one)},
}

_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}


def _transcript(turns: list[Message]) -> str:
    """Return turns as one text with role markers, from which the same turns can be read."""
    text = "".join(f"\n\n{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns)
    if turn_key(read_transcript(text)) != turn_key(turns):
        raise Unusable("a text with a role marker in it, which a transcript takes for a turn")
    return text


def _plain_prompt(prompt: list[Message]) -> str:
    text = _only_text(prompt)
    if has_markers(text):
        raise Unusable("a prompt that begins with a role marker, which readers take for turns")
    return text


def _only_text(turns: list[Message]) -> str:
    if len(turns) != 1:
        raise Unusable("several turns, which plain text cannot hold")
    return turns[0]["content"]
