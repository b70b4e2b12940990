import pytest
import torch

from workbench.models.answer_scores import packed_scores
from workbench.models.fast.packing_support import TESTED, packs

from ..families import FAMILIES, SIZES, make_base, make_family

BLOOM = {"vocab_size": 40, "hidden_size": 32, "n_layer": 1, "n_head": 4}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_that_pack(name):
    made = make_family(name)
    assert packs(made.model) is None
    packed_scores(made, torch.nn.Linear(32, 1), [[[5, 6], [5, 7]]])
    assert packs(made.model) is None  # now with our attention around the model's own


def test_every_family_on_the_list_has_a_test():
    assert {kind for kind, _ in FAMILIES.values()} == TESTED


@pytest.mark.parametrize(
    ("kind", "causal", "config"),
    [
        ("bloom", True, BLOOM),
        ("mpt", True, {"vocab_size": 40, "d_model": 32, "n_layers": 1, "n_heads": 4}),
        ("falcon", True, {**SIZES, "alibi": True}),
        ("bert", False, {**SIZES, "intermediate_size": 48}),
    ],
)
def test_families_that_do_not_pack(kind, causal, config):
    made = make_base(kind, causal=causal, **config)
    assert packs(made.model) == f"models of the kind {kind} are not on the tested list"


def test_code_from_outside_transformers_does_not_pack():
    model = make_family("Llama").model
    model.__class__ = type("Llama", (type(model),), {"__module__": "transformers_modules.own"})
    assert packs(model) == "models of the kind llama are not on the tested list"


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotary_angles_that_depend_on_the_batch_do_not_pack(kind):
    model = make_family("Llama").model
    model.config.rope_parameters = {"rope_type": kind, "rope_theta": 10000.0}
    assert packs(model) == f"the model's rotary angles ({kind}) depend on the longest row"


def test_rotary_angles_of_one_layer_type_count_too():
    model = make_family("Gemma 3").model
    assert set(model.config.rope_parameters) == {"sliding_attention", "full_attention"}
    model.config.rope_parameters["full_attention"]["rope_type"] = "dynamic"
    assert packs(model) == "the model's rotary angles (dynamic) depend on the longest row"


def test_attention_in_both_directions_does_not_pack():
    model = make_family("Gemma 3", use_bidirectional_attention=True).model
    assert packs(model) == "a token of this model also sees what comes after it"


def test_attention_that_cannot_be_cut_does_not_pack():
    model = make_family("Llama", attention="flex_attention").model
    assert packs(model) == "the model's attention is flex_attention, neither sdpa nor eager"
