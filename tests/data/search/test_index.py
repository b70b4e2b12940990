import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.search import arrow_texts
from workbench.data.search import index as searching
from workbench.data.search.arrow_texts import Texts
from workbench.data.search.index import BLOCKS, Search, TextIndex
from workbench.errors import DataError
from workbench.json_lines import dumps


def turn(text, role="assistant"):
    return {"role": role, "content": text}


def texts_of(rows, write=dumps, chunk=3):
    """Rows of (prompt, answer, answer), in chunks of an odd size."""
    prompts = [write([turn(row[0], "user")]) for row in rows]
    responses = [write([[turn(answer)] for answer in row[1:]]) for row in rows]
    split = [
        pa.chunked_array(
            [cells[n : n + chunk] for n in range(0, len(cells), chunk)], pa.large_string()
        )
        for cells in (prompts, responses)
    ]
    return Texts(*split)


def search(index, query, **how):
    found = Search(index, query.casefold(), **how)
    found.go_on()
    assert found.is_complete
    return found.rows.tolist()


def brute(rows, query):
    return [n for n, row in enumerate(rows) if query.casefold() in "\n".join(row).casefold()]


HARD = [
    ("the Straße", "MASSE", "\u017ftraße"),
    ("İstanbul", "i̇stanbul", "ISTANBUL"),
    ('say "hi"', "back\\slash", "line\nbreak\tab"),
    ("中国的文字", "日本語です", "カタカナ"),
    ("half \ud800 of", "\udc00", "ok"),
    ("nul \x00 bell \x07", "\x7f del", "\u2028"),
    ("\u212aelvin", "KELVIN", "ﬁne ﬆop"),
    ("role", "user content", "plain"),
    ("plain", "system", "assistant"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος", "ΐ ΰ"),
    ("C:\\users\\new", "\\underline", "\\\\u"),
    ("ends with a", "b begins", "{}[],:"),
    ("👩‍👩‍👧 😀", "naïve CAFÉ", "№ ①"),
    ("ß", "s", "ẞ"),
]
QUERIES = [
    *("strasse", "STRASSE", "ss", "s", "ß", "traß", "masse", "i̇", "istanbul", "İ", "i"),
    *('"hi"', '"', "\\", "k\\s", "line", "new", "\nbreak", "e\nb", "ak\ta", "国的", "国", "本語"),
    *("タカ", "\ud800", "f \ud800", "\x00", "\x07", "\x7f", "\u2028", "kelvin", "K", "fi", "fine"),
    *("st", "top", "stop", "role", "user", "ser", "tent", "content", "assistant", "system", "ant"),
    *("σίσυφοσ", "ΐ", "\u0301", "users", "\\new", "\\u", "under", "a\nb", "a\nb begins", "}", "{"),
    *(",", ":", "[{", "👩", "\u200d", "😀", "ïv", "café", "É", "№", "①", "x", "nothing here"),
    *("\n", "\n\n", "\nuser", "role\n"),
]


@pytest.mark.parametrize("write", [dumps, json.dumps], ids=["canonical", "ascii"])
@pytest.mark.parametrize("query", QUERIES)
def test_what_is_found_is_what_reading_every_row_finds(write, query):
    rows = HARD * 3
    index = TextIndex(texts_of(rows, write), block=2)
    before = search(index, query)  # nothing is indexed: every row is looked at
    index.build()
    assert search(index, query) == before == brute(rows, query)


LETTERS = (
    st.sampled_from('abkKsStTfiIß \u017fﬁİK"\\/\n\t中国日本語éÉσςΣ\x00\x1f{}[]:,un0😀')
    | st.characters()
)
SHORT = st.text(LETTERS, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SHORT, SHORT, SHORT), min_size=1, max_size=9), st.data())
def test_any_texts_any_query(rows, data):
    drawn = data.draw(st.sampled_from([text for row in rows for text in row if text] or ["a"]))
    start = data.draw(st.integers(0, len(drawn) - 1))
    part = drawn[start : start + data.draw(st.integers(1, 6))]
    query = data.draw(st.sampled_from([part, part.swapcase(), part.upper(), part.casefold()]))
    index = TextIndex(texts_of(rows), block=2)
    assert search(index, query) == brute(rows, query)
    index.build()
    assert search(index, query) == brute(rows, query)
    assert search(index, query, backwards=True) == brute(rows, query)[::-1]


def many(count, seed=0):
    """Rows of words; every 50th has "zebra", every 200th 熊猫."""
    dice = random.Random(seed)
    words = ["".join(dice.choices("etaoinshrd", k=dice.randint(3, 8))) for _ in range(2000)]
    rows = []
    for n in range(count):
        said = [" ".join(dice.choices(words, k=12)) for _ in range(3)]
        said[n % 3] += " Zebra" * (n % 50 == 7) + "大熊猫" * (n % 200 == 9)
        rows.append(tuple(said))
    return rows


