"""A whole update of PPO beside one that is written out plainly: answer by answer, token by token.

The plain one asks the base for its logits and its last hidden states and nothing else of the
trainer: no packing, no masks, no padding, none of ``workbench.algos``. Where settings usually have
1 or 0, here they do not, so that leaving one out shows: a temperature of 0.7, gamma, lambda, a
weight of the value loss, clips that bind, running scores, three epochs of two mini-batches.
"""

import json
import math
from itertools import pairwise

import pytest
import torch

from workbench.models.encoding import Encoder
from workbench.settings import PPOSettings, RewardSettings
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.playground_models import tokens as playground_tokens
from workbench.training.reward.reward import RewardTrainer

from ...models.tiny import load, tiny_settings, user
from ..conftest import fill
from ..reward.test_reward import ROWS
from .test_ppo import trainer

CHANGES = {
    "dtype": "float64",
    "batch_size": 6,
    "mini_batches": 2,
    "epochs": 3,
    "temperature": 0.7,
    "kl_coef": 0.3,
    "gamma": 0.97,
    "lam": 0.9,
    "clip_range": 0.1,
    "value_clip_range": 0.05,
    "value_coef": 0.3,
    "score_normalisation": "running",
    "missing_eos_penalty": 0.5,
    "length_penalty": 0.01,
    "learning_rate": 2e-2,
    "value_learning_rate": 2e-2,
}
MOST = 1e-5  # relative: transformers' norm goes through float32, and rows lie otherwise there


class Plain:
    """What one trainer's weights say now, a row at a time, in float64."""

    def __init__(self, made):
        self.made, self.settings = made, made.settings

    def logprobs(self, role, row):
        """Log-probability of each token of the answer at the temperature of the settings."""
        made, first = self.made, len(row.prompt) - 1
        with made.roles.acting(role):
            logits = made.base.model(input_ids=torch.tensor([row.ids])).logits[0, first:-1]
        chances = (logits.double() / self.settings.temperature).log_softmax(1)
        return torch.stack([line[token] for line, token in zip(chances, row.response, strict=True)])

    def values(self, row):
        """The reward still to come before each token of the answer is chosen."""
        made, first = self.made, len(row.prompt) - 1
        with made.roles.acting("value"):
            states = made.base.trunk(input_ids=torch.tensor([row.ids])).last_hidden_state[0]
        raw = states[first:-1].double() @ made.value.head.weight[0].double()
        return (raw - 0.25) / 1.5  # the reward model's mean and deviation, from its reward.json

    def paid(self, rows):
        """At the end of each answer: the score in deviations of this first update, and charges."""
        settings, scores = self.settings, []
        for row in rows:
            with self.made.roles.acting("reward"):
                state = self.made.base.trunk(input_ids=torch.tensor([row.ids])).last_hidden_state
            raw = state[0, -1].double() @ self.made.scorer.head.weight[0].double()
            scores.append((float(raw) - 0.25) / 1.5)
        mean = sum(scores) / len(scores)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in scores) / len(scores) + 1e-8)
        missing = [row.response[-1] not in self.made.base.eos_ids for row in rows]
        return [
            (score - mean) / deviation
            - settings.missing_eos_penalty * late
            - settings.length_penalty * len(row.response)
            for score, late, row in zip(scores, missing, rows, strict=True)
        ]

    def advantages(self, paid, policy, reference, values):
        """Sums of discounted surprises, straight from their definition."""
        settings = self.settings
        rewards = [-settings.kl_coef * float(p - r) for p, r in zip(policy, reference, strict=True)]
        rewards[-1] += paid
        after = [*map(float, values[1:]), 0.0]
        surprises = [
            reward + settings.gamma * later - float(value)
            for reward, value, later in zip(rewards, values, after, strict=True)
        ]
        decay = settings.gamma * settings.lam
        return [
            sum(decay ** (k - t) * surprises[k] for k in range(t, len(surprises)))
            for t in range(len(surprises))
        ]


def gradient(loss, weights):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]).double()


def apart(weights, expected):
    """How far the trainer's gradients are from these, as a share of their norm."""
    own = torch.cat([weight.grad.flatten() for weight in weights]).double()
    return float((own - expected).norm() / expected.norm())


