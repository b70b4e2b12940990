import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.data.search import index as searching
from workbench.data.search.arrow_texts import rows_of
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError
from workbench.widgets.browser import browser
from workbench.widgets.browser.browser import MOST_ROWS, Browser
from workbench.widgets.browser.pair_table import PairTable
from workbench.widgets.browser.question import LABEL_KINDS


def said(text, role="assistant"):
    return [{"role": role, "content": text}]


def pair(n, label=None, first="same length", second="same length", **more):
    name = more.pop("file", "pairs.jsonl")
    answers = [said(f"{first} {n}"), said(f"{second} {n}!")]
    return Pair.make(
        said(f"question {n}", "user"), answers, label=label, source={"file": name, "row": n}, **more
    )


A_WINS, B_WINS = ({"kind": "choice", "winner": n} for n in (0, 1))
TIE = {"kind": "tie"}


@pytest.fixture
def mixed():
    """0 unlabelled, 1 A wins, 2 B wins, 3 tie, 4 both bad, 5 unlabelled with an apple."""
    return Pairs.from_items(
        [
            pair(0, first="long " * 30),
            pair(1, A_WINS, file="other.jsonl"),
            pair(2, {**B_WINS, "strength": 3}),
            pair(3, TIE, second="Ünïcode " * 9),
            pair(4, {"kind": "both_bad"}),
            pair(5, first="an APPLE a day"),
        ]
    )


class Page:
    def __init__(self, widget):
        self.widget, self.heard, self.request = widget, [], 0
        widget.send = lambda content, buffers=None: self.heard.append(
            json.loads(json.dumps(content))
        )

    def tell(self, **content):
        before = len(self.heard)
        self.widget._handle_custom_msg(content, [])
        return self.heard[-1] if len(self.heard) > before else None

    def ask(self, **question):
        """Ask as the page does: again while it has to wait, then until all is counted."""
        self.request += 1
        asked = {"type": "ask", "req": self.request, "question": question}
        while (info := self.tell(**asked))["type"] == "wait":
            self.widget._table.read()
        while info.get("counting"):
            info |= self.tell(type="more", version=info["version"])
        return info

    def rows(self, start=0, count=50):
        self.request += 1
        return self.tell(type="rows", req=self.request, start=start, count=count)["rows"]


def order(page):
    return [row["row"] for row in page.rows()]


@pytest.fixture
def page(mixed):
    return Page(Browser(mixed))


def test_ready_describes_the_table_without_its_rows(page):
    info = page.tell(type="ready")
    assert info["type"] == "table" and info["total"] == 6 and info["shown"] == 6
    assert info["counts"]["unlabelled"] == 2 and info["counts"]["labelled"] == 4
    assert info["counts"]["tie"] == 1 and info["counts"]["both_bad"] == 1
    assert info["judged"] is False and info["yours"] is False and info["open"] is None
    assert "question" not in json.dumps({k: v for k, v in info.items() if k != "question"})


def test_rows_travel_as_cells(page):
    page.tell(type="ready")
    rows = page.rows(1, 2)
    assert [row["row"] for row in rows] == [1, 2]
    assert rows[0]["prompt"] == "question 1" and rows[0]["first"] == "same length 1"
    assert rows[0]["label"] == "A is better" and rows[0]["better"] == 0
    assert rows[1]["label"] == "B is better (3)" and rows[1]["better"] == 1
    assert rows[0]["source"] == "other.jsonl:1" and rows[0]["gap"] == -1
    assert rows[0]["selected"] is False


