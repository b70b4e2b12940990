"""float16, as on cards without bfloat16: adapters and heads in float32, the loss scaled."""

import math

import pytest
import torch

from workbench.models.encoding import Encoded
from workbench.settings import PPOSettings
from workbench.training.ppo import ppo
from workbench.training.ppo.mini_batches import MiniBatch

from ..models.tiny import tiny_settings
from .conftest import PROMPTS, metrics
from .ppo.test_ppo import estimates_of


def updates(tiny, reward, place, count):
    changes = {"steps": count, "batch_size": 4, "response_length": 6, "watch_every": 0}
    rates = {"learning_rate": 1e-3, "value_learning_rate": 1e-3, "schedule": "constant"}
    settings = tiny_settings(PPOSettings, dtype="float16", **changes, **rates)
    made = ppo.PPOTrainer(str(tiny), reward, PROMPTS, settings, place())
    assert made.base.dtype == torch.float16
    assert {p.dtype for p in made.optimiser.parameters} == {torch.float32}
    assert made.optimiser.half
    rows = metrics(list(made.run()))
    assert len(rows) == count
    skipped = 0.0
    for row in rows:
        odd = {
            name for name, value in row.items() if value is not None and not math.isfinite(value)
        }
        assert not odd or (odd == {"grad_norm"} and row["skipped_steps"] > skipped), (odd, row)
        skipped = row["skipped_steps"]
    assert rows[-1]["skipped_steps"] == made.optimiser.skipped <= 16
    assert all(bool(torch.isfinite(p).all()) for p in made.optimiser.parameters)
    return made


def test_updates_in_float16_stay_finite(tiny, reward, place):
    made = updates(tiny, reward, place, 6)
    assert made.optimiser.scale == made.state()["optimiser"]["scale"][0] >= 1.0


@pytest.mark.slow
def test_two_hundred_updates_in_float16_stay_finite(tiny, reward, place):
    updates(tiny, reward, place, 200)


def test_gradients_in_float16_are_those_of_float32_but_for_rounding(tiny, reward, place):
    """Without the scale small gradients of float16 activations become 0."""
    found = []
    for dtype in ("float32", "float16"):
        settings = tiny_settings(
            PPOSettings, dtype=dtype, steps=1, batch_size=6, response_length=6, watch_every=0
        )
        made = ppo.PPOTrainer(str(tiny), reward, PROMPTS, settings, place(dtype))
        rows = [Encoded([2, 5, 3], [6, 7, 1]), Encoded([2, 8, 9, 3], [10, 11, 12, 13])]
        seen = made._measured(rows, [PROMPTS[0]] * 2, [[0, 1]])
        estimates = estimates_of(made, seen, 0.05)
        estimates.advantages[seen.response_mask] = torch.linspace(-1, 1, 7)
        part = MiniBatch([0, 1], [[0, 1]])
        made.clipped_steps.gradients(part, seen, estimates, clip_range=0.2)
        made.optimiser._collect()
        grads = [p.grad for p in made.roles.parameters("policy") if p.grad is not None]
        found.append(torch.cat([g.flatten() for g in grads]))
    one, other = found
    assert float((one - other).norm()) < 0.05 * float(one.norm())
