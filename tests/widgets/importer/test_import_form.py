"""The import form by its messages: columns, proposal, preview, import."""

import ast
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workbench as wb
from workbench.errors import ConfigError, DataError
from workbench.widgets.importer.import_form import TEXT_SHOWN, ImportForm

ROWS = [
    {"q": f"question {n}", "left": f"left {n}", "right": f"right {n}", "pick": n % 2, "who": "ada"}
    for n in range(6)
]


class Page:
    """A page that sends messages and keeps what comes back."""

    def __init__(self, form: ImportForm) -> None:
        self.form, self.sent = form, []
        form.send = lambda content, buffers=None: self.sent.append(content)  # type: ignore[method-assign]

    def tell(self, **message: Any) -> dict[str, Any]:
        self.form._handle_custom_msg(message, [])
        return self.sent[-1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.csv"
    pd.DataFrame(ROWS).to_csv(path, index=False)
    return path


def test_it_begins_with_the_columns_and_a_proposal(file):
    begun = Page(wb.import_pairs(file)).tell(type="ready")
    assert (begun["type"], begun["name"], begun["format"]) == ("begin", "x.csv", None)
    assert [(one["name"], one["example"]) for one in begun["columns"]][:2] == [
        ("q", "question 0"),
        ("left", "left 0"),
    ]
    assert begun["choice"] == {
        "prompt": 0, "answers": [1, 2], "better": "column", "label": 3,
        "values": {"0": "left", "1": "right"}, "system": None, "annotator": None,
    }  # fmt: skip
    assert begun["values"] == [
        {"value": "0", "rows": 3, "means": 0},
        {"value": "1", "rows": 3, "means": 1},
    ]
    assert len(begun["pairs"]) == 3
    assert begun["pairs"][1] == {
        "prompt": "question 1", "answers": ["left 1", "right 1"], "winner": 1, "label": "",
    }  # fmt: skip


def test_the_code_it_shows_reads_the_same_pairs(file):
    form = wb.import_pairs(str(file))
    page = Page(form)
    page.tell(type="ready")
    done = page.tell(type="import", prompt=0, answers=[1, 2], better=1, annotator=4)
    assert done["done"]["items"] == done["done"]["labelled"] == len(form.pairs) == 6
    assert form.columns == {
        "prompt": "q",
        "chosen": "right",
        "rejected": "left",
        "annotator": "who",
    }
    call = ast.parse(done["code"], mode="eval").body
    source, columns = call.args[0].value, ast.literal_eval(call.keywords[0].value)
    again = wb.load_pairs(source, columns=columns)
    assert list(again) == list(form.pairs) and form.code == done["code"]
    assert form.report.imported == 6 and "6  rows read" in done["done"]["report"]


def test_each_way_of_saying_who_is_better(file):
    page = Page(wb.import_pairs(file))
    page.tell(type="ready")
    base = {"type": "choose", "prompt": 0, "answers": [1, 2]}
    assert [pair["winner"] for pair in page.tell(**base, better=0)["pairs"]] == [0, 0, 0]
    assert page.tell(**base, better=0)["pairs"][0]["answers"] == ["left 0", "right 0"]
    assert page.tell(**base, better=1)["pairs"][0]["answers"] == ["right 0", "left 0"]
    nobody = page.tell(**base, better="nobody")
    assert [pair["label"] for pair in nobody["pairs"]] == ["no label"] * 3
    unsaid = page.tell(**base, better="column", label=3)
    assert "not explained: 0, 1" in unsaid["problem"]["what"] and not unsaid["pairs"]
    assert [one["means"] for one in unsaid["values"]] == [None, None]
    said = page.tell(**base, better="column", label=3, values={"0": 1, "1": 2})
    assert [pair["winner"] for pair in said["pairs"]] == [1, None, 1]
    assert said["pairs"][1]["label"] == "a tie" and said["problem"] is None


def test_a_choice_that_is_not_whole_reads_nothing(file):
    page = Page(wb.import_pairs(file))
    page.tell(type="ready")
    for choice in (
        {"answers": [1, None], "better": 0},
        {"answers": [1, 1], "better": 0},
        {"answers": [1, 2], "better": "column", "label": None},
        {"answers": [1, 99], "better": 0},
        {"answers": None},
    ):
        state = page.tell(type="choose", prompt=0, **choice)
        assert (state["pairs"], state["code"], page.form.columns) == ([], "", None)
        assert page.tell(type="import", prompt=0, **choice)["type"] == "fault"
    assert page.form.pairs is None and isinstance(page.form.error, ConfigError)


def test_rows_that_would_be_put_aside_are_told(tmp_path):
    rows = [*ROWS, {**ROWS[0], "left": ""}]
    state = Page(wb.import_pairs(rows)).tell(
        type="choose", prompt=0, answers=[1, 2], better=0, label=None
    )
    assert state["left"] == [{"reason": "an answer is empty", "rows": 1}]
    assert state["looked"] == 7


def test_three_answers_a_system_text_and_a_known_format():
    rows = [{"q": "?", "a1": "x", "a2": "y", "a3": "z", "best": 3, "sys": "Be brief."}]
    form = wb.import_pairs(iter(rows))
    page = Page(form)
    assert page.tell(type="ready")["choice"]["answers"] == [1, 2, 3]
    done = page.tell(type="import", prompt=0, answers=[1, 2, 3], better="column", label=4, system=5)
    assert done["done"]["labelled"] == 1 and form.pairs[0].label["winner"] == 2
    assert form.pairs[0].prompt[0] == {"role": "system", "content": "Be brief."}
    known = Page(wb.import_pairs([{"prompt": "p", "chosen": "a", "rejected": "b"}]))
    begun = known.tell(type="ready")
    assert begun["format"] == "trl-standard" and begun["code"] == "wb.load_pairs(data)"
    nothing = {"prompt": None, "answers": [None, None], "better": "nobody"}
    assert known.tell(type="import", **nothing)["done"]["items"] == 1


def test_what_holds_no_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="there are no rows"):
        wb.import_pairs([])
    with pytest.raises(DataError, match="no such file"):
        wb.import_pairs(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="this holds pairs already"):
        wb.import_pairs(wb.load_pairs([{"prompt": "p", "chosen": "a", "rejected": "b"}]))


def test_texts_are_cut_and_carried_whatever_they_hold():
    hostile = "<script>window.__fired=1</script>\ud800\u202e" + "x" * 10_000
    rows = [{hostile[:40]: hostile, "b<b>": hostile + "!", "c": "c"}]
    form = wb.import_pairs(rows)
    page = Page(form)
    begun = page.tell(type="ready")
    str(begun).encode("utf-8")
    state = page.tell(type="choose", prompt=2, answers=[0, 1], better=0)
    assert len(state["pairs"][0]["answers"][0]) <= TEXT_SHOWN + 10
    picture = form.picture()
    assert "<script>" not in picture and "&lt;script&gt;" in picture
