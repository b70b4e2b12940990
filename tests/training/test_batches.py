import pytest
import torch

from workbench.training.batches import (
    batch_for,
    batch_indices,
    prompt_key,
    shuffled,
    steps_for,
)


@pytest.mark.parametrize(
    ("rows", "batch", "steps", "epochs", "expected"),
    [
        (100, 10, 0, 1.0, 10),
        (100, 10, 0, 2.5, 25),
        (100, 30, 0, 1.0, 3),
        (5, 16, 0, 1.0, 1),  # at least one
        (100, 10, 7, 3.0, 7),  # as asked
    ],
)
def test_steps_are_as_asked_or_enough_for_the_passes(rows, batch, steps, epochs, expected):
    assert steps_for(rows, batch, steps=steps, epochs=epochs) == expected


@pytest.mark.parametrize(
    ("rows", "asked", "once", "expected"),
    [
        (1600, 0, True, 32),  # 50 steps
        (15_000, 0, True, 32),
        (1599, 0, True, 16),
        (800, 0, True, 16),
        (799, 0, True, 8),
        (3, 0, True, 8),
        (3, 64, True, 64),
        (48, 0, False, 32),
        (48, 7, False, 7),
    ],
)
def test_a_batch_is_as_asked_or_leaves_a_single_pass_fifty_steps(rows, asked, once, expected):
    assert batch_for(rows, asked, once=once) == expected


def test_each_pass_sees_every_row_once_in_an_order_of_its_own():
    """7 rows in batches of 3: steps 0 to 6 are 21 rows, three passes."""
    seen = [i for step in range(7) for i in batch_indices(step, 7, 3, seed=0)]
    passes = [seen[0:7], seen[7:14], seen[14:21]]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_a_step_does_not_depend_on_the_steps_before_it():
    forward = [batch_indices(step, 10, 4, seed=3) for step in range(8)]
    backward = [batch_indices(step, 10, 4, seed=3) for step in reversed(range(8))]
    assert forward == backward[::-1]


def test_the_seed_decides_the_order():
    assert batch_indices(0, 50, 20, seed=0) != batch_indices(0, 50, 20, seed=1)


def test_a_batch_larger_than_the_data_wraps_around():
    assert sorted(batch_indices(0, 3, 6, seed=0)) == [0, 0, 1, 1, 2, 2]


def test_shuffled_is_a_permutation_that_the_generator_draws():
    generator = torch.Generator().manual_seed(1)
    first, second = shuffled(20, generator), shuffled(20, generator)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert shuffled(20, torch.Generator().manual_seed(1)) == first


def test_prompt_keys_tell_prompts_apart():
    a, b = {"role": "user", "content": "a"}, {"role": "user", "content": "b"}
    keys = [prompt_key(p) for p in ([a], [b], [a, b], [b, a], [{**a, "role": "system"}])]
    assert len(set(keys)) == 5
    assert prompt_key([dict(a)]) == keys[0]
