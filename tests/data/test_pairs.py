"""The record, the table and the report."""

import pytest

from workbench.data.messages import item_id
from workbench.data.pairs import COLUMNS, Pair, Pairs
from workbench.data.reading.formats import load_pairs
from workbench.errors import DataError


def make(prompt: str, *answers: str, **rest: object) -> Pair:
    responses = [[{"role": "assistant", "content": answer}] for answer in answers]
    return Pair.make([{"role": "user", "content": prompt}], responses, **rest)  # type: ignore[arg-type]


def test_the_id_is_of_the_texts_and_free_of_order() -> None:
    one, two = make("p", "a", "b"), make("p", "b", "a")
    assert one.id == two.id and len(one.id) == 32
    assert make("p ", "a", " b").id == one.id  # outer blanks
    assert make("e\u0301", "a", "b").id == make("\u00e9", "a", "b").id  # NFC
    ids = {
        make("p", "a", "b").id,
        make("pa", "b", "").id,
        make("p", "ab", "").id,
        make("a", "p", "b").id,
    }
    assert len(ids) == 4


def test_the_id_never_changes_between_versions() -> None:
    # Stored labels refer to it: this value is held for ever.
    assert make("p", "a", "b").id == item_id(
        [{"role": "user", "content": "p"}],
        [[{"role": "assistant", "content": "b"}], [{"role": "assistant", "content": "a"}]],
    )
    assert make("p", "a", "b").id == "9ab7378daee127fa6d6800b068a493bf"


def test_the_table_gives_back_each_pair() -> None:
    items = [
        make("p", "a\ud800", "b\x00", label={"kind": "tie"}, meta={"n": 1}, source={"row": 3}),
        make("q", "日本\u2028", "x", label={"kind": "choice", "winner": 1, "strength": None}),
        make("r", "1", "2", "3"),
    ]
    pairs = Pairs.from_items(items)
    assert list(pairs) == items
    assert [pairs[0], pairs[-1]] == [items[0], items[2]]
    assert list(pairs[1:]) == items[1:]
    assert tuple(pairs.frame.columns) == COLUMNS
    assert list(pairs.unlabelled()) == [items[2]]
    assert pairs.ids() == [item.id for item in items]
    assert repr(pairs) == "Pairs(3 items, 2 labelled)"
    assert pairs.report.as_dict() == {
        "input": 3,
        "imported": 2,
        "ties": 1,
        "duplicates": 0,
        "quarantined": {},
        "items": 3,
        "format": "memory",
    }
    with pytest.raises(IndexError):
        pairs[3]


def test_an_empty_table_is_a_table() -> None:
    pairs = Pairs.from_items([])
    assert (len(pairs), list(pairs), pairs.training_rows()) == (0, [], [])
    assert tuple(pairs.frame.columns) == COLUMNS


def test_training_rows_are_the_winner_against_each_other_response() -> None:
    pairs = Pairs.from_items(
        [
            make("p", "a", "b", "c", label={"kind": "choice", "winner": 1, "strength": 2}),
            make(
                "q", "a", "b", label={"kind": "choice", "winner": 0, "margin": 0.5, "strength": 3}
            ),
            make("r", "a", "b", label={"kind": "both_bad"}),
        ]
    )
    rows = [
        (row["chosen"][0]["content"], row["rejected"][0]["content"], row["margin"])
        for row in pairs.training_rows()
    ]
    assert rows == [("b", "a", 2.0), ("b", "c", 2.0), ("a", "b", 0.5)]


def test_a_frame_with_other_columns_is_refused() -> None:
    with pytest.raises(DataError, match="the frame has no column meta"):
        Pairs(Pairs.from_items([make("p", "a", "b")]).frame.drop(columns="meta"))


def test_the_report_is_read_before_anything_is_trained() -> None:
    rows = [{"prompt": f"<b>{n}</b>", "chosen": "yes " * 100, "rejected": "no"} for n in range(5)]
    rows.append(rows[0])
    rows.append({"prompt": "", "chosen": "a", "rejected": "b"})
    report = load_pairs(rows).report
    assert len(report.examples) == 3
    assert report.examples[1]["prompt"] == "<b>1</b>"
    assert report.examples[1]["rejected"] == "no"
    shown = str(report)
    assert "5 items from list (format: trl-standard)" in shown
    assert "        1  duplicates" in shown and "1  quarantined: the prompt is empty" in shown
    assert "…" in shown
    page = report._repr_html_()
    assert "&lt;b&gt;0&lt;/b&gt;" in page and "<b>0</b>" not in page


def test_rendered_losers_are_numbered() -> None:
    pairs = Pairs.from_items(
        [make("p", "a", "b", "c", label={"kind": "choice", "winner": 1}), make("q", "x", "y")]
    )
    assert pairs.report.examples == [
        {"prompt": "p", "rejected": "a", "chosen": "b", "rejected 3": "c"},
        {"prompt": "q", "answer 1": "x", "answer 2": "y"},
    ]
