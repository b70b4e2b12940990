"""Columns that a person names: both forms, the values of a label, and the proposal."""

import ast
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.data.pairs import Pairs
from workbench.data.reading.column_proposal import propose_columns
from workbench.data.reading.formats import load_pairs
from workbench.data.reading.own_columns import meaning
from workbench.errors import ConfigError, DataError

from .known_rows import ASK, BAD, GOOD, bot, user

BOTH = {"prompt": "frage", "chosen": "gut", "rejected": "schlecht"}
SIDES = {"prompt": "q", "responses": ["response_a", "response_b"], "label": "preference"}


def better(pairs: Pairs) -> list[str | None]:
    return [
        None
        if pair.label is None
        else pair.responses[pair.label["winner"]][0]["content"]
        if pair.label["kind"] == "choice"
        else pair.label["kind"]
        for pair in pairs
    ]


def sides(*values: Any, column: str = "preference") -> list[dict[str, Any]]:
    """Rows of two answers, A and B, with what the label says."""
    return [
        {"q": f"question {n}", "response_a": "A", "response_b": "B", column: value}
        for n, value in enumerate(values)
    ]


def test_chosen_and_rejected_by_other_names(tmp_path: Path) -> None:
    row = {"Frage": ASK, "gut": GOOD, "schlecht": BAD, "thema": "x", "margin": 2}
    path = tmp_path / "x.csv"
    pd.DataFrame([row]).to_csv(path, index=False)
    for source in ([row], path):
        pairs = load_pairs(source, columns={**BOTH, "prompt": "Frage"})
        assert pairs[0].prompt == [user(ASK)] and pairs[0].responses == [[bot(GOOD)], [bot(BAD)]]
        assert pairs[0].label == {"kind": "choice", "winner": 0, "strength": None, "margin": 2.0}
        assert pairs[0].meta == {"thema": "x"}
        assert pairs.report.fields == {"thema": {"kept in meta": 1}}


def test_whole_talks_need_no_prompt() -> None:
    row = {"gut": [user(ASK), bot(GOOD)], "schlecht": [user(ASK), bot(BAD)]}
    both = load_pairs([row], columns={"chosen": "gut", "rejected": "schlecht"})
    arms = load_pairs(
        [{**row, "w": "schlecht"}], columns={"responses": ["gut", "schlecht"], "label": "w"}
    )
    assert both[0].prompt == arms[0].prompt == [user(ASK)]
    assert (better(both), better(arms)) == ([GOOD], [BAD])


def test_columns_that_clash_with_the_parts_are_kept() -> None:
    row = {"frage": ASK, "gut": GOOD, "schlecht": BAD, "prompt": "other", "chosen": "no"}
    pair = load_pairs([row], columns=BOTH)[0]
    assert pair.prompt == [user(ASK)] and pair.meta == {"prompt": "other", "chosen": "no"}
    known = {"Prompt": ASK, "Chosen": "B", "rejected": "A", "Label": "Chosen"}
    columns = {"prompt": "Prompt", "responses": ["Chosen", "rejected"], "label": "Label"}
    assert better(load_pairs([known], columns=columns)) == ["B"]


@pytest.mark.parametrize(
    ("values", "winners"),
    [
        (("response_a", "Response_B", "tie"), ["A", "B", "tie"]),
        (("a", "B", "Tie (both bad)"), ["A", "B", "both_bad"]),
        (("model_a", "model_b", "neither"), ["A", "B", "both_bad"]),
        ((1, 2), ["A", "B"]),
        (("1", "2.0"), ["A", "B"]),
        (("first", "second", "both good"), ["A", "B", "tie"]),
        (("left", "right", None, ""), ["A", "B", None, None]),
        (("[[A]]", "Response B"), ["A", "B"]),
    ],
)
def test_values_that_say_it_of_themselves_are_read(values: Any, winners: Any) -> None:
    pairs = load_pairs(sides(*values), columns=SIDES)
    assert better(pairs) == winners and not pairs.report.quarantined


