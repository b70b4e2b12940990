import numpy as np
import pytest

from workbench.data.search.grams import mark, numbers


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("ab", 0),
        ("abc", 1),  # abc
        ("abcd", 3),  # abc bcd, abcd
        ("abcdef", 8),  # four of three, three of four, one of six
        ("猫", 1),
        ("熊猫", 5),  # each; both together under three numbers
        ("大熊猫", 10),  # three, twice three, and all of it
        ("aaaaa", 2),  # each gram once
    ],
)
def test_how_many_grams_a_text_has(text, count):
    assert len(numbers(text.encode(), 24)) == count


def test_the_grams_of_a_part_are_among_those_of_the_whole():
    whole = "naïve Ж и 大熊猫, panda 🐼 and so on".encode()
    marks = np.zeros(1 << 18, dtype=bool)
    mark(whole, marks)
    for part in ("naïve", "ve Ж и", "熊猫", "大熊猫, pa", "🐼 and", "so on"):
        found = numbers(part.encode(), 18)
        assert found and marks[found].all()
    assert not marks[numbers(b"zebra", 18)].all()


def test_numbers_are_below_their_bound():
    assert max(numbers(bytes(range(32, 127)) * 3, 5)) < 32
