"""The last layer at the ends of sequences alone; that scores and gradients stay right is held for
every family in test_packing.py, whose scores come by this way."""

import pytest
import torch

from workbench.models.attention import Sight
from workbench.models.ends import Ends, ends_alone, last_layer
from workbench.models.packing import pack, packed_ends, packed_hidden

from .families import WINDOW, make_family
from .test_packing import MIXED, comparison


def seen_by(spans, positions, ends, window=None):
    """For each end, the tokens that it sees."""
    mask = Ends(spans, positions, ends)._ends_mask(torch.float32, window)
    return [row.nonzero().flatten().tolist() for row in mask[0, 0] == 0]


def test_an_end_sees_what_is_shared_and_its_own():
    packed = pack([comparison(2, 1, 2), comparison(1, 1)], torch.device("cpu"))
    # shared 0 1, own 2, own 3 4; then one sequence by itself: 5 6
    assert packed.last.tolist() == [2, 4, 6]
    seen = seen_by(packed.spans, packed.positions, packed.last)
    assert seen == [[0, 1, 2], [0, 1, 3, 4], [5, 6]]


def test_a_window_counts_positions_not_places():
    packed = pack([comparison(3, 1, 2)], torch.device("cpu"))
    # positions 0 1 2 | 3 | 3 4: of the second answer's end, three positions back are 2, 3 and 4
    seen = seen_by(packed.spans, packed.positions, packed.last, window=3)
    assert seen == [[1, 2, 3], [2, 4, 5]]


@pytest.mark.parametrize("family", ["Llama", "Gemma 2", "OPT"])
def test_ends_are_those_of_the_whole_row(family):
    base = make_family(family)
    packed = pack(MIXED, base.device)
    with torch.no_grad():
        whole = packed_hidden(base, packed)[packed.last]
        torch.testing.assert_close(packed_ends(base, packed), whole, rtol=0, atol=1e-5)


def test_what_follows_the_last_attention_runs_for_the_ends_alone():
    base = make_family("Llama")
    packed = pack(MIXED, base.device)
    rows: list[int] = []
    last_layer(base).mlp.register_forward_hook(lambda m, given, out: rows.append(out.shape[1]))
    packed_ends(base, packed)
    assert rows == [len(packed.last)]


def test_afterwards_the_layer_is_as_it_was():
    base = make_family("Llama")
    packed = pack(MIXED, base.device)
    with torch.no_grad():
        before = packed_hidden(base, packed)
        packed_ends(base, packed)
        assert torch.equal(packed_hidden(base, packed), before)
    assert "forward" not in vars(last_layer(base))


def test_a_fault_inside_the_layer_is_not_swallowed(monkeypatch):
    base = make_family("Llama")

    def broken(*_):
        raise FloatingPointError("inside")

    last_layer(base).input_layernorm.forward = broken
    with pytest.raises(FloatingPointError, match="inside"):
        packed_ends(base, pack(MIXED, base.device))
    assert "forward" not in vars(last_layer(base))


def test_some_models_give_every_token(monkeypatch):
    assert ends_alone(make_family("Mistral"))
    assert not ends_alone(make_family("GPT-2"))
    base = make_family("Llama")
    base.recompute(lambda: ())
    assert not ends_alone(base)
    assert WINDOW and isinstance(Ends((), torch.zeros(0), torch.zeros(0)), Sight)
