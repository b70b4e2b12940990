"""What is watched beside the reward that PPO sees, and which update was the best by it.

A policy can raise the reward score by exploiting the reward model's errors. A second reward
model, trained on other pairs, does not share them all: where its score turns down while the
reward score rises, the policy is over-optimised. Nothing here is ever learned from.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.encoding import Encoded, Encoder
from workbench.models.roles import Roles
from workbench.settings import PPOSettings
from workbench.training.ppo.rollout import Episodes
from workbench.training.reward.reward_sources import ModelReward

GRAM = 3  # tokens that count as a phrase
COMMON = 0.25  # of the other prompts: a phrase in so many of their answers is shared
WINDOW = 5  # updates whose watched scores are averaged: those of one are noisy


def repeated_grams(answers: Sequence[Sequence[int]], gram: int = GRAM) -> float:
    """Return the share of an answer's phrases that came before in it, mean over the answers.

    A phrase is ``gram`` tokens in a row; an answer without any counts as 0.
    """
    shares: list[float] = []
    for ids in answers:
        phrases = [tuple(ids[i : i + gram]) for i in range(len(ids) - gram + 1)]
        shares.append(1 - len(set(phrases)) / len(phrases) if phrases else 0.0)
    return sum(shares) / len(shares)


def shared_grams(rows: Sequence[Encoded], gram: int = GRAM) -> float:
    """Return the share of an answer's phrases that answers to other prompts say too, mean over all.

    A phrase is ``gram`` tokens in a row, and shared where at least :data:`COMMON` of the other
    prompts here have an answer with it. An answer without any phrase counts as 0.
    """
    said: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    phrases = [
        {tuple(row.response[i : i + gram]) for i in range(len(row.response) - gram + 1)}
        for row in rows
    ]
    for row, own in zip(rows, phrases, strict=True):
        for phrase in own:
            said.setdefault(phrase, set()).add(tuple(row.prompt))
    others = len({tuple(row.prompt) for row in rows}) - 1
    needed = max(1.0, COMMON * others)
    shares = [
        sum(len(said[phrase]) - 1 >= needed for phrase in own) / len(own) if own else 0.0
        for own in phrases
    ]
    return sum(shares) / len(shares)


def perplexity(logprobs: Tensor, mask: Tensor) -> float:
    """Return exp(−mean log-probability) over the tokens of the mask; both ``(B, T)``."""
    return math.exp(-float((logprobs * mask).sum() / mask.sum()))


class Watch:
    """Measures every update's answers in the ways that PPO does not see.

    Args:
        heldout: a second reward model, trained on other pairs; None for none.
        roles: the policy's base.
        settings: of the run.
        policy: encodes for the policy.
    """

    def __init__(
        self, heldout: str | None, roles: Roles, settings: PPOSettings, policy: Encoder
    ) -> None:
        settings.check_heldout(heldout is not None)
        self.reward: ModelReward | None = None
        if heldout is not None:
            self.reward = ModelReward.attach("heldout", heldout, roles, settings, policy)
        self.best = BestPolicy(roles.parameters("policy"), settings)

    def look(self, step: int, episodes: Episodes) -> dict[str, float | None]:
        """Measure the answers of update ``step`` (from 1) before the policy learns from them."""
        metrics: dict[str, float | None] = {
            "response/repetition": repeated_grams([row.response for row in episodes.rows]),
            "response/shared": shared_grams(episodes.rows),
            "response/ref_perplexity": perplexity(episodes.ref_logprobs, episodes.response_mask),
        }
        if self.reward is not None:
            score = float(self.reward.mean_scores(episodes.rows, episodes.messages).mean())
            metrics["heldout/scores"] = score
            metrics |= self.best.note(step, score)
        return metrics


class BestPolicy:
    """The update whose watched score, averaged over a few, was highest, and its policy.

    Args:
        weights: the policy's, which change from update to update.
        settings: ``keep_best`` and ``patience`` count.
    """

    def __init__(self, weights: Sequence[nn.Parameter], settings: PPOSettings) -> None:
        self.weights, self.settings = list(weights), settings
        self.recent: list[float] = []
        self.score, self.step = -math.inf, 0
        self.kept: list[Tensor] = []

    def note(self, step: int, score: float) -> dict[str, float | None]:
        """Take note of an update's watched score; the weights are those that wrote the answers."""
        self.recent = [*self.recent, score][-WINDOW:]
        if len(self.recent) == WINDOW:
            mean = sum(self.recent) / WINDOW
            if mean > self.score:
                self.score, self.step = mean, step
                if self.settings.keep_best:
                    self.kept = [p.detach().to("cpu", copy=True) for p in self.weights]
        return {"heldout/best_step": float(self.step) if self.step else None}

    def last_update(self, done: int, total: int) -> tuple[int, tuple[str, ...]]:
        """Which update is the last, and what to say after update ``done`` of ``total``.

        That is this one where ``patience`` updates have passed since the best.
        """
        patience, notices = self.settings.patience, list[str]()
        if patience and self.step and done - self.step >= patience and done < total:
            notices.append(
                f"stopped after update {done}: the watched score was best at {self.step}, "
                f"{patience} updates ago"
            )
            total = done
        if self.settings.keep_best and done == total:
            notices.append(self._final())
        return total, tuple(notices)

    def _final(self) -> str:
        """What ``final/`` holds."""
        if not self.kept:
            return f"final/ is the last policy: fewer than {WINDOW} updates have a watched score"
        return (
            f"final/ is the policy of update {self.step}, the best by the watched score "
            f"({self.score:+.2f}, mean of {WINDOW} updates)"
        )

    @contextmanager
    def in_place(self) -> Generator[None, None, None]:
        """Within the block the policy has the kept weights, where there are any."""
        now = [weight.detach().clone() for weight in self.weights]
        self._put(self.kept)
        try:
            yield
        finally:
            self._put(now)

    @torch.no_grad()
    def _put(self, tensors: Sequence[Tensor]) -> None:
        for weight, tensor in zip(self.weights, tensors, strict=False):
            weight.copy_(tensor)

    def state(self) -> dict[str, Any]:
        """All that changes; the kept weights are not copied, since they are only replaced."""
        return {
            "recent": self.recent,
            "score": self.score,
            "step": self.step,
            "kept": self.kept,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        self.recent, self.score = state["recent"], state["score"]
        self.step, self.kept = state["step"], state["kept"]
