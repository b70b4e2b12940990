"""Readers of rows that say ``chosen`` and ``rejected``: the first is better, unless they tie."""

from typing import Any, cast

from workbench.data.messages import (
    Message,
    Unusable,
    as_messages,
    instructed,
    without_prompt,
    written_messages,
)
from workbench.data.reading.parsed import (
    FIRST_WON,
    Label,
    Parsed,
    RatedAnswer,
    Row,
    about,
    both_of,
    by_ranks,
    by_scores,
    listed,
    mapping,
    number,
    rest,
    several,
    take_answers,
    take_name,
    take_numbers,
    take_prompt,
    unpacked,
    with_about,
)
from workbench.data.reading.transcripts import (
    has_markers,
    read_prompt,
    read_transcript,
    split_common,
)

_BOTH = ("chosen", "rejected")
_SCORES = ("score", "rating", "reward", "grade")
"""Words for what is better the higher it is, in the names of columns: chosen_score and the like."""
# How the models of the two are called, in the data sets that have them.
_MODELS = (("chosen_model", "rejected_model"), ("chosen-model", "rejected-model"))


def read_instruction(row: Row) -> Parsed:
    """Read Instruction/Chosen/Rejected, with an optional Input that is added to the instruction.

    LLaMA-Factory's ``system`` and ``history`` (pairs of what was said before) stand before it.
    """
    prompt = instructed(row.pop("instruction", None), row.pop("input", None))
    if row.get("system") or row.get("history"):
        before = system_turn(row.pop("system", None)) + _history(row.pop("history", None))
        prompt = before + prompt
    return _labelled(row, prompt, take_answers(row, *_BOTH))


def read_argilla_binarized(row: Row) -> Parsed:
    """Read instruction/chosen_response/rejected_response, with their mean ratings."""
    answers = take_answers(row, "chosen_response", "rejected_response")
    return _labelled(row, take_prompt(row, "instruction"), answers)


def read_explicit(row: Row) -> Parsed:
    """Read prompt/chosen/rejected: each text, a message or messages."""
    prompt = read_prompt(row.pop("prompt", None))
    return _labelled(
        row, prompt, [without_prompt(one, prompt) for one in take_answers(row, *_BOTH)]
    )


def read_ultrafeedback_binarized(row: Row) -> Parsed:
    """Read prompt/chosen/rejected where ``messages`` says the chosen conversation once more."""
    if row.get("messages") == row.get("chosen"):
        row.pop("messages", None)
    return read_explicit(row)


def read_question(row: Row) -> Parsed:
    """Read system/question/chosen/rejected, as orca_dpo_pairs has them; an empty system is none."""
    prompt = system_turn(row.pop("system", None)) + take_prompt(row, "question")
    return _labelled(row, prompt, take_answers(row, *_BOTH))


def read_sharegpt(row: Row) -> Parsed:
    """Read LLaMA-Factory's ``conversations`` with the two answers to their end."""
    prompt = system_turn(row.pop("system", None)) + take_prompt(row, "conversations")
    row.update({name: mapping(row.get(name)) or row.get(name) for name in _BOTH})
    return _labelled(row, prompt, take_answers(row, *_BOTH))


def read_openai_dpo(row: Row) -> Parsed:
    """Read ``input`` with messages, and the preferred and the other output."""
    nested = mapping(row.pop("input", None))
    answers = take_answers(row, "preferred_output", "non_preferred_output")
    parsed = _labelled(row, as_messages(nested.get("messages"), "user"), answers)
    return parsed._replace(meta=both_of(parsed.meta, rest(nested, ("messages",))))


def read_implicit(row: Row) -> Parsed:
    """Read chosen/rejected that hold the whole conversation: message lists or transcripts."""
    whole = [
        read_transcript(talk) if isinstance(talk, str) else as_messages(talk, "assistant")
        for talk in map(talk_of, (row.pop("chosen", None), row.pop("rejected", None)))
    ]
    prompt, *answers = split_common(whole[0], whole[1])
    return _labelled(row, prompt, answers)


def read_reward_bench_2(row: Row) -> Parsed:
    """Read lists of chosen and of rejected answers: each chosen one beats each rejected one."""
    prompt = read_prompt(row.pop("prompt", None))
    answers = [
        RatedAnswer(as_messages(text, "assistant"), {}, rank)
        for rank, name in enumerate(_BOTH, start=1)
        for text in listed(row.pop(name, None), name)
    ]
    return several(prompt, answers, by_ranks, rest(row))


def system_turn(value: Any) -> list[Message]:
    """Return a system message as a prompt's beginning; nothing where it is empty."""
    return as_messages(value, "system") if value and str(value).strip() else []


def _history(value: Any) -> list[Message]:
    turns: list[Message] = []
    for exchange in listed(value or [], "the history"):
        both = listed(exchange, "the history")
        if len(both) != 2:
            raise Unusable("the history is not made of pairs")
        turns += as_messages(both[0], "user") + as_messages(both[1], "assistant")
    return turns


def _labelled(row: Row, prompt: list[Message], answers: list[list[Message]]) -> Parsed:
    """Put chosen and rejected together, the first the winner unless their scores are equal."""
    label: Label = {**FIRST_WON}
    scores: list[float | None] = [None, None]
    models: list[Any] = [None, None]
    within = [cast("Row", value).copy() for value in row.values() if isinstance(value, dict)]
    for fields in (row, *within):  # what stands within another field stays there
        if names := _score_columns(fields):
            scores = take_numbers(fields, *names)
            label = by_scores(scores) if scores[0] == scores[1] else {**label, "scores": scores}
            break
    if number(row.get("margin")) is not None:
        label["margin"] = number(row.pop("margin"))
    for names in _MODELS:
        if isinstance(row.get(names[0]), str):
            models = [take_name(row, name) for name in names]
            break
    meta = rest(row)
    if scores[0] is not None or models[0] is not None:
        known = zip(models, scores, strict=True)
        meta = with_about(meta, [about(model, {"score": score}) for model, score in known])
    return Parsed(prompt, answers, label, meta)


def _score_columns(row: Row) -> tuple[str, str] | None:
    """Return the columns with the numbers of chosen and rejected; of several, the shortest name."""
    named = {str(name).lower(): name for name in row}
    for name in sorted(named, key=len):
        if "chosen" in name and any(word in name for word in _SCORES):
            better, worse = named[name], named.get(name.replace("chosen", "rejected"), "")
            if None not in (number(row.get(better)), number(row.get(worse))):
                return better, worse
    return None


def talk_of(value: Any) -> Any:
    """Return the messages that a text spells; anything else as it is."""
    turns = written_messages(value) if isinstance(value, str) else None
    return value if turns is None else turns


def is_text(row: Row) -> bool:
    """Whether chosen is plain text."""
    return isinstance(talk_of(row["chosen"]), str)


def is_list(row: Row) -> bool:
    """Whether chosen is a list, also one that a cell spells."""
    return isinstance(unpacked(row["chosen"], ("[",)), list)


def is_transcript(row: Row) -> bool:
    """Whether chosen is a transcript with role markers."""
    return isinstance(row["chosen"], str) and has_markers(row["chosen"])


def asks_in_transcript(row: Row) -> bool:
    """Whether the prompt is a transcript with role markers."""
    return isinstance(row["prompt"], str) and has_markers(row["prompt"])
