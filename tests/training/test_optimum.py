"""The whole of PPO against what can be worked out: where every answer can be counted.

With a KL charge of beta the best policy is ref(y) exp(r(y) / beta) / Z, worth beta log Z
(Ziegler et al. 2019, section 2). Answers of at most two tokens from eight are 57 in all.
"""

import math

import pytest
import torch

from workbench.models.encoding import Encoded
from workbench.models.forward import collate, response_stats
from workbench.settings import PPOSettings
from workbench.training import ppo
from workbench.training.events import Place
from workbench.training.objective import response_kl

from ..models.tiny import EOS, make_model, tiny_settings, user
from .conftest import make_adapter

BETA = 0.5
PROMPT = [2, 5, 3]
ANSWERS = [[EOS], *([a, b] for a in range(8) if a != EOS for b in range(8))]


class Table:
    """A reward for every answer, in place of a reward model's scores."""

    def __init__(self) -> None:
        drawn = torch.randn(len(ANSWERS), generator=torch.Generator().manual_seed(3))
        self.rewards = dict(zip(map(tuple, ANSWERS), drawn.tolist(), strict=True))

    def scores(self, rows, *, tokens):
        return torch.tensor([self.rewards[tuple(row.response)] for row in rows])


@pytest.fixture
def trainer(tmp_path):
    model = make_model(tmp_path / "m", words=("a", "b", "c"), vocab_size=8, num_hidden_layers=1)
    reward = make_adapter(tmp_path / "reward", model, 1, reward=True)
    settings = tiny_settings(
        PPOSettings,
        steps=20,
        batch_size=256,
        epochs=2,
        mini_batches=2,
        response_length=2,
        learning_rate=7e-3,
        value_learning_rate=7e-3,
        kl_coef=BETA,
        lam=1.0,
        score_clip=0.0,
        missing_eos_penalty=0.0,
        value_clip_range=10.0,
        watch_every=0,
    )
    made = ppo.PPOTrainer(
        str(model), str(reward), [user("a")], settings, Place(tmp_path), judge=None
    )
    made.scorer.scores = Table().scores
    return made


@torch.no_grad()
def log_probabilities(made, role):
    """Log-probability of each of the 57 answers."""
    rows = [Encoded(PROMPT, answer) for answer in ANSWERS]
    with made.roles.acting(role):
        stats = response_stats(made.base, collate(rows, made.base), temperature=1.0)
    return stats.logprobs.sum(1).double()


def test_the_answers_are_all_there_are(trainer):
    assert float(log_probabilities(trainer, None).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_ppo_comes_to_the_optimum(trainer):
    rewards = Table().scores([Encoded(PROMPT, a) for a in ANSWERS], tokens=0).double()
    ref = log_probabilities(trainer, None)

    def worth(log_p):
        return float((log_p.exp() * (rewards - BETA * (log_p - ref))).sum())

    best, begin = BETA * math.log(float((ref + rewards / BETA).exp().sum())), worth(ref)
    assert best > begin + 0.5  # there is something to learn
    list(trainer.run())
    policy = log_probabilities(trainer, "policy")
    assert (worth(policy) - begin) / (best - begin) > 0.95

    # the KL that is logged is that of all answers, but for the luck of the draw
    trainer.temperature = 1.0
    rows, messages = trainer.sample([0] * 2000)
    seen = trainer._measured(rows, messages, [list(range(2000))])
    found = response_kl(seen).double()
    exact = float((policy.exp() * (policy - ref)).sum())
    error = float(found.std()) / math.sqrt(len(found))
    assert exact > 0.2
    assert abs(float(found.mean()) - exact) < 4 * error
