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
    with_about,
)
from workbench.data.reading.transcripts import read_steered, split_common

_TIE: Label = {"kind": "tie"}
_BOTH_BAD: Label = {"kind": "both_bad"}
_WEBGPT = ("question", "answer_0", "answer_1", "score_0", "score_1")
_ARENA: dict[str, Label] = {
    "model_a": choice(0),
    "model_b": choice(1),
    "tie": _TIE,
    "tie (bothbad)": _BOTH_BAD,
    "both_bad": _BOTH_BAD,
}


def read_stack_exchange(row: Row) -> Parsed:
    """Read question/response_j/response_k: j is better."""
    answers = [_answer(row.get("response_j")), _answer(row.get("response_k"))]
    meta = rest(row, ("question", "response_j", "response_k"))
    return Parsed(as_messages(row.get("question"), "user"), answers, choice(0), meta)


def read_webgpt(row: Row) -> Parsed:
    """Read two answers with scores: the higher score is better, equal scores are a tie."""
    question, meta = row.get("question"), rest(row, _WEBGPT)
    nested = mapping(question)
    if "full_text" in nested:
        question, meta["question"] = nested["full_text"], rest(nested, ("full_text",))
    scores = [number(row.get("score_0")), number(row.get("score_1"))]
    answers = [_answer(row.get("answer_0")), _answer(row.get("answer_1"))]
    known = [about(scores={"score": score}) for score in scores]
    return Parsed(
        as_messages(question, "user"), answers, by_scores(scores), with_about(meta, known)
    )


def read_shp(row: Row) -> Parsed:
    """Read history with two human answers: labels 1 means that A is better, 0 that B is."""
    a_won = flag(row.get("labels"))
    if a_won is None:
        raise Unusable("labels is neither 1 nor 0")
    scores = [number(row.get("score_a")), number(row.get("score_b"))]
    known = [about(scores={"score": score}) for score in scores]
    meta = rest(row, ("history", "human_ref_a", "human_ref_b", "labels", "score_a", "score_b"))
    answers = [_answer(row.get("human_ref_a")), _answer(row.get("human_ref_b"))]
    prompt = as_messages(row.get("history"), "user")
    return Parsed(prompt, answers, choice(0 if a_won else 1), with_about(meta, known))


def read_helpsteer2_preference(row: Row) -> Parsed:
    """Read HelpSteer2's preference split: a negative strength means response_1 is better."""
    answers = [_answer(row.get("response_1")), _answer(row.get("response_2"))]
    label = signed(row.get("preference_strength"), 3)
    meta = rest(row, ("prompt", "response_1", "response_2", "preference_strength"))
    return Parsed(read_steered(row.get("prompt")), answers, label, meta)


def read_helpsteer3(row: Row) -> Parsed:
    """Read HelpSteer3: a negative overall_preference means response1 is better, 0 a tie."""
    answers = [_answer(row.get("response1")), _answer(row.get("response2"))]
    label = signed(row.get("overall_preference"), 3)
    meta = rest(row, ("context", "response1", "response2", "overall_preference"))
    return Parsed(as_messages(row.get("context"), "user"), answers, label, meta)


def read_pku_helpful(row: Row) -> Parsed:
    """Read PKU-SafeRLHF by helpfulness: better_response_id counts from 0."""
    return _pku(row, "better_response_id")


def read_pku_safe(row: Row) -> Parsed:
    """Read PKU-SafeRLHF by safety: safer_response_id counts from 0."""
    return _pku(row, "safer_response_id")


def ask_which(row: Row) -> Parsed:
    """Refuse to choose between the two labels of PKU-SafeRLHF."""
    raise Unusable("the row has two labels, helpful and safe")


def _pku(row: Row, column: str) -> Parsed:
    winner = number(row.get(column))
    if winner not in (0, 1):
        raise Unusable(f"{column} is neither 0 nor 1")
    used = ["prompt", "response_0", "response_1", column]
    known: list[dict[str, Any]] = []
    for n in (0, 1):
        names = (f"is_response_{n}_safe", f"response_{n}_severity_level")
        harms = mapping(row.get(f"response_{n}_harm_category"))
        harmful = [name for name, present in harms.items() if present is True]
        flags = {"safe": flag(row.get(names[0])), "severity": row.get(names[1])}
        known.append(
            about(row.get(f"response_{n}_source"), None, {**flags, "harms": harmful or None})
        )
        used += [*names, f"response_{n}_harm_category", f"response_{n}_source"]
    answers = [_answer(row.get("response_0")), _answer(row.get("response_1"))]
    meta = with_about(rest(row, tuple(used)), known)
    return Parsed(as_messages(row.get("prompt"), "user"), answers, choice(int(winner)), meta)


