"""Readers of formats in which the answers to one prompt stand in rows of their own."""

from collections.abc import Callable, Sequence
from typing import Any

from workbench.data.messages import Unusable, as_messages, keep_beside, turn_key
from workbench.data.reading.parsed import (
    Label,
    Parsed,
    Part,
    RatedAnswer,
    Row,
    about,
    by_ranks,
    by_scores,
    flag,
    mapping,
    number,
    rest,
    several,
    take_answers,
    take_numbers,
)
from workbench.data.reading.readers_choices import about_summary, take_post
from workbench.data.reading.transcripts import read_prompt, read_steered

_ASPECTS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def read_helpsteer2(row: Row) -> Part:
    """Read one rated answer of HelpSteer2: more helpfulness is better."""
    scores = {name: take_numbers(row, name)[0] for name in _ASPECTS}
    value = _scored(scores["helpfulness"], "helpfulness")
    prompt, answers = read_steered(row.pop("prompt", None)), take_answers(row, "response")
    return Part(prompt, answers[0], value, about(scores=scores), rest(row))


def read_summary_axis(row: Row) -> Part:
    """Read one rated summary of summarize_from_feedback: a higher overall rating is better."""
    summary = mapping(row.pop("summary", None))
    rated = mapping(summary.get("axes"))
    axes = {name: number(value) for name, value in rated.items()}
    value = _scored(axes.get("overall"), "overall")
    others = {name: rated[name] for name in axes if axes[name] is None and rated[name] is not None}
    known = about_summary({**rest(summary, ("axes",)), "axes": others or None}, axes)
    response = as_messages(summary.get("text"), "assistant")
    return Part(take_post(row), response, value, known, rest(row))


def read_unpaired(row: Row) -> Part:
    """Read one answer of TRL's unpaired rows: True is good, False is bad."""
    good = flag(row.pop("label", None))
    if good is None:
        raise Unusable("label is neither true nor false")
    prompt, answers = read_prompt(row.pop("prompt", None)), take_answers(row, "completion")
    return Part(prompt, answers[0], float(good), {}, rest(row))


def join_scored(parts: list[Part]) -> Parsed:
    """Put the rated answers of one prompt together.

    Raises:
        Unusable: there are fewer than two.
    """
    return _joined(parts, by_scores)


def join_unpaired(parts: list[Part]) -> Parsed:
    """Put good and bad answers together: all good is a tie, all bad are both bad.

    Raises:
        Unusable: there are fewer than two, or one is said to be both.
    """
    return _joined(parts, _by_goodness)


def _by_goodness(values: Sequence[float | None]) -> Label:
    if 0.5 in values or not set(values) <= {0.0, 1.0}:
        raise Unusable("an answer is labelled both true and false")
    if set(values) == {0.0}:
        return {"kind": "both_bad"}
    return by_ranks([None if value is None else 2 - value for value in values])


def _joined(parts: list[Part], label_of: Callable[[Sequence[float | None]], Label]) -> Parsed:
    """Return the item; an answer that was rated more than once has the mean of its ratings."""
    rated: dict[str, list[Part]] = {}
    for part in parts:
        rated.setdefault(turn_key(part.response), []).append(part)
    if len(rated) < 2:
        raise Unusable("there is no other answer to its prompt")
    firsts = [same[0] for same in rated.values()]
    common = _common([part.meta for part in parts])
    answers: list[RatedAnswer] = []
    for same in rated.values():
        own = [rest(part.meta, tuple(common)) for part in same]
        for part, more in zip(same[1:], own[1:], strict=True):
            keep_beside(firsts[0].prompt, part.prompt)
            keep_beside(same[0].response, part.response)
            if part.about != same[0].about:
                more["about"] = part.about
        known = {**same[0].about, **({"meta": own} if any(own) else {})}
        mean = sum(part.score for part in same) / len(same)
        answers.append(RatedAnswer(same[0].response, known, mean))
    return several(firsts[0].prompt, answers, label_of, common)


def _common(metas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what every row says alike."""
    first, *others = metas
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _scored(value: float | None, name: str) -> float:
    if value is None:
        raise Unusable(f"{name} is not a number")
    return value


def is_answer(row: Row) -> bool:
    """Whether the label is a truth value, so that it speaks of one answer."""
    return flag(row["label"]) is not None
