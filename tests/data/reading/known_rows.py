"""A row of each format, written by hand: ``GOOD`` is the better answer and ``BAD`` the worse."""

import json
from typing import Any

GOOD, BAD = "Paris.", "Lyon."
ASK = "What is the capital of France?"
TALK = f"\n\nHuman: {ASK}\n\nAssistant:"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def both(chosen: Any = GOOD, rejected: Any = BAD) -> dict[str, Any]:
    return {"chosen": chosen, "rejected": rejected}


def arms(first: str, second: str) -> dict[str, Any]:
    return {f"conversation_{s}": [user(ASK), bot(t)] for s, t in (("a", first), ("b", second))}


def rated(text: str, *ratings: str, overall: float | None = 10.0) -> dict[str, Any]:
    aspects = ("helpfulness", "honesty", "truthfulness")
    annotations = {
        aspect: {"Rating": rating, "Rationale": "because"}
        for aspect, rating in zip(aspects, ratings, strict=False)
    }
    return {
        "model": f"model of {text}",
        "response": text,
        "annotations": annotations,
        "overall_score": overall,
        "principle": "honesty",
    }


PKU = {
    "prompt": ASK,
    "response_0": BAD,
    "response_1": GOOD,
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_severity_level": 2,
    "response_1_severity_level": 0,
    "response_0_harm_category": {"Violence": True, "Privacy": False},
    "response_0_source": "Alpaca-7B",
    "response_1_source": "Alpaca-13B",
}
POST = {"id": "t3", "post": "My cat ran away.", "title": "Cat", "subreddit": "cats"}
HOT = {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 0}
SHP = {"history": ASK, "human_ref_A": BAD, "human_ref_B": GOOD, "score_A": 3, "score_B": 9}
ARENA = {"model_a": "vicuna", "model_b": "koala", "question_id": "q7"}

