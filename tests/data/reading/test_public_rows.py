"""Rows in the whole shape that their makers publish, written by hand; which way each points.

Where the direction is known from: Nectar, rank 1 is the best of seven (who trains on it imitates
the answer of rank 1.0); HelpSteer2's preferences, -3 "response 1 is much better" to 3, as the card
of HelpSteer3 says of the same scale by the same makers; Label Studio's editor, selected is left,
right or nothing at all, and to_name is the control's own name; Argilla 2's flat export, one list of
answers a question, with the users and the states of the answers beside it.
"""

from typing import Any

import pytest

from workbench.data.pairs import Pair
from workbench.data.reading.formats import load_pairs

ASK = "What is the capital of France?"


def only(row: dict[str, Any], name: str) -> Pair:
    pairs = load_pairs([row])
    assert (pairs.report.format, len(pairs)) == (name, 1), str(pairs.report)
    return pairs[0]


def best(pair: Pair) -> str:
    label = pair.label or {}
    place = label["winner"] if label["kind"] == "choice" else label["ranks"].index(1)
    return pair.responses[place][0]["content"]


def test_nectar_has_seven_answers_and_the_first_rank_is_the_best() -> None:
    models = ("gpt-4", "gpt-3.5-turbo", "llama-2-70b-chat", "claude", "vicuna", "alpaca", "anon")
    row = {
        "prompt": f"\n\nHuman: {ASK}\n\nAssistant: ",
        "answers": [
            {"answer": f"answer {rank}", "model": model, "rank": float(rank)}
            for rank, model in zip((4, 2, 7, 1, 5, 3, 6), models, strict=True)
        ],
        "turns": 1,
        "num_responses": 7,
        "source": ["lmsys-chat-1m"],
        "good_natured": True,
    }
    pair = only(row, "nectar")
    assert pair.prompt == [{"role": "user", "content": ASK}]
    assert best(pair) == "answer 1" and (pair.label or {})["ranks"] == [4, 2, 7, 1, 5, 3, 6]


@pytest.mark.parametrize(("strength", "wins"), [(-3, "one"), (-1, "one"), (1, "two"), (3, "two")])
def test_helpsteer2_prefers_the_first_answer_below_zero(strength: int, wins: str) -> None:
    row = {
        "split": "train",
        "prompt": ASK,
        "response_1": "one",
        "response_2": "two",
        "preference_strength": strength,
        "preference_statement": "Response N is better than Response M.",
        "preference_elaboration": "It names the city.",
        "three_most_similar_preferences": [{"statement": "s", "elaboration": "e", "strength": 1}],
        "all_preferences_unprocessed": [{"strength": 1, "statement": "s", "elaboration": "e"}],
    }
    pair = only(row, "helpsteer2-preference")
    assert best(pair) == wins and (pair.label or {})["strength"] == abs(strength)
    assert pair.meta["preference_elaboration"] == "It names the city."


def label_studio(*sides: str | None) -> dict[str, Any]:
    """A finished task as the project's JSON export writes it; None is an answer taken back."""

    def result(side: str) -> dict[str, Any]:
        names = {"from_name": "pw", "to_name": "pw", "type": "pairwise", "origin": "manual"}
        return {"id": "k3Jx0", "value": {"selected": side}, **names}

    annotations = [
        {
            **{"id": n, "completed_by": n, "was_cancelled": False, "ground_truth": False},
            **{"lead_time": 4.288, "result_count": 1, "task": 7, "draft_created_at": None},
            "result": [] if side is None else [result(side)],
        }
        for n, side in enumerate(sides)
    ]
    data = {"prompt": ASK, "text1": "one", "text2": "two"}
    whole = {"id": 7, "data": data, "annotations": annotations, "predictions": [], "drafts": []}
    return {**whole, "meta": {}, "inner_id": 1, "total_annotations": len(sides), "project": 83}


def test_label_studio_names_a_side_of_the_two_texts() -> None:
    assert best(only(label_studio("left"), "label-studio")) == "one"
    assert best(only(label_studio("right"), "label-studio")) == "two"
    assert best(only(label_studio("left", "right", "right"), "label-studio")) == "two"
    assert (only(label_studio("left", "right"), "label-studio").label or {})["kind"] == "tie"
    assert only(label_studio(None), "label-studio").label is None


def argilla(values: list[Any], states: list[str | None]) -> dict[str, Any]:
    return {
        **{"id": "a1", "_server_id": "s1", "prompt": ASK, "response_1": "one"},
        **{"response_2": "two", "category": "geography"},
        "preference.responses": values,
        "preference.responses.users": [f"user {n}" for n in range(len(values))],
        "preference.responses.status": states,
        "preference.suggestion": ["response_1", "response_2"],
        "preference.suggestion.score": None,
        "preference.suggestion.agent": "gpt-4",
    }


def test_argillas_flat_export_counts_what_was_submitted_and_no_suggestion() -> None:
    first, second = ["response_1", "response_2"], ["response_2", "response_1"]
    assert best(only(argilla([second], ["submitted"]), "argilla")) == "two"
    assert best(only(argilla([second, first], ["submitted", "draft"]), "argilla")) == "two"
    assert best(only(argilla([first, second], ["discarded", "submitted"]), "argilla")) == "two"
    assert best(only(argilla([second], [None]), "argilla")) == "two"
    assert only(argilla([second], ["draft"]), "argilla").label is None
    nobody = {**argilla([], []), "preference.responses": None, "preference.responses.status": None}
    assert only(nobody, "argilla").label is None
    words = argilla(["response_2"], ["submitted"])
    assert best(only(words, "argilla")) == "two"


def test_argillas_nested_export_has_a_list_of_answers_a_question() -> None:
    row = {
        "id": "a1",
        "fields": {"prompt": ASK, "response_1": "one", "response_2": "two"},
        "metadata": {"category": "geography"},
        "suggestions": {"preference": {"value": "response_1", "score": 0.9, "agent": "gpt-4"}},
        "responses": {"preference": [{"value": "response_2", "user_id": "u"}], "why": []},
        "vectors": {},
        "_server_id": "s1",
    }
    assert best(only(row, "argilla")) == "two"
