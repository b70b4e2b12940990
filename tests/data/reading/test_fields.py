"""Every field of a row is kept with its item, or counted by its name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.pairs import Pairs
from workbench.data.reading.examples import load_examples, load_prompts
from workbench.data.reading.formats import load_pairs
from workbench.data.reading.readers import FORMATS
from workbench.errors import DataError

from .known_rows import ASK, BAD, GOOD, PKU, POST, WON, bot, user

TREE = {"message_tree_id": "t", "prompt": {
    "text": "p", "role": "prompter", "message_id": "m0", "lang": "en", "replies": [
        {"text": "a", "role": "assistant", "rank": 0, "message_id": "m1", "replies": []},
        {"text": "b", "role": "assistant", "rank": 1, "replies": [
            {"text": "q", "role": "prompter", "message_id": "m2", "replies": [
                {"text": "c", "role": "assistant", "rank": 0, "labels": {"good": 1}},
                {"text": "d", "role": "assistant", "rank": 1, "emojis": {"+1": 2}}]},
        ]}]}}  # fmt: skip
ROWS: list[tuple[str, list[dict[str, Any]]]] = [
    *((name, [row]) for name, row in WON),
    ("unlabelled", [{"prompt": "p", "responses": ["a", [bot("b")]]}]),
    ("pku-safe-rlhf:safe", [{**PKU, "safer_response_id": 1}]),
    ("pku-safe-rlhf:helpful", [{**PKU, "better_response_id": 0, "response_0_source": 7}]),
    ("oasst", [TREE]),
    ("helpsteer2", [{"prompt": "p", "response": text, "helpfulness": n, "coherence": "very"}
                    for n, text in enumerate("ab")]),
    ("trl-unpaired", [{"prompt": [user("p")], "completion": [bot(text)], "label": text == "a"}
                      for text in "ab"]),
    ("summarize-axis", [{"info": POST, "summary": {
        "text": text, "policy": "m", "axes": {"overall": 3, "coverage": "high"}}}
        for text in "ab"]),
    ("trl", [{"prompt": ASK, "chosen": GOOD, "rejected": BAD, "chosen_model": "m",
              "rejected_model": 12, "score_chosen": 3, "score_rejected": "high",
              "margin": "wide"}]),
    ("webgpt", [{"question": ASK, "answer_0": GOOD, "answer_1": BAD, "score_0": 1, "score_1": 0,
                 "quotes_0": {"title": ["t"]}}]),
    ("openai-dpo", [{"input": {"messages": [user(ASK)], "tools": [{"name": "f"}]}, "tools": "own",
                     "preferred_output": [bot(GOOD)], "non_preferred_output": [bot(BAD)]}]),
    ("canonical", [{"id": "mine", "prompt": ASK, "responses": [GOOD, BAD], "source": {"file": "x"},
                    "label": {"kind": "tie"}, "meta": {"topic": "a"}, "topic": "b"}]),
]  # fmt: skip


class Marks:
    """Puts a field of its own into every object of a row."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.within: dict[str, set[str]] = {}  # the fields that each stands in, itself too

    def into(self, value: Any, within: tuple[str, ...] = ()) -> Any:
        if isinstance(value, list):
            return [self.into(entry, within) for entry in value]
        if not isinstance(value, dict):
            return value
        name = f"field{len(self.values)}"
        self.values[name], self.within[name] = f"value of {name}!", {*within, name}
        inner = {key: self.into(entry, (*within, key)) for key, entry in value.items()}
        return {**inner, name: self.values[name]}


def held(pairs: Pairs) -> str:
    return json.dumps([pair.as_dict() for pair in pairs])


@pytest.mark.parametrize(("name", "rows"), ROWS)
def test_the_fields_of_a_row_are_kept_or_counted(name: str, rows: list[dict[str, Any]]) -> None:
    marks = Marks()
    marked = [marks.into(row) for row in rows]
    pairs = load_pairs(marked, name)
    assert len(pairs) >= 1 and not pairs.report.quarantined
    text = held(pairs)
    lost = [
        field
        for field, value in marks.values.items()
        if value not in text and marks.within[field].isdisjoint(pairs.report.fields)
    ]
    assert lost == []
    assert all(field in str(pairs.report) for field in pairs.report.fields)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each text and number of a row with the name of its field."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, str(key))
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry, name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield name, str(value)