def test_an_answer_carries_its_question_and_a_bounded_page(mixed):
    many = Pairs.from_items(pair(n) for n in range(500))
    page = Page(Browser(many))
    answer = page.tell(type="rows", req=41, start=100, count=10_000)
    assert answer["req"] == 41 and answer["start"] == 100 and len(answer["rows"]) == MOST_ROWS
    assert page.tell(type="rows", req=42, start=499, count=50)["rows"][0]["row"] == 499
    assert page.tell(type="rows", req=43, start=900, count=50)["rows"] == []


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ({"query": "apple"}, [5]),
        ({"query": "  QUESTION 3 "}, [3]),
        ({"query": "ünïCODE"}, [3]),
        ({"query": "nowhere"}, []),
        ({"state": "unlabelled"}, [0, 5]),
        ({"state": "labelled"}, [1, 2, 3, 4]),
        ({"state": "choice"}, [1, 2]),
        ({"state": "tie"}, [3]),
        ({"state": "both_bad"}, [4]),
        ({"state": "nonsense"}, [0, 1, 2, 3, 4, 5]),
        ({"source": "other.jsonl"}, [1]),
        ({"sort": "row", "descending": True}, [5, 4, 3, 2, 1, 0]),
        ({"sort": "label"}, [0, 5, 1, 2, 3, 4]),
        ({"sort": "prompt", "descending": True}, [5, 4, 3, 2, 1, 0]),
        ({"sort": "source"}, [1, 0, 2, 3, 4, 5]),
        ({"sort": "gap", "descending": True}, [0, 5, 4, 2, 1, 3]),
        ({"sort": "first", "descending": True}, [0, 5, 4, 3, 2, 1]),
        ({"sort": "nonsense"}, [0, 1, 2, 3, 4, 5]),
        ({"query": "question", "state": "unlabelled", "sort": "first"}, [5, 0]),
    ],
)
def test_search_filter_and_sort(page, question, rows):
    info = page.ask(**question)
    assert info["shown"] == len(rows) and order(page) == rows
    assert page.widget.shown["id"].tolist() == page.widget._table.frame["id"].iloc[rows].tolist()


def test_what_is_asked_reads_back(page):
    page.ask(query="apple", sort="gap", descending=True)
    assert page.widget.query == "apple"
    assert page.widget.question.sort == "gap" and page.widget.question.descending


def test_a_new_view_has_a_new_version(page):
    first = page.tell(type="ready")["version"]
    assert page.ask(query="apple")["version"] == first + 1
    assert page.ask(query="apple")["version"] == first + 1  # the same question changes nothing
    assert page.tell(type="rows", req=1, start=0, count=1)["version"] == first + 1


def test_an_order_by_length_waits_for_the_lengths_without_blocking(page, monkeypatch):
    monkeypatch.setattr(page.widget._table.jobs["lengths"], "start", lambda: None)
    answer = page.tell(type="ask", req=3, question={"sort": "gap"})
    assert answer == {"type": "wait", "req": 3, "doing": "reading", "fraction": 0.0}
    monkeypatch.undo()
    assert page.ask(sort="gap")["shown"] == 6


def test_a_search_waits_for_nothing(page):
    answer = page.tell(type="ask", req=3, question={"query": "apple"})
    assert answer["shown"] == 1 and not answer["counting"]


def test_snippets_start_near_what_was_found(page):
    page.ask(query="0")
    page.tell(type="ready")
    cell = page.rows()[0]["first"]
    assert cell.startswith("… ") and cell.endswith(" 0")


def test_selecting_with_clicks_and_keys(page):
    frame = page.widget._table.frame
    page.tell(type="select", mode="only", position=2, anchor=2)
    assert page.widget.selection["id"].tolist() == [frame["id"].iloc[2]]
    answer = page.tell(type="select", mode="range", position=4, anchor=2)
    assert answer == {"type": "selection", "selected": 3}
    page.tell(type="select", mode="toggle", position=3, anchor=3)
    assert page.widget.selection.index.tolist() == [2, 4]
    assert [row["selected"] for row in page.rows(2, 3)] == [True, False, True]
    page.tell(type="select", mode="none", position=0)
    assert len(page.widget.selection) == 0
    assert list(page.widget.selection.columns) == list(frame.columns)


def test_a_selection_outlives_a_search_and_all_means_what_is_shown(page):
    page.tell(type="select", mode="only", position=0, anchor=0)
    page.ask(state="choice")
    page.tell(type="select", mode="all", position=0)
    assert page.widget.selection.index.tolist() == [0, 1, 2]
    page.tell(type="select", mode="toggle", position=99)  # beyond the view: nothing happens
    assert page.widget.selection.index.tolist() == [0, 1, 2]