def test_what_each_value_was_read_as_is_told() -> None:
    report = load_pairs(sides("a", "a", "b", "tie"), columns=SIDES).report
    assert report.fields["preference"] == {
        "'a' read as: response_a is better": 2,
        "'b' read as: response_b is better": 1,
        "'tie' read as: a tie": 1,
    }
    assert (report.imported, report.ties) == (3, 1)
    assert "2  preference: 'a' read as: response_a is better" in str(report)


@pytest.mark.parametrize(
    "values",
    [
        *((0, 1), (True, False), (-1, 0, 1), ("x", "y"), (0, 1, 2), (1,)),
        *(("A is better than B", "B"), ("A", "not B"), ("left over right",), ("worse: b", "A")),
        (["A", "A", "B"], ["B"]),  # votes in one cell: the last of them is not the majority
    ],
)
def test_values_that_say_nothing_of_themselves_must_be_explained(values: Any) -> None:
    with pytest.raises(DataError, match="has values that are not explained") as error:
        load_pairs(sides(*values), columns=SIDES)
    assert "tie, both_bad, none" in error.value.fix and "'values'" in error.value.fix
    assert f"{str(values[0]).lower()!r} in 1 rows" in error.value.where
    pasted = ast.literal_eval(error.value.fix.split("columns=")[1])
    assert len(load_pairs(sides(*values), columns=pasted)) == len(values)


def test_values_are_explained() -> None:
    values = {0: "response_b", 1: "response_a", "=": "tie", "x": None, "!": "both_bad"}
    rows = sides(0, "1", "=", "x", "!", 1.0)
    pairs = load_pairs(rows, columns={**SIDES, "values": values})
    assert better(pairs) == ["B", "A", "tie", None, "both_bad", "A"]
    by_place = load_pairs(sides("x"), columns={**SIDES, "values": {"x": 1}})
    assert better(by_place) == ["B"]


def test_a_value_that_comes_late_is_put_aside() -> None:
    report = load_pairs(sides(*["a"] * 120, "maybe"), columns=SIDES).report
    assert report.imported == 120
    assert report.quarantined == {"the label's value is not explained by values: maybe": 1}


def test_scores_a_system_text_an_annotator_and_a_list_of_answers() -> None:
    row = {"q": ASK, "one": "A", "two": "B", "three": "C", "s1": 1, "s2": 3, "s3": 2, "sys": "Hi."}
    columns = {"prompt": "q", "responses": ["one", "two", "three"], "scores": ["s1", "s2", "s3"],
               "system": "sys"}  # fmt: skip
    pair = load_pairs([row], columns=columns)[0]
    assert pair.label == {"kind": "scores", "scores": [1.0, 3.0, 2.0]}
    assert pair.prompt == [{"role": "system", "content": "Hi."}, user(ASK)]
    listed = load_pairs([{"q": ASK, "as": ["A", "B"]}], columns={"prompt": "q", "responses": "as"})
    assert len(listed[0].responses) == 2 and listed[0].label is None
    votes = [{**row, "who": who} for row, who in zip(sides("a", "b", "b"), "xyz", strict=True)]
    rows = [{**row, "q": ASK} for row in votes]
    pairs = load_pairs(rows, columns={**SIDES, "annotator": "who"})
    assert better(pairs) == ["B"] and len(pairs[0].meta["votes"]) == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"promt": "q"}, "write 'prompt'"),
        ({"prompt": "q"}, "give {"),
        ({"prompt": "q", "chosen": "gut"}, "give {"),
        ({**BOTH, "responses": ["a", "b"]}, "give {"),
        ({**BOTH, "label": "x"}, "leave label out"),
        ({"prompt": 3, "responses": ["a", "b"]}, "give the column's name"),
        ({"prompt": "q", "responses": [1, 2]}, "give a list of columns' names"),
        ({**SIDES, "scores": ["s"]}, "name one for each"),
        ({**SIDES, "values": {"a": "nobody"}}, "use one of: response_a, response_b, tie"),
        ({**SIDES, "values": ["a"]}, "give {"),
        ({"prompt": "q", "responses": ["a", "b"], "values": {"x": "a"}}, "name the label's column"),
    ],
)
def test_a_mapping_that_is_none_says_how_to_mend_it(columns: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_pairs(sides("a"), columns=columns)
    assert words in error.value.fix


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match="there is no column 'response_c'") as error:
        load_pairs(sides("a"), columns={**SIDES, "responses": ["response_a", "response_c"]})
    assert "write 'response_" in error.value.fix
    with pytest.raises(ConfigError, match="both say how to read"):
        load_pairs(sides("a"), "trl", columns=SIDES)
    with pytest.raises(ConfigError, match="this holds pairs already"):
        load_pairs(load_pairs(sides("a"), columns=SIDES), columns=SIDES)
    with pytest.raises(DataError, match="there are no rows"):
        load_pairs([], columns=SIDES)


