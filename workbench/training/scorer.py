"""The reward model as PPO and scoring see it: adapters on the same base, or on one beside it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench.errors import ModelError
from workbench.models.base import load_base
from workbench.models.encoding import Encoded, Encoder, Message
from workbench.models.forward import in_batches, lay, sequence_scores
from workbench.models.roles import Roles
from workbench.models.source import RewardStats, Source, resolve
from workbench.settings import RunSettings
from workbench.training.members import ROLE, role_of


class Scored(NamedTuple):
    """One member of a reward model: the role it acts in, its head, what its scores are read by."""

    role: str
    head: nn.Linear
    stats: RewardStats

    def normalised(self, raw: Tensor) -> Tensor:
        """Raw scores to mean 0, deviation 1 on the answers they were measured on."""
        return (raw - self.stats.mean) / self.stats.std


class Scorer:
    """Scores answers with a frozen reward model, normalised to mean 0 and deviation 1.

    Attributes:
        members: one, or those of an ensemble.
        shares_base: whether they are adapters on the base it was given, not on one beside it.
    """

    ROLE = ROLE
    """The first member's role."""

    def __init__(self, roles: Roles, members: Sequence[Scored], *, shares_base: bool) -> None:
        self.base, self.roles = roles.base, roles
        self.members = tuple(members)
        self.shares_base = shares_base

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
        shares = source.base == roles.base.source.base
        own = roles if shares else Roles(load_base(source, settings), settings)
        return cls(own, _attached(own, source, role), shares_base=shares)

    @property
    def head(self) -> nn.Linear:
        """The first member's."""
        return self.members[0].head

    @property
    def mean(self) -> float:
        """Of the first member's raw scores."""
        return self.members[0].stats.mean

    @property
    def std(self) -> float:
        """Of the first member's raw scores."""
        return self.members[0].stats.std

    def scores(self, rows: Sequence[Encoded], *, tokens: int) -> Tensor:
        """Normalised scores ``(B,)`` of encoded answers (with their EOS), on the CPU.

        Of an ensemble: the mean over its members.
        """
        return self.member_scores(rows, tokens=tokens).mean(0)

    @torch.no_grad()
    def member_scores(self, rows: Sequence[Encoded], *, tokens: int) -> Tensor:
        """Each member's normalised scores ``(M, B)`` of encoded answers, on the CPU.

        Each row has mean 0 and deviation 1 on the answers its member was measured on. M is 1
        where there is no ensemble.
        """
        wide = torch.promote_types(self.base.dtype, torch.float32)  # float64 stays exact
        result = torch.zeros(len(self.members), len(rows), dtype=wide)
        for group in in_batches(rows, range(len(rows)), self.base, tokens=tokens):
            batch = lay([rows[i] for i in group], self.base)
            for index, member in enumerate(self.members):
                with self.roles.acting(member.role):
                    raw = sequence_scores(self.base, member.head, batch)
                result[index, group] = member.normalised(raw).to(wide).cpu()
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


def _attached(roles: Roles, source: Source, first: str) -> list[Scored]:
    """A reward model's adapters and heads, frozen, each in a role of its own."""
    found: list[Scored] = []
    for index, folder in enumerate(source.judges):
        role = role_of(index, first)
        roles.add(role, trainable=False, source=folder)
        found.append(Scored(role, roles.heads[role], RewardStats.read(folder)))
    return found