# Format, row; GOOD must win. Where a format has two sides, both directions are here.
WON: list[tuple[str, dict[str, Any]]] = [
    ("hh", both(f"{TALK} {GOOD}", f"{TALK} {BAD}")),
    ("full-hh-rlhf", {"prompt": TALK, "response": GOOD, **both()}),
    (
        "ultrafeedback-binarized",
        {
            "prompt": ASK,
            "prompt_id": "x",
            "messages": [user(ASK), bot(GOOD)],
            **both([user(ASK), bot(GOOD)], [user(ASK), bot(BAD)]),
            "score_chosen": 8.5,
            "score_rejected": 4.0,
        },
    ),
    ("ultrafeedback", {"instruction": ASK, "completions": [rated(BAD, "2"), rated(GOOD, "4")]}),
    ("ultrafeedback", {"instruction": ASK, "completions": [rated(GOOD, "4"), rated(BAD, "2")]}),
    (
        "argilla-binarized",
        {
            "instruction": ASK,
            "chosen_response": GOOD,
            "rejected_response": BAD,
            "chosen_avg_rating": 4.5,
            "rejected_avg_rating": 2.0,
            "chosen_model": "m",
        },
    ),
    ("stack-exchange-paired", {"question": ASK, "response_j": GOOD, "response_k": BAD, "qid": 4}),
    (
        "summarize-comparisons",
        {"info": POST, "summaries": [{"text": BAD}, {"text": GOOD}], "choice": 1, "worker": "w"},
    ),
    (
        "summarize-comparisons",
        {"info": POST, "summaries": [{"text": GOOD}, {"text": BAD}], "choice": 0, "worker": "w"},
    ),
    (
        "webgpt",
        {
            "question": {"full_text": ASK, "id": "e"},
            "answer_0": BAD,
            "answer_1": GOOD,
            "score_0": -0.5,
            "score_1": 0.5,
        },
    ),
    ("shp", {**SHP, "labels": 0}),
    ("shp", {**SHP, "human_ref_A": GOOD, "human_ref_B": BAD, "labels": 1}),
    (
        "helpsteer2-preference",
        {"prompt": ASK, "response_1": GOOD, "response_2": BAD, "preference_strength": -2},
    ),
    (
        "helpsteer2-preference",
        {"prompt": ASK, "response_1": BAD, "response_2": GOOD, "preference_strength": 2},
    ),
    (
        "helpsteer3",
        {"context": [user(ASK)], "response1": GOOD, "response2": BAD, "overall_preference": -3},
    ),
    (
        "helpsteer3",
        {"context": [user(ASK)], "response1": BAD, "response2": GOOD, "overall_preference": 1},
    ),
    ("arena-33k", {**arms(GOOD, BAD), **ARENA, "winner": "model_a"}),
    ("arena-33k", {**arms(BAD, GOOD), **ARENA, "winner": "model_b"}),
    (
        "arena-140k",
        {
            **{
                f"conversation_{side}": [
                    {"role": "user", "content": [{"type": "text", "text": ASK, "image": None}]},
                    {"role": "assistant", "content": [{"type": "text", "text": said}]},
                ]
                for side, said in (("a", BAD), ("b", GOOD))
            },
            "winner": "model_b",
            "evaluation_session_id": "s",
        },
    ),
    (
        "arena-55k",
        {
            "prompt": json.dumps([ASK]),
            "response_a": json.dumps([BAD]),
            "response_b": json.dumps([GOOD]),
            **HOT,
            "winner_model_b": 1,
        },
    ),
    (
        "reward-bench",
        {"prompt": ASK, **both(), "chosen_model": "x", "rejected_model": "y", "subset": "s"},
    ),
    ("reward-bench-2", {"prompt": ASK, **both([GOOD], [BAD]), "num_correct": 1, "subset": "Ties"}),
    ("skywork", {**both([user(ASK), bot(GOOD)], [user(ASK), bot(BAD)]), "source": "helpsteer"}),
    (
        "nectar",
        {
            "prompt": f"{TALK} ",
            "answers": [
                {"answer": BAD, "model": "m2", "rank": 2.0},
                {"answer": GOOD, "model": "m1", "rank": 1.0},
            ],
        },
    ),
    (
        "alpaca-farm",
        {"instruction": ASK, "input": "", "output_1": BAD, "output_2": GOOD, "preference": 2},
    ),
    (
        "alpaca-farm",
        {"instruction": ASK, "input": "", "output_1": GOOD, "output_2": BAD, "preference": 1},
    ),
    ("llama-factory-alpaca", {"instruction": ASK, "input": "", **both(), "history": []}),
    (
        "llama-factory-sharegpt",
        {
            "conversations": [{"from": "human", "value": ASK}],
            **both({"from": "gpt", "value": GOOD}, {"from": "gpt", "value": BAD}),
        },
    ),
    (
        "openai-dpo",
        {
            "input": {"messages": [user(ASK)], "tools": []},
            "preferred_output": [bot(GOOD)],
            "non_preferred_output": [bot(BAD)],
        },
    ),
    ("orca-dpo-pairs", {"system": "", "question": ASK, **both()}),
    ("instruction", {"Instruction": ASK, "Chosen": GOOD, "Rejected": BAD}),
    ("trl-standard", {"prompt": ASK, **both()}),
    ("trl", {"prompt": [user(ASK)], **both([bot(GOOD)], [bot(BAD)])}),
    ("trl-implicit", both([user(ASK), bot(GOOD)], [user(ASK), bot(BAD)])),
    (
        "label-studio",
        {
            "data": {"prompt": ASK, "answer1": BAD, "answer2": GOOD},
            "annotations": [
                {"result": [{"type": "pairwise", "value": {"selected": "right"}}], "lead_time": 3}
            ],
        },
    ),
    (
        "label-studio",
        {
            "data": {"prompt": ASK, "one": GOOD, "two": BAD},
            "annotations": [{"result": [{"value": {"selected": "left"}, "to_name": "one,two"}]}],
        },
    ),
    (
        "argilla",
        {
            "fields": {"prompt": ASK, "response_1": BAD, "response_2": GOOD},
            "suggestions": {"ranking": {"value": ["response_1", "response_2"]}},
            "responses": {"ranking": [{"value": ["response_2", "response_1"], "user_id": "u"}]},
        },
    ),
    (
        "argilla",
        {
            "instruction": ASK,
            "response-1": GOOD,
            "response-2": BAD,
            "preference.responses": ["response_1"],
            "preference.responses.users": ["u"],
            "preference.responses.status": ["submitted"],
            "note.suggestion": "x",
        },
    ),
    (
        "argilla",
        {"prompt": ASK, **both(BAD, GOOD), "best.response.0d3f": "rejected"},
    ),
    (
        "canonical",
        {"prompt": ASK, "responses": [BAD, GOOD], "label": {"kind": "choice", "winner": 1}},
    ),
]  # fmt: skip
