"""What is watched beside the reward that PPO sees, and which update was the best by it.

A policy can raise the learned score by exploiting the reward model's errors. A second reward
model, trained on other pairs, does not share them all: where its score turns down while the
learned one rises, the policy is over-optimised. Nothing here is ever learned from.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.encoding import Encoded, Encoder, Message
from workbench.models.roles import Roles
from workbench.settings import PPOSettings
from workbench.training.ppo.rollout import Episodes
from workbench.training.ppo.watching_models import Reader

GRAM = 3  # tokens that count as a phrase
WINDOW = 5  # updates whose held-out scores are averaged: those of one are noisy


def repetition(answers: Sequence[Sequence[int]], gram: int = GRAM) -> float:
    """Return the share of an answer's phrases that came before in it, mean over the answers.

    A phrase is ``gram`` tokens in a row; an answer without any counts as 0.
    """
    shares: list[float] = []
    for ids in answers:
        phrases = [tuple(ids[i : i + gram]) for i in range(len(ids) - gram + 1)]
        shares.append(1 - len(set(phrases)) / len(phrases) if phrases else 0.0)
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
    """

    def __init__(self, heldout: str | None, roles: Roles, settings: PPOSettings) -> None:
        settings.check_heldout(heldout is not None)
        self.reader = None if heldout is None else Reader("heldout", heldout, roles, settings)
        self.best = Best(roles.parameters("policy"), settings)

    def look(
        self, step: int, prompts: Sequence[list[Message]], episodes: Episodes, encoder: Encoder
    ) -> dict[str, float | None]:
        """Measure the answers of update ``step`` (from 1) before the policy learns from them."""
        rows: list[Encoded] = episodes.rows
        metrics: dict[str, float | None] = {
            "response/repetition": repetition([row.response for row in rows]),
            "response/ref_perplexity": perplexity(episodes.ref_logprobs, episodes.response_mask),
        }
        if self.reader is not None:
            score = float(self.reader.scores(rows, prompts, encoder).mean())
            metrics["heldout/scores"] = score
            metrics |= self.best.tell(step, score)
        return metrics


class Best:
    """The update whose held-out score, averaged over a few, was highest, and its policy.

    Args:
        weights: the policy's, which change from update to update.
        settings: ``keep_best`` and ``patience`` count.
    """

    def __init__(self, weights: Sequence[nn.Parameter], settings: PPOSettings) -> None:
        self.weights, self.settings = list(weights), settings
        self.recent: list[float] = []
        self.score, self.step = -math.inf, 0
        self.kept: list[Tensor] = []

    def tell(self, step: int, score: float) -> dict[str, float | None]:
        """Take note of an update's held-out score; the weights are those that wrote the answers."""
        self.recent = [*self.recent, score][-WINDOW:]
        if len(self.recent) == WINDOW:
            mean = sum(self.recent) / WINDOW
            if mean > self.score:
                self.score, self.step = mean, step
                if self.settings.keep_best:
                    self.kept = [p.detach().to("cpu", copy=True) for p in self.weights]
        return {"heldout/best_step": float(self.step) if self.step else None}

    def waited_too_long(self, step: int) -> bool:
        """Whether ``patience`` updates have passed since the best one."""
        patience = self.settings.patience
        return bool(patience and self.step and step - self.step >= patience)

    def sentence(self) -> str:
        """What ``final/`` holds."""
        if not self.kept:
            return f"final/ is the last policy: fewer than {WINDOW} updates have a held-out score"
        return (
            f"final/ is the policy of update {self.step}, the best by the held-out score "
            f"({self.score:+.2f}, mean of {WINDOW} updates)"
        )

    @torch.no_grad()
    def swap(self) -> None:
        """Put the kept weights in the place of those of now, and keep those; nothing without."""
        for parameter, other in zip(self.weights, self.kept, strict=False):
            now = parameter.detach().to("cpu", copy=True)
            parameter.copy_(other)
            other.copy_(now)

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
