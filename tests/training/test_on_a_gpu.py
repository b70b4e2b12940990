"""What only a CUDA card can show: recorded decode steps, its 4-bit and half-precision kernels."""

import math

import pytest
import torch

from workbench.models.fast.decoding import SlotDecoder
from workbench.models.fast.dense_weights import dense
from workbench.models.roles import Roles
from workbench.settings import PPOSettings
from workbench.training.checks.preflight import measured_preflight
from workbench.training.ppo import ppo

from ..models.tiny import load, tiny_settings
from .conftest import PROMPTS, fill, metrics
from .ppo.test_ppo import packed

pytestmark = pytest.mark.gpu
IDS = [[7, 5, 9], [6, 7, 8, 9, 10, 11, 12, 13, 5], [7, 5, 9], [20]]
STEPS = [[11, 12, 13, 14], [15, 16, 17, 18], [19, 20, 21, 22], [9, 8, 7, 6]]
CARD = {"device": "cuda", "dtype": "bfloat16"}


def settings(**changes):
    few = {"steps": 2, "batch_size": 6, "epochs": 1, "mini_batches": 2, "response_length": 8}
    rates = {"learning_rate": 1e-3, "value_learning_rate": 1e-3, "watch_every": 0}
    return tiny_settings(PPOSettings, **{**few, **rates, **CARD, **changes})


def trainer(model, reward, place, **changes):
    return ppo.PPOTrainer(str(model), reward, PROMPTS, settings(**changes), place)


@torch.no_grad()
def played(made):
    """Logits at the start and after each step; two rows leave on the way."""
    found, rows = [made.start().clone()], torch.arange(4)
    for step, tokens in enumerate(STEPS):
        if step == 2:
            rows = torch.tensor([1, 3])
            made.keep(rows.cuda())
        found.append(made.step(torch.tensor(tokens)[rows].cuda()).clone())
    return found


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("merged", [False, True])
def test_recorded_steps_say_what_unrecorded_ones_say(tiny, quantization, merged):
    base = load(tiny, quantization, device="cuda", dtype="float32")
    roles = Roles(base, tiny_settings())
    roles.add("policy", trainable=False)
    fill(roles, "policy", 3)
    with dense(roles, "policy") if merged else roles.acting("policy"):
        recorded = played(SlotDecoder(base, IDS, length=4, graphs=True))
        plain = played(SlotDecoder(base, IDS, length=4, graphs=False))
    for one, other in zip(recorded, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_before_the_first_step_the_ratio_is_1_and_the_kl_is_0_exactly(
    tiny, reward, place, quantization, dtype
):
    made = trainer(tiny, reward, place(), quantization=quantization, dtype=dtype, mini_batches=1)
    row = made.train_step().metrics
    assert row["policy/first_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert row["objective/kl"] == row["policy/approxkl"] == row["policy/clipfrac"] == 0.0


def test_a_run_learns_and_leaves_the_packed_base_as_it_was(tiny, reward, place):
    made = trainer(tiny, reward, place(), quantization="nf4", steps=3)
    before = packed(made)
    start = [p.detach().clone() for p in made.roles.parameters("policy")]
    rows = metrics(list(made.run()))
    assert len(rows) == 3
    assert all(value is None or math.isfinite(value) for row in rows for value in row.values())
    after = packed(made)
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = [
        not torch.equal(a, b) for a, b in zip(start, made.roles.parameters("policy"), strict=True)
    ]
    assert any(moved)


def test_every_check_of_the_preflight_is_green(tiny, reward, tmp_path):
    exact = {"quantization": "nf4", "dtype": "float32"}
    asked = settings(**exact, max_length=64, micro_batch_tokens=256)
    checks = measured_preflight(str(tiny), reward, PROMPTS, asked, tmp_path).checks
    ends = "the policy can end by itself"
    assert [check for check in checks if not check.passed and ends not in check.name] == []
