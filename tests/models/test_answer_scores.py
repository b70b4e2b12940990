import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.models.answer_scores import (
    packed_scores,
    packed_tokens,
    separate_scores,
    separate_tokens,
    similar,
    token_batches,
)

from .families import SIZES, make_base, make_family

ROWS = [
    [[5, 6, 7, 8], [5, 6, 9]],
    [[10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 1], [10, 11, 1], [10, 11, 12, 21, 1]],
]
MODELS = {
    "bloom": (True, {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": (True, {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 4}),
    "bert": (False, {**SIZES, "intermediate_size": 48}),
    "deberta-v2": (False, {**SIZES, "intermediate_size": 48, "relative_attention": True}),
    "distilbert": (False, {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 4}),
}


def alone(base, head):
    """Scores of one forward pass a sequence, without any padding."""
    rows = [row for sequences in ROWS for row in sequences]
    hidden = [base.trunk(input_ids=torch.tensor([row]))[0][0, -1] for row in rows]
    return torch.stack([head(h)[0] for h in hidden])


@pytest.mark.parametrize("kind", MODELS)
def test_separate_passes_serve_models_that_do_not_pack(kind):
    """Padding, which lies to the right, is seen neither through ALiBi nor by an encoder."""
    causal, config = MODELS[kind]
    base = make_base(kind, causal=causal, **{"initializer_range": 0.2, **config})
    head = torch.nn.Linear(32, 1, bias=False)
    with torch.no_grad():
        expected = alone(base, head)
        scores = separate_scores(base, head, ROWS)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_both_ways_give_the_same_scores_in_the_order_given():
    base, head = make_family("Llama"), torch.nn.Linear(32, 1, bias=False)
    with torch.no_grad():
        expected = alone(base, head)
        for way in (separate_scores, packed_scores):
            torch.testing.assert_close(way(base, head, ROWS), expected, rtol=0, atol=1e-5)


def test_tokens_of_a_comparison_by_hand():
    assert [packed_tokens(c) for c in ROWS] == [2 + 2 + 1, 2 + 10 + 1 + 3]
    assert [separate_tokens(c) for c in ROWS] == [7, 12 + 3 + 5]


def test_token_batches_by_hand():
    # ascending sizes: 1, 2, 3 | 5 | 9 alone although it is over the budget
    assert token_batches([5, 1, 9, 3, 2], tokens=6) == [[1, 4, 3], [0], [2]]
    assert token_batches([4, 4, 4], tokens=8) == [[0, 1], [2]]
    assert token_batches([], tokens=8) == []


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_token_batches_are_a_partition_within_the_budget(sizes, tokens):
    groups = token_batches(sizes, tokens=tokens)
    assert sorted(i for g in groups for i in g) == list(range(len(sizes)))
    assert all(len(g) == 1 or sum(sizes[i] for i in g) <= tokens for g in groups)


def test_similar_rows_by_hand():
    # 9 and 10 waste 1 slot of 20; 5 beside them would waste 5 of 27
    assert similar([10, 5, 9]) == [[1], [2, 0]]
    assert similar([10, 5, 9], waste=0.5) == [[1, 2, 0]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.sampled_from([0.0, 0.1, 0.3]))
def test_similar_rows_waste_little(lengths, waste):
    groups = similar(lengths, waste=waste)
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        slots = len(group) * max(lengths[i] for i in group)
        assert slots - sum(lengths[i] for i in group) <= waste * slots
