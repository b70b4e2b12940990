"""Readers of rows with two answers side by side and a column that says which is better.

Each says in its first line which way round its column is to be read.
"""

from typing import Any

from workbench.data.messages import Message, Unusable, as_messages, instructed
from workbench.data.reading.parsed import (
    Label,
    Parsed,
    Row,
    about,
    by_scores,
    choice,
    flag,
    listed,
    mapping,
    named,
    number,
    rest,
    signed,
    take_answers,
    take_flag,
    take_name,
    take_numbers,
    take_prompt,
    with_about,
)
from workbench.data.reading.transcripts import read_steered, split_common

_TIE: Label = {"kind": "tie"}
_BOTH_BAD: Label = {"kind": "both_bad"}
_ARENA: dict[str, Label] = {
    "model_a": choice(0),
    "model_b": choice(1),
    "tie": _TIE,
    "tie (bothbad)": _BOTH_BAD,
    "both_bad": _BOTH_BAD,
}


def read_stack_exchange(row: Row) -> Parsed:
    """Read question/response_j/response_k: j is better."""
    prompt, answers = take_prompt(row, "question"), take_answers(row, "response_j", "response_k")
    return Parsed(prompt, answers, choice(0), rest(row))


def read_webgpt(row: Row) -> Parsed:
    """Read two answers with scores: the higher score is better, equal scores are a tie."""
    question = mapping(row.get("question"))
    if "full_text" in question:
        row["question"] = question["full_text"]
    prompt, answers = take_prompt(row, "question"), take_answers(row, "answer_0", "answer_1")
    scores = take_numbers(row, "score_0", "score_1")
    if "full_text" in question:
        row["question"] = rest(question, ("full_text",))
    return Parsed(prompt, answers, by_scores(scores), _with_scores(row, scores))


def read_shp(row: Row) -> Parsed:
    """Read history with two human answers: labels 1 means that A is better, 0 that B is."""
    a_won = flag(row.pop("labels", None))
    if a_won is None:
        raise Unusable("labels is neither 1 nor 0")
    prompt, answers = take_prompt(row, "history"), take_answers(row, "human_ref_a", "human_ref_b")
    scores = take_numbers(row, "score_a", "score_b")
    return Parsed(prompt, answers, choice(0 if a_won else 1), _with_scores(row, scores))


def _with_scores(row: Row, scores: list[float | None]) -> dict[str, Any]:
    return with_about(rest(row), [about(scores={"score": score}) for score in scores])


def read_helpsteer2_preference(row: Row) -> Parsed:
    """Read HelpSteer2's preference split: a negative strength means response_1 is better."""
    prompt = read_steered(row.pop("prompt", None))
    answers = take_answers(row, "response_1", "response_2")
    return Parsed(prompt, answers, signed(row.pop("preference_strength", None), 3), rest(row))


def read_helpsteer3(row: Row) -> Parsed:
    """Read HelpSteer3: a negative overall_preference means response1 is better, 0 a tie."""
    prompt, answers = take_prompt(row, "context"), take_answers(row, "response1", "response2")
    return Parsed(prompt, answers, signed(row.pop("overall_preference", None), 3), rest(row))


def ask_which(row: Row) -> Parsed:
    """Refuse to choose between the two labels of PKU-SafeRLHF."""
    raise Unusable("the row has two labels, helpful and safe")


def read_pku(row: Row, column: str) -> Parsed:
    """Read PKU-SafeRLHF by the one of its two labels in ``column``, which counts from 0."""
    winner = number(row.pop(column, None))
    if winner not in (0, 1):
        raise Unusable(f"{column} is neither 0 nor 1")
    known: list[dict[str, Any]] = []
    for n in (0, 1):
        harms = mapping(row.get(f"response_{n}_harm_category"))
        bools = bool(harms) and all(isinstance(present, bool) for present in harms.values())
        if bools:
            del row[f"response_{n}_harm_category"]
        flags = {
            "safe": take_flag(row, f"is_response_{n}_safe"),
            "severity": row.pop(f"response_{n}_severity_level", None),
            "harms": [name for name, present in harms.items() if present is True]
            if bools
            else None,
        }
        known.append(about(take_name(row, f"response_{n}_source"), None, flags))
    prompt, answers = take_prompt(row, "prompt"), take_answers(row, "response_0", "response_1")
    return Parsed(prompt, answers, choice(int(winner)), with_about(rest(row), known))


