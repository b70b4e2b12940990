"""Prompts and examples: strict readers."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from workbench.data.reading.examples import load_examples, load_prompts
from workbench.data.reading.formats import load_pairs
from workbench.errors import ConfigError, DataError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}


def test_prompts_come_in_many_shapes(tmp_path: Path) -> None:
    text = tmp_path / "p.txt"
    text.write_text("\ufeffone\n\ntwo\u2028half\r\n", encoding="utf-8")
    rows = tmp_path / "p.jsonl"
    rows.write_text(
        json.dumps({"prompt": "one"}) + "\n" + json.dumps({"prompt": [user("two\u2028half")]})
    )
    frame = pd.DataFrame({"Prompt": ["one", "two\u2028half"]})
    want = [[user("one")], [user("two\u2028half")]]
    sources: list[Any] = [text, rows, frame, ["one", [user("two\u2028half")]]]
    for source in sources:
        assert load_prompts(source) == want
    pairs = load_pairs(
        [{"prompt": p, "chosen": "a", "rejected": "b"} for p in ("one", "two\u2028half")]
    )
    assert load_prompts(pairs) == want
    instructions = [
        {"instruction": "Add", "input": "1 + 1", "output": "2"},
        {"instruction": "Go", "input": ""},
    ]
    assert load_prompts(instructions) == [[user("Add\n1 + 1")], [user("Go")]]


TALK = [user("Hi?"), bot("Hello."), user("And?"), bot("So.")]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"messages": TALK[:1]}, TALK[:1]),
        ({"messages": TALK[:2]}, TALK[:1]),
        ({"messages": TALK}, TALK[:3]),
        ({"conversations": [{"from": "human", "value": "Hi?"}]}, TALK[:1]),
        ({"conversations": TALK[:2], "system": "Be brief."}, [SYSTEM, *TALK[:1]]),
        ({"question": "Hi?"}, TALK[:1]),
        ({"question": "Hi?", "system": "Be brief."}, [SYSTEM, *TALK[:1]]),
        ({"system": " ", "query": "Hi?"}, TALK[:1]),
        ({"chosen": TALK[:2], "rejected": [TALK[0], bot("No.")]}, TALK[:1]),
        (
            {
                "chosen": "\n\nHuman: Hi?\n\nAssistant: a",
                "rejected": "\n\nHuman: Hi?\n\nAssistant: b",
            },
            TALK[:1],
        ),
        (
            {"prompt": "Hi?", "messages": TALK, "question": "x", "chosen": "a", "rejected": "b"},
            TALK[:1],
        ),
        ({"prompt": None, "question": "Hi?"}, TALK[:1]),
        ({"instruction": "Hi?", "question": "x"}, TALK[:1]),
    ],
)
def test_a_prompt_stands_in_the_columns_that_pairs_have(
    row: dict[str, Any], prompt: list[dict[str, str]]
) -> None:
    assert load_prompts([row]) == [prompt]


def test_examples_are_texts_or_questions_with_answers() -> None:
    rows: list[Any] = [
        "plain",
        {"text": " kept as it is "},
        {"instruction": "Add", "input": "1 + 1", "output": "2"},
        {"prompt": "q", "completion": "a"},
        {"prompt": [user("q")], "response": [bot("a")]},
        {"messages": [user("q"), bot("a"), user("r"), bot("b")]},
        [user("q"), bot("a")],
        {"question": "q", "answer": "a"},
        {"query": "q", "response": "a"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"prompt": "q", "response": "a", "conversation": "a7", "text": "q a"},
        {"text": "q a", "query": "q"},
        {"conversation": [user("q"), bot("a")], "system": "Be brief."},
    ]
    turn = {"prompt": [user("q")], "response": [bot("a")]}
    assert load_examples(rows) == [
        {"text": "plain"},
        {"text": " kept as it is "},
        {"prompt": [user("Add\n1 + 1")], "response": [bot("2")]},
        turn,
        turn,
        {"prompt": [user("q"), bot("a"), user("r")], "response": [bot("b")]},
        turn,
        *[turn] * 4,
        {"text": "q a"},
        {**turn, "prompt": [SYSTEM, user("q")]},
    ]


BAD = [
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": [bot("x")]}, "does not end with a user turn"),
    ({"subject": "x"}, "a needed field is missing"),
    ({"messages": [bot("x")]}, "does not end with a user turn"),
    ({"messages": "x", "question": None, "system": 7}, "neither text nor messages"),
    ({"chosen": "a", "rejected": "b"}, "no role markers"),
    ({"chosen": [user("x"), bot("a")]}, "a needed field is missing"),
    (7, "not an object with named fields"),
]


@pytest.mark.parametrize(("row", "words"), BAD)
def test_a_bad_prompt_is_named_with_its_row(row: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load_prompts(["fine", row])
    assert caught.value.where.startswith("list:2 ")


BAD_EXAMPLES = [
    ({"text": " "}, "the text is empty"),
    ({"subject": "x"}, "there is no text, instruction, prompt or messages"),
    ({"question": "x"}, "there is no output, response, completion or answer"),
    ({"instruction": "x"}, "there is no output, response, completion or answer"),
    ({"instruction": "x", "output": ""}, "an answer is empty"),
    ({"messages": [user("x")]}, "the prompt is empty"),
    ({"messages": []}, "the prompt is empty"),
    ({"messages": [user("x"), user("y")]}, "an answer is empty"),
]


@pytest.mark.parametrize(("row", "words"), BAD_EXAMPLES)
def test_a_bad_example_is_named_with_its_row(row: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_examples([row])


def test_no_rows_is_said() -> None:
    for load in (load_prompts, load_examples):
        with pytest.raises(DataError, match="there are no rows"):
            load([])


@pytest.mark.parametrize(
    "row",
    [
        {"context": [user("Hi?")], "response1": "a", "response2": "b", "overall_preference": 1},
        {"history": "Hi?", "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
        {"input": {"messages": [user("Hi?")]}, "preferred_output": "a",
         "non_preferred_output": "b"},
        {"conversation_a": [user("Hi?"), bot("a")], "conversation_b": [user("Hi?"), bot("b")],
         "winner": "tie"},
        {"conversation": [user("Hi?"), bot("a")]},
        {"prompt": "\n\nHuman: Hi?\n\nAssistant:"},
        {"chosen": "\n\nHuman: Hi?\n\nAssistant: a",
         "rejected": "\n\nHuman: Hi?\n\nAssistant: b"},
        {"question": str([user("Hi?")])},
        {"messages": json.dumps([user("Hi?"), {**bot("a"), "tool_calls": [{"id": 1}]}])},
    ],
)  # fmt: skip
def test_the_prompt_of_every_known_pair_is_a_prompt(row: dict[str, Any]) -> None:
    assert load_prompts([row]) == [[user("Hi?")]]


def test_a_lone_text_is_asked_about_and_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"text": "Hi?", "id": 3}\r\n{"text": "Ho?", "id": 4}\r\n')
    with pytest.raises(DataError) as caught:
        load_prompts(path)
    error = caught.value
    assert error.what == "no known column holds a prompt: text, id"
    assert "row 1: text='Hi?', id=3" in error.where and "row 2: text='Ho?'" in error.where
    line = f"wb.load_prompts({str(path)!r}, columns={{'prompt': 'text'}})"
    assert line in error.fix
    pasted = eval(line, {"wb": SimpleNamespace(load_prompts=load_prompts)})
    assert pasted == [[user("Hi?")], [user("Ho?")]]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_own_columns_hold_the_prompt_in_any_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p.{suffix}"
    talk = json.dumps([user("Hi?"), bot("Hello."), user("And?"), bot("So.")])
    frame = pd.DataFrame({"Aufgabe": [talk, "Ho?"], "Rolle": ["Be brief.", None]})
    if suffix == "csv":
        frame.to_csv(path, index=False, lineterminator="\r\n")
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    columns = {"prompt": "Aufgabe", "system": "Rolle"}
    assert load_prompts(path, columns) == [
        [SYSTEM, user("Hi?"), bot("Hello."), user("And?")],
        [user("Ho?")],
    ]


def test_a_mapping_that_does_not_fit_says_what_does() -> None:
    rows = [{"task": "Hi?", "level": 2}]
    with pytest.raises(DataError, match="no column 'tusk'") as caught:
        load_prompts(rows, {"prompt": "tusk"})
    assert "task" in caught.value.fix and "level, task" in caught.value.where
    for wrong in ({}, {"system": "task"}, {"prompt": "task", "answer": "level"}):
        with pytest.raises(ConfigError, match="columns names"):
            load_prompts(rows, wrong)


def test_a_row_that_is_wrong_is_named_where_the_columns_are_known() -> None:
    with pytest.raises(DataError) as caught:
        load_prompts([{"prompt": "Hi?"}, {"text": "Ho?"}])
    assert "list:2" in caught.value.where and "no known column" not in caught.value.what


def test_what_is_no_part_of_a_prompt_or_an_answer_is_counted() -> None:
    call = {**bot("I look."), "tool_calls": [{"id": 1}], "reasoning_content": "?", "name": None}
    rows = [
        {"messages": [user("Rain?"), call, user("So?"), bot("Yes.")], "level": 3, "tools": []},
        {"messages": [{**user("Hi?"), "name": "bob"}, bot("Hello.")], "level": 0},
        {"question": "Hi?", "answer": "Hello.", "source": "x"},
    ]
    counted = Counter[str]()
    load_examples(rows, counted)
    once = {"tool_calls": 1, "reasoning_content": 1, "name": 1, "source": 1}
    assert counted == {**once, "level": 2}
    counted.clear()
    load_prompts([row | {"level": 1} for row in rows], left_out=counted)
    assert counted == {**once, "level": 3}
    counted.clear()
    load_prompts([{"task": "Hi?", "role": "Be brief.", "answer": "x"}], {"prompt": "task"}, counted)
    assert counted == {"role": 1, "answer": 1}
    counted.clear()
    load_examples([{"text": "x", "lang": "en", "empty": None}], counted)
    assert counted == {"lang": 1}