# What says who won, or who speaks, and is in the item as its label or its roles.
SAID = {
    *("role", "from", "type", "winner", "winner_model_a", "winner_model_b", "winner_tie", "choice"),
    *("labels", "preference", "overall_preference", "preference_strength", "rank", "selected"),
    *("better_response_id", "safer_response_id", "Rating", "rating", "kind", "label"),
}


@pytest.mark.parametrize(("name", "rows"), ROWS)
def test_the_values_of_a_row_are_kept_or_counted(name: str, rows: list[dict[str, Any]]) -> None:
    pairs = load_pairs(rows, name)
    text = held(pairs)
    for field, value in leaves(rows):
        for part in value.split("\n\nHuman:"):
            for words in part.removesuffix(" ").split("\n\nAssistant:"):
                inner = json.dumps(words.strip().strip('[]"'))[1:-1]
                kept = inner in text or field in pairs.report.fields
                assert kept or field in SAID, (field, words)


EXTRA = [
    ("tool_calls", [{"id": "1", "function": {"name": "forecast", "arguments": "{}"}}]),
    ("function_call", {"name": "forecast", "arguments": "{}"}),
    ("reasoning_content", "two twos"),
    ("reasoning", "two twos"),
    ("thinking", "two twos"),
    ("name", "Anna"),
    ("weight", 0),
    ("masked", False),
]


@pytest.mark.parametrize(("name", "value"), EXTRA)
def test_what_a_message_says_beside_its_text_is_kept_and_counted(name: str, value: Any) -> None:
    row = {
        "prompt": [user(ASK), {**bot("I look it up."), name: value}, user("And?")],
        "chosen": [{**bot(GOOD), name: value}],
        "rejected": [bot(BAD)],
    }
    for rows in ([row], [{**row, **{k: json.dumps(v) for k, v in row.items()}}]):
        pairs = load_pairs(rows)
        assert pairs[0].prompt == [user(ASK), bot("I look it up."), user("And?")]
        assert pairs[0].meta["message_fields"] == [
            {"of": "prompt", "turn": 1, "fields": {name: value}},
            {"of": 0, "turn": 0, "fields": {name: value}},
        ]
        assert pairs.report.fields == {name: {"kept in meta": 1}}
        assert f"1  {name}: kept in meta" in str(pairs.report)


def test_a_turn_that_is_only_a_call_has_no_text_and_is_kept() -> None:
    call = [{"function": {"name": "forecast"}}]
    for content in ("", None):
        turn = {"role": "assistant", "content": content, "tool_calls": call}
        row = {"prompt": [user("q"), turn, user("So?")], "chosen": [bot("a")], "rejected": "b"}
        pair = load_pairs([row])[0]
        assert pair.prompt[1] == bot("")
        assert "forecast" in str(pair.meta)
    empty = {"prompt": [user("q"), {"role": "assistant", "content": None}, user("q")]}
    report = load_pairs([{**empty, "chosen": "a", "rejected": "b"}]).report
    assert report.quarantined == {"a message has no text": 1}


def test_parts_that_are_no_text_are_kept_beside_it() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "I ask.", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "name": "forecast", "input": {"place": "Riga"}},
    ]
    row = {"prompt": ASK, "chosen": [{"role": "assistant", "content": parts}], "rejected": BAD}
    pairs = load_pairs([row])
    assert pairs[0].responses[0] == [bot("I ask.")]
    assert set(pairs.report.fields) == {"thinking", "tool_use", "cache_control"}
    assert "Riga" in str(pairs[0].meta)


