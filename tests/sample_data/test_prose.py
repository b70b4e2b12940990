"""Pretraining texts: as long as promised, and only with prompts that may be seen."""

import re

from dice import Dice
from prose import write_text

from workbench.world.grammar import requests


def test_records_have_30_to_120_words():
    dice = Dice(5)
    lengths = [len(write_text(dice, requests()).split()) for _ in range(300)]
    assert min(lengths) >= 30
    assert max(lengths) <= 120


def test_talks_use_only_the_prompts_they_are_given():
    dice = Dice(6)
    seen = requests()[:1]
    texts = [write_text(dice, seen) for _ in range(200)]
    asked = {line for text in texts for line in re.findall(r"Question: (.*)", text)}
    assert asked == {seen[0].text}


def test_texts_read_as_sentences():
    dice = Dice(8)
    for _ in range(300):
        text = write_text(dice, requests())
        assert not re.search(r"  |\s[.,]|[.?][.?]|\ba [aeiou]|\ban [^aeiouh]", text.lower()), text
        assert text[0].isupper() or text.startswith("1) ")
