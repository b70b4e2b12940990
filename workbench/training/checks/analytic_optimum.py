"""The whole of PPO against what can be worked out: a model so small that every answer is counted.

With a charge of β for each nat, the best policy is ref(y)·exp(r(y)/β) / Z, and it is worth
β·log Z (Ziegler et al. 2019, section 2). Answers of at most two tokens from eight are 57 in all, so
the best policy is a table, and how near PPO comes to it is a number. Everything but the scores,
which are that table's rewards, is the code of every other run.
"""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.data.messages import Message
from workbench.events import Place, Progress
from workbench.models.base import load_base
from workbench.models.countable_model import END, WORDS, write_model
from workbench.models.encoding import Encoded
from workbench.models.forward import collate, response_stats
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import PPOSettings
from workbench.training.ppo.objective import response_kl
from workbench.training.ppo.ppo import PPOTrainer
from workbench.training.reward.reward_sources import RewardScores

PROMPT = [Message(role="user", content="well yes sorry")]
ANSWERS = [
    [END],
    *([a, b] for a in range(len(WORDS)) if a != END for b in range(len(WORDS))),
]
DRAWS = 2000  # answers behind the KL that the run reports

SETTINGS = PPOSettings(
    kl_coef=0.5,
    steps=20,
    batch_size=256,
    epochs=2,
    mini_batches=2,
    response_length=len(ANSWERS[-1]),
    learning_rate=7e-3,
    value_learning_rate=7e-3,
    lam=1.0,
    score_clip=0.0,
    missing_eos_penalty=0.0,
    value_clip_range=10.0,
    watch_every=0,
    quantization="none",
    device="cpu",
    lora_rank=4,
    max_length=32,
)


class CountedAnswer(NamedTuple):
    """One of all answers: its reward, and how probable it is under each policy."""

    text: str
    reward: float
    reference: float
    optimum: float
    ppo: float


class OptimumResult(NamedTuple):
    """What PPO came to, beside what can be worked out.

    Attributes:
        answers: all of them.
        worth: E[r] − β·KL of the policy after each update, the reference first.
        best: of the optimum.
        kl: exact KL(PPO's policy ‖ reference) [nats].
        reported: as the run measures it, from samples; ``error``: its standard error.
    """

    answers: list[CountedAnswer]
    worth: list[float]
    best: float
    kl: float
    reported: float
    error: float


def compare(settings: PPOSettings, folder: Path) -> OptimumResult:
    """Train by PPO and count every answer.

    Args:
        settings: :data:`SETTINGS`, or a change of them.
        folder: where the tiny model and the run go.
    """
    run = Countable(settings, folder)
    ref = run.log_probabilities(run.reference)
    rewards = run.rewards.double()
    beta = settings.kl_coef
    log_z = (ref + rewards / beta).logsumexp(0)

    def worth() -> float:
        now = run.log_probabilities("policy")
        return float((now.exp() * (rewards - beta * (now - ref))).sum())

    worths = [worth()]
    for event in run.run():
        if isinstance(event, Progress):
            worths.append(worth())
    policy = run.log_probabilities("policy")
    kl, error = run.reported_kl()
    tables = [ref.exp(), (ref + rewards / beta - log_z).exp(), policy.exp()]
    rows = torch.stack([rewards, *tables], dim=1)
    return OptimumResult(
        [
            CountedAnswer(" ".join(WORDS[i] for i in ids), *map(float, row))
            for ids, row in zip(ANSWERS, rows, strict=True)
        ],
        worths,
        beta * float(log_z),
        float((policy.exp() * (policy - ref)).sum()),
        kl,
        error,
    )


def compare_changed(changes: Mapping[str, Any]) -> OptimumResult:
    """:func:`compare` with :data:`SETTINGS` changed by name, in a folder that is not kept."""
    with tempfile.TemporaryDirectory(prefix="workbench-optimum-") as folder:
        return compare(SETTINGS.changed(**changes), Path(folder))


class TableReward:
    """RewardScores an answer by looking it up."""

    name = "table"

    def __init__(self, rewards: Tensor) -> None:
        pairs = zip(map(tuple, ANSWERS), map(float, rewards), strict=True)
        self.table: dict[tuple[int, ...], float] = dict(pairs)

    def read(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> list[Any]:
        """The rows as they are."""
        return list(rows)

    def scores(self, read: Sequence[Any], *, tokens: int) -> RewardScores:
        """The table's rewards."""
        return RewardScores(torch.tensor([self.table[tuple(row.response)] for row in read]), {})


class Countable(PPOTrainer):
    """A PPO run whose every answer can be counted."""

    def __init__(self, settings: PPOSettings, folder: Path) -> None:
        model = write_model(folder / "model", seed=settings.seed)
        reward = write_reward(folder / "reward", model, settings)
        super().__init__(str(model), str(reward), [PROMPT], settings, Place(folder))
        generator = torch.Generator().manual_seed(settings.seed + 3)
        self.rewards = torch.randn(len(ANSWERS), generator=generator)
        self.reward = TableReward(self.rewards)

    @torch.no_grad()
    def log_probabilities(self, role: str | None) -> Tensor:
        """Log-probability of each of :data:`ANSWERS` under a role, in float64."""
        rows = [Encoded(self.prompts[0].ids, answer) for answer in ANSWERS]
        with self.roles.acting(role):
            stats = response_stats(self.base, collate(rows, self.base), temperature=1.0)
        return stats.logprobs.sum(1).double()

    def reported_kl(self) -> tuple[float, float]:
        """KL(policy ‖ reference) from samples, as a run logs it, and its standard error."""
        rows = self.sample([self.prompts[0]] * DRAWS)
        episodes = self._measured(rows, [PROMPT] * DRAWS, [list(range(DRAWS))])
        kl = response_kl(episodes).double()
        return float(kl.mean()), float(kl.std()) / math.sqrt(DRAWS)


def write_reward(folder: Path, model: Path, settings: PPOSettings) -> Path:
    """Write an untrained reward model: the value model begins as its copy."""
    roles = Roles(load_base(resolve(str(model)), settings), settings)
    roles.add("reward", trainable=False, seed=settings.seed)
    roles.add_head("reward", trainable=False, seed=settings.seed)
    roles.save("reward", folder, task="SEQ_CLS", extra={"kind": "reward"})
    (folder / "reward.json").write_text(json.dumps({"mean": 0.0, "std": 1.0}))
    return folder
