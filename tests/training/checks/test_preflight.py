import math

import pytest
import torch
from transformers import LlamaForCausalLM

from workbench.models import self_test
from workbench.models.base import Base
from workbench.settings import PPOSettings
from workbench.training.checks import preflight as checks
from workbench.training.ppo import mini_batches, ppo, rollout

from ...models.tiny import EOS, tiny_settings
from ..conftest import PROMPTS

NAMES = (
    "the ratio is 1",
    "the KL is 0",
    "do not depend on its batch",
    "can end by itself",
    "neither the reference nor the reward",
    "finite",
    "come back from a checkpoint",
    "longest micro-batch fits",
    "memory that was planned",
)


_PLANS = {}


@pytest.fixture(autouse=True)
def planned_once(monkeypatch):
    """The same plan is not made for every test."""
    real = checks.plan

    def plan(model, given):
        key = (model, str(given))
        if key not in _PLANS:
            _PLANS[key] = real(model, given)
        return _PLANS[key]

    monkeypatch.setattr(checks, "plan", plan)


def settings(**changes):
    few = {"max_length": 64, "response_length": 16, "micro_batch_tokens": 256}
    return tiny_settings(PPOSettings, **{**few, "learning_rate": 1e-3, **changes})


def look(tiny, reward, folder, **changes):
    """The number of each check that fails."""
    found = checks.measured_preflight(
        str(tiny), reward, PROMPTS, settings(**changes), folder
    ).checks
    assert all(name in check.name for name, check in zip(NAMES, found, strict=False))
    assert all(check.fix and check.found for check in found)
    return [number for number, check in enumerate(found) if not check.passed]


@pytest.mark.parametrize("value", ["adapter", pytest.param("shared", marks=pytest.mark.slow)])
def test_all_is_green_where_nothing_is_wrong(tiny, reward, tmp_path, value):
    assert look(tiny, reward, tmp_path, value=value) == []


@pytest.mark.slow
def test_from_an_adapter_in_4_bits_too(tuned, reward, tmp_path):
    assert look(tuned, reward, tmp_path, quantization="nf4") == []


def shifted(function):
    return lambda *given, **named: function(*given, **named) + 0.1


def break_ratio(patch):
    patch.setattr(mini_batches, "response_logprobs", shifted(mini_batches.response_logprobs))


def break_kl(patch):
    patch.setattr(rollout, "response_logprobs", shifted(rollout.response_logprobs))


def break_batching(patch):
    real = checks.response_stats

    def odd(base, batch, **named):
        found = real(base, batch, **named)
        return found._replace(logprobs=found.logprobs + 0.01 * len(batch.tokens))

    patch.setattr(checks, "response_stats", odd)


def break_ends(patch):
    """In the model itself: what is computed of it is its own all the same."""
    real = LlamaForCausalLM.forward

    def endless(self, *args, **kwargs):
        output = real(self, *args, **kwargs)
        output.logits = output.logits.index_fill(-1, torch.tensor([EOS]), -30.0)
        return output

    patch.setattr(LlamaForCausalLM, "forward", endless)
    patch.setattr(self_test, "_known", {})


def break_head(patch):
    """What is computed is another model than the one that was loaded."""
    real = Base.logits
    patch.setattr(Base, "logits", lambda self, hidden: 1.05 * real(self, hidden))
    patch.setattr(self_test, "PROOFS", ())


def break_reward(patch):
    real = ppo.PPOTrainer.train_step

    def leaking(self):
        done = real(self)
        with torch.no_grad():
            self.scorer.head.weight.add_(0.01)
        return done

    patch.setattr(ppo.PPOTrainer, "train_step", leaking)


def break_numbers(patch):
    real = ppo.PPOTrainer.train_step

    def overflowing(self):
        done = real(self)
        return done._replace(metrics={**done.metrics, "policy/loss": math.nan})

    patch.setattr(ppo.PPOTrainer, "train_step", overflowing)


def break_saving(patch):
    real = checks.load_checkpoint

    def lossy(folder):
        step, state = real(folder)
        return step, {**state, "weights": [w + 1 for w in state["weights"]]}

    patch.setattr(checks, "load_checkpoint", lossy)


def break_memory(patch):
    def full(made, rows):
        raise MemoryError

    patch.setattr(checks, "_pass", full)


def break_plan(patch):
    real = checks.plan

    def hopeful(model, given):
        told = real(model, given)
        return {**told, "parts": [{**p, "bytes": p["bytes"] // 2} for p in told["parts"]]}

    patch.setattr(checks, "plan", hopeful)


@pytest.mark.parametrize(
    ("broken", "red"),
    [
        (break_ratio, 0),
        (break_kl, 1),
        (break_batching, 2),
        (break_head, 2),
        (break_ends, 3),
        (break_reward, 4),
        (break_numbers, 5),
        (break_saving, 6),
        (break_memory, 7),
        (break_plan, 8),
    ],
)
def test_each_check_goes_red_on_what_it_is_for(tiny, reward, tmp_path, monkeypatch, broken, red):
    broken(monkeypatch)
    assert look(tiny, reward, tmp_path) == [red]


def test_other_faults_of_the_longest_batch_are_raised(tiny, reward, tmp_path, monkeypatch):
    def odd(made, rows):
        raise RuntimeError("something else")

    monkeypatch.setattr(checks, "_pass", odd)
    with pytest.raises(RuntimeError, match="something else"):
        look(tiny, reward, tmp_path)


def test_memory_of_others_in_the_process_is_not_counted(tiny, reward, tmp_path):
    theirs = torch.zeros(50_000_000)  # 200 MB, many times what this model takes
    assert look(tiny, reward, tmp_path) == []
    assert len(theirs)


def test_a_loss_scale_that_is_still_too_large_is_no_fault_in_float16():
    metrics = {"policy/loss": 0.1, "grad_norm": math.inf, "skipped_steps": 1.0}
    assert checks._finite(metrics, half=True).passed
    assert not checks._finite(metrics, half=False).passed
    assert not checks._finite({**metrics, "policy/loss": math.nan}, half=True).passed
    assert not checks._finite({**metrics, "skipped_steps": 0.0}, half=True).passed
