"""The reward model as PPO and scoring see it: adapters on the same base, or on one beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.data.messages import Message
from workbench.errors import ModelError
from workbench.models.answer_scores import separate_scores
from workbench.models.base import load_base, reads_alike
from workbench.models.encoding import Encoded, Encoder
from workbench.models.forward import in_batches, lay, sequence_scores
from workbench.models.model_kinds import is_classifier
from workbench.models.roles import Roles
from workbench.models.source import RewardStats, Source, resolve
from workbench.settings import RunSettings
from workbench.training.reward.members import ROLE, role_of


class Scored(NamedTuple):
    """One member of a reward model.

    Attributes:
        role: it acts in; None where the base itself is the reward model.
        head: None where an encoder's own is used.
        stats: what its scores are read by.
    """

    role: str | None
    head: nn.Linear | None
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
        self.notices: list[str] = [] if shares_base else list(self.base.notices)

    @classmethod
    def attach(
        cls, reward: str, roles: Roles, settings: RunSettings, *, role: str = ROLE
    ) -> "Scorer":
        """Put a reward model on a base that is loaded, or load its own beside it.

        Any sequence classifier with one label serves: a run of ``train_reward``, an adapter with
        its head from PEFT or TRL, or whole weights.

        ``role`` is its name there: several reward models may stand on one base.

        Raises:
            ModelError: what was given is not a reward model.
        """
        source = resolve(reward)
        if not source.may_score:
            raise _no_reward_model(reward)
        shares = source.base == roles.base.source.base and reads_alike(source, roles.base)
        own = roles if shares else Roles(load_base(source, settings), settings)
        scorer = cls(own, _attached(own, source, role), shares_base=shares)
        if not source.is_measured:
            scorer.notices.append(
                "the reward model has no reward.json: its scores are taken as they are, as if "
                "their mean were 0 and their deviation 1"
            )
        return scorer

    @property
    def head(self) -> nn.Linear:
        """The first member's."""
        head = self.members[0].head
        assert head is not None  # an encoder's is never copied into a policy's base
        return head

    def scores(self, rows: Sequence[Encoded], *, tokens: int) -> Tensor:
        """Normalised scores ``(B,)`` of encoded answers (with their EOS), on the CPU.

        Of an ensemble: the mean over its members.
        """
        return self.member_scores(rows, tokens=tokens).mean(0)

    @torch.no_grad()
    def member_scores(
        self, rows: Sequence[Encoded], *, tokens: int, tell: Callable[[int], None] | None = None
    ) -> Tensor:
        """Each member's normalised scores ``(M, B)`` of encoded answers, on the CPU.

        Each row has mean 0 and deviation 1 on the answers its member was measured on. M is 1
        where there is no ensemble. ``tell`` is called with how many have been scored.
        """
        scored = 0
        wide = torch.promote_types(self.base.dtype, torch.float32)  # float64 stays exact
        result = torch.zeros(len(self.members), len(rows), dtype=wide)
        for group in in_batches(rows, range(len(rows)), self.base, tokens=tokens):
            some = [rows[i] for i in group]
            for index, member in enumerate(self.members):
                raw = self._raw(some, member)
                result[index, group] = member.normalised(raw).to(wide).cpu()
            scored += len(group)
            if tell is not None:
                tell(scored)
        if not result.isfinite().all():
            wrong = result[~result.isfinite()][0].item()
            raise ModelError(
                f"the reward model scores an answer {wrong}, which is no number to learn from",
                where=self.base.source.reference,
                fix="see that its weights are whole (a half-written or damaged file has such), or "
                "compute in a wider dtype, such as dtype='float32'",
            )
        return result

    def _raw(self, rows: Sequence[Encoded], member: Scored) -> Tensor:
        """Raw scores ``(B,)`` of a micro-batch by one member."""
        with self.roles.acting(member.role):
            if member.head is None:
                return separate_scores(self.base, None, [[row.ids] for row in rows])
            return sequence_scores(self.base, member.head, lay(rows, self.base))

    def read(
        self,
        rows: Sequence[Encoded],
        prompts: Sequence[list[Message]],
        policy: Encoder,
        own: Encoder,
        eos_ids: Sequence[int],
    ) -> list[Encoded]:
        """A policy's answers as this model reads them: as they are, or by their text.

        By their text where the model stands beside the policy's base. An answer that did not end
        has no EOS here either; one that is too long loses its end.

        Args:
            rows: in the policy's ids.
            prompts: the messages that they answer.
            policy: encodes for the policy.
            own: encodes for this model.
            eos_ids: the policy's.
        """
        if self.shares_base:
            return list(rows)
        read: list[Encoded] = []
        for row, prompt in zip(rows, prompts, strict=True):
            ended = own.two_texts or (row.response and row.response[-1] in eos_ids)
            read.append(own.reply(prompt, policy.decode(row.response), ended=bool(ended)))
        return read

    def encoder(self, settings: RunSettings) -> Encoder:
        """Encodes for the reward model's own tokenizer."""
        return Encoder.of(self.base, settings, whole_turn=not self.base.source.is_ours)


def _attached(roles: Roles, source: Source, first: str) -> list[Scored]:
    """A reward model's adapters and heads, frozen, each in a role of its own."""
    members: list[Scored] = []
    for index, folder in enumerate(source.judges):
        role = role_of(index, first)
        roles.add(role, trainable=False, source=folder)
        if not roles.has_head(role):
            raise ModelError(
                "this reward adapter was saved without its head, so that its scores are lost",
                where=str(folder),
                fix="train it again with task_type='SEQ_CLS', which trains and saves the head",
            )
        members.append(Scored(role, roles.heads.get(role), RewardStats.read(folder)))
    if members:
        return members
    base = roles.base
    if base.answers or not is_classifier(base.model.config):
        raise _no_reward_model(source.reference)
    if base.trained_head is not None:
        roles.add_head(first, trainable=False, weight=base.trained_head)
    return [Scored(None, roles.heads.get(first), RewardStats.read(Path(source.base)))]


def _no_reward_model(reward: str) -> ModelError:
    return ModelError(
        "this is not a reward model: neither trained here nor a sequence classifier",
        where=reward,
        fix="give a run of train_reward, or a model whose AutoModelForSequenceClassification "
        "has one label",
    )
