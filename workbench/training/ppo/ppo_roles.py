"""Who takes part in PPO beside the reward: the policy, its reference, and the value model."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.errors import ModelError
from workbench.models.base import Base
from workbench.models.forward import Batch, Flat, head_values, response_hidden, spread
from workbench.models.roles import Roles
from workbench.models.source import Source, resolve
from workbench.settings import PPOSettings
from workbench.training.reward.scorer import Scorer


class ValueModel:
    """Predicts the reward still to come: an adapter of its own, or a head on the policy's trunk.

    Its output goes through the reward model's normalisation where it was copied from it, so that
    at the first step the value of the last state is the reward model's score.
    """

    def __init__(
        self, roles: Roles, role: str, head: nn.Linear, stats: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        self.roles, self.role, self.head = roles, role, head
        self.mean, self.std = stats

    @property
    def on_policy_trunk(self) -> bool:
        """Whether it is a head on the policy's own hidden states."""
        return self.role == "policy"

    def from_hidden(self, hidden: Tensor) -> Tensor:
        """Hidden states ``(..., D)`` to values ``(...)`` in normalised score units."""
        return (head_values(self.head, hidden) - self.mean) / self.std

    def values(self, base: Base, batch: Flat | Batch) -> Tensor:
        """Values ``(b, R)`` of the states in which the response tokens are chosen."""
        with self.roles.acting(self.role):
            return spread(self.from_hidden(response_hidden(base, batch)), batch)

    def save(self, folder: Path) -> None:
        """Write its adapter and head, and the normalisation of its output."""
        self.roles.save(self.role, folder, task="SEQ_CLS", extra={"kind": "value"})
        stats = {"mean": self.mean, "std": self.std}
        (folder / "value.json").write_text(json.dumps(stats) + "\n")


def add_policy(roles: Roles, reference: str | None) -> str | None:
    """Add the policy, and the reference it is held to; returns the reference's role.

    Args:
        roles: on the base of what the policy starts from.
        reference: None for what the policy starts from.

    Returns:
        None where the reference is the base with adapters off.

    Raises:
        ModelError: one of them scores answers, or the reference stands on another base.
    """
    roles.base.check_answers()
    source, seed = roles.base.source, roles.settings.seed
    frozen = source if reference is None else _on_same_base(reference, source)
    if frozen.adapter is not None:
        roles.add("reference", trainable=False, source=frozen.adapter)
    if source.adapter is None:
        roles.add("policy", trainable=True, seed=seed)
    elif source.adapter == frozen.adapter:
        roles.add("policy", trainable=True, copy_of="reference")
    else:
        roles.add("policy", trainable=True, source=source.adapter)
    return None if frozen.adapter is None else "reference"


def _on_same_base(reference: str, policy: Source) -> Source:
    """Where a reference's adapter is; the base is loaded once."""
    frozen = resolve(reference)
    frozen.check_answers()
    if frozen.base != policy.base:
        raise ModelError(
            "the reference stands on another base than the policy",
            where=f"{frozen.reference}, policy on {policy.reference}",
            fix="give what the policy was first trained from",
        )
    return frozen


def add_value(
    roles: Roles, settings: PPOSettings, scorer: Scorer | None, weight: float
) -> ValueModel | None:
    """Add the value model: copied from the reward model where one stands on the same base.

    Args:
        roles: on the policy's base.
        settings: which advantages, and which value model.
        scorer: the reward model, where there is one.
        weight: of that model in a mix of rewards: its values are scaled by it.

    Returns:
        None where advantages need no values.
    """
    if settings.advantage != "gae":
        return None
    head = torch.zeros(1, roles.base.width)
    if settings.value == "shared":
        return ValueModel(roles, "policy", roles.add_head("policy", trainable=True, weight=head))
    stats = (0.0, 1.0)
    if scorer is not None and scorer.shares_base:
        roles.add("value", trainable=True, copy_of=scorer.members[0].role)
        head, own = scorer.head.weight.detach(), scorer.members[0].stats
        stats = own.mean, own.std / weight
    else:
        roles.add("value", trainable=True, seed=settings.seed + 1)
    return ValueModel(roles, "value", roles.add_head("value", trainable=True, weight=head), stats)
