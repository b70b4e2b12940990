"""Step 4 of an update: shuffled mini-batches, and one clipped step on each.

A mini-batch is what one optimiser step learns from. It goes through the model in micro-batches,
whose gradients add up, so that their size changes nothing but rounding.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.algos.advantages import Estimates
from workbench.algos.kl import KL_ESTIMATORS
from workbench.algos.losses import ValueLoss, clipped_policy_loss, clipped_value_loss
from workbench.models.base import Base
from workbench.models.encoding import Encoded
from workbench.models.fast.on_card import upload
from workbench.models.forward import in_batches, lay, response_hidden, response_logprobs, spread
from workbench.models.roles import Roles
from workbench.settings import PPOSettings, RunSettings
from workbench.training.batches import shuffled
from workbench.training.optimiser import Optimiser, plain_numbers
from workbench.training.ppo.ppo_roles import ValueModel
from workbench.training.ppo.rollout import Episodes
from workbench.training.process_group import Team

POLICY_STATISTICS = ("policy/loss", "policy/clipfrac", "policy/approxkl", "policy/ratio")
"""What :class:`workbench.algos.losses.PolicyLoss` holds, in its order."""
VALUE_STATISTICS = ("value/loss", "value/clipfrac")
"""What :class:`workbench.algos.losses.ValueLoss` holds, in its order."""


class MiniBatch(NamedTuple):
    """The episodes of one optimiser step, by number.

    Attributes:
        episodes: of all processes.
        micro_batches: this process's share of them, as they go through the model.
    """

    episodes: list[int]
    micro_batches: list[list[int]]


def shuffled_episodes(count: int, settings: PPOSettings, generator: torch.Generator) -> list[int]:
    """Episode numbers in an order that the generator draws.

    The samples of one prompt stay together, so that they can share its forward, where that still
    leaves every mini-batch at least one prompt.
    """
    samples = _together(count, settings)
    order = shuffled(count // samples, generator)
    return [i * samples + sample for i in order for sample in range(samples)]


def _together(count: int, settings: PPOSettings) -> int:
    """How many episodes stay in one mini-batch: a prompt's samples, or each by itself."""
    samples = settings.samples_per_prompt
    return 1 if count % samples or count // samples < settings.mini_batches else samples


def mini_batch_parts(order: Sequence[int], settings: PPOSettings) -> list[list[int]]:
    """Split shuffled episodes into mini-batches, of one size give or take a prompt's samples."""
    count = min(settings.mini_batches, len(order))
    samples = _together(len(order), settings)
    units = [order[i : i + samples] for i in range(0, len(order), samples)]
    return [[i for unit in units[part::count] for i in unit] for part in range(count)]


def own_micro_batches(
    rows: Sequence[Encoded], numbers: Sequence[int], settings: RunSettings, base: Base, team: Team
) -> list[list[int]]:
    """This process's share of some episodes, as they go through the model."""
    share = team.share(numbers, [len(rows[i].ids) for i in numbers])
    return in_batches(rows, share, base, tokens=settings.tokens_at_once)


def mini_batches(
    rows: Sequence[Encoded], order: Sequence[int], settings: PPOSettings, base: Base, team: Team
) -> list[MiniBatch]:
    """Shuffled episodes in mini-batches, and of each this process's micro-batches."""
    return [
        MiniBatch(part, own_micro_batches(rows, part, settings, base, team))
        for part in mini_batch_parts(order, settings)
    ]


def shuffled_epochs(
    rows: Sequence[Encoded],
    settings: PPOSettings,
    base: Base,
    team: Team,
    generator: torch.Generator,
) -> list[list[MiniBatch]]:
    """The mini-batches of each epoch, in an order of its own that the generator draws."""
    return [
        mini_batches(rows, shuffled_episodes(len(rows), settings, generator), settings, base, team)
        for _ in range(settings.epochs)
    ]


def episodes_of(epochs: Sequence[Sequence[MiniBatch]]) -> int:
    """How many episodes this process sends through the model in all epochs; each counts anew."""
    parts = chain.from_iterable(epochs)
    return sum(len(group) for part in parts for group in part.micro_batches)


