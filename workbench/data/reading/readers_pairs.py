"""Readers of rows that say ``chosen`` and ``rejected``: the first is better, unless they tie."""

from typing import Any

from workbench.data.messages import (
    Message,
    Unusable,
    as_messages,
    instructed,
    without_prompt,
)
from workbench.data.reading.parsed import (
    FIRST_WON,
    Label,
    Parsed,
    RatedAnswer,
    Row,
    about,
    by_ranks,
    by_scores,
    listed,
    mapping,
    number,
    rest,
    several,
    with_about,
)
from workbench.data.reading.transcripts import (
    has_markers,
    read_prompt,
    read_transcript,
    split_common,
)

# How the scores and models of the two are called, in the data sets that have them.
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)
_MODELS = (("chosen_model", "rejected_model"), ("chosen-model", "rejected-model"))


def read_instruction(row: Row) -> Parsed:
    """Read Instruction/Chosen/Rejected, with an optional Input that is added to the instruction.

    LLaMA-Factory's ``system`` and ``history`` (pairs of what was said before) stand before it.
    """
    used = ("instruction", "input", "chosen", "rejected")
    prompt = instructed(row.get("instruction"), row.get("input"))
    if row.get("system") or row.get("history"):
        prompt = system_turn(row.get("system")) + _history(row.get("history")) + prompt
        used = (*used, "system", "history")
    return _labelled(row, prompt, _both(row), used)


def read_argilla_binarized(row: Row) -> Parsed:
    """Read instruction/chosen_response/rejected_response, with their mean ratings."""
    names = ("chosen_response", "rejected_response")
    answers = [as_messages(row.get(name), "assistant") for name in names]
    return _labelled(
        row, as_messages(row.get("instruction"), "user"), answers, ("instruction", *names)
    )


def read_explicit(row: Row) -> Parsed:
    """Read prompt/chosen/rejected: each text, a message or messages."""
    prompt = read_prompt(row.get("prompt"))
    answers = [without_prompt(answer, prompt) for answer in _both(row)]
    return _labelled(row, prompt, answers, ("prompt", "chosen", "rejected"))


def read_ultrafeedback_binarized(row: Row) -> Parsed:
    """Read prompt/chosen/rejected where ``messages`` says the chosen conversation once more."""
    parsed = read_explicit(row)
    if row.get("messages") == row.get("chosen"):
        parsed.meta.pop("messages", None)
    return parsed


def read_question(row: Row) -> Parsed:
    """Read system/question/chosen/rejected, as orca_dpo_pairs has them; an empty system is none."""
    prompt = system_turn(row.get("system")) + as_messages(row.get("question"), "user")
    return _labelled(row, prompt, _both(row), ("system", "question", "chosen", "rejected"))


def read_sharegpt(row: Row) -> Parsed:
    """Read LLaMA-Factory's ``conversations`` with the two answers to their end."""
    prompt = system_turn(row.get("system")) + as_messages(row.get("conversations"), "user")
    answers = [mapping(row.get(name)) or row.get(name) for name in ("chosen", "rejected")]
    responses = [as_messages(answer, "assistant") for answer in answers]
    return _labelled(row, prompt, responses, ("system", "conversations", "chosen", "rejected"))


def read_openai_dpo(row: Row) -> Parsed:
    """Read ``input`` with messages, and the preferred and the other output."""
    nested = mapping(row.get("input"))
    names = ("preferred_output", "non_preferred_output")
    answers = [as_messages(row.get(name), "assistant") for name in names]
    parsed = _labelled(row, as_messages(nested.get("messages"), "user"), answers, ("input", *names))
    parsed.meta.update(rest(nested, ("messages",)))
    return parsed


def read_implicit(row: Row) -> Parsed:
    """Read chosen/rejected that hold the whole conversation: message lists or transcripts."""
    whole = [
        read_transcript(text) if isinstance(text, str) else as_messages(text, "assistant")
        for text in (row.get("chosen"), row.get("rejected"))
    ]
    prompt, *answers = split_common(whole[0], whole[1])
    return _labelled(row, prompt, answers, ("chosen", "rejected"))


def read_reward_bench_2(row: Row) -> Parsed:
    """Read lists of chosen and of rejected answers: each chosen one beats each rejected one."""
    answers = [
        RatedAnswer(as_messages(text, "assistant"), {}, rank)
        for rank, name in ((1, "chosen"), (2, "rejected"))
        for text in listed(row.get(name), name)
    ]
    meta = rest(row, ("prompt", "chosen", "rejected"))
    return several(read_prompt(row.get("prompt")), answers, by_ranks, meta)


def _both(row: Row) -> list[list[Message]]:
    return [as_messages(row.get(name), "assistant") for name in ("chosen", "rejected")]


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


def _labelled(
    row: Row, prompt: list[Message], answers: list[list[Message]], used: tuple[str, ...]
) -> Parsed:
    """Put chosen and rejected together, the first the winner unless their scores are equal."""
    label: Label = {**FIRST_WON}
    scores: list[float | None] = [None, None]
    models: list[Any] = [None, None]
    for names in _SCORES:
        if names[0] in row:
            numbers = [number(row.get(name)) for name in names]
            if None not in numbers:
                scores, used = numbers, (*used, *names)
                tied = scores[0] == scores[1]
                label = by_scores(scores) if tied else {**label, "scores": scores}
                break
    margin = number(row.get("margin"))
    if margin is not None:
        label["margin"] = margin
        used = (*used, "margin")
    for names in _MODELS:
        if isinstance(row.get(names[0]), str):
            models, used = [row.get(name) for name in names], (*used, *names)
            break
    meta = rest(row, used)
    if scores[0] is not None or models[0] is not None:
        known = zip(models, scores, strict=True)
        meta = with_about(meta, [about(model, {"score": score}) for model, score in known])
    return Parsed(prompt, answers, label, meta)


def is_text(row: Row) -> bool:
    """Whether chosen is plain text."""
    return isinstance(row["chosen"], str)


def is_list(row: Row) -> bool:
    """Whether chosen is a list."""
    return isinstance(row["chosen"], list)


def is_transcript(row: Row) -> bool:
    """Whether chosen is a transcript with role markers."""
    return isinstance(row["chosen"], str) and has_markers(row["chosen"])


def asks_in_transcript(row: Row) -> bool:
    """Whether the prompt is a transcript with role markers."""
    return isinstance(row["prompt"], str) and has_markers(row["prompt"])
