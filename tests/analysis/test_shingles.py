"""Nearly the same: against a plain comparison of all pairs, and cases worked by hand."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analysis.shingles import LIKENESS, Shingles, words_of


def found(texts, **options):
    shingles = Shingles()
    for text in texts:
        shingles.add(text)
    assert len(shingles) == len(texts)
    return {(a.earlier, a.later): a.likeness for a in shingles.alike(**options)}


def runs(text):
    words = text.split()
    return {tuple(words[n : n + 3]) for n in range(max(1, len(words) - 2))}


def likeness(one, other):
    return len(runs(one) & runs(other)) / len(runs(one) | runs(other))


def test_likeness_worked_by_hand():
    # 10 words, 8 runs; one word more at the end is one run more: 8 of 9
    ten = "a b c d e f g h i j"
    assert found([ten, ten + " k"]) == {(0, 1): pytest.approx(8 / 9)}
    # another word in the middle changes three runs of eight: 5 of 11
    assert found([ten, "a b c d X f g h i j"]) == {}
    assert found([ten, ten.upper() + "!"]) == {(0, 1): 1.0}


def test_short_and_empty_texts_are_like_their_equals_alone():
    assert found(["", "a", "a b", "b a", "a", "", "a b c"]) == {(1, 4): 1.0, (0, 5): 1.0}


def test_scripts_without_blanks_are_read_by_characters():
    said = "今日はとても良い天気ですね散歩に行きましょう"
    assert list(found([said, said + "か", "明日は雨が降るでしょう傘を持って行ってください"])) == [
        (0, 1)
    ]


def test_every_near_text_is_found_and_no_other():
    rng = random.Random(0)
    words = [f"w{n}" for n in range(3000)]
    texts = [" ".join(rng.choices(words, k=40)) for _ in range(300)]
    for n in range(100):  # a word changed, likeness 35/41 = 0.854
        changed = texts[n].split()
        changed[rng.randrange(3, 37)] = "other"
        texts.append(" ".join(changed))
    rng.shuffle(texts)
    expected = {
        later
        for later in range(len(texts))
        for earlier in range(later)
        if likeness(texts[earlier], texts[later]) >= LIKENESS
    }
    alike = found(texts)
    assert {later for _, later in alike} == expected and len(alike) == len(expected) == 100
    assert all(value == pytest.approx(35 / 41) for value in alike.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), max_size=8))
def test_each_text_is_yielded_once_with_its_true_likeness(texts):
    alike = found(texts, likeness=0.5)
    assert len({later for _, later in alike}) == len(alike)
    for (earlier, later), value in alike.items():
        assert earlier < later
        assert value == pytest.approx(likeness(texts[earlier], texts[later]))
    for later, text in enumerate(texts):  # equal texts are always found
        assert any(n == later for _, n in alike) or text not in texts[:later]


def test_across_compares_the_two_parts_alone():
    texts = ["a b c d", "x y z", "a b c d", "q r s", "a b c d", "q r s"]
    assert set(found(texts)) == {(0, 2), (0, 4), (3, 5)}
    assert set(found(texts, across=2)) == {(0, 2), (0, 4)}
    assert set(found(texts, across=4)) == {(0, 4), (3, 5)}


def test_many_texts_in_small_blocks_are_the_same(monkeypatch):
    texts = [f"one two three four five {n} six seven eight nine ten {n % 5}" for n in range(50)]
    whole = found(texts, likeness=0.2)
    monkeypatch.setattr("workbench.analysis.shingles._BLOCK", 70)
    assert found(texts, likeness=0.2) == whole


def test_no_text_is_no_pair():
    assert found([]) == {}


# --- words as numbers ----------------------------------------------------------------------------

# what a word is, said another way: of characters above U+07FF each is a word, general punctuation
# (U+2000 to U+203F) and Latin-1 signs excepted
WORD = re.compile("[a-zA-Z0-9\u00c0-\u07ff]+|[\u0800-\u1fff\u2040-\U0010ffff]")


def numbers(*texts):
    words, counts = words_of([text.encode("utf-8", "surrogatepass") for text in texts])
    assert len(words) == counts.sum()
    ends = counts.cumsum()
    return [words[end - size : end].tolist() for end, size in zip(ends, counts, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one, two\tthree\u2014four\u00a0five", ["one", "two", "three", "four", "five"]),
        ("今日x yは", ["今", "日", "x", "y", "は"]),
        ("a😀b", ["a", "😀", "b"]),
        ("«né» naïve", ["né", "naïve"]),
        ("", []),
        (" . \n", []),
    ],
)
def test_words_worked_by_hand(text, expected):
    assert WORD.findall(text) == expected
    (found,) = numbers(text)
    assert found == [numbers(word)[0][0] for word in expected]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_the_same_words_have_the_same_numbers_and_others_have_others(texts):
    found = numbers(*texts)
    expected = [WORD.findall(text) for text in texts]
    assert list(map(len, found)) == list(map(len, expected))
    pairs = {
        (word, number)
        for words, nums in zip(expected, found, strict=True)
        for word, number in zip(words, nums, strict=True)
    }
    assert len(pairs) == len({word for word, _ in pairs}) == len({number for _, number in pairs})
