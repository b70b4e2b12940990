"""A method against what can be worked out: on a model so small that every answer is counted.

With a charge of β for each nat, the best policy is ref(y)·exp(r(y)/β) / Z, and it is worth
β·log Z (Ziegler et al. 2019, section 2). Answers of at most two tokens from eight are 57 in all, so
the best policy is a table, and how near PPO comes to it is a number. Everything but the scores,
which are that table's rewards, is the code of every other run.
"""

import json
import math
import tempfile
from collections import Counter
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
from workbench.settings import DPOSettings, OnlineDPOSettings, PolicySettings, PPOSettings
from workbench.training.dpo import DPOTrainer
from workbench.training.ppo.objective import response_kl
from workbench.training.ppo.online_dpo import OnlineDPOTrainer
from workbench.training.ppo.policy_loop import PolicyLoop
from workbench.training.ppo.ppo import PPOTrainer
from workbench.training.reward.encoded_pairs import EncodedComparison, Judgement
from workbench.training.reward.reward_sources import RewardScores

PROMPT = [Message(role="user", content="well yes sorry")]
ANSWERS = [
    [END],
    *([a, b] for a in range(len(WORDS)) if a != END for b in range(len(WORDS))),
]
DRAWS = 2000  # answers behind the KL that the run reports
PAIRS = 4096  # that offline DPO learns from, both answers drawn from the reference

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

_SAME: dict[str, Any] = {
    name: getattr(SETTINGS, name)
    for name in ("response_length", "watch_every", "quantization", "device", "lora_rank")
}
METHODS: dict[str, PolicySettings] = {
    "ppo": SETTINGS,
    "rloo": SETTINGS.changed(advantage="rloo", samples_per_prompt=64),
    "group": SETTINGS.changed(advantage="group", samples_per_prompt=64),
    "online_dpo": OnlineDPOSettings(
        **_SAME,
        beta=SETTINGS.kl_coef,
        steps=80,
        batch_size=256,
        learning_rate=7e-3,
        missing_eos_penalty=0.0,
        max_length=32,
    ),
    "dpo": DPOSettings(
        **_SAME,
        beta=SETTINGS.kl_coef,
        steps=64,
        batch_size=128,
        learning_rate=7e-3,
        holdout=0.0,
        max_length=32,
    ),
}
"""What each method runs with; of all beta is the same, and so is the optimum."""


class CountedAnswer(NamedTuple):
    """One of all answers: its reward, how probable it is under each policy, and how often seen.

    Attributes:
        seen: how often it is in the pairs of a data set; None for a method without one.
    """

    text: str
    reward: float
    reference: float
    optimum: float
    policy: float
    seen: int | None


class OptimumResult(NamedTuple):
    """What a method came to, beside what can be worked out.

    Attributes:
        answers: all of them.
        worth: E[r] − β·KL of the policy after each step, the reference first.
        best: of the optimum.
        kl: exact KL(policy ‖ reference) [nats].
        reported: as the run measures it, from samples; ``error``: its standard error.
    """

    answers: list[CountedAnswer]
    worth: list[float]
    best: float
    kl: float
    reported: float
    error: float


def compare(settings: PolicySettings, folder: Path) -> OptimumResult:
    """Train by the settings' method and count every answer.

    Args:
        settings: one of :data:`METHODS`, or a change of it.
        folder: where the tiny model and the run go.
    """
    run, beta = countable(settings, folder)
    ref = run.log_probabilities(run.reference)
    rewards = run.rewards.double()
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
    rows: Any = torch.stack([rewards, *tables], dim=1)
    return OptimumResult(
        [
            CountedAnswer(" ".join(WORDS[i] for i in ids), reward, p_ref, p_best, p_now, seen)
            for ids, (reward, p_ref, p_best, p_now), seen in zip(
                ANSWERS, rows.tolist(), run.seen, strict=True
            )
        ],
        worths,
        beta * float(log_z),
        float((policy.exp() * (policy - ref)).sum()),
        kl,
        error,
    )


def compare_changed(method: str, changes: Mapping[str, Any]) -> OptimumResult:
    """:func:`compare` with a method's settings changed by name, in a folder that is not kept."""
    with tempfile.TemporaryDirectory(prefix="workbench-optimum-") as folder:
        return compare(METHODS[method].changed(**changes), Path(folder))


