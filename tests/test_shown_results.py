"""What a verb returns says what it is where a notebook shows it: no bare path, no bare pandas."""

import ast
import inspect
import json
import pickle
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

import workbench as wb
from workbench.data.pairs import Pair, Pairs
from workbench.runs.run import frame
from workbench.shown_results import ListedRows, Scores, WebAddress, WrittenPath
from workbench.table_frame import TableFrame
from workbench.verbs.batch import ScoresAndSpread

PACKAGE = Path(wb.__file__).parent
SHOWS = {"_repr_html_", "_repr_markdown_", "_repr_mimebundle_", "_ipython_display_"}
PLAIN = {"int", "float", "None"}  # a number says what it is


@cache
def shown_classes():
    """The classes of the package that a notebook shows by a way of their own, or by a base's."""
    bases, shown = {}, {"AnyWidget"}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {ast.unparse(base).split("[")[0].split(".")[-1] for base in
                                    node.bases}  # fmt: skip
                if SHOWS & {part.name for part in node.body if isinstance(part, ast.FunctionDef)}:
                    shown.add(node.name)
    while more := {name for name, own in bases.items() if own & shown} - shown:
        shown |= more
    return shown


def results_of(verb):
    """The names of the classes that a verb says it returns."""
    told = inspect.signature(verb).return_annotation
    words = told if isinstance(told, str) else getattr(told, "__name__", str(told))
    if not isinstance(told, str | type):
        words = str(told)
    return [part.strip().split("[")[0].split(".")[-1] for part in words.split("|")]


@pytest.mark.parametrize(
    "name", [name for name in wb.__all__ if not inspect.isclass(getattr(wb, name))]
)
def test_what_a_verb_returns_is_shown_with_words(name):
    known = shown_classes() | PLAIN
    results = results_of(getattr(wb, name))
    assert results and [one for one in results if one not in known] == []


@pytest.mark.parametrize("one", [wb.Pairs, wb.LabelStore, wb.Run])
def test_the_public_classes_are_shown_with_words(one):
    assert one.__name__ in shown_classes()


def test_a_path_that_was_written_is_a_path_and_a_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = WrittenPath(tmp_path / "a <b>.html")
    path.write_bytes(b"x" * 2500)
    assert isinstance(path, Path) and path.read_bytes() == b"x" * 2500
    assert repr(path) == f"a <b>.html, 2.5 kB: {tmp_path}/a <b>.html"
    html = path._repr_html_()
    assert "<a href='a &lt;b&gt;.html' target='_blank'>a &lt;b&gt;.html</a>" in html
    assert "<b>.html" not in html.replace("<b><a", "")
    assert pickle.loads(pickle.dumps(path)) == path == Path(path)
    assert json.dumps([str(path)]) and f"{path}" == str(tmp_path / "a <b>.html")
    assert "1 files" in repr(WrittenPath(tmp_path)) and "<a" not in WrittenPath("/")._repr_html_()
    assert "not there any more" in repr(WrittenPath(tmp_path / "gone"))


def test_an_address_is_a_text_and_a_link_only_where_it_is_one():
    link = WebAddress("https://hub.example/me/model")
    assert link == "https://hub.example/me/model" and "<a href='https://hub" in link._repr_html_()
    assert "<a" not in WebAddress("javascript:alert(1)")._repr_html_()
    assert "'" not in WebAddress("https://x/'onclick='1")._repr_html_().replace("='", "").replace(
        "' ", ""
    ).replace("'>", "")


def test_scores_are_a_list_with_their_mean():
    scores = Scores([1.0, -0.5, float("nan")])
    assert scores[:2] == [1.0, -0.5] and isinstance(scores, list)
    assert "3 scores, mean +0.25, −0.50 to +1.00; 1 answers have none" in scores._repr_html_()
    both = ScoresAndSpread([1.0], [0.25])
    assert "<td" in both._repr_html_() and "0.25" in both._repr_html_() and both.mean == [1.0]


def test_rows_are_a_list_that_shows_its_first_ones_as_text():
    rows = ListedRows([{"prompt": "<script>x</script>", "n": 1}] * 20)
    html = rows._repr_html_()
    assert rows == [{"prompt": "<script>x</script>", "n": 1}] * 20
    assert "20 rows; the first 8" in html and html.count("<tr>") == 9 and "<script>" not in html
    turns = [{"role": "user", "content": "hi"}, {"role": "user", "content": "there"}]
    assert "hi\nthere" in ListedRows([turns])._repr_html_()
    assert "0 rows" in ListedRows()._repr_html_()
    told = ListedRows([turns], {"tool_calls": 1200, "<b>": 1})._repr_html_()
    assert "1 rows; left out: tool_calls (1,200 rows), &lt;b&gt; (1 rows)" in told


def test_pairs_show_the_first_of_them():
    def said(role, text):
        return [{"role": role, "content": text}]

    answers = [said("assistant", "a"), said("assistant", "<b>b</b>")]
    label = {"kind": "choice", "winner": 1, "strength": None}
    pairs = Pairs.from_items([Pair.make(said("user", "why?"), answers, label=label)])
    html = pairs._repr_html_()
    assert "1 items, 1 labelled" in html and "answer 2 is better" in html
    assert "&lt;b&gt;b&lt;/b&gt;" in html


def test_a_table_is_a_frame_in_every_other_way():
    rows = [{"step": i, "loss": -i / 3, "text": "<i>x</i>" * 30, "no": None} for i in range(40)]
    made = frame(rows)
    assert isinstance(made, pd.DataFrame) and type(made.head(3)) is TableFrame
    pd.testing.assert_frame_equal(made, pd.DataFrame(rows), check_frame_type=False)
    assert pickle.loads(pickle.dumps(made)).equals(made)
    html = made._repr_html_()
    assert "40 rows" in html and "⋮" in html and html.count("<tr>") == 1 + 12 + 1 + 4
    assert "−0.3333" in html and "<i>" not in html and "–" in html and "dataframe" not in html
    assert "<th scope='col'" in html and "1 row<" in made.head(1)._repr_html_()
