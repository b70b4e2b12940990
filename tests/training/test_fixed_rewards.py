import pytest

from workbench.training.fixed_rewards import letter_e


def test_of_every_twenty_letters_how_many_are_an_e():
    texts = ["eeeee", "E, a! t", "bcd", "", "12 %", "été"]
    # 5 of 5; 1 of 3; none; no letters at all, twice; accented letters are others
    expected = [20.0, 20 / 3, 0.0, 0.0, 0.0, 0.0]
    assert letter_e([[]] * len(texts), texts) == pytest.approx(expected)
