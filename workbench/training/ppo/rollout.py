"""Steps 1 and 2 of an update: answers are sampled, then seen with every role.

They are seen in the micro-batches of training, so that training's first forward is the same.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.algos.rewards import ended
from workbench.data.messages import Message
from workbench.models.encoding import Encoded, pad_right
from workbench.models.fast.on_card import upload
from workbench.models.forward import (
    Batch,
    Flat,
    lay,
    response_hidden,
    response_logprobs,
    response_stats,
    spread,
)
from workbench.models.roles import Roles
from workbench.training.ppo.ppo_roles import ValueModel
from workbench.training.process_group import Team
from workbench.training.reward.reward_sources import RewardScores, RewardSource


@dataclass(frozen=True)
class Episodes:
    """One update's answers and everything that was measured on them.

    Attributes:
        rows: ``B`` encoded prompts and answers.
        messages: the prompts that they answer.
        temperature: they were sampled at, and their log-probabilities are taken at.
        scores: ``(B,)`` normalised scores of the reward model, on the CPU; NaN without one.
        parts: what the scores are made of, by name, ``(B,)`` each.
        ended: ``(B,)`` whether the last token is an EOS, on the CPU.
        rollout_logprobs, ref_logprobs, values, entropy: ``(B, T)``, zero on padding.
        response_mask: ``(B, T)``.
    """

    rows: list[Encoded]
    messages: list[list[Message]]
    temperature: float
    scores: Tensor
    parts: dict[str, Tensor]
    ended: Tensor
    rollout_logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    response_mask: Tensor


@torch.no_grad()
def view(
    roles: Roles,
    batch: Flat | Batch,
    *,
    reference: str | None,
    value: ValueModel | None,
    temperature: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Policy's and reference's log-probabilities, values and entropy of a micro-batch.

    By the same forward as training's; ``(b, R)`` each, zero on padding.
    """
    base = roles.base
    values: Tensor | None = None
    with roles.acting("policy"):
        hidden = response_hidden(base, batch)
        policy = response_stats(base, batch, temperature=temperature, hidden=hidden)
        if value is not None and value.on_policy_trunk:
            values = spread(value.from_hidden(hidden), batch)
    with roles.acting(reference):
        hidden = response_hidden(base, batch)
        ref_logprobs = response_logprobs(base, batch, temperature=temperature, hidden=hidden)
    if values is None:
        zeros = torch.zeros_like(policy.logprobs)
        values = zeros if value is None else value.values(base, batch)
    return policy.logprobs, ref_logprobs, values, policy.entropy


def measure(
    roles: Roles,
    rows: Sequence[Encoded],
    messages: Sequence[list[Message]],
    micro_batches: Sequence[Sequence[int]],
    reward: RewardSource | None,
    *,
    reference: str | None,
    value: ValueModel | None,
    temperature: float,
    tokens: int,
    safe_point: Callable[[int], None],
    team: Team,
) -> Episodes:
    """See every answer with every role, in the micro-batches that training will use first.

    ``micro_batches`` are this process's; every process of the team hears of all answers. The
    reward scores ``tokens`` at once; without one the scores are not numbers.
    """
    base = roles.base
    longest = max(len(row.response) for row in rows)
    wide = torch.promote_types(base.dtype, torch.float32)  # float64 stays exact
    tables = [torch.zeros(len(rows), longest, dtype=wide, device=base.device) for _ in range(4)]
    lengths = upload([len(row.response) for row in rows], base.device)
    mask = torch.arange(longest, device=base.device) < lengths[:, None]
    responses = pad_right([row.response for row in rows], pad=0, device=base.device)
    for group in micro_batches:
        safe_point(len(group))
        batch = lay([rows[i] for i in group], base)
        parts = view(roles, batch, reference=reference, value=value, temperature=temperature)
        width, at = batch.response_mask.shape[1], upload(list(group), base.device)
        for table, part in zip(tables, parts, strict=True):
            table[at, :width] = part.to(table.dtype)
    safe_point(0)
    scored = scored_answers(rows, messages, reward, tokens=tokens, team=team)
    team.add(*tables)
    rollout_logprobs, ref_logprobs, values, entropy = tables
    return Episodes(
        rows=list(rows),
        messages=list(messages),
        temperature=temperature,
        scores=scored.total,
        parts=scored.parts,
        ended=ended(responses, mask, base.eos_ids).cpu(),
        rollout_logprobs=rollout_logprobs,
        ref_logprobs=ref_logprobs,
        values=values,
        entropy=entropy,
        response_mask=mask,
    )


def scored_answers(
    rows: Sequence[Encoded],
    messages: Sequence[list[Message]],
    reward: RewardSource | None,
    *,
    tokens: int,
    team: Team,
) -> RewardScores:
    """Scores ``(B,)`` of answers and what they are made of, shared out over the team.

    ``tokens`` go through the reward at once; without one the scores are not numbers.
    """
    if reward is None:
        return RewardScores(torch.full((len(rows),), math.nan), {})
    texts = reward.read(rows, messages)
    mine = team.share(range(len(rows)), [len(row.ids) for row in rows])
    scored = reward.scores([texts[i] for i in mine], tokens=tokens)
    total, *parts = (
        _placed(part, mine, len(rows)) for part in (scored.total, *scored.parts.values())
    )
    team.add(total, *parts)
    return RewardScores(total, dict(zip(scored.parts, parts, strict=True)))


def _placed(part: Tensor, mine: Sequence[int], count: int) -> Tensor:
    """This process's numbers at their places among all, zero elsewhere."""
    table = torch.zeros(count, dtype=part.dtype)
    table[list(mine)] = part
    return table