IMAGES = [
    {"type": "image"},
    {"type": "image", "image": "x.png"},
    {"type": "image_url", "image_url": {"url": "https://x.invalid/x.png"}},
    {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
    {"image": b"\x89PNG"},
    {"type": "input_audio", "input_audio": {"data": "AAAA"}},
    {"type": "document", "source": {"data": "AAAA"}},
]


@pytest.mark.parametrize("part", IMAGES)
def test_answers_about_what_cannot_be_shown_are_put_aside(part: dict[str, Any]) -> None:
    turn = {"role": "user", "content": [part, {"type": "text", "text": ASK}]}
    report = load_pairs([{"prompt": [turn], "chosen": "a", "rejected": "b"}]).report
    (reason,) = report.quarantined
    assert reason.endswith(": the answers are about what cannot be shown here")
    with pytest.raises(DataError, match="cannot be shown here"):
        load_prompts([{"messages": [turn]}])


@pytest.mark.parametrize(
    "column", ["images", "Image", "image_path", "videos", "audio", "image_url"]
)
@pytest.mark.parametrize(
    "value", [["x.png"], {"bytes": b"\x89"}, b"\x89PNG", "https://x.invalid/x"]
)
def test_a_column_of_images_puts_its_rows_aside_by_name(column: str, value: Any) -> None:
    row = {"prompt": ASK, "chosen": GOOD, "rejected": BAD}
    pairs = load_pairs([{**row, column: value}, {**row, column: None, "prompt": "q"},
                        {**row, column: [], "prompt": "r"}])  # fmt: skip
    assert len(pairs) == 2
    assert pairs.report.quarantined == {
        f"{column}: the answers are about what cannot be shown here": 1
    }
    nothing = load_pairs([{**row, column: {"bytes": None, "path": None}}, {**row, column: [False]}])
    assert (nothing.report.imported, nothing.report.duplicates) == (1, 1)
    assert len(pairs.report.quarantined_rows) == 1
    with pytest.raises(DataError, match="cannot be shown here"):
        load_examples([{"prompt": ASK, "response": GOOD, column: value}])


def test_what_both_copies_of_a_prompt_say_is_kept() -> None:
    chosen = [{**user(ASK), "id": "one"}, bot(GOOD)]
    rejected = [{**user(ASK), "id": "two", "lang": "en"}, bot(BAD)]
    fields = {"id": "one", "id (another copy)": "two", "lang": "en"}
    for row in ({}, {"prompt": [{**user(ASK), "id": "one"}]}):
        pair = load_pairs([{**row, "chosen": chosen, "rejected": rejected}])[0]
        (beside,) = pair.meta["message_fields"]
        assert beside["fields"] == fields


def test_rows_that_repeat_an_item_have_their_fields_counted() -> None:
    row = {"prompt": ASK, "chosen": GOOD, "rejected": BAD}
    pairs = load_pairs([{**row, "topic": "a"}, {**row, "topic": "b"}, row])
    assert pairs.report.duplicates == 2
    assert pairs.report.fields == {
        "topic": {"kept in meta": 1, "in a row that repeats an item, not kept": 1}
    }


def test_names_that_clash_are_both_kept() -> None:
    row = {"prompt": ASK, "PROMPT": "other", "chosen": GOOD, "rejected": BAD, "Chosen": "shout"}
    assert load_pairs([row])[0].meta == {"PROMPT": "other", "Chosen": "shout"}
    loud = {"Prompt": ASK, "PROMPT": "other", "chosen": GOOD, "rejected": BAD}
    assert load_pairs([loud])[0].meta == {"PROMPT": "other"}


def test_the_counts_of_fields_are_saved_with_the_table(tmp_path: Path) -> None:
    pairs = load_pairs([{"prompt": ASK, "chosen": GOOD, "rejected": BAD, "topic": "a"}])
    again = load_pairs(pairs.save(tmp_path / "x.arrow"))
    assert again.report.fields == {"topic": {"kept in meta": 1}}
    assert load_pairs(pairs.save(tmp_path / "x.jsonl"))[0] == pairs[0]


columns = st.dictionaries(
    st.text(st.sampled_from("abxyz_ é"), min_size=4, max_size=6),
    st.one_of(st.integers(100, 999), st.text("mnopq", min_size=9, max_size=9)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ROWS), columns)
def test_columns_that_no_reader_knows_are_kept(
    known: tuple[str, list[dict[str, Any]]], more: dict[str, Any]
) -> None:
    name, rows = known
    pairs = load_pairs([{**row, **more} for row in rows], name)
    text = held(pairs)
    for column, value in more.items():
        assert json.dumps(value) in text
        assert sum(pairs.report.fields[column].values()) == len(rows)


def test_every_format_is_here() -> None:
    assert {name for name, _ in ROWS} | {"pku-safe-rlhf", "trl-implicit-standard"} == {
        fmt.name for fmt in FORMATS
    }