def test_reading_one_pair(page):
    page.ask(state="choice")
    answer = page.tell(type="open", position=1)
    assert answer["row"] == 2 and answer["label"] == "B is better (3)"
    assert [a["name"] for a in answer["answers"]] == ["answer A", "answer B"]
    assert [a["better"] for a in answer["answers"]] == [False, True]
    assert answer["answers"][0]["messages"] == said("same length 2")
    assert answer["answers"][0]["words"] == 3
    assert ["source", "pairs.jsonl:2"] in answer["facts"] and ["strength", "3"] in answer["facts"]
    assert page.widget.current["id"] == page.widget._table.frame["id"].iloc[2]
    assert page.tell(type="ready")["open"] == 1
    page.tell(type="shut")
    assert page.widget.current is None
    assert page.tell(type="open", position=99) is None


def test_very_long_texts_are_cut_until_asked_for():
    page = Page(Browser(Pairs.from_items([pair(0, first="x" * 50_000)])))
    assert len(page.rows()[0]["first"]) < 300
    message = page.tell(type="open", position=0)["answers"][0]["messages"][0]
    assert message["cut"] == 50_002 and len(message["content"]) == 6_000
    message = page.tell(type="open", position=0, whole=True)["answers"][0]["messages"][0]
    assert len(message["content"]) == 50_002


def test_where_every_pair_has_a_winner_it_stands_first():
    page = Page(Browser(Pairs.from_items([pair(0, B_WINS, second="won"), pair(1, A_WINS)])))
    assert page.tell(type="ready")["judged"] is True
    row = page.rows()[0]
    assert (row["first"], row["second"], row["better"]) == ("won 0!", "same length 0", None)
    answers = page.tell(type="open", position=0)["answers"]
    assert [a["name"] for a in answers] == ["chosen", "rejected"]
    assert answers[0]["messages"] == said("won 0!")


def test_more_than_two_answers():
    item = Pair.make(said("q", "user"), [said("a"), said("b"), said("c")], label=B_WINS)
    page = Page(Browser(Pairs.from_items([item])))
    assert page.rows()[0]["more"] == 1
    names = [a["name"] for a in page.tell(type="open", position=0)["answers"]]
    assert names == ["chosen", "rejected", "rejected"]


def test_labels_made_here_stand_beside(tmp_path):
    pairs = Pairs.from_items([pair(0), pair(1, A_WINS), pair(2)])
    store = LabelStore(tmp_path / "labels.sqlite")
    page = Page(Browser(pairs, store))
    assert page.tell(type="ready")["yours"] is False
    session = LabelSession(pairs, store, annotator="ada")
    left = session.current().left
    session.choose("left")
    session.choose("tie")
    info = page.tell(type="ready")
    assert info["yours"] is True and info["counts"]["yours"] == 2
    won = "A" if left == said("same length 0") else "B"
    assert [row["yours"] for row in page.rows()] == [f"{won} is better", "tie", ""]
    assert page.ask(state="yours")["shown"] == 2
    assert page.ask(state="not_yours")["shown"] == 1
    page.ask(sort="yours", descending=True)
    assert order(page)[-1] == 2


def test_a_label_of_the_store_counts_the_stores_own_order(tmp_path):
    item = pair(0)
    swapped = Pair.make(item.prompt, item.responses[::-1])
    store = LabelStore(tmp_path / "labels.sqlite")
    session = LabelSession(Pairs.from_items([swapped]), store, annotator="ada")
    session.choose("left" if session.current().left == item.responses[0] else "right")
    page = Page(Browser(Pairs.from_items([item]), store))
    assert page.rows()[0]["yours"] == "A is better"


def test_agreement_with_the_data_is_said_where_every_pair_has_a_winner(tmp_path):
    pairs = Pairs.from_items([pair(0, A_WINS), pair(1, A_WINS)])
    store = LabelStore(tmp_path / "labels.sqlite")
    session = LabelSession(pairs, store, annotator="ada")
    for wanted in (0, 1):
        shown = session.current()
        session.choose("left" if shown.left == pairs[shown.position].responses[wanted] else "right")
    page = Page(Browser(pairs, store))
    assert [row["yours"] for row in page.rows()] == ["agrees", "disagrees"]