ROWS = many(3000)


@pytest.fixture(scope="module")
def index():
    made = TextIndex(texts_of(ROWS, chunk=700), block=8)  # 6 groups of 512 rows
    made.build()
    return made


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(searching, "BATCH", (64, 128))


@pytest.mark.usefixtures("small_steps")
def test_a_search_stops_when_it_has_enough_and_goes_on_from_there(index):
    found = Search(index, "zebra")
    found.go_on(hits=5)
    some = found.rows.tolist()
    assert some == list(range(7, 3000, 50))[: len(some)] and 5 <= len(some) < 60
    assert not found.is_complete and 0 < found.fraction < 1
    found.go_on()
    assert found.rows.tolist() == list(range(7, 3000, 50))
    assert found.is_complete and found.fraction == 1
    found.go_on()  # nothing more to do
    assert len(found.rows) == 60


@pytest.mark.usefixtures("small_steps")
def test_a_search_stops_in_time(index):
    found = Search(index, "e")
    found.go_on(seconds=0)
    assert 0 < len(found.rows) < 3000 and not found.is_complete


@pytest.mark.usefixtures("small_steps")
def test_the_last_hits_first(index):
    found = Search(index, "zebra", backwards=True)
    found.go_on(hits=3)
    some = found.rows.tolist()
    assert some == list(range(7, 3000, 50))[::-1][: len(some)] and len(some) < 60


def test_only_rows_that_are_kept(index):
    keep = np.zeros(3000, dtype=bool)
    keep[[9, 209, 210, 2809]] = True
    assert search(index, "熊猫", keep=keep) == [9, 209, 2809]
    assert search(index, "熊猫", keep=np.zeros(3000, dtype=bool)) == []


def test_the_index_leaves_out_blocks_without_the_word(index):
    looked = []
    found = Search(index, "熊猫")
    found._look = lambda runs, look=found._look: looked.extend(runs) or look(runs)
    found.go_on()
    assert len(found.rows) == 15
    assert 15 * 8 <= sum(stop - start for start, stop in looked) <= 20 * 8


def test_what_stands_around_the_texts_is_not_indexed(index):
    looked = []
    found = Search(index, "content")
    found._look = lambda runs: looked.extend(runs) or np.empty(0, np.int64)
    found.go_on()
    assert sum(stop - start for start, stop in looked) <= 3000 // 20


def test_a_search_finds_all_while_the_index_grows():
    index = TextIndex(texts_of(ROWS, chunk=700), block=8)
    assert index.indexed == 0 and not index.is_built
    index.grow()
    assert index.indexed == 8 * BLOCKS
    found = Search(index, "zebra")
    found.go_on(hits=1)
    index.grow()
    found.go_on()
    assert found.rows.tolist() == list(range(7, 3000, 50))
    index.build()
    assert index.indexed == 3000 and index.is_built
    assert index.size < 6 * (1 << 17) * 8 + 6001


def test_several_cores_find_what_one_does(monkeypatch):
    texts = pa.chunked_array([[f"row {n}" for n in range(700)], [None], ["row 7"]])
    alone = arrow_texts.has(texts, "7$")
    monkeypatch.setattr(arrow_texts, "ROWS_A_CORE", 100)
    monkeypatch.setattr(arrow_texts, "CORES", 3)
    assert arrow_texts.has(texts, "7$").tolist() == alone.tolist()
    assert alone.sum() == 71 and alone[701] and not alone[700]


def test_nothing_in_nothing():
    index = TextIndex(texts_of([]))
    index.build()
    assert index.is_built and search(index, "x") == []


def test_text_columns_need_not_be_large_strings():
    prompt = pa.array([dumps([turn("Question", "user")])])
    responses = pa.array([dumps([[turn("one")], [turn("two")]])]).dictionary_encode()
    index = TextIndex(Texts(prompt, responses))
    index.build()
    assert search(index, "question") == [0] and search(index, "two") == [0]


@pytest.mark.parametrize("cell", ["not json with apple", '[{"role":"user","apple":1}]', "[3]"])
def test_a_row_that_cannot_be_read_is_named(cell):
    good = dumps([turn("an apple", "user")])
    answers = dumps([[turn("one apple")], [turn("two")]])
    index = TextIndex(Texts(pa.array([good, cell]), pa.array([answers, answers])))
    with pytest.raises(DataError, match="row 1 of the frame"):
        search(index, "apple")
