"""Episodes: sample answers, then see them with every role, in the micro-batches of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench.algos.rewards import ended
from workbench.models.base import Base
from workbench.models.encoding import Encoded, pad_right
from workbench.models.forward import (
    Batch,
    Flat,
    head_values,
    in_batches,
    lay,
    response_hidden,
    response_logprobs,
    response_stats,
    spread,
)
from workbench.models.roles import Roles
from workbench.settings import PPOSettings
from workbench.training.batches import shuffled
from workbench.training.process_group import Team
from workbench.training.reward.reward_sources import RewardSource


class Viewed(NamedTuple):
    """What the policy, the reference and the value model say of a micro-batch, ``(b, R)``."""

    policy_logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    response_mask: Tensor


@dataclass
class Episodes:
    """One update's answers and everything that was measured on them.

    Attributes:
        rows: ``B`` encoded prompts and answers.
        scores: ``(B,)`` normalised scores of the reward model.
        rewards_at_end: ``(B,)`` what is paid for a whole answer: the score, shaped.
        rollout_logprobs, ref_logprobs, values, entropy: ``(B, T)``, zero on padding.
        response_mask: ``(B, T)``.
        parts: what the scores are made of, by name, ``(B,)`` each.
    """

    rows: list[Encoded]
    scores: Tensor
    rewards_at_end: Tensor
    ended: Tensor
    rollout_logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    response_mask: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


class ValueModel:
    """Predicts the reward still to come: an adapter of its own, or a head on the policy's trunk.

    Its output goes through the reward model's normalisation where it was copied from it, so that
    at the first step the value of the last state is the reward model's score.
    """

    def __init__(
        self, roles: Roles, role: str, head: nn.Linear, stats: tuple[float, float]
    ) -> None:
        self.roles, self.role, self.head = roles, role, head
        self.mean, self.std = stats

    def from_hidden(self, hidden: Tensor) -> Tensor:
        """Hidden states ``(..., D)`` to values ``(...)`` in normalised score units."""
        return (head_values(self.head, hidden) - self.mean) / self.std

    def values(self, base: Base, batch: Flat | Batch) -> Tensor:
        """Values ``(b, R)`` of the states in which the response tokens are chosen."""
        with self.roles.acting(self.role):
            return spread(self.from_hidden(response_hidden(base, batch)), batch.response_mask)


@torch.no_grad()
def view(
    roles: Roles,
    batch: Flat | Batch,
    *,
    reference: str | None,
    value: ValueModel | None,
    temperature: float,
) -> Viewed:
    """Policy, reference and value of a micro-batch, by the same forward as training's."""
    base = roles.base
    values: Tensor | None = None
    with roles.acting("policy"):
        hidden = response_hidden(base, batch)
        policy = response_stats(base, batch, temperature=temperature, hidden=hidden)
        if value is not None and value.role == "policy":
            values = spread(value.from_hidden(hidden), batch.response_mask)
    with roles.acting(reference):
        hidden = response_hidden(base, batch)
        ref = response_logprobs(base, batch, temperature=temperature, hidden=hidden)
    if values is None:
        zeros = torch.zeros_like(policy.logprobs)
        values = zeros if value is None else value.values(base, batch)
    return Viewed(policy.logprobs, ref, values, policy.entropy, batch.response_mask)


def measure(
    roles: Roles,
    rows: Sequence[Encoded],
    groups: Sequence[Sequence[int]],
    reward: RewardSource,
    settings: PPOSettings,
    *,
    scored: Sequence[Any],
    reference: str | None,
    value: ValueModel | None,
    temperature: float,
    safe_point: Callable[[int], None],
    team: Team,
) -> Episodes:
    """See every answer with every role, in the micro-batches that training will use first.

    ``scored`` are the same answers as the reward reads them; ``groups`` this process's
    micro-batches. Every process of the team hears of all answers.
    """
    base = roles.base
    longest = max(len(r.response) for r in rows)
    wide = torch.promote_types(base.dtype, torch.float32)  # float64 stays exact
    tables = [torch.zeros(len(rows), longest, dtype=wide, device=base.device) for _ in range(4)]
    lengths = torch.tensor([len(r.response) for r in rows], device=base.device)
    mask = torch.arange(longest, device=base.device) < lengths[:, None]
    tokens = pad_right([r.response for r in rows], pad=0, device=base.device)
    finished = ended(tokens, mask, base.eos_ids).cpu()
    for group in groups:
        safe_point(len(group))
        index = list(group)
        batch = lay([rows[i] for i in index], base)
        seen = view(roles, batch, reference=reference, value=value, temperature=temperature)
        width = seen.response_mask.shape[1]
        parts = (seen.policy_logprobs, seen.ref_logprobs, seen.values, seen.entropy)
        for table, part in zip(tables, parts, strict=True):
            table[index, :width] = part.to(table.dtype)
    safe_point(0)
    mine = team.share(range(len(rows)), [len(row.ids) for row in rows])
    found = reward.scores([scored[i] for i in mine], tokens=settings.micro_batch_tokens)
    scores, *shown = (
        _placed(part, mine, len(rows)) for part in (found.total, *found.parts.values())
    )
    team.add(*tables, scores, *shown)
    policy_logprobs, ref_logprobs, values, entropy = tables
    return Episodes(
        list(rows),
        scores,
        scores.to(base.device),  # :class:`Shaping` makes it what is paid
        finished,
        policy_logprobs,
        ref_logprobs,
        values,
        entropy,
        mask,
        dict(zip(found.parts, shown, strict=True)),
    )


def shuffled_episodes(count: int, settings: PPOSettings, generator: torch.Generator) -> list[int]:
    """Episode numbers in an order that the generator draws.

    The samples of one prompt stay together, so that they can share its forward, where that still
    leaves every mini-batch at least one prompt.
    """
    samples = _together(count, settings)
    first = shuffled(count // samples, generator)
    return [i * samples + sample for i in first for sample in range(samples)]


def _together(count: int, settings: PPOSettings) -> int:
    """How many episodes stay in one mini-batch: a prompt's samples, or each by itself."""
    samples = settings.samples_per_prompt
    return 1 if count % samples or count // samples < settings.mini_batches else samples


def _placed(part: Tensor, mine: Sequence[int], count: int) -> Tensor:
    """This process's numbers at their places among all, zero elsewhere."""
    table = torch.zeros(count, dtype=part.dtype)
    table[list(mine)] = part
    return table


def mini_batch_parts(order: Sequence[int], settings: PPOSettings) -> list[list[int]]:
    """Split shuffled episodes into mini-batches, of one size give or take a prompt's samples."""
    count = min(settings.mini_batches, len(order))
    samples = _together(len(order), settings)
    units = [order[i : i + samples] for i in range(0, len(order), samples)]
    return [[i for unit in units[part::count] for i in unit] for part in range(count)]


def mini_batch_groups(
    rows: Sequence[Encoded],
    order: Sequence[int],
    settings: PPOSettings,
    base: Base,
    team: Team | None = None,
) -> list[list[list[int]]]:
    """Split each mini-batch's episodes that are this process's into micro-batches."""
    team = team or Team()
    parts = [
        team.share(part, [len(rows[i].ids) for i in part])
        for part in mini_batch_parts(order, settings)
    ]
    return [in_batches(rows, part, base, tokens=settings.micro_batch_tokens) for part in parts]