def test_an_empty_table_is_a_table():
    page = Page(Browser(Pairs.from_items([])))
    assert page.tell(type="ready")["total"] == 0
    assert page.rows() == [] and page.ask(query="x")["shown"] == 0
    assert len(page.widget.selection) == 0


def test_hostile_text_crosses_the_wire():
    page = Page(Browser(Pairs.from_items([pair(0, first="a\ud800\x00")])))
    page.tell(type="ready")
    page.rows()
    page.tell(type="open", position=0)
    json.dumps(page.heard, ensure_ascii=False).encode("utf-8")
    assert page.rows()[0]["first"] == "a\ufdd0D800\ufdd1\x00 0"


def test_an_error_is_shown_not_raised(page):
    answer = page.tell(type="rows", req=1, start="first", count=3)
    assert answer["type"] == "fault" and answer["what"].startswith("ValueError")


@pytest.mark.parametrize(
    ("question", "said"),
    [({"query": "apple"}, "not JSON messages"), ({"sort": "prompt"}, "JSONDecodeError")],
)
def test_texts_that_cannot_be_read_are_said(mixed, question, said):
    frame = mixed.frame.copy()
    frame.loc[3, "prompt"] = "not json, but an apple"
    page = Page(Browser(Pairs(frame, mixed.report)))
    page.widget._table.jobs["prompts"].run()
    for _ in range(2):
        answer = page.tell(type="ask", req=1, question=question)
        assert answer["type"] == "fault" and said in answer["what"]


def test_unknown_messages_are_ignored(page):
    assert page.tell(type="gossip") is None


def test_the_pages_code_comes_when_it_is_asked_for(page):
    answer = page.tell(type="code")
    assert "export default class TableView" in answer["esm"] and ".wbb-row" in answer["css"]


def test_a_saved_notebook_holds_neither_rows_nor_code(page):
    page.tell(type="code")
    page.tell(type="ready")
    page.rows()
    state = json.dumps({name: str(value) for name, value in page.widget.get_state().items()})
    shown = json.dumps(page.widget._repr_mimebundle_())
    assert "question 1" not in state + shown and len(state + shown) < 8_000


# --- what a reward model and several annotators say


@pytest.fixture
def scored(mixed):
    """Margins for 0 to 5; rows 1 (A wins) and 2 (B wins) have the better answer below."""
    return Page(Browser(mixed, scores=[0.5, -1.0, -0.25, 2.0, None, float("nan")]))


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ({"margin": [0, None]}, [0, 3]),
        ({"margin": [None, -0.25]}, [1, 2]),
        ({"margin": [-0.25, 0.5]}, [0, 2]),
        ({"margin": [None, None]}, [0, 1, 2, 3, 4, 5]),
        ({"margin": ["x", True]}, [0, 1, 2, 3, 4, 5]),
        ({"margin": [float("nan"), 1]}, [0, 1, 2]),
        ({"margin": [1]}, [0, 1, 2, 3, 4, 5]),
        ({"disagrees": True}, [1, 2]),
        ({"sort": "margin"}, [1, 2, 0, 3, 4, 5]),
        ({"sort": "margin", "descending": True}, [3, 0, 2, 1, 4, 5]),
        ({"sort": "uncertain"}, [2, 0, 1, 3, 4, 5]),
        ({"gap": [-1, -1]}, [1, 2, 4]),
        ({"gap": [0, None]}, [0, 5]),
        ({"gap": [None, -30], "state": "tie"}, [3]),
        ({"agreement": [0, 1]}, []),
        ({"query": "question", "disagrees": True, "sort": "margin", "descending": True}, [2, 1]),
        ({"query": "question", "descending": True}, [5, 4, 3, 2, 1, 0]),
    ],
)
def test_filters_and_orders_by_numbers(scored, question, rows):
    info = scored.ask(**question)
    assert order(scored) == rows and info["shown"] == len(rows) and not info["counting"]