@pytest.fixture
def update(tiny, reward, place):
    """One update: what was measured, its mini-batches, and how far each gradient is from plain."""
    made = trainer(tiny, reward, place(), **CHANGES)
    fill(made.roles, "policy", 5, 0.05)
    plain, weights = Plain(made), made.roles.parameters("policy")
    value_weights = [*made.roles.parameters("value"), *made.value.head.parameters()]
    take, step = made.clipped_steps.take, made.optimiser.step
    record = {"policy": [], "value": [], "binds": 0}

    def watched_take(episodes, estimates, epochs, **more):
        rows = episodes.rows
        with torch.no_grad():
            policy = [plain.logprobs("policy", row) for row in rows]
            reference = [plain.logprobs(None, row) for row in rows]
            values = [plain.values(row) for row in rows]
        each = zip(plain.paid(rows), policy, reference, values, strict=True)
        raw = [plain.advantages(*one) for one in each]
        flat = [a for row in raw for a in row]
        mean = sum(flat) / len(flat)
        deviation = math.sqrt(sum((a - mean) ** 2 for a in flat) / len(flat) + 1e-8)
        record.update(episodes=episodes, epochs=epochs, policy_then=policy, values_then=values)
        record["returns"] = [
            [a + float(v) for a, v in zip(*pair, strict=True)]
            for pair in zip(raw, values, strict=True)
        ]
        record["advantages"] = [[(a - mean) / deviation for a in row] for row in raw]
        record["parts"] = [part.episodes for epoch in epochs for part in epoch]
        return take(episodes, estimates, epochs, **more)

    def watched_step():
        rows, part = record["episodes"].rows, record["parts"].pop(0)
        tokens = sum(len(rows[i].response) for i in part)
        policy_loss, value_loss = torch.tensor(0.0).double(), torch.tensor(0.0).double()
        for i in part:
            now, values = plain.logprobs("policy", rows[i]), plain.values(rows[i])
            for t in range(len(rows[i].response)):
                ratio = (now[t] - record["policy_then"][i][t]).exp()
                gain = record["advantages"][i][t]
                kept = ratio.clamp(0.9, 1.1)
                policy_loss = policy_loss - torch.minimum(gain * ratio, gain * kept) / tokens
                old, target = record["values_then"][i][t], record["returns"][i][t]
                near = old + (values[t] - old).clamp(-0.05, 0.05)
                free, held = (values[t] - target) ** 2, (near - target) ** 2
                record["binds"] += bool(held > free)
                value_loss = value_loss + torch.maximum(free, held) / 2 / tokens
        record["policy"].append(apart(weights, gradient(policy_loss, weights)))
        record["value"].append(apart(value_weights, gradient(0.3 * value_loss, value_weights)))
        return step()

    made.clipped_steps.take, made.optimiser.step = watched_take, watched_step
    record["metrics"] = made.train_step().metrics
    return record


def test_every_gradient_of_an_update_is_that_of_a_plain_one(update):
    assert len(update["policy"]) == len(update["value"]) == 3 * 2
    assert max(update["policy"]) < MOST, update["policy"]
    assert max(update["value"]) < MOST, update["value"]
    assert update["binds"] > 0  # the value clip has held something back
    assert update["metrics"]["objective/kl"] != 0.0  # what is charged is not zero
    assert update["metrics"]["policy/clipfrac"] > 0.0


def test_each_epoch_has_an_order_of_its_own(update):
    orders = [[i for part in epoch for i in part.episodes] for epoch in update["epochs"]]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert all(one != other for one, other in pairwise(orders))


def test_a_reward_model_is_normalised_with_the_weights_that_it_keeps(tiny, place):
    """The held-out loss is lowest after the first of three large steps."""
    few = {"steps": 3, "batch_size": 8, "learning_rate": 3e-2, "holdout": 0.25}
    settings = tiny_settings(RewardSettings, evaluate_every=1, keep_best=True, **few)
    made = RewardTrainer(str(tiny), ROWS, settings, place())
    (member,), losses = made.members, iter([1.0, 2.0, 3.0])
    real = member.evaluate
    member.evaluate = lambda: {**real(), "heldout/loss": next(losses)}
    list(made.run())
    final = place().folder / "final"
    assert json.loads((final / "reward.json").read_text())["step"] == 1
    encoder = Encoder(made.base, max_length=64, template={})
    by_ids = {tuple(encoder.prompt(row["prompt"], room=0)): row["prompt"] for row in ROWS}
    answers = [answer for comparison in member.measured() for answer in comparison.answers]
    prompts = [by_ids[tuple(answer.prompt)] for answer in answers]
    texts = [encoder.decode(answer.response) for answer in answers]
    (scores,) = evaluate(str(final), prompts, texts, settings)
    mean = sum(scores) / len(scores)
    assert mean == pytest.approx(0.0, abs=1e-4)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in scores) / len(scores))
    assert deviation == pytest.approx(1.0, abs=1e-4)


def test_the_playground_samples_at_its_temperature(tiny):
    """The same numbers drawn from softmax(logits / 0.3), a token at a time."""
    settings = tiny_settings(PPOSettings, response_length=8, temperature=0.3)
    base = load(tiny)
    prompt = Encoder(base, max_length=32, template={}).prompt(user("a b"), room=8)
    expected, generator = [], torch.Generator().manual_seed(settings.seed)
    for _ in range(8):
        with torch.no_grad():
            logits = base.model(input_ids=torch.tensor([[*prompt, *expected]])).logits[0, -1]
        chances = torch.softmax(logits.float() / 0.3, dim=0)[None]
        expected.append(int(torch.multinomial(chances, 1, generator=generator)))
        if expected[-1] in base.eos_ids:
            break
    with torch.no_grad():
        assert list(playground_tokens(base, prompt, settings)) == expected
