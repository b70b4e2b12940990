"""The last layer at the ends of sequences alone; that scores and gradients stay right is held for
every family in test_packing.py, whose scores come by this way."""

import pytest
import torch
from torch import nn

from workbench.models.fast.last_layer import Places, places_alone
from workbench.models.fast.packing import pack, packed_hidden, packed_places
from workbench.models.roles import Roles

from ..families import make_family
from ..tiny import tiny_settings
from .test_packing import MIXED, comparison


def seen_by(packed, places, window=None):
    """For each place, the tokens of the row that it sees."""
    sight = Places(packed.spans, places)
    found = {}
    for look in sight.looks:
        mask = sight.places_mask(torch.zeros(1), look, window)[0, 0] == 0
        for number in range(look.many):
            own = look.at + number * look.size
            row = [*range(look.shared, look.shared + look.before), *range(own, own + look.size)]
            for offset, seen in zip(look.offsets, mask, strict=True):
                found[own + offset] = [row[i] for i in seen.nonzero().flatten().tolist()]
    assert list(found) == list(places)
    return list(found.values())


def test_an_end_sees_what_is_shared_and_its_own():
    packed = pack([comparison(2, 1, 2), comparison(1, 1)], torch.device("cpu"))
    # shared 0 1, own 2, own 3 4; then one sequence by itself: 5 6
    assert packed.last.tolist() == [2, 4, 6]
    assert seen_by(packed, [2, 4, 6]) == [[0, 1, 2], [0, 1, 3, 4], [5, 6]]


def test_a_place_inside_sees_what_came_before_it():
    packed = pack([comparison(2, 1, 2), comparison(1, 1)], torch.device("cpu"))
    seen = seen_by(packed, [0, 1, 3, 5])
    assert seen == [[0], [0, 1], [0, 1, 3], [5]]


def test_sequences_asked_for_at_the_same_places_meet_the_attention_together():
    packed = pack([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]], [[1, 2, 3, 4]]], torch.device("cpu"))
    looks = Places(packed.spans, [1, 2, 4, 5, 7, 10]).looks
    # the third is asked for at one place, the fourth is longer
    assert [(look.at, look.many, look.offsets) for look in looks] == [
        (0, 2, (1, 2)),
        (6, 1, (1,)),
        (9, 1, (1,)),
    ]


def test_a_window_counts_positions_not_places():
    packed = pack([comparison(3, 1, 2)], torch.device("cpu"))
    # positions 0 1 2 | 3 | 3 4: of the second answer's end, three positions back are 2, 3 and 4
    assert seen_by(packed, [3, 5], window=3) == [[1, 2, 3], [2, 4, 5]]


@pytest.mark.parametrize("family", ["Gemma 2", "Llama", "OPT"])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_places_are_those_of_the_whole_row(family, every):
    base = make_family(family)
    packed = pack(MIXED, base.device)
    places = list(range(0, len(packed.ids), every))
    with torch.no_grad():
        whole = packed_hidden(base, packed)[places]
        torch.testing.assert_close(packed_places(base, packed, places), whole, rtol=0, atol=1e-5)


def test_gradients_are_those_of_the_whole_row():
    base = make_family("Llama")
    packed = pack(MIXED, base.device)
    places = list(range(1, len(packed.ids), 2))
    weights = [p for name, p in base.model.named_parameters() if "proj" in name]
    for weight in weights:
        weight.requires_grad_(True)
    upstream = torch.randn(len(places), base.width)
    found = []
    for hidden in (packed_hidden(base, packed)[places], packed_places(base, packed, places)):
        found.append(torch.autograd.grad((upstream * hidden).sum(), weights))
    for whole, alone in zip(*found, strict=True):
        assert float((alone - whole).norm()) <= 1e-4 * float(whole.norm())


@pytest.mark.parametrize("family", ["Gemma 2", "Llama", "OPT"])
def test_ends_are_those_of_the_whole_row(family):
    base = make_family(family)
    packed = pack(MIXED, base.device)
    with torch.no_grad():
        whole = packed_hidden(base, packed)[packed.last]
        torch.testing.assert_close(
            packed_places(base, packed, packed.last.tolist()), whole, rtol=0, atol=1e-5
        )


def test_what_follows_the_last_attention_runs_for_the_places_alone():
    base = make_family("Llama")
    packed = pack(MIXED, base.device)
    rows: list[int] = []
    base.last_layer.mlp.register_forward_hook(lambda m, given, out: rows.append(out.shape[1]))
    packed_places(base, packed, packed.last.tolist())
    assert rows == [len(packed.last)]


@pytest.mark.parametrize("family", ["Llama", "OPT"])
def test_nobody_makes_what_nobody_looks_at(family, monkeypatch):
    base = make_family(family)
    packed = pack(MIXED, base.device)
    names = {id(m): name.rpartition(".")[2] for name, m in base.last_layer.named_modules()}
    rows: dict[str, list[int]] = {"q_proj": [], "k_proj": [], "v_proj": []}
    real = nn.Linear.forward

    def watched(layer, x):
        rows.get(names.get(id(layer)), []).append(x.shape[1])
        return real(layer, x)

    monkeypatch.setattr(nn.Linear, "forward", watched)
    places = [0, 3, 7]
    packed_places(base, packed, places)
    count = len(packed.ids)
    assert rows == {"q_proj": [len(places)], "k_proj": [count], "v_proj": [count]}


def test_a_projection_that_is_watched_is_computed():
    base = make_family("Llama")
    packed = pack(MIXED, base.device)
    seen: list[bool] = []
    keys = base.last_layer.get_submodule("self_attn.k_proj")
    keys.register_forward_hook(lambda m, given, out: seen.append(bool(out.any())))
    packed_places(base, packed, [0, 3, 7])
    assert seen == [True, True]


def test_afterwards_the_projections_are_as_they_were():
    base = make_family("Llama")
    Roles(base, tiny_settings()).add("policy", trainable=True)
    keys = base.last_layer.get_submodule("self_attn.k_proj")
    before = vars(keys)["forward"]
    packed_places(base, pack(MIXED, base.device), [0])
    assert vars(keys)["forward"] is before
    assert "forward" not in vars(base.last_layer.get_submodule("self_attn.k_proj.base_layer"))


def test_afterwards_the_layer_is_as_it_was():
    base = make_family("Llama")
    packed = pack(MIXED, base.device)
    with torch.no_grad():
        before = packed_hidden(base, packed)
        packed_places(base, packed, packed.last.tolist())
        assert torch.equal(packed_hidden(base, packed), before)
    assert "forward" not in vars(base.last_layer)


def test_a_fault_inside_the_layer_is_not_swallowed(monkeypatch):
    base = make_family("Llama")

    def broken(*_):
        raise FloatingPointError("inside")

    base.last_layer.input_layernorm.forward = broken
    with pytest.raises(FloatingPointError, match="inside"):
        packed_places(base, pack(MIXED, base.device), [0])
    assert "forward" not in vars(base.last_layer)


def test_some_models_give_every_token(monkeypatch):
    assert places_alone(make_family("Mistral"))
    assert not places_alone(make_family("GPT-2"))
    base = make_family("Llama")
    base.recompute(lambda: ())
    assert not places_alone(base)