class ClippedSteps:
    """Takes PPO's steps: policy and value model learn from measured episodes.

    Args:
        roles: on the policy's base.
        value: None where advantages need no values.
        optimiser: holds the weights that learn.
        settings: of the value loss, and when an update ends early.
        team: the processes of the run.
        backward: adds a loss's gradients to the weights'.
        safe_point: where the run may pause or stop before so many sequences go through.
    """

    def __init__(
        self,
        roles: Roles,
        value: ValueModel | None,
        optimiser: Optimiser,
        settings: PPOSettings,
        *,
        team: Team,
        backward: Callable[[Tensor], None],
        safe_point: Callable[[int], None],
    ) -> None:
        self.roles, self.value, self.optimiser, self.settings = roles, value, optimiser, settings
        self.team, self.backward, self.safe_point = team, backward, safe_point

    def take(
        self,
        episodes: Episodes,
        estimates: Estimates,
        epochs: Sequence[Sequence[MiniBatch]],
        *,
        clip_range: float,
        kl_coef: float = 0.0,
    ) -> dict[str, float | None]:
        """One step on each mini-batch of each epoch; means of their statistics over the steps."""
        sums: dict[str, float] = {}
        taken, first_ratio, grad_norm, rate = 0, 1.0, 0.0, 0.0
        for part in chain.from_iterable(epochs):
            statistics = self.gradients(
                part, episodes, estimates, clip_range=clip_range, kl_coef=kl_coef
            )
            done = self.optimiser.step()
            if taken == 0:
                first_ratio = statistics["policy/ratio"]
            taken += 1
            grad_norm, rate = grad_norm + done.grad_norm, done.learning_rate
            for name, value in statistics.items():
                sums[name] = sums.get(name, 0.0) + value
            if 0 < self.settings.target_kl < statistics["policy/approxkl"]:
                break
        return {
            **{name: total / taken for name, total in sums.items()},
            "policy/first_ratio": first_ratio,
            "grad_norm": grad_norm / taken,
            "learning_rate": rate,
            "optimiser_steps": float(taken),
            "skipped_steps": float(self.optimiser.skipped),
        }

    def gradients(
        self,
        part: MiniBatch,
        episodes: Episodes,
        estimates: Estimates,
        *,
        clip_range: float,
        kl_coef: float = 0.0,
    ) -> dict[str, float]:
        """Add up the gradients of one mini-batch over its micro-batches; its statistics.

        ``kl_coef`` is charged in the loss.
        """
        tokens = sum(len(episodes.rows[i].response) for i in part.episodes)
        names: list[str] = [*POLICY_STATISTICS, *(VALUE_STATISTICS if self.value else ())]
        told: list[Tensor] = []
        for group in part.micro_batches:
            self.safe_point(len(group))
            shares = self._losses(
                group, episodes, estimates, tokens=tokens, clip_range=clip_range, kl_coef=kl_coef
            )
            told.append(torch.stack([share.detach() for share in shares]))
        table = plain_numbers(torch.stack(told)) if told else []
        sums = {name: sum((row[i] for row in table), 0.0) for i, name in enumerate(names)}
        return self.team.total(sums)

    def _losses(
        self,
        group: list[int],
        episodes: Episodes,
        estimates: Estimates,
        *,
        tokens: int,
        clip_range: float,
        kl_coef: float,
    ) -> tuple[Tensor, ...]:
        """Losses of one micro-batch with their statistics, backward done."""
        base, value, coef = self.roles.base, self.value, self.settings.value_coef
        batch = lay([episodes.rows[i] for i in group], base)
        mask = batch.response_mask
        width, at = mask.shape[1], upload(group, base.device)

        def value_loss(values: Tensor) -> ValueLoss:
            return clipped_value_loss(
                values,
                episodes.values[at, :width],
                estimates.returns[at, :width],
                mask,
                clip_range=self.settings.value_clip_range,
                token_count=tokens,
            )

        # gradients flow within the role: recomputed activations need it again
        with self.roles.acting("policy"):
            hidden = response_hidden(base, batch)
            logprobs = response_logprobs(
                base, batch, temperature=episodes.temperature, hidden=hidden
            )
            policy = clipped_policy_loss(
                logprobs,
                episodes.rollout_logprobs[at, :width],
                estimates.advantages[at, :width],
                mask,
                clip_range=clip_range,
                clip_range_high=self.settings.clip_range_high,
                token_count=tokens,
            )
            if kl_coef:
                charge = KL_ESTIMATORS[self.settings.kl_estimator](
                    logprobs, episodes.ref_logprobs[at, :width]
                )
                charged = torch.where(mask, charge, 0.0).sum() / tokens
                policy = policy._replace(loss=policy.loss + kl_coef * charged)
            if value is not None and value.on_policy_trunk:
                shared = value_loss(spread(value.from_hidden(hidden), batch))
                self.backward(policy.loss + coef * shared.loss)
                return *policy, *shared
            self.backward(policy.loss)
        if value is None:
            return policy
        with self.roles.acting(value.role):
            own = value_loss(value.values(base, batch))
            self.backward(coef * own.loss)
        return *policy, *own