def read_arena(row: Row) -> Parsed:
    """Read two whole conversations: winner names model_a, model_b, a tie, or both as bad."""
    arms = [as_messages(row.get(f"conversation_{side}"), "user") for side in "ab"]
    return _arena(row, arms, named(row.get("winner"), _ARENA), "conversation_")


def read_arena_55k(row: Row) -> Parsed:
    """Read turns as JSON arrays in text: the one of winner_model_a, _b and winner_tie that is 1."""
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    won = [flag(row.get(name)) for name in names]
    if None in won or sum(map(bool, won)) != 1:
        raise Unusable("the winner columns do not name exactly one outcome")
    questions = listed(row.get("prompt"), "prompt")
    arms: list[list[Message]] = []
    for side in "ab":
        replies = listed(row.get(f"response_{side}"), "a response")
        if len(replies) != len(questions):
            raise Unusable("there are not as many answers as prompts")
        arms.append([])
        for question, answer in zip(questions, replies, strict=True):
            arms[-1] += [*as_messages(question, "user"), *as_messages(answer or "", "assistant")]
    label = (choice(0), choice(1), dict(_TIE))[won.index(True)]
    return _arena(row, arms, label, "response_", "prompt", *names)


def _arena(row: Row, arms: list[list[Message]], label: Label, stem: str, *used: str) -> Parsed:
    prompt, *answers = split_common(arms[0], arms[1])
    models = ("model_a", "model_b")
    meta = rest(row, (f"{stem}a", f"{stem}b", "winner", *models, *used))
    return Parsed(prompt, answers, label, with_about(meta, [about(row.get(m)) for m in models]))


def read_alpaca_farm(row: Row) -> Parsed:
    """Read output_1/output_2: preference 1 or 2 counts from 1; 0 and 1.5 are ties."""
    preference = number(row.get("preference"))
    if preference not in (0, 1, 1.5, 2):
        raise Unusable("preference is neither 1 nor 2, nor 0 or 1.5 for a tie")
    label = choice(int(preference) - 1) if preference in (1, 2) else dict(_TIE)
    answers = [_answer(row.get("output_1")), _answer(row.get("output_2"))]
    meta = rest(row, ("instruction", "input", "output_1", "output_2", "preference"))
    return Parsed(instructed(row.get("instruction"), row.get("input")), answers, label, meta)


def read_summaries(row: Row) -> Parsed:
    """Read summarize_from_feedback's comparisons: choice counts from 0."""
    summaries = [mapping(one) for one in listed(row.get("summaries"), "summaries")]
    winner = number(row.get("choice"))
    if winner is None or winner not in range(len(summaries)):
        raise Unusable("choice does not name one of the summaries")
    post, info = post_of(row.get("info"))
    known = [about(one.get("policy"), flags={"note": one.get("note")}) for one in summaries]
    meta = {**rest(row, ("info", "summaries", "choice")), "info": info}
    answers = [_answer(one.get("text")) for one in summaries]
    return Parsed(post, answers, choice(int(winner)), with_about(meta, known))


def post_of(value: Any) -> tuple[list[Message], dict[str, Any]]:
    """Return what is to be summarised, a post or an article, as a prompt; and the rest of it."""
    info = mapping(value)
    head = [("SUBREDDIT", f"r/{info['subreddit']}")] if info.get("subreddit") else []
    head += [("TITLE", info["title"])] if info.get("title") else []
    body = [(name.upper(), info[name]) for name in ("post", "article") if info.get(name)]
    if not body:
        raise Unusable("there is neither a post nor an article")
    post = "\n\n".join(f"{name}: {text}" for name, text in [*head, *body[:1]])
    prompt = as_messages(f"{post}\n\nTL;DR:", "user")
    return prompt, rest(info, (body[0][0].lower(), "title", "subreddit"))


def _answer(value: Any) -> list[Message]:
    return as_messages(value, "assistant")