def test_what_the_reward_model_says_travels(scored):
    info = scored.tell(type="ready")
    assert info["scored"] is True and info["counts"]["disagrees"] == 2 and info["shared"] is False
    rows = scored.rows()
    assert [row["margin"] for row in rows] == [0.5, -1.0, -0.25, 2.0, None, None]
    assert [row["disagrees"] for row in rows] == [False, True, True, False, False, False]
    assert scored.tell(type="open", position=1)["margin"] == -1.0


def test_without_scores_nothing_disagrees(page):
    info = page.tell(type="ready")
    assert info["scored"] is False and "disagrees" not in info["counts"]
    assert page.rows()[1]["margin"] is None and page.rows()[1]["disagrees"] is False
    assert page.ask(disagrees=True)["shown"] == 0


def test_a_reward_model_can_disagree_with_a_label_made_here(tmp_path):
    pairs = Pairs.from_items([pair(0), pair(1), pair(2)])
    store = LabelStore(tmp_path / "labels.sqlite")
    session = LabelSession(pairs, store, annotator="ada")
    page = Page(Browser(pairs, store, scores=[-1.0, -1.0, 1.0]))
    assert page.tell(type="ready")["counts"]["disagrees"] == 0
    for wanted in (0, 1, 1):
        shown = session.current()
        session.choose("left" if shown.left == pairs[shown.position].responses[wanted] else "right")
    assert page.tell(type="ready")["counts"]["disagrees"] == 2
    page.ask(disagrees=True)
    assert order(page) == [0, 2]


def test_a_column_of_the_frame_can_hold_the_scores(mixed):
    frame = mixed.frame.assign(margins=[1, 2, 3, 4, 5, 6])
    page = Page(Browser(Pairs(frame, mixed.report), scores="margins"))
    page.ask(sort="margin", descending=True)
    assert order(page) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("scores", "said"),
    [([1.0, 2.0], "2 scores for 6 pairs"), ("margins", "no column"), (["a"] * 6, "not numbers")],
)
def test_scores_that_do_not_fit_are_refused(mixed, scores, said):
    with pytest.raises(ConfigError, match=said):
        Browser(mixed, scores=scores)


def test_agreement_of_annotators(tmp_path):
    shared = {**A_WINS, "annotators": 3, "agreement": 2 / 3}
    alone = {**A_WINS, "annotators": 1, "agreement": 1.0}
    pairs = Pairs.from_items([pair(0), pair(1, shared), pair(2, alone)])
    store = LabelStore(tmp_path / "labels.sqlite")
    for person in ("ada", "bob"):
        store.append(LabelEvent("label", pairs[0].id, person, {"label": TIE}), pairs[0])
    page = Page(Browser(pairs, store))
    assert page.tell(type="ready")["shared"] is True
    assert [row["agreement"] for row in page.rows()] == [1.0, pytest.approx(2 / 3), None]
    page.ask(agreement=[0.5, 0.7])
    assert order(page) == [1]
    page.ask(sort="agreement")
    assert order(page) == [1, 0, 2]


def test_first_hits_first_and_the_rest_counted_behind(monkeypatch):
    monkeypatch.setattr(browser, "FIRST_HITS", 10)
    monkeypatch.setattr(searching, "BATCH", (16, 16))
    page = Page(Browser(Pairs.from_items(pair(n) for n in range(300))))
    asked = {"query": "question 1"}
    info = page.tell(type="ask", req=1, question=asked)
    assert 10 <= info["shown"] < 111 and info["counting"] and 0 <= info["fraction"] <= 1
    first = order(page)
    more = page.tell(type="more", version=info["version"])
    assert more == {"type": "found", "version": 1, "shown": 111, "counting": False, "fraction": 1}
    assert [row["row"] for row in page.rows()][: len(first)] == first
    assert page.tell(type="more", version=0) is None  # of another view
    page.tell(type="ask", req=2, question={"query": "question 2"})
    assert len(page.widget.shown) == 111  # all of them, counted or not: 2, 20-29, 200-299