def read_arena(row: Row) -> Parsed:
    """Read two whole conversations: winner names model_a, model_b, a tie, or both as bad."""
    arms = [take_prompt(row, f"conversation_{side}") for side in "ab"]
    return _arena(row, arms, named(row.pop("winner", None), _ARENA))


def read_arena_55k(row: Row) -> Parsed:
    """Read turns as JSON arrays in text: the one of winner_model_a, _b and winner_tie that is 1."""
    won = [flag(row.pop(f"winner_{name}", None)) for name in ("model_a", "model_b", "tie")]
    if None in won or sum(map(bool, won)) != 1:
        raise Unusable("the winner columns do not name exactly one outcome")
    questions = listed(row.pop("prompt", None), "prompt")
    arms: list[list[Message]] = []
    for side in "ab":
        replies = listed(row.pop(f"response_{side}", None), "a response")
        if len(replies) != len(questions):
            raise Unusable("there are not as many answers as prompts")
        arms.append([])
        for question, answer in zip(questions, replies, strict=True):
            arms[-1] += [*as_messages(question, "user"), *as_messages(answer or "", "assistant")]
    return _arena(row, arms, (choice(0), choice(1), dict(_TIE))[won.index(True)])


def _arena(row: Row, arms: list[list[Message]], label: Label) -> Parsed:
    prompt, *answers = split_common(arms[0], arms[1])
    known = [about(take_name(row, model)) for model in ("model_a", "model_b")]
    return Parsed(prompt, answers, label, with_about(rest(row), known))


def read_alpaca_farm(row: Row) -> Parsed:
    """Read output_1/output_2: preference 1 or 2 counts from 1; 0 and 1.5 are ties."""
    preference = number(row.pop("preference", None))
    if preference not in (0, 1, 1.5, 2):
        raise Unusable("preference is neither 1 nor 2, nor 0 or 1.5 for a tie")
    label = choice(int(preference) - 1) if preference in (1, 2) else dict(_TIE)
    prompt = instructed(row.pop("instruction", None), row.pop("input", None))
    return Parsed(prompt, take_answers(row, "output_1", "output_2"), label, rest(row))


def read_summaries(row: Row) -> Parsed:
    """Read summarize_from_feedback's comparisons: choice counts from 0."""
    summaries = [mapping(one) for one in listed(row.pop("summaries", None), "summaries")]
    winner = number(row.pop("choice", None))
    if winner is None or winner not in range(len(summaries)):
        raise Unusable("choice does not name one of the summaries")
    post = take_post(row)
    known = [about_summary(one) for one in summaries]
    answers = [as_messages(one.get("text"), "assistant") for one in summaries]
    return Parsed(post, answers, choice(int(winner)), with_about(rest(row), known))


def about_summary(summary: dict[str, Any], scores: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what is known about a summary besides its text and the scores that were read."""
    known = dict(summary)
    policy = take_name(known, "policy")
    flags = {"note": known.pop("note", None)}
    return about(policy, scores, flags, rest(known, ("text",)))


def take_post(row: Row) -> list[Message]:
    """Return what is to be summarised, a post or an article, as a prompt; leave the rest of it."""
    info = mapping(row.get("info"))
    head = [("SUBREDDIT", f"r/{info['subreddit']}")] if info.get("subreddit") else []
    head += [("TITLE", info["title"])] if info.get("title") else []
    body = [(name.upper(), info[name]) for name in ("post", "article") if info.get(name)]
    if not body:
        raise Unusable("there is neither a post nor an article")
    post = "\n\n".join(f"{name}: {text}" for name, text in [*head, *body[:1]])
    row["info"] = rest(info, (body[0][0].lower(), "title", "subreddit"))
    return as_messages(f"{post}\n\nTL;DR:", "user")
