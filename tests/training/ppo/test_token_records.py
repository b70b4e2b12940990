import pytest
import torch

from workbench.algos.one_answer import take_apart
from workbench.events import Progress
from workbench.settings import PPOSettings
from workbench.training.ppo import ppo
from workbench.training.ppo.token_records import best_middle_worst
from workbench.verbs.look_closely import recorded

from ...models.tiny import tiny_settings
from ..conftest import PROMPTS


def run(model, reward, where, **changes):
    few = {
        "steps": 2,
        "batch_size": 8,
        "epochs": 2,
        "mini_batches": 2,
        "response_length": 8,
        "learning_rate": 1e-2,
        "value_learning_rate": 1e-2,
        "schedule": "constant",
        "watch_every": 1,
        "watch_prompts": 2,
        "micro_batch_tokens": 40,
    }
    settings = tiny_settings(PPOSettings, **{**few, **changes})
    events = ppo.PPOTrainer(str(model), reward, PROMPTS, settings, where).run()
    return [event for event in events if isinstance(event, Progress)]


def test_the_best_the_middle_and_the_worst():
    assert best_middle_worst(torch.tensor([0.5, 2.0, -1.0, 1.0])) == {
        "best": 1,
        "middle": 0,
        "worst": 2,
    }
    assert set(best_middle_worst(torch.tensor([0.5, 2.0])).values()) == {0, 1}
    assert set(best_middle_worst(torch.tensor([0.5])).values()) == {0}


SHAPES = [
    {"advantage": "gae"},
    {"advantage": "gae", "whiten_advantages": False, "kl_estimator": "k3"},
    {"advantage": "rloo", "samples_per_prompt": 4},
    {"advantage": "group", "samples_per_prompt": 4, "kl_estimator": "k2"},
    {"advantage": "group", "samples_per_prompt": 4, "group_scale": "none", "clip_range_high": 0.4},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_what_was_recorded_taken_apart_is_what_the_update_had(tiny, reward, place, shape):
    progress = run(tiny, reward, place(), temperature=0.7, gamma=0.99, **shape)
    for done in progress:
        assert [row["rank"] for row in done.tokens] == ["best", "middle", "worst"]
        for row in done.tokens:
            used = {name: row[name] for name in ("kl_coef", "gamma", "lam", "clip_range")}
            assert used["gamma"] == 0.99
            assert used["kl_coef"] == pytest.approx(done.metrics["kl_coef"])
            steps = take_apart(recorded(row), **used)
            assert steps.advantage == pytest.approx(row["advantages"], abs=1e-5)
            assert sum(steps.log_ratio) == pytest.approx(row["kl"], abs=1e-5)
            assert len(steps.ratio) == len(row["tokens"])
    first, second = progress
    # before the first step the policy is the reference; after it the answers are seen otherwise
    assert all(row["logprobs"] == pytest.approx(row["ref_logprobs"]) for row in first.tokens)
    assert any(row["after_logprobs"] != pytest.approx(row["logprobs"]) for row in first.tokens)
    scores = [row["score"] for row in second.tokens]
    assert scores == sorted(scores, reverse=True)


def test_nothing_is_recorded_where_nothing_is_watched(tiny, reward, place):
    assert all(not done.tokens for done in run(tiny, reward, place(), watch_every=0))
