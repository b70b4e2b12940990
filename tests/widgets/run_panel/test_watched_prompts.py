import json

import pytest

from workbench.json_lines import blocks, encode
from workbench.runs.file_rules import answer_rows
from workbench.widgets.run_panel.watched_prompts import MOST_TOKENS, WatchedPrompts


def lines_of(path, *lines):
    """The answers in a file of these lines."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    found = WatchedPrompts(path)
    for block in blocks(path):
        found.take(block)
    found.look()
    return found


@pytest.fixture
def watched(tmp_path):
    return lambda *rows: lines_of(tmp_path / "s", *(encode(row).rstrip() for row in rows))


def test_the_first_answers_stand_for_the_start_where_the_trainer_wrote_no_reference(watched):
    table = watched(
        {"step": 1, "prompt": "p", "response": "one", "kl": 0.0},
        {"step": 6, "prompt": "p", "response": "two"},
        {"step": 11, "prompt": "p", "response": "three"},
        {"step": 11, "prompt": "new", "response": "x"},
    ).table()
    assert (table["step"], table["before"], table["start"]) == (11, 6, 1)
    assert [row["first"] and row["first"]["response"] for row in table["rows"]] == ["one", None]
    assert table["rows"][0]["first"]["kl"] == 0.0
    assert table["rows"][0]["last"]["response"] == "two"


def test_why_the_score_rose_is_told_of_the_first_and_the_newest_answers(watched):
    texts = {1: "It is so.", 6: "It is so.", 11: "Please, it is so."}
    rows = [
        {"step": step, "prompt": f"p{i}", "response": text, "score": float("Please" in text) + i}
        for step, text in texts.items()
        for i in range(4)
    ]
    found = watched(*rows)
    rise = found.rise()
    assert (rise["first"], rise["last"], rise["total"]) == (1, 11, 1.0)
    (cause,) = rise["causes"]
    assert cause["part"] + rise["rest"] == pytest.approx(1.0)
    assert [one["response"] for one in cause["example"]] == ["It is so.", "Please, it is so."]
    assert rise["words"] == f"Why it rose: of +1.00, {cause['name']} +1.00, rest 0.00"
    assert found.rise() is rise  # counted once for each step
    assert watched(*rows[:4]).rise() is None
    assert watched(*({**row, "score": None} for row in rows)).rise() is None


def test_at_the_first_step_there_is_nothing_to_compare_with(watched):
    table = watched({"step": 1, "prompt": "p", "response": "one"}).table()
    assert (table["before"], table["start"]) == (None, None)
    assert table["rows"][0]["first"] is None and table["rows"][0]["last"] is None


def test_answers_before_the_first_update_are_the_references(watched):
    rows = (
        {"step": 0, "prompt": "p", "response": "a"},
        {"step": 1, "prompt": "p", "response": "b"},
    )
    assert watched(*rows).table()["start"] == "reference"


def test_a_rows_own_reference_comes_first(watched):
    rows = [{"step": s, "prompt": "p", "response": f"r{s}", "reference": "ref"} for s in (1, 2)]
    found = watched(*rows)
    for index in (0, 1):
        table = found.table(index)
        assert table["start"] == "reference"
        assert table["rows"][0]["first"]["response"] == "ref"


def test_tokens_travel_with_their_figures_in_three_digits(watched):
    row = {
        "step": 1,
        "prompt": "p",
        "response": "a b",
        "tokens": ["a", " b\ufdd0"],
        "token_kl": [0.123456, None],
        "token_value": [1.0, float("nan")],
        "token_advantage": [1.0],  # not one a token
    }
    tokens = watched(row).table()["rows"][0]["tokens"]
    assert tokens == {
        "texts": ["a", " b\ufdd0FDD0\ufdd1"],
        "kl": [0.123, None],
        "value": [1.0, None],
    }


def test_rows_without_token_figures_have_none(watched):
    bare = {"step": 1, "prompt": "p", "response": "a"}
    for more in ({}, {"tokens": []}, {"tokens": ["a"]}, {"tokens": "a", "token_kl": [1.0]}):
        assert watched({**bare, **more}).table()["rows"][0]["tokens"] is None


def test_a_very_long_answer_sends_its_first_tokens(watched):
    many = ["x"] * (MOST_TOKENS + 9)
    row = {"step": 1, "prompt": "p", "response": "", "tokens": many, "token_kl": [0.0] * len(many)}
    tokens = watched(row).table()["rows"][0]["tokens"]
    assert len(tokens["texts"]) == len(tokens["kl"]) == MOST_TOKENS


def test_lines_are_found_however_they_are_written_and_damaged_ones_left_out(tmp_path):
    first = b'{"prompt": "p", "step": 3, "response": "a"}'
    last = b'{"step":3,"prompt":"q","response":"b"}'
    found = lines_of(tmp_path / "s", first, b'{"step": 3', b"[]", b'{"x": 1}', last)
    assert found.damaged == 3
    assert found.steps == [3]
    assert [row["response"] for row in found.table()["rows"]] == ["a", "b"]


def test_lines_as_the_writer_and_json_write_them_are_parsed_only_when_they_are_looked_at(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("workbench.widgets.run_panel.watched_prompts.ALARMED", 1)
    parsed = []
    monkeypatch.setattr(
        "workbench.widgets.run_panel.watched_prompts.answer_rows",
        lambda lines: parsed.extend(lines) or answer_rows(lines),
    )
    rows = [{"step": step, "prompt": "p", "response": "a"} for step in range(1, 10)]
    lines = [json.dumps(row).encode() for row in rows] + [encode(row)[:-1] for row in rows]
    found = lines_of(tmp_path / "s", *lines)
    assert found.steps == list(range(1, 10))
    assert len(parsed) == 2  # the newest step's two, for the alarm of repetition


def test_a_row_and_the_answer_before_it_or_at_the_start_are_two_answers(watched):
    messages = [{"role": "user", "content": "p"}]
    found = watched(
        {"step": 1, "prompt": "p", "response": "one"},
        {"step": 6, "prompt": "p", "response": "two"},
        {"step": 11, "prompt": "x", "response": "new"},
        {"step": 11, "prompt": messages, "response": "two"},
        {"step": 16, "prompt": "p", "response": "one", "reference": "ref"},
    )
    assert found.two_answers(1, 0, "last") == ("p", "two", "one")
    assert found.two_answers(2, 1, "last") is None  # the same again
    assert found.two_answers(2, 1, "first") == (messages, "two", "one")
    assert found.two_answers(2, 0, "first") is None  # not asked then
    assert found.two_answers(3, 0, "first") == ("p", "one", "ref")
