"""What a card computes in fewer kernels is what the plain way computes."""

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit

from workbench.models.fast import attention, on_card, rope
from workbench.models.fast.dense_weights import dense
from workbench.models.forward import lay, response_hidden, response_logprobs
from workbench.models.roles import Roles
from workbench.training.optimiser import Optimiser

from ..tiny import load, make_model, tiny_settings
from .launches import ROWS, as_on_a_card

BOUND = {"bfloat16": 3e-2, "float16": 4e-3}
"""How far from the plain way, as a share of the norm: some roundings of 2^-8 and of 2^-11."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return make_model(tmp_path_factory.mktemp("joined"), **heads)


def made(folder, *, unpacks=False, fill=True, **how):
    """A base with two roles, whose adapters add something."""
    how = {"quantization": "nf4", "dtype": "bfloat16", **how}
    roles = Roles(load(folder, **how), tiny_settings(**how), unpacks=unpacks)
    for seed, name in enumerate(("policy", "value")):
        roles.add(name, trainable=True, seed=seed)
        for weight in roles.parameters(name)[1::2] if fill else ():
            ramp = torch.arange(weight.numel()).sin().reshape(weight.shape)
            weight.data.copy_(0.1 * (seed + 1) * ramp)
    return roles


def told(roles, role="policy"):
    """Log-probabilities, and gradients of their weighted sum."""
    base = roles.base
    with roles.acting(role):
        batch = lay(ROWS, base)
        hidden = response_hidden(base, batch)
        logprobs = response_logprobs(base, batch, temperature=1.0, hidden=hidden)
    ramp = torch.arange(logprobs.numel()).cos().reshape(logprobs.shape)
    weights = roles.parameters(role) if role else []
    return logprobs.detach(), torch.autograd.grad((logprobs * ramp).sum(), weights)


def far(found, known):
    return float((found.float() - known.float()).norm() / known.float().norm())


@pytest.mark.parametrize("how", [{}, {"unpacks": True}, {"quantization": "none"}], ids=str)
@pytest.mark.parametrize("dtype", BOUND)
def test_joined_layers_give_what_each_gives_alone(folder, monkeypatch, how, dtype):
    plain = told(made(folder, dtype=dtype, **{k: v for k, v in how.items() if k != "unpacks"}))
    as_on_a_card(monkeypatch)
    logprobs, gradients = told(made(folder, dtype=dtype, **how))
    assert far(logprobs, plain[0]) < BOUND[dtype]
    for found, known in zip(gradients, plain[1], strict=True):
        assert found.dtype == known.dtype == torch.float32
        assert far(found, known) < 3 * BOUND[dtype]


@pytest.mark.parametrize("unpacks", [False, True])
def test_an_adapter_that_adds_nothing_is_the_base_to_the_bit(folder, monkeypatch, unpacks):
    """So that KL is exactly 0 at first, and the ratio exactly 1."""
    as_on_a_card(monkeypatch)
    roles = made(folder, unpacks=unpacks, fill=False)
    with torch.no_grad():
        batch = lay(ROWS, roles.base)
        found = []
        for role in ("policy", None):
            with roles.acting(role):
                found.append(response_hidden(roles.base, batch))
    with roles.acting("policy"):
        found.append(response_hidden(roles.base, batch).detach())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_the_dense_copy_is_the_4_bit_weights_to_the_bit(folder, monkeypatch):
    as_on_a_card(monkeypatch)
    roles = made(folder, unpacks=True)
    told(roles)
    groups = {id(g): g for layer in roles._layers if (g := vars(layer)["joined"])}.values()
    assert sorted(len(group.layers) for group in groups) == [1, 1, 1, 1, 2, 2, 3, 3]
    for group in groups:
        own = [layer.get_base_layer().weight for layer in group.layers]
        known = torch.cat([dequantize_4bit(w.data, w.quant_state) for w in own])
        assert torch.equal(group.dense, known)
    assert made(folder).unpacks is False


def test_working_copies_follow_the_weights(folder, monkeypatch):
    """After an optimiser's step, and of the role that acts."""
    as_on_a_card(monkeypatch)
    roles = made(folder, unpacks=True)
    settings = tiny_settings(learning_rate=0.05)
    groups = {"policy": roles.parameters("policy")}
    optimiser = Optimiser(groups, settings, rates={"policy": 0.05}, total_steps=10)
    for _ in range(2):
        before, gradients = told(roles)
        for parameter, gradient in zip(optimiser.parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        after, _ = told(roles)
        fresh = made(folder, unpacks=True)
        fresh.load_state("policy", roles.state("policy"))
        assert not torch.equal(before, after)
        assert torch.equal(after, told(fresh)[0])
    assert torch.equal(told(roles, "value")[0], told(made(folder, unpacks=True), "value")[0])


@pytest.mark.parametrize("recompute", [False, True])
def test_roles_share_what_says_who_sees_whom(folder, monkeypatch, recompute):
    as_on_a_card(monkeypatch)
    roles, masks = made(folder, gradient_checkpointing=recompute), []
    real = attention.whole_row
    monkeypatch.setattr(attention, "whole_row", lambda *a: (masks.append(1), real(*a))[1])
    batch = lay(ROWS, roles.base)
    masks.clear()
    found = []
    for role in ("policy", "value", "policy"):
        with roles.acting(role):
            found.append(response_hidden(roles.base, batch).detach())
    assert len(masks) == 1
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_sampling_on_joined_dense_weights_says_what_each_layer_says(folder, monkeypatch):
    found = []
    for card in (False, True):
        if card:
            as_on_a_card(monkeypatch)
        roles = made(folder, dtype="float32")
        with torch.no_grad(), dense(roles, "policy") as yes:
            assert yes
            batch = lay(ROWS, roles.base)
            found.append(response_hidden(roles.base, batch))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)


def test_heads_are_turned_together_as_each_by_itself(monkeypatch):
    from transformers.models.llama import modeling_llama as family

    draw = torch.Generator().manual_seed(0)
    both = torch.randn(2, 5, 6 * 8, generator=draw, dtype=torch.float64)
    angles = torch.randn(2, 5, 4, generator=draw, dtype=torch.float64).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    own = getattr(family.apply_rotary_pos_emb, "own", family.apply_rotary_pos_emb)
    monkeypatch.setattr(on_card, "CARDS", frozenset(("cpu",)))
    told = []
    for turn in (own, rope._around(own)):
        x = both.clone().requires_grad_()
        q, k = (part.view(2, 5, -1, 8).transpose(1, 2) for part in x.split([32, 16], -1))
        turned = turn(q, k, cos, sin)
        loss = sum((y * torch.arange(y.numel()).view(y.shape).sin()).sum() for y in turned)
        told.append([*turned, *torch.autograd.grad(loss, x)])
    for found, known in zip(told[1], told[0], strict=True):
        torch.testing.assert_close(found, known, rtol=0, atol=1e-12)


def test_another_formula_of_rotation_stays_what_it_is():
    assert not rope._is_this(lambda q, k, cos, sin: (q * cos[:, None], k * sin[:, None]))
    assert not rope._is_this(lambda q, k, cos: (q, k))