UNKNOWN: list[tuple[list[dict[str, Any]], dict[str, Any] | None]] = [
    ([{"q": "why?", "good_answer": "a", "bad_answer": "b"}],
     {"prompt": "q", "chosen": "good_answer", "rejected": "bad_answer"}),
    ([{"question": "why?", "preferredReply": "a", "dispreferredReply": "b", "n": 1}],
     {"prompt": "question", "chosen": "preferredReply", "rejected": "dispreferredReply"}),
    ([{"title": "t", "winner_text": "a", "loser_text": "b"}],
     {"prompt": "title", "chosen": "winner_text", "rejected": "loser_text"}),
    (sides("a", "b"), {**SIDES, "label": "preference"}),
    ([{"id": 7, "text": "why?", "answer1": "a", "answer2": "b", "best": n} for n in (1, 2)],
     {"prompt": "text", "responses": ["answer1", "answer2"], "label": "best"}),
    ([{"input": "why?", "left": "a", "right": "b", "pick": n} for n in (0, 1)],
     {"prompt": "input", "responses": ["left", "right"], "label": "pick",
      "values": {"0": "left", "1": "right"}}),
    ([{"q": "why?", "out_a": "a", "out_b": "b", "vote": n} for n in (-1, 0, 1)],
     {"prompt": "q", "responses": ["out_a", "out_b"], "label": "vote",
      "values": {"-1": "out_a", "0": "tie", "1": "out_b"}}),
    ([{"frage": "warum?", "gut": "lang und gut", "schlecht": "nicht so gut"}],
     {"prompt": "frage", "responses": ["gut", "schlecht"]}),
    ([{"a": 1, "b": 2}], None),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "proposal"), UNKNOWN)
def test_unknown_columns_are_shown_with_a_proposal_to_paste(
    rows: list[dict[str, Any]], proposal: dict[str, Any] | None, tmp_path: Path
) -> None:
    assert propose_columns(rows) == proposal
    path = tmp_path / "it's.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    with pytest.raises(DataError, match="no known format has these columns") as error:
        load_pairs(path)
    told = str(error.value)
    assert all(column in told for column in rows[0])
    assert all(f"row {n}: " in told for n in range(1, min(3, len(rows)) + 1))
    if proposal is not None:
        line = next(line.strip() for line in told.splitlines() if "wb.load_pairs(" in line)
        call = ast.parse(line, mode="eval").body
        assert isinstance(call, ast.Call)
        source, columns = call.args[0], call.keywords[0].value
        pairs = load_pairs(ast.literal_eval(source), columns=ast.literal_eval(columns))
        assert pairs.report.items >= 1 and not set(pairs.report.quarantined) - {
            "the same item came before with another label"
        }


def test_hostile_columns_and_values_are_shown_on_one_line_and_cut() -> None:
    row = {"a\nb": "x" * 10_000, "\ud800": "line\nline", "'); import os; ('": [1, 2]}
    with pytest.raises(DataError) as error:
        load_pairs([row])
    str(error.value).encode("utf-8")
    assert len(str(error.value)) < 2_000


def test_what_a_value_means_is_never_guessed_from_half_a_word() -> None:
    answers = ["response_a", "response_b"]
    for value in ("", "abc", "banana", "c", "3", "good", "response"):
        assert meaning(value, answers, None) is None
    assert meaning("2", answers, 1) == "response_b"
    assert meaning("2", ["answer_2", "answer_3"], None) == "answer_2"
