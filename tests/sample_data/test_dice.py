"""Chance: the same everywhere, and as likely as it says."""

from collections import Counter

from dice import Dice


def test_one_seed_makes_the_same_choices():
    def play() -> list[int]:
        dice = Dice(7)
        return [dice.below(100) for _ in range(5)] + dice.shuffled(range(5))

    assert play() == play()
    # random.Random(7).random() begins 0.3238, 0.1508, 0.6509 in every version of Python
    dice = Dice(7)
    assert [dice.below(10_000) for _ in range(3)] == [3238, 1508, 6509]


def test_shuffling_keeps_every_item_and_leaves_the_original_alone():
    items = [1, 2, 3, 4, 5, 6]
    assert sorted(Dice(1).shuffled(items)) == items == [1, 2, 3, 4, 5, 6]


def test_sampling_draws_different_items():
    assert len(set(Dice(2).sample(range(10), 7))) == 7


def test_weights_are_followed():
    dice = Dice(3)
    drawn = Counter(dice.weighted({"often": 3.0, "never": 0.0, "seldom": 1.0}) for _ in range(4000))
    assert drawn["never"] == 0
    assert 0.72 < drawn["often"] / 4000 < 0.78


def test_chance_and_pick():
    dice = Dice(4)
    assert not any(dice.chance(0.0) for _ in range(50))
    assert all(dice.chance(1.0) for _ in range(50))
    assert {dice.pick("ab") for _ in range(50)} == {"a", "b"}
