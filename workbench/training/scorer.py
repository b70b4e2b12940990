"""The reward model as PPO and scoring see it: an adapter on the same base, or one beside it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import ModelError
from workbench.models.base import Base, load_base
from workbench.models.encoding import Encoded, Encoder, Message, micro_batches
from workbench.models.forward import collate, sequence_scores
from workbench.models.roles import Roles
from workbench.models.source import Source, resolve
from workbench.settings import RunSettings


class Scorer:
    """Scores answers with a frozen reward model, normalised to mean 0 and deviation 1.

    Attributes:
        shares_base: whether it is an adapter on the base it was given, not a model beside it.
    """

    ROLE = "reward"

    def __init__(
        self, base: Base, roles: Roles, head: nn.Linear, stats: tuple[float, float]
    ) -> None:
        self.base, self.roles, self.head = base, roles, head
        self.mean, self.std = stats
        self.role = self.ROLE
        self.shares_base = False

    @classmethod
    def attach(
        cls, reward: str, roles: Roles, settings: RunSettings, *, role: str = ROLE
    ) -> "Scorer":
        """Put a trained reward model on a base that is loaded, or load its own beside it.

        ``role`` is its name there: several reward models may stand on one base.

        Raises:
            ModelError: what was given is not a trained reward model.
        """
        source = resolve(reward)
        if not source.is_reward:
            raise ModelError(
                "this is not a reward model that the workbench trained (no reward.json)",
                where=reward,
                fix="give a run of train_reward, or its final/ folder",
            )
        if source.base == roles.base.source.base:
            scorer = cls._on(roles, source, role)
            scorer.shares_base = True
            return scorer
        beside = load_base(source, settings)
        return cls._on(Roles(beside, settings), source, role)

    @classmethod
    def _on(cls, roles: Roles, source: Source, role: str) -> "Scorer":
        roles.add(role, trainable=False, source=source.adapter)
        scorer = cls(roles.base, roles, roles.heads[role], source.reward_stats())
        scorer.role = role
        return scorer

    def normalised(self, raw: Tensor) -> Tensor:
        """Raw scores to mean 0, deviation 1 on the answers they were measured on."""
        return (raw - self.mean) / self.std

    @torch.no_grad()
    def scores(self, rows: Sequence[Encoded], *, tokens: int) -> Tensor:
        """Normalised scores ``(B,)`` of encoded answers (with their EOS), on the CPU."""
        result = torch.zeros(len(rows))
        with self.roles.acting(self.role):
            for group in micro_batches([len(r.ids) for r in rows], tokens=tokens):
                batch = collate([rows[i] for i in group], self.base)
                raw = sequence_scores(self.base, self.head, batch)
                result[group] = self.normalised(raw).float().cpu()
        return result

    def read(
        self,
        rows: Sequence[Encoded],
        prompts: Sequence[list[Message]],
        policy: Encoder,
        own: Encoder,
        eos_ids: Sequence[int],
    ) -> list[Encoded]:
        """A policy's answers as this model reads them, beside the policy's base: by their text.

        An answer that did not end has no EOS here either; one that is too long loses its end.

        Args:
            rows: in the policy's ids.
            prompts: the messages that they answer.
            policy: encodes for the policy.
            own: encodes for this model.
            eos_ids: the policy's.
        """
        found: list[Encoded] = []
        for row, prompt in zip(rows, prompts, strict=True):
            ids = own.text(policy.decode(row.response))
            if not row.response or row.response[-1] not in eos_ids:
                ids.pop()
            answer = ids[: own.max_length - 1]
            found.append(Encoded(own.prompt(prompt, room=len(answer)), answer))
        return found

    def encoder(self, settings: RunSettings) -> Encoder:
        """Encodes for the reward model's own tokenizer."""
        return Encoder(
            self.base, max_length=settings.max_length, template=settings.chat_template_kwargs
        )


def as_response(text: str) -> list[dict[str, Any]]:
    """A text as the messages of one response."""
    return [{"role": "assistant", "content": text}]
