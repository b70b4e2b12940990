"""No number of a micro-batch is looked at before its step is done: on a card each look waits.

The trainers' own micro-batches run on the meta device, where there are no numbers, so that a look
raises; and what is sent there from plain numbers must go by the way that does not wait.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import masking_utils

from workbench.algos.advantages import Estimates
from workbench.models.fast import on_card
from workbench.models.fast.packing_support import refuse_packing
from workbench.models.forward import lay
from workbench.settings import DPOSettings, PPOSettings, RewardSettings, SFTSettings
from workbench.training import dpo, sft
from workbench.training.ppo import ppo
from workbench.training.ppo.rollout import view
from workbench.training.reward.reward import RewardTrainer

from ..models.fast.launches import ROWS
from ..models.tiny import assistant, tiny_settings, user
from .conftest import PROMPTS

PAIRS = [
    {"prompt": user(f"say {w}"), "chosen": assistant(f"{w} good"), "rejected": assistant("bad")}
    for w in "abcd"
]
ANSWERS = [{"prompt": row["prompt"], "response": row["chosen"]} for row in PAIRS]
META = torch.device("meta")


class Unawaited(TorchDispatchMode):
    """Within the block nothing is sent that would be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if "_to_copy" in func.name() and kwargs.get("device") == META != args[0].device:
            assert kwargs.get("non_blocking"), "sent, and waited for"
        return func(*args, **kwargs)


def settings(kind, **changes):
    few = {"steps": 2, "batch_size": 4, "dtype": "bfloat16"}
    return tiny_settings(kind, **{**few, **changes})


def by_pairs(model, place, **changes):
    given = settings(RewardSettings, holdout=0.0, normalise="pairs", **changes)
    trainer = RewardTrainer(model, PAIRS, given, place)

    def work():
        member = trainer.members[0]
        return member.loss(member.judge(member.train), member.train).sum().backward()

    return trainer, work


def fine_tuning(model, place, **changes):
    trainer = sft.SFTTrainer(model, ANSWERS, settings(SFTSettings, **changes), place)
    return trainer, lambda: trainer._nll(trainer.examples).backward()


def direct(model, place, *, seen, **changes):
    given = settings(DPOSettings, holdout=0.0, watch_every=0, response_length=8, **changes)
    trainer = dpo.DPOTrainer(model, PAIRS, given, place)
    if seen:  # the reference is known from an epoch before
        trainer.ref_logprobs.fill_(-1.0)

    def work():
        compared = trainer._compare(range(4))
        (trainer._loss(compared) * compared.weight).sum().backward()

    return trainer, work


def by_ppo(model, place, *, judge, **changes):
    given = settings(PPOSettings, watch_every=0, response_length=4, **changes)
    trainer = ppo.PPOTrainer(model, judge, PROMPTS, given, place)
    table = torch.zeros(len(ROWS), 3, device=META)
    names = ("rollout_logprobs", "ref_logprobs", "values")
    episodes = SimpleNamespace(rows=ROWS, temperature=1.0, **dict.fromkeys(names, table))

    def work():
        steps, base = trainer.clipped_steps, trainer.base
        batch = lay(ROWS, base)
        view(trainer.roles, batch, reference=None, value=trainer.value, temperature=1.0)
        estimates = Estimates(table, table)
        steps._losses([0, 1, 2], episodes, estimates, tokens=9, clip_range=0.2, kl_coef=0.1)

    return trainer, work


KINDS = {
    "reward": lambda model, place, judge, **how: by_pairs(model, place, **how),
    "sft": lambda model, place, judge, **how: fine_tuning(model, place, **how),
    "dpo": lambda model, place, judge, **how: direct(model, place, seen=False, **how),
    "dpo again": lambda model, place, judge, **how: direct(model, place, seen=True, **how),
    "ppo": lambda model, place, judge, **how: by_ppo(model, place, judge=judge, **how),
}


@pytest.mark.parametrize("laid", ["in one row", "padded"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_micro_batch_is_not_looked_at(tiny, reward, place, monkeypatch, kind, laid):
    trainer, work = KINDS[kind](str(tiny), place(), reward, gradient_checkpointing=True)
    base = trainer.base
    if laid == "padded":  # beside one look of transformers' own a forward, for rows in rows
        refuse_packing(base.model, "as an example")
        monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda _: None)
    monkeypatch.setattr(on_card, "CARDS", frozenset(("meta",)))
    base.model.to(META)
    for head in trainer.roles.heads.values():
        head.to(META)
    base.device = META
    made = torch.tensor

    def on_a_cpu_first(*given, **named):
        assert named.get("device") != META, "this waits"
        return made(*given, **named)

    monkeypatch.setattr(torch, "tensor", on_a_cpu_first)
    monkeypatch.setattr(torch.Tensor, "new_tensor", None)  # so does this
    with Unawaited():
        work()
    heads = [head.weight for head in trainer.roles.heads.values()]
    weights = [*base.model.parameters(), *heads]
    learned = [weight for weight in weights if weight.requires_grad]
    assert learned
    assert all(weight.grad is not None for weight in learned)
    with pytest.raises(RuntimeError, match="meta"):
        float(learned[0].grad.sum())  # this is what a look would do
