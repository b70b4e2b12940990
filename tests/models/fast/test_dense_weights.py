"""Decoding on plain weights must sample from the same distribution."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

import workbench.models.fast.dense_weights as dense_module
from workbench.models.fast.dense_weights import dense
from workbench.models.roles import Roles

from ..tiny import load, tiny_settings

IDS = torch.arange(5, 29).reshape(2, 12)


def fill(roles, name, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in roles.parameters(name):
            table.copy_(0.1 * torch.randn(table.shape, generator=generator))


@pytest.fixture(params=["none", "nf4"])
def roles(tiny, request):
    roles = Roles(load(tiny, request.param), tiny_settings(lora_alpha=12.0))
    for seed, name in enumerate(("policy", "reference")):
        roles.add(name, trainable=True)
        fill(roles, name, seed)
    return roles


@torch.no_grad()
def logits(roles):
    return roles.base.model(input_ids=IDS).logits


@pytest.mark.parametrize("role", ["policy", "reference", None])
def test_dense_weights_speak_as_the_role_does(roles, role):
    with roles.acting(role):
        expected = logits(roles)
    with dense(roles, role) as taken:
        assert taken
        found = logits(roles)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    with torch.no_grad():
        assert not torch.equal(found, expected) or role is None


def own_forwards(roles):
    return {m: vars(m)["forward"] for m in roles.base.model.modules() if "forward" in vars(m)}


def test_afterwards_everything_is_as_it_was(roles):
    own = own_forwards(roles)
    with roles.acting("policy"):
        before = logits(roles)
    with pytest.raises(ZeroDivisionError), dense(roles, "policy"):
        _ = 1 / 0
    with roles.acting("policy"):
        assert torch.equal(logits(roles), before)
    assert own_forwards(roles) == own


def test_it_follows_the_adapter_as_it_is_trained(roles):
    with dense(roles, "policy"):
        before = logits(roles)
    fill(roles, "policy", 7)
    with roles.acting("policy"):
        expected = logits(roles)
    with dense(roles, "policy"):
        found = logits(roles)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert float((found - before).abs().max()) > 0.01


def test_a_base_without_adapters_is_unpacked_too(tiny):
    roles = Roles(load(tiny, "nf4"), tiny_settings())
    expected = logits(roles)
    with dense(roles, None) as taken:
        assert taken
        torch.testing.assert_close(logits(roles), expected, rtol=0, atol=1e-4)


def test_without_memory_the_role_acts_as_always(roles, monkeypatch):
    monkeypatch.setattr(dense_module, "free_memory", lambda device: 1000)
    with roles.acting("policy"):
        expected = logits(roles)
    with dense(roles, "policy") as taken:
        assert not taken
        assert torch.equal(logits(roles), expected)


def test_an_adapter_that_is_not_simply_added_acts_as_always(tiny, tmp_path):
    """DoRA scales columns: its weights are no sum."""
    config = LoraConfig(r=4, target_modules="all-linear", use_dora=True)
    get_peft_model(load(tiny).model, config).save_pretrained(str(tmp_path / "dora"))
    roles = Roles(load(tiny), tiny_settings())
    roles.add("policy", trainable=True, source=tmp_path / "dora")
    with dense(roles, "policy") as taken:
        assert not taken


def test_the_reserve_is_counted_in_bytes(roles, monkeypatch):
    """All linear layers of the tiny model: 2 x (4 x 64 x 64 + 3 x 64 x 128) weights of 4 bytes."""
    size = 2 * (4 * 64 * 64 + 3 * 64 * 128) * 4
    assert size == sum(
        m.get_base_layer().in_features * m.get_base_layer().out_features * 4
        for m in roles.base.model.modules()
        if isinstance(m, LoraLayer)
    )
    for free, expected in ((size / 0.4 - 8, False), (size / 0.4 + 8, True)):
        monkeypatch.setattr(dense_module, "free_memory", lambda device, free=free: int(free))
        with dense(roles, "policy") as taken:
            assert taken is expected


def test_free_memory_is_what_the_system_says():
    free = dense_module.free_memory(torch.device("cpu"))
    assert 10**7 < free < 10**14
