"""Words as numbers: the same word the same number, wherever it stands."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.analysis.words import words_of

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