def test_selecting_all_selects_what_is_not_counted_yet(monkeypatch):
    monkeypatch.setattr(browser, "FIRST_HITS", 10)
    monkeypatch.setattr(searching, "BATCH", (16, 16))
    page = Page(Browser(Pairs.from_items(pair(n) for n in range(300))))
    page.tell(type="ask", req=1, question={"query": "question 1"})
    assert page.tell(type="select", mode="all") == {"type": "selection", "selected": 111}


def test_another_order_waits_for_all_hits(monkeypatch):
    monkeypatch.setattr(browser, "SEARCH_SECONDS", 0)
    monkeypatch.setattr(searching, "BATCH", (16, 16))
    page = Page(Browser(Pairs.from_items(pair(n) for n in range(300))))
    page.widget._table.read()
    asked = {"query": "question 1", "sort": "gap"}
    waits = 0
    while (answer := page.tell(type="ask", req=1, question=asked))["type"] == "wait":
        assert answer["doing"] == "searching"
        waits += 1
    assert waits > 3 and answer["shown"] == 111 and not answer["counting"]


def test_rows_of_a_frame_in_many_pieces():
    arrow = pd.ArrowDtype(pa.large_string())
    pieces = pa.chunked_array([["a"], [], ["b", None], ["c"]], pa.large_string())
    text = pd.Series(pd.arrays.ArrowExtensionArray(pieces))
    frame = pd.DataFrame({"text": text, "number": [1, 2, 3, 4]}, index=[10, 20, 30, 40])
    frame["text"] = text.array
    some = rows_of(frame, np.array([3, 0, 2]))
    assert some.index.tolist() == [40, 10, 30] and some["number"].tolist() == [4, 1, 3]
    assert some["text"].tolist()[:2] == ["c", "a"] and some["text"].isna().tolist()[2]
    assert some["text"].dtype == arrow and list(some.columns) == ["text", "number"]
    assert len(rows_of(frame, np.empty(0, np.int64))) == 0


def test_sources_are_told_apart_without_their_numbers():
    names = [{"row": 1, "file": "a"}, {"file": "b", "row": 22}, {"run": "a", "step": 3}, {}]
    items = [
        Pair.make(said(f"q{n}", "user"), [said("x"), said("y")], source=source)
        for n, source in enumerate(names)
    ]
    page = Page(Browser(Pairs.from_items(items)))
    page.widget._table.read()
    assert page.tell(type="ready")["sources"] == ["-", "a", "b"]
    assert page.ask(source="a")["shown"] == 2 and page.ask(source="gone")["shown"] == 0


def test_labels_in_foreign_json_are_read():
    written = [
        '{ "winner": 1, "kind": "choice" }',
        '{"kind": "tie", "agreement": 0.5}',
        '{"kind":"choice","winner":7,"margin":0.25}',
        '{"kind":"rank"}',
        None,
    ]
    frame = Pairs.from_items(pair(n) for n in range(5)).frame
    frame["label"] = pd.array(written, dtype=frame["label"].dtype)
    labels = PairTable(frame).facts
    assert [LABEL_KINDS[code] for code in labels.kinds] == [
        "choice",
        "tie",
        "choice",
        "other",
        "unlabelled",
    ]
    assert labels.winners.tolist() == [1, -1, 7, -1, -1]
    assert labels.agreement[1] == 0.5 and np.isnan(labels.agreement[[0, 2, 3, 4]]).all()


def test_a_key_sends_the_pair_at_the_cursor_to_the_labeller(mixed, tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        page = Page(Browser(mixed, store))
        assert page.tell(type="ready")["queues"] is True
        page.ask(sort="row", descending=True)
        assert page.tell(type="queue", position=3) == {"type": "queued", "row": 2, "sent": True}
        assert page.tell(type="queue", position=3)["sent"] is False
        assert page.tell(type="queue", position=99) is None
        assert store.queue().ids() == [mixed[2].id]
        (event,) = store.event_list()
        assert event.payload == {"from": "browser"}


def test_without_a_store_there_is_no_labeller_to_send_to(page):
    assert page.tell(type="ready")["queues"] is False
    assert page.tell(type="queue", position=0) is None