class TableReward:
    """Scores an answer by looking it up.

    Args:
        rewards: of :data:`ANSWERS`.
        generator: of Gumbel noise on each score, where the higher of two shall be preferred with
            the chance sigmoid(difference) that Bradley and Terry's model has; None for no noise.
    """

    name = "table"

    def __init__(self, rewards: Tensor, generator: torch.Generator | None = None) -> None:
        self.table = {tuple(ids): float(r) for ids, r in zip(ANSWERS, rewards, strict=True)}
        self.generator = generator

    def read(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> list[Any]:
        """The rows as they are."""
        return list(rows)

    def scores(self, read: Sequence[Any], *, tokens: int) -> RewardScores:
        """The table's rewards."""
        scores = torch.tensor([self.table[tuple(row.response)] for row in read])
        return RewardScores(scores if self.generator is None else self._noisy(scores), {})

    def _noisy(self, scores: Tensor) -> Tensor:
        drawn = torch.rand(len(scores), generator=self.generator, dtype=torch.float64)
        return scores - (-drawn.log()).log().to(scores)


class Countable(PolicyLoop[Any]):
    """A run whose every answer can be counted.

    Attributes:
        rewards: ``(57,)`` of :data:`ANSWERS`.
        seen: how often each is in the data.
    """

    rewards: Tensor
    seen: Sequence[int | None] = [None] * len(ANSWERS)

    def pay(self, settings: PolicySettings, *, noisy: bool) -> "TableReward":
        """Draw the table of rewards and pay by it."""
        generator = torch.Generator().manual_seed(settings.seed + 3)
        self.rewards = torch.randn(len(ANSWERS), generator=generator)
        table = TableReward(self.rewards, generator if noisy else None)
        self.reward = table
        return table

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


class CountablePPO(PPOTrainer, Countable):
    """PPO, RLOO or group."""

    def __init__(self, settings: PPOSettings, folder: Path) -> None:
        model = write_model(folder / "model", seed=settings.seed)
        reward = write_reward(folder / "reward", model, settings)
        super().__init__(str(model), str(reward), [PROMPT], settings, Place(folder))
        self.pay(settings, noisy=False)


class CountableOnline(OnlineDPOTrainer, Countable):
    """Online DPO; of two answers the better one is preferred as often as Bradley and Terry say."""

    def __init__(self, settings: OnlineDPOSettings, folder: Path) -> None:
        model = write_model(folder / "model", seed=settings.seed)
        reward = write_reward(folder / "reward", model, settings)
        super().__init__(str(model), str(reward), [PROMPT], settings, Place(folder))
        self.pay(settings, noisy=True)


class CountableOffline(DPOTrainer, Countable):
    """DPO on pairs whose answers the reference gave, judged likewise."""

    def __init__(self, settings: DPOSettings, folder: Path) -> None:
        model = write_model(folder / "model", seed=settings.seed)
        words = [[Message(role="assistant", content=word)] for word in WORDS[-2:]]
        row = {"prompt": PROMPT, "chosen": words[0], "rejected": words[1]}  # in the pairs' place
        super().__init__(str(model), [row], settings, Place(folder))
        table = self.pay(settings, noisy=True)
        rows = self.sample([self.prompts[0]] * (2 * PAIRS))
        scores = [float(score) for score in table.scores(rows, tokens=0).total]
        pairs: list[EncodedComparison] = []
        for n in range(0, len(rows), 2):
            if rows[n].response != rows[n + 1].response:
                better = int(scores[n] < scores[n + 1])
                judged = Judgement(better, 1 - better, 0.0, 1.0)
                pairs.append(EncodedComparison((rows[n], rows[n + 1]), (judged,), ""))
        self.hold(pairs, [])
        counted = Counter(tuple(answer.response) for pair in pairs for answer in pair.answers)
        self.seen = [counted[tuple(ids)] for ids in ANSWERS]


def countable(settings: PolicySettings, folder: Path) -> tuple[Countable, float]:
    """The run of a method's settings, and its beta."""
    if isinstance(settings, PPOSettings):
        return CountablePPO(settings, folder), settings.kl_coef
    if isinstance(settings, OnlineDPOSettings):
        return CountableOnline(settings, folder), settings.beta
    assert isinstance(settings, DPOSettings)
    return CountableOffline(settings, folder), settings.beta


def write_reward(folder: Path, model: Path, settings: PolicySettings) -> Path:
    """Write an untrained reward model: the value model begins as its copy."""
    roles = Roles(load_base(resolve(str(model)), settings), settings)
    roles.add("reward", trainable=False, seed=settings.seed)
    roles.add_head("reward", trainable=False, seed=settings.seed)
    roles.save("reward", folder, task="SEQ_CLS", extra={"kind": "reward"})
    (folder / "reward.json").write_text(json.dumps({"mean": 0.0, "std": 1.0}))
    return folder
