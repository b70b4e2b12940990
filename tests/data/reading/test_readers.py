"""Each format by rows written by hand, found by their columns and by name: who won, wins."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workbench as wb
from workbench.data.pairs import Pair, Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.reading.readers import FORMATS
from workbench.errors import ConfigError, DataError

from .known_rows import (
    ARENA,
    ASK,
    BAD,
    GOOD,
    HOT,
    PKU,
    POST,
    SHP,
    WON,
    arms,
    bot,
    both,
    rated,
    user,
)


def texts(pair: Pair) -> list[str]:
    return [response[-1]["content"].strip() for response in pair.responses]


def winner(pair: Pair) -> str:
    assert pair.label is not None and pair.label["kind"] == "choice"
    return texts(pair)[pair.label["winner"]]


@pytest.mark.parametrize(("name", "row"), WON)
def test_a_row_is_found_by_its_columns_and_its_winner_wins(name: str, row: dict[str, Any]) -> None:
    for pairs in (load_pairs([row]), load_pairs([row], name)):
        assert (pairs.report.format, len(pairs)) == (name, 1)
        assert (pairs.report.imported, pairs.report.ties) == (1, 0)
        assert winner(pairs[0]) == GOOD and sorted(texts(pairs[0])) == sorted([GOOD, BAD])
        assert (
            ASK in pairs[0].prompt[-1]["content"] or "My cat ran" in pairs[0].prompt[0]["content"]
        )
        assert [line["chosen"][-1]["content"].strip() for line in pairs.training_rows()] == [GOOD]


def test_every_format_has_a_row_here_or_a_test_of_its_own() -> None:
    elsewhere = {"unlabelled", "trl-unpaired", "oasst", "helpsteer2", "summarize-axis"}
    elsewhere |= {"pku-safe-rlhf", "pku-safe-rlhf:helpful", "pku-safe-rlhf:safe"}
    elsewhere |= {"trl-implicit-standard"}  # transcripts without markers, which are put aside
    assert {name for name, _ in WON} | elsewhere == {fmt.name for fmt in FORMATS}


TIED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ASK, **both(), "score_chosen": 4, "score_rejected": 4.0}, "tie"),
    ({"instruction": ASK, "completions": [rated(BAD, "3"), rated(GOOD, "3")]}, "tie"),
    (
        {"question": ASK, "answer_0": BAD, "answer_1": GOOD, "score_0": 0.0, "score_1": 0.0},
        "tie",
    ),
    (
        {"prompt": ASK, "response_1": GOOD, "response_2": BAD, "preference_strength": 0},
        "tie",
    ),
    (
        {"context": [user(ASK)], "response1": GOOD, "response2": BAD, "overall_preference": 0},
        "tie",
    ),
    ({**arms(GOOD, BAD), **ARENA, "winner": "tie"}, "tie"),
    ({**arms(GOOD, BAD), **ARENA, "winner": "tie (bothbad)"}, "both_bad"),
    ({**arms(GOOD, BAD), **ARENA, "winner": "both_bad"}, "both_bad"),
    (
        {"prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]', **HOT, "winner_tie": 1},
        "tie",
    ),
    ({"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 1.5}, "tie"),
    ({"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 0}, "tie"),
    (
        {"prompt": ASK, "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 1}]},
        "tie",
    ),
    (
        {"fields": {"prompt": ASK, "answer_a": "x", "answer_b": "y"},
         "responses": [{"values": {"q": {"value": "Both-bad"}}, "status": "submitted"}]},
        "both_bad",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "kind"), TIED)
def test_a_tie_stays_a_tie(row: dict[str, Any], kind: str) -> None:
    pairs = load_pairs([row])
    assert (pairs.report.imported, pairs.report.ties, len(pairs)) == (0, 1, 1)
    label = pairs[0].label
    assert label is not None and label["kind"] == kind
    assert pairs.training_rows() == []


UNUSABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"instruction": ASK, "completions": [rated("a", "N/A", overall=None), rated("b", "3")]},
     "ultrafeedback", "fewer than two answers have a score"),
    ({"instruction": ASK, "completions": "none"}, "ultrafeedback", "completions is not a list"),
    ({**SHP, "labels": 2}, "shp", "labels is neither 1 nor 0"),
    ({"prompt": ASK, "response_1": "a", "response_2": "b", "preference_strength": 4},
     "helpsteer2-preference", "the preference is not a number from -3 to 3"),
    ({"context": [user(ASK)], "response1": "a", "response2": "b", "overall_preference": None},
     "helpsteer3", "the preference is not a number from -3 to 3"),
    ({**PKU, "better_response_id": 2}, "pku-safe-rlhf:helpful",
     "better_response_id is neither 0 nor 1"),
    ({**arms(GOOD, BAD), "winner": "model_c"}, "arena-33k",
     "the label is none of model_a, model_b, tie, tie (bothbad), both_bad"),
    ({"prompt": f'["{ASK}"]', "response_a": '["a"]', "response_b": '["b"]', **HOT}, "arena-55k",
     "the winner columns do not name exactly one outcome"),
    ({"prompt": '["a","b"]', "response_a": '["a"]', "response_b": '["b"]', **HOT, "winner_tie": 1},
     "arena-55k", "there are not as many answers as prompts"),
    ({"prompt": "a", "response_a": '["a"]', "response_b": '["b"]', **HOT, "winner_tie": 1},
     "arena-55k", "prompt is not a list"),
    ({"prompt": 7, "response_a": '["a"]', "response_b": '["b"]', **HOT, "winner_tie": 1},
     "arena-55k", "prompt is not a list"),
    ({"prompt": '["q"]', "response_a": "[null]", "response_b": '["b"]', **HOT, "winner_tie": 1},
     "arena-55k", "an answer is empty"),
    ({"instruction": ASK, "output_1": "a", "output_2": "b", "preference": 3}, "alpaca-farm",
     "preference is neither 1 nor 2, nor 0 or 1.5 for a tie"),
    ({"info": POST, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2},
     "summarize-comparisons", "choice does not name one of the summaries"),
    ({"info": {"title": "x"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 1},
     "summarize-comparisons", "there is neither a post nor an article"),
    ({"info": POST, "summary": {"text": "a", "axes": None}}, "summarize-axis",
     "overall is not a number"),
    ({"prompt": ASK, "response": "a", "helpfulness": "high"}, "helpsteer2",
     "helpfulness is not a number"),
    ({"prompt": ASK, "completion": "a", "label": "good"}, "trl-unpaired",
     "label is neither true nor false"),
    ({"prompt": ASK, "completion": "a", "label": True}, "trl-unpaired",
     "there is no other answer to its prompt"),
    ({"instruction": ASK, **both(), "history": [["only one"]]}, "llama-factory-alpaca",
     "the history is not made of pairs"),
    ({"prompt": ASK, "answers": [{"answer": "a", "rank": 1}, {"answer": "", "rank": 2}]}, "nectar",
     "an answer is empty"),
    ({"prompt": ASK, "answers": [{"answer": "a", "rank": 1}, {"answer": "a", "rank": 2}]}, "nectar",
     "the answers are the same text"),
    ({"prompt": ASK, "answers": [{"answer": "a", "rank": 1}]}, "nectar",
     "there are fewer than two answers"),
    ({"prompt": ASK, "answers": [{"answer": "a", "rank": 1}, {"answer": "b"}]}, "nectar",
     "fewer than two answers have a rank"),
    ({"message_tree_id": "t", "prompt": {"text": ASK, "role": "prompter", "replies": []}}, "oasst",
     "no prompt in the tree has two ranked replies"),
    ({"fields": {"ask": ASK, "answer_1": "a", "answer_2": "b"}, "responses": {}}, "argilla",
     "the prompt cannot be told from the other fields"),
    ({"fields": {"prompt": ASK, "answer_1": "a"}, "responses": {}}, "argilla",
     "the answers cannot be told from the other fields"),
    ({"fields": {"prompt": ASK, "answer_1": "a", "answer_2": "b"},
      "responses": {"q": [{"value": "yes"}]}}, "argilla",
     "no answer to a question names the better response"),
    ({"fields": {"prompt": ASK, "answer_1": "a", "answer_2": "b"},
      "responses": {"q": [{"value": "answer_1"}], "r": [{"value": "answer_2"}]}}, "argilla",
     "several questions could be the label"),
    ({"data": {"prompt": ASK, "answer1": "a", "answer2": "b", "answer3": "c"}, "annotations": []},
     "label-studio", "the answers cannot be told from the other fields"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "name", "reason"), UNUSABLE)
def test_what_says_nothing_is_put_aside_never_guessed(
    row: dict[str, Any], name: str, reason: str
) -> None:
    report = load_pairs([row], name).report
    assert (report.imported, report.ties, report.quarantined) == (0, 0, {reason: 1})


# What is known beside the winner ----------------------------------------------------------------


def only(row: dict[str, Any], name: str = "auto") -> Pair:
    pairs = load_pairs([row], name)
    assert pairs.report.quarantined == {}
    return pairs[0]


def test_strength_is_what_the_data_state() -> None:
    row = {"context": [user(ASK)], "response1": GOOD, "response2": BAD, "overall_preference": -3}
    assert only(row).label == {"kind": "choice", "winner": 0, "strength": 3.0}


def test_models_scores_and_flags_stand_with_their_responses() -> None:
    names = {"chosen_model": "x", "rejected_model": "y", "score_chosen": 5, "score_rejected": 2}
    pair = only({"prompt": ASK, **both(), **names})
    assert pair.label == {"kind": "choice", "winner": 0, "strength": None, "scores": [5.0, 2.0]}
    assert pair.meta == {
        "responses": [
            {"model": "x", "scores": {"score": 5.0}},
            {"model": "y", "scores": {"score": 2.0}},
        ]
    }
    arena = only({**arms(GOOD, BAD), **ARENA, "winner": "model_a"})
    assert arena.meta == {
        "question_id": "q7",
        "responses": [{"model": "vicuna"}, {"model": "koala"}],
    }


def test_ultrafeedback_goes_by_the_mean_of_the_ratings_and_keeps_every_answer() -> None:
    # By overall_score the first would be best: 10 is a known fault for 1.
    completions = [
        rated("a", "1", "2", "N/A", overall=10.0),
        rated("b", "5", "4", "3", overall=8.0),
        rated("c", "N/A", overall=6.0),
        rated("d", "N/A", overall=float("nan")),
        rated("a ", "1", overall=1.0),
        rated(" ", "5", overall=1.0),
    ]
    pairs = load_pairs([{"instruction": ASK, "completions": completions, "source": "x"}])
    pair = pairs[0]
    assert pair.label == {"kind": "scores", "scores": [1.5, 4.0, 6.0, None]}
    assert pairs.report.left_out == {
        "the answers are the same text": 1,
        "an answer is empty": 1,
    }
    assert pair.meta["source"] == "x"
    assert pair.meta["responses"][0] == {
        "model": "model of a",
        "scores": {"helpfulness": 1.0, "honesty": 2.0, "overall": 10.0},
        "flags": {"principle": "honesty"},
    }
    won = [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in pairs.training_rows()]
    assert sorted(won) == [("b", "a"), ("c", "a"), ("c", "b")]
    shown = pairs.report.examples[0]
    assert shown == {
        "prompt": ASK,
        "score 1.5": "a",
        "score 4": "b",
        "score 6": "c",
        "no score": "d",
    }
    assert "left out of them: an answer is empty" in str(pairs.report)
    assert "score 1.5" in str(pairs.report) and "score 1.5" in pairs.report._repr_html_()


def test_nectar_and_the_second_reward_bench_keep_ranks() -> None:
    answers = [
        {"answer": text, "rank": rank} for text, rank in zip("abcd", (3, 1, 3, 7), strict=True)
    ]
    pairs = load_pairs([{"prompt": ASK, "answers": answers}])
    assert pairs[0].label == {"kind": "rank", "ranks": [2, 1, 2, 3]}
    assert list(pairs.report.examples[0])[1:] == ["rank 2", "rank 1", "rank 2 3", "rank 3"]
    assert "rank 3" in str(pairs.report) and "rank 3" in pairs.report._repr_html_()
    row = {"prompt": ASK, **both(["a", "b"], ["c"]), "num_correct": 2}
    assert only(row).label == {"kind": "rank", "ranks": [1, 1, 2]}


def test_pku_has_two_labels_and_one_must_be_asked_for() -> None:
    row = {**PKU, "better_response_id": 0, "safer_response_id": 1}
    with pytest.raises(DataError, match="several labels") as found:
        load_pairs([row])
    assert "pku-safe-rlhf:helpful, pku-safe-rlhf:safe" in found.value.fix
    with pytest.raises(ConfigError, match="several labels") as asked:
        load_pairs([row], "pku-safe-rlhf")
    assert "pku-safe-rlhf:helpful, pku-safe-rlhf:safe" in asked.value.fix
    helpful, safe = only(row, "pku-safe-rlhf:helpful"), only(row, "pku-safe-rlhf:safe")
    assert (winner(helpful), winner(safe)) == (BAD, GOOD)
    assert (helpful.meta["safer_response_id"], safe.meta["better_response_id"]) == (1, 0)
    assert helpful.meta["responses"] == [
        {"model": "Alpaca-7B", "flags": {"safe": False, "severity": 2, "harms": ["Violence"]}},
        {"model": "Alpaca-13B", "flags": {"safe": True, "severity": 0}},
    ]


def test_a_system_message_and_what_was_said_before_stand_before_the_question() -> None:
    row = {"instruction": ASK, **both(), "system": "Be brief.", "history": [["Hi", "Hello"]]}
    assert only(row).prompt == [
        {"role": "system", "content": "Be brief."}, user("Hi"), bot("Hello"), user(ASK),
    ]  # fmt: skip
    orca = only({"system": "Be brief.", "question": ASK, **both()})
    assert orca.prompt == [{"role": "system", "content": "Be brief."}, user(ASK)]


def test_arms_that_go_different_ways_are_whole_turns() -> None:
    row = {
        "conversation_a": [user("q"), bot("a1"), user("u"), bot("a2")],
        "conversation_b": [user("q"), bot("b1"), user("u"), bot("b2")],
        "winner": "model_b",
    }
    pair = only(row)
    assert pair.prompt == [user("q")]
    assert pair.responses[1] == [bot("b1"), user("u"), bot("b2")]
    turns = {"prompt": '["q","u"]', "response_a": '["a1","a2"]', "response_b": '["b1","\\ud800"]'}
    other = only({**turns, **HOT, "winner_model_b": 1})
    assert other.prompt == [user("q")]
    assert other.responses[1] == [bot("b1"), user("u"), bot("\ud800")]


def test_a_post_or_an_article_is_what_was_to_be_summarised() -> None:
    row = {"summaries": [{"text": " a", "policy": "p1"}, {"text": " b"}], "choice": 0}
    pair = only({"info": POST, **row})
    assert pair.prompt == [
        user("SUBREDDIT: r/cats\n\nTITLE: Cat\n\nPOST: My cat ran away.\n\nTL;DR:")
    ]
    assert texts(pair) == ["a", "b"] and pair.responses[0] == [bot(" a")]
    assert pair.meta == {"info": {"id": "t3"}, "responses": [{"model": "p1"}, {}]}
    news = {"id": "n", "post": None, "article": "Rain.", "title": "Wet", "site": "cnn"}
    pair = only({"info": news, **row})
    assert pair.prompt == [user("TITLE: Wet\n\nARTICLE: Rain.\n\nTL;DR:")]
    assert pair.meta["info"] == {"id": "n", "site": "cnn"}


def test_openai_and_webgpt_keep_what_else_their_objects_hold() -> None:
    row = {
        "input": {"messages": [user(ASK)], "tools": [{"name": "search"}]},
        "preferred_output": [bot(GOOD)],
        "non_preferred_output": [bot(BAD)],
    }
    assert only(row).meta == {"tools": [{"name": "search"}]}
    scores = {"answer_0": "a", "answer_1": "b", "score_0": 1, "score_1": 0}
    meta = only({"question": {"full_text": ASK, "id": "e"}, **scores}).meta
    assert meta["question"] == {"id": "e"}
    assert only({"question": ASK, **scores}).prompt == [user(ASK)]


def test_nested_columns_may_stand_as_json_in_the_cells_of_a_table(tmp_path: Path) -> None:
    for name, row in WON:
        if name == "instruction":  # its texts have no nested column
            continue
        cells = {
            key: json.dumps(value) if isinstance(value, dict | list) else value
            for key, value in row.items()
        }
        pd.DataFrame([cells]).to_csv(tmp_path / "x.csv", index=False)
        pairs = load_pairs(tmp_path / "x.csv")
        assert (pairs.report.format, pairs.report.quarantined) == (name, {})
        assert winner(pairs[0]) == GOOD


class Dataset:
    """Looks like what the datasets package gives: rows as dicts, a length, no list."""

    column_names = ("prompt", "chosen", "rejected")

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[dict[str, str]]:
        yield {"prompt": "p", **both()}
        yield {"prompt": "q", **both()}


def test_what_looks_like_a_data_set_is_read() -> None:
    pairs = load_pairs(Dataset())
    assert (pairs.report.source, len(pairs), winner(pairs[1])) == ("Dataset", 2, GOOD)


# Rows of one prompt, and items of one row -------------------------------------------------------


def steer(prompt: str, response: str, helpfulness: Any, **more: Any) -> dict[str, Any]:
    rest = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, **rest, **more}


def test_the_rated_answers_of_helpsteer2_are_put_together_by_prompt() -> None:
    rows = [
        steer("p", "worse", 1, split="train", row=1),
        steer("q", "same", 3),
        steer("p", "better", 4, split="train", row=2),
        steer("q", "as good", 3),
        steer("alone", "x", 2),
        steer("q", "as good", 3),
        steer("r", "", 3),
        steer("s", "a", 1),
        steer("s", "b", 2),
        steer("s", "c", 0),
        steer("s", "c", 4),
    ]
    pairs = load_pairs(rows)
    report = pairs.report
    assert report.format == "helpsteer2"
    assert report.as_dict() == {
        "input": 11,
        "imported": 6,
        "ties": 2,
        "duplicates": 1,
        "quarantined": {"an answer is empty": 1, "there is no other answer to its prompt": 1},
        "items": 3,
        "format": "helpsteer2",
    }
    first, second, third = pairs
    assert (winner(first), first.source) == ("better", {"file": "list", "rows": [1, 3]})
    assert first.label == {"kind": "choice", "winner": 1, "strength": None, "scores": [1.0, 4.0]}
    assert first.meta["split"] == "train" and "row" not in first.meta
    assert first.meta["responses"][0]["meta"] == [{"row": 1}]
    assert first.meta["responses"][0]["scores"]["verbosity"] == 1.0
    assert second.label == {"kind": "tie", "scores": [3.0, 3.0]}
    assert third.label == {"kind": "scores", "scores": [1.0, 2.0, 2.0]}  # c: the mean of 0 and 4


def test_helpsteer2_prompts_of_several_turns_are_read_by_their_marks() -> None:
    prompt = "Hi\n<extra_id_1>Assistant\nHello\n\nyou\n<extra_id_1>User\nBye"
    pairs = load_pairs([steer(prompt, "a", 1), steer(prompt, "b", 2)])
    assert pairs[0].prompt == [user("Hi"), bot("Hello\n\nyou"), user("Bye")]
    cued = "<extra_id_1>User\nHi\n<extra_id_1>Assistant\n"
    row = {"prompt": cued, "response_1": "a", "response_2": "b", "preference_strength": 1}
    assert only(row).prompt == [user("Hi")]


def test_the_rated_summaries_of_one_post_are_put_together() -> None:
    def row(text: str, overall: int) -> dict[str, Any]:
        return {
            "info": POST,
            "summary": {"text": text, "policy": "sup", "axes": {"overall": overall}},
        }

    pairs = load_pairs([row("a", 2), row("b", 7)])
    assert (pairs.report.format, pairs.report.imported, len(pairs)) == ("summarize-axis", 2, 1)
    assert winner(pairs[0]) == "b"
    assert pairs[0].meta["responses"][1] == {"model": "sup", "scores": {"overall": 7.0}}


def test_unpaired_rows_become_items_where_a_prompt_has_several_answers() -> None:
    def row(prompt: Any, completion: Any, label: Any) -> dict[str, Any]:
        return {"prompt": prompt, "completion": completion, "label": label}

    rows = [
        row("p", "bad", False), row("p", "good", "True"),
        row([user("q")], [bot("x")], 1), row([user("q")], [bot("y")], 0),
        row([user("q")], [bot("z")], 0),
        row("t", "a", True), row("t", "b", True),
        row("u", "a", False), row("u", "b", False),
        row("v", "a", True), row("v", "a", False), row("v", "b", False),
    ]  # fmt: skip
    pairs = load_pairs(rows)
    assert pairs.report.format == "trl-unpaired"
    assert [pair.label for pair in pairs] == [
        {"kind": "choice", "winner": 1, "strength": None},
        {"kind": "rank", "ranks": [1, 2, 2]},
        {"kind": "tie"},
        {"kind": "both_bad"},
    ]
    assert (pairs.report.input, pairs.report.imported, pairs.report.ties) == (12, 5, 4)
    assert pairs.report.quarantined == {"an answer is labelled both true and false": 3}


def reply(text: str, rank: int | None, *replies: Any, role: str = "assistant", **more: Any) -> Any:
    return {"text": text, "role": role, "rank": rank, "replies": list(replies), **more}


def test_each_prompt_of_a_tree_with_two_ranked_replies_is_an_item() -> None:
    deeper = reply(
        "and you?", None, reply("so-so", 1), reply("well", 0), reply("hm", 2), role="prompter"
    )
    tree = {
        "message_tree_id": "t1",
        "tree_state": "ready_for_export",
        "prompt": reply(
            "hello",
            None,
            reply("hi", 1, deeper),
            reply("go away", 2, deleted=True),
            reply("unseen", 3, review_result=None),
            reply("good day", 0, model_name="m", review_result=True),
            reply("unranked", None),
            role="prompter",
            lang="en",
        ),
    }
    bare = {"message_tree_id": "t2", "prompt": reply("gone", None, role="prompter", deleted=True)}
    pairs = load_pairs([tree, tree, bare])
    assert pairs.report.as_dict() == {
        "input": 3,
        "imported": 1,
        "ties": 0,
        "duplicates": 1,
        "quarantined": {"no prompt in the tree has two ranked replies": 1},
        "items": 2,
        "format": "oasst",
        "left_out": {
            "a message was deleted or did not pass review": 2,
            "a reply has no rank": 1,
        },
    }
    first, second = pairs
    assert winner(first) == "good day" and first.prompt == [user("hello")]
    assert first.meta["lang"] == "en" and first.meta["tree_state"] == "ready_for_export"
    assert first.meta["responses"] == [{}, {"model": "m"}]
    assert second.prompt == [user("hello"), bot("hi"), user("and you?")]
    assert second.label == {"kind": "rank", "ranks": [2, 1, 3]}


def test_a_tree_counts_once_whatever_becomes_of_its_prompts() -> None:
    known = {"prompt": "hello", "responses": ["a", "b"], "label": {"kind": "tie"}}
    assert load_pairs([known])[0].label == {"kind": "tie"}

    def tree(*replies: Any) -> dict[str, Any]:
        return {"message_tree_id": "t", "prompt": reply("hello", None, *replies, role="prompter")}

    one = tree(reply("a", 0), reply("b", 1))
    again = tree(reply("b", 1), reply("a", 0))
    against = tree(reply("a", 1), reply("b", 0))
    further = reply("c", None, reply("x", 0), reply("y", 1), role="prompter")
    both_ways = tree(reply("a", 1, further), reply("b", 0))
    more = tree(reply("a", 0, reply("d", None, reply("x", 0), reply("y", 1), role="prompter")),
                reply("b", 1))  # fmt: skip
    same = tree(reply("m", 0, reply("e", None, reply("x", 0), reply("x", 1), role="prompter")),
                reply("n", 0))  # fmt: skip
    report = load_pairs([one, again, against, both_ways, more, same]).report
    assert (report.input, report.imported, report.ties, report.duplicates) == (6, 3, 1, 1)
    assert report.quarantined == {"the same item came before with another label": 1}
    assert report.items == 4
    assert report.left_out == {
        "the same item came before with another label": 1,
        "the same item came before": 1,
        "the answers are the same text": 2,
    }


# Exports ----------------------------------------------------------------------------------------


def test_several_annotators_of_an_export_are_put_together() -> None:
    def record(*values: Any) -> dict[str, Any]:
        fields = {"prompt": ASK, "response_1": "a", "response_2": "b"}
        answers = [{"value": value, "user_id": str(n)} for n, value in enumerate(values)]
        return {"fields": fields, "responses": {"best": answers}, "metadata": {"n": 1}}

    pair = only(record("response_1", "response_1", "response_2"))
    assert pair.label is not None and pair.label["winner"] == 0
    assert (pair.label["annotators"], pair.label["agreement"]) == (3, 2 / 3)
    assert pair.meta["metadata"] == {"n": 1}
    assert (only(record("response_1", "response_2")).label or {})["kind"] == "tie"
    assert only(record()).label is None
    ranked = [{"value": "response_1", "rank": 2}, {"value": "response_2", "rank": 1}]
    assert winner(only(record(ranked))) == "b"
    hub = {"value": ["response_1", "response_2"], "rank": [2, 1]}
    assert winner(only(record(hub))) == "b"
    flat = {"prompt": ASK, "response_1": "a", "response_2": "b", "q.responses.status": ["draft"]}
    assert only({**flat, "q.responses": ["response_1"]}).label is None


def test_label_studio_drops_what_was_cancelled_and_takes_the_majority() -> None:
    def task(*sides: str | None) -> dict[str, Any]:
        data = {"prompt": ASK, "answer_a": "a", "answer_b": "b", "topic": "x"}
        made = [{"result": [{"value": {"selected": side}}] if side else []} for side in sides]
        cancelled = {"was_cancelled": True, "result": [{"value": {"selected": "right"}}]}
        return {"id": 3, "data": data, "annotations": [*made, cancelled]}

    pair = only(task("left"))
    assert winner(pair) == "a"
    assert (pair.meta["id"], pair.meta["topic"], len(pair.meta["annotations"])) == (3, "x", 2)
    assert winner(only(task("right", "right", "left"))) == "b"
    assert only(task(None)).label is None


# Labels of our own ------------------------------------------------------------------------------


KEPT = [
    {"kind": "rank", "ranks": [1, 2, None]},
    {"kind": "rank", "ranks": [2, 1, 1]},
    {"kind": "scores", "scores": [0.5, None, -1]},
    {"kind": "choice", "winner": 2, "strength": 3},
    {"kind": "both_bad"},
]


@pytest.mark.parametrize("label", KEPT)
def test_every_kind_of_label_is_kept_as_it_is(label: dict[str, Any], tmp_path: Path) -> None:
    row = {"prompt": "p", "responses": ["a", "b", "c"], "label": label}
    pairs = load_pairs([row])
    assert pairs[0].label == label
    assert load_pairs(pairs.save(tmp_path / "x.jsonl"))[0].label == label


BAD_VALUES = [
    {"kind": "rank", "ranks": [1, 2]},
    {"kind": "rank", "ranks": [1, None, None]},
    {"kind": "scores", "scores": ["1", 2, 3]},
    {"kind": "scores", "scores": [10**400, 2, 3]},
    {"kind": "scores"},
]


@pytest.mark.parametrize("label", BAD_VALUES)
def test_ranks_and_scores_are_one_number_a_response(label: dict[str, Any]) -> None:
    row = {"prompt": "p", "responses": ["a", "b", "c"], "label": label}
    assert load_pairs([row]).report.quarantined == {
        "the label has not one number for each response": 1
    }


def test_a_ranking_all_of_whose_places_are_equal_is_a_tie_and_swapping_answers_is_no_change() -> (
    None
):
    def row(responses: list[str], label: Any) -> dict[str, Any]:
        return {"prompt": "p", "responses": responses, "label": label}

    equal = load_pairs([row(["a", "b", "c"], {"kind": "rank", "ranks": [1, 1, 1]})])
    assert (equal.report.imported, equal.report.ties) == (0, 1)
    rows = [
        row(["a", "b", "c"], {"kind": "rank", "ranks": [1, 2, None]}),
        row(["c", "b", "a"], {"kind": "rank", "ranks": [None, 2, 1]}),
        row(["c", "b", "a"], {"kind": "rank", "ranks": [None, 1, 2]}),
        row(["x", "y"], {"kind": "scores", "scores": [1, 2]}),
        row(["y", "x"], {"kind": "scores", "scores": [2, 1]}),
    ]
    report = load_pairs(rows).report
    assert (report.imported, report.duplicates) == (2, 2)
    assert report.quarantined == {"the same item came before with another label": 1}


def test_true_is_no_winner() -> None:
    row = {"prompt": "p", "responses": ["a", "b"], "label": {"kind": "choice", "winner": True}}
    report = load_pairs([row]).report
    assert report.quarantined == {"the label's winner is not one of the responses": 1}


def test_pairs_given_are_pairs_returned_but_a_wrong_name_is_still_wrong() -> None:
    pairs = Pairs.from_items([])
    assert load_pairs(pairs) is pairs
    with pytest.raises(ConfigError, match="there is no format"):
        load_pairs(pairs, "nonsense")


@pytest.mark.parametrize(
    "names",
    [
        ("reward_chosen", "reward_rejected"),
        ("chosen_reward", "rejected_reward"),
        ("chosen_rm_score", "rejected_rm_score"),
        ("chosen-avg-rating", "rejected-avg-rating"),
        ("Grade of chosen", "Grade of rejected"),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_scores_against_the_order_are_seen_however_they_are_called(
    names: tuple[str, str], within: bool
) -> None:
    scores = dict(zip(names, ("2", 8), strict=True))
    if within:  # a nested field keeps its own spelling
        scores = {"metadata": scores}
    pairs = load_pairs([{"prompt": f"{i}?", "chosen": "a", "rejected": "b"} | scores for i in "12"])
    for pair in pairs:
        assert pair.label is not None
        assert (pair.label["winner"], pair.label["scores"]) == (0, [2.0, 8.0])
        assert ("metadata" in pair.meta) == within
    assert "2 of 2 items prefer an answer whose score is not the highest" in str(wb.quality(pairs))


def test_other_numbers_of_chosen_and_rejected_are_no_scores() -> None:
    other = {"chosen_length": 2, "rejected_length": 8, "chosen_score": "high", "rejected_score": 1}
    (pair,) = load_pairs([{"prompt": "?", **both(), **other}])
    assert pair.label is not None and "scores" not in pair.label
    assert pair.meta["chosen_length"] == 2
