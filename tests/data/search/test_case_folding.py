import re

import pytest

from workbench.data.search.case_folding import patterns, strangers


@pytest.mark.parametrize(
    ("wanted", "plain"),
    [
        ("ab", "[Aa][Bb]"),
        ("é1", "[Éé]1"),
        ("熊猫", "熊猫"),
        ('a"', r"[Aa](?:\\\")"),
        ("a.b", r"[Aa]\.[Bb]"),
        ("short\nlonger one", "[Ll][Oo][Nn][Gg][Ee][Rr]\\ [Oo][Nn][Ee]"),
    ],
)
def test_what_is_looked_for_where_lower_case_is_enough(wanted, plain):
    assert patterns(wanted).plain == plain


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("strasse", "STRAßE"),
        ("masse", "maẞe"),
        ("sx", "ßx"),
        ("kelvin", "\u212aelvin"),
        ("fine", "ﬁne"),
        ("xf", "xﬁ"),
    ],
)
def test_strangers_are_found(wanted, text):
    assert re.search(patterns(wanted).strange, text)


def test_who_is_a_stranger():
    assert all(re.fullmatch(strangers(), c) for c in "ßẞİς\u017f\u212aﬁ")
    assert not any(re.fullmatch(strangers(), c) for c in "aAéÉЖж熊")


@pytest.mark.parametrize("wanted", ["\x00", "a\x1f", "\ud800b"])
def test_what_only_odd_json_can_hold(wanted):
    assert patterns(wanted) is None


def test_words_of_the_structure_are_looked_for_inside_the_texts():
    inside = patterns("tent").plain
    assert not re.search(inside, '[{"role":"user","content":"a house"}]')
    assert re.search(inside, '[{"role":"user","content":"a \\"tent\\""}]')
