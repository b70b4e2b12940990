"""PPO: a prompt is sampled, the policy answers, the reward model scores, the policy is updated.

One update (Ouyang et al. 2022, section 3.5; Schulman et al. 2017):

1. draw prompts and sample answers at the training temperature;
2. see each answer with the policy, the reference, the value model and the reward model, by the
   same forward passes as training uses, so that the ratio is 1 before the first step;
3. make per-token rewards (KL charge everywhere, score at the end) and advantages;
4. for each epoch, shuffle the episodes into mini-batches and take one clipped step on each.
"""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench.algos.scores import RunningMoments
from workbench.data.messages import Message
from workbench.events import Place
from workbench.settings import PPOSettings
from workbench.training.batches import batch_indices
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.learning_rates import rate_of
from workbench.training.loop import StepOutcome
from workbench.training.optimiser import Optimiser
from workbench.training.ppo.heldout_reward import Watch
from workbench.training.ppo.mini_batches import (
    ClippedSteps,
    episodes_of,
    shuffled_epochs,
)
from workbench.training.ppo.objective import (
    Judge,
    Shaping,
    describe,
    estimate,
    mean_gold,
    next_kl_coef,
    response_kl,
    sample_rows,
    sampler_kl,
    whitened,
)
from workbench.training.ppo.policy_loop import PolicyLoop
from workbench.training.ppo.ppo_roles import add_value
from workbench.training.ppo.prompts import Prompt, encode_prompts
from workbench.training.ppo.rollout import Episodes
from workbench.training.ppo.token_records import token_records


class PPOTrainer(PolicyLoop[PPOSettings]):
    """One run: its roles, where it stands, and its update.

    Args:
        model: what the policy starts from; frozen, it is also the reference.
        reward: a run of ``train_reward``, or its ``final/``; or another reward as a config's
            ``inputs.reward`` describes it (:mod:`workbench.training.reward.reward_sources`).
        prompts: message lists, sampled without replacement within a pass.
        settings: see :class:`PPOSettings`.
        place: where to write, and who steers.
        judge: a gold score to log beside the reward score; the policy never sees it.
        reference: what KL is charged and measured against, where it is not ``model``.
        heldout: a second reward model, trained on other pairs, to log and to keep the best by.

    Raises:
        ModelError: a model cannot be loaded, ``reward`` is not a reward model, or the reference
            stands on another base than the policy.
        DataError: there is no prompt.
        ConfigError: settings that contradict each other.
    """

    def __init__(
        self,
        model: str,
        reward: Any,
        prompts: Sequence[list[Message]],
        settings: PPOSettings,
        place: Place,
        judge: Judge | None = None,
        reference: str | None = None,
        heldout: str | None = None,
    ) -> None:
        super().__init__(model, settings, place, reference)
        self.judge, self.total = judge, settings.steps
        self.kl_coef = settings.kl_coef
        self.clip_range = settings.clip_range
        self.shaping = Shaping(settings)
        self.watch = Watch(heldout, self.roles, self.settings, self.encoder)
        built = self.build_reward(reward)
        self.scorer, self.reward_name = built.scorer, built.source.name
        self.value = add_value(self.roles, settings, built.scorer, built.weight)
        self.prompts = encode_prompts(prompts, self.encoder, room=settings.response_length)
        if self.encoder.shortened:
            self.notices.append(
                f"{self.encoder.shortened} prompts were shortened from the left (max_length)"
            )
        self.watch_these(settings.watch_prompts)
        self.optimiser = self._optimiser()
        self.clipped_steps = ClippedSteps(
            self.roles,
            self.value,
            self.optimiser,
            settings,
            team=self.team,
            backward=self.backward,
            safe_point=self.safe_point,
        )

    def _optimiser(self) -> Optimiser:
        settings = self.settings
        groups: dict[str, list[nn.Parameter]] = {"policy": self.roles.parameters("policy")}
        rates = {"policy": rate_of("policy", settings.learning_rate, self.base.width)}
        if self.value is not None:
            own = [] if self.value.on_policy_trunk else self.roles.parameters("value")
            groups["value"] = [*own, *self.value.head.parameters()]
            rates["value"] = rate_of("value", settings.value_learning_rate, self.base.width)
        total = settings.steps * settings.epochs * settings.mini_batches
        half = self.base.dtype == torch.float16
        return Optimiser(
            groups, settings, rates=rates, total_steps=total, half=half, team=self.team
        )

    def chosen(self) -> dict[str, Any]:
        """The learning rates, and whether advantages are whitened."""
        rates, whitens = self.optimiser.rates, self.settings.whitens
        learning = {"learning_rate": rates["policy"], "value_learning_rate": rates.get("value")}
        return {**learning, "whiten_advantages": whitens}

    def set_live(self, name: str, value: Any) -> None:
        """Rates, temperature, KL coefficient, clip range, and the prompts that are watched."""
        if name in ("learning_rate", "value_learning_rate"):
            role = "policy" if name == "learning_rate" else "value"
            self.optimiser.rates[role] = rate_of(role, value, self.base.width)
        elif name == "watch_prompts":
            self.watch_these(value)
        else:
            setattr(self, name, float(value))

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, the sampler's generator, and the live settings."""
        return {
            **super().state(),
            "generator": self.generator.get_state(),
            "live": [self.temperature, self.kl_coef, self.clip_range],
            "moments": astuple(self.shaping.moments),
            "best": self.watch.best.state(),
            "total": self.total,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        self.generator.set_state(state["generator"])
        self.temperature, self.kl_coef, self.clip_range = state["live"]
        self.shaping.moments = RunningMoments(*state["moments"])
        self.watch.best.load(state["best"])
        self.total = state["total"]

    def _update(self) -> StepOutcome:
        """One update, in the steps of the module's docstring."""
        settings, clock = self.settings, Clock()
        # 1: prompts and answers
        with clock.phase("generate"):
            prompts = self._draw()
            drawn = torch.zeros(settings.response_length, len(prompts), dtype=torch.float64)
            rows = self.sample(prompts, logprobs=drawn)
        epochs = shuffled_epochs(rows, settings, self.base, self.team, self.generator)
        # 2: seen with every role, in the micro-batches of the first epoch
        with clock.phase("score"):
            first = [group for part in epochs[0] for group in part.micro_batches]
            episodes = self._measured(rows, [prompt.messages for prompt in prompts], first)
        with clock.phase("watch"):
            watched = self.watch.look(self.step + 1, episodes)
        # 3: rewards and advantages
        self.shaping.learn(episodes.scores)
        paid = self.shaping.paid(episodes)
        beta, clip = self.kl_coef, self.clip_range
        raw = estimate(episodes, paid, settings, kl_coef=beta)
        estimates = whitened(raw, episodes.response_mask, settings)
        # 4: clipped steps on the mini-batches of each epoch
        with clock.phase("optimise"):
            self.begin("optimising", episodes_of(epochs), "answers")
            in_loss = beta if settings.kl_place == "loss" else 0.0
            metrics = self.clipped_steps.take(
                episodes, estimates, epochs, clip_range=clip, kl_coef=in_loss
            )
        metrics |= describe(episodes, paid, raw, settings, kl_coef=beta) | watched
        metrics["policy/sampler_kl"] = sampler_kl(drawn, episodes)
        kl = float(response_kl(episodes).mean())
        self.kl_coef = next_kl_coef(beta, kl, len(rows), settings)
        if self.judge is not None:
            metrics["objective/gold"] = mean_gold(self.judge, episodes, self.encoder)
        watching = self.watches_now()
        samples = self.watch_samples() if watching else ()
        seen = (self.roles, self.encoder, episodes, paid, raw, settings, beta, clip)
        tokens = token_records(*seen) if watching else ()
        self.figures = metrics | self._speed(clock, episodes)
        self.total, notices = self.watch.best.last_update(self.step + 1, self.total)
        return StepOutcome(self.figures, samples, notices, tokens)

    def _speed(self, clock: Clock, episodes: Episodes) -> dict[str, float]:
        """What the update took, and how many episodes there were so far."""
        tokens = int(episodes.response_mask.sum())
        return {
            **{f"time/{name}": seconds for name, seconds in clock.seconds.items()},
            "time/step": clock.total(),
            "tokens_per_second": tokens / clock.seconds["generate"],
            "episode": float((self.step + 1) * len(episodes.rows)),
            "memory/peak_gb": peak_memory_gb(self.base.device),
        }

    def _draw(self) -> list[Prompt]:
        """The prompts of this update, each ``samples_per_prompt`` times in a row."""
        settings = self.settings
        distinct = max(1, settings.batch_size // settings.samples_per_prompt)
        drawn = batch_indices(self.step, len(self.prompts), distinct, seed=settings.seed)
        return [self.prompts[i] for i in drawn for _ in range(settings.samples_per_prompt)]

    def watch_samples(self) -> tuple[dict[str, Any], ...]:
        """Rows for the sample table: the same prompts and draws each time, the policy as it is."""
        if not self.watched:
            return ()
        episodes = self.watched_answers()
        estimates = None
        if self.value is not None:
            paid = self.shaping.paid(episodes)
            estimates = estimate(episodes, paid, self.settings, kl_coef=self.kl_coef)
        return sample_rows(episodes, self.encoder, estimates, self.judge)

    def write_final(self, folder: Path) -> None:
        """The policy's adapter; beside it the value model, and the reference if an adapter."""
        with self.watch.best.in_place():
            self.save_policy(folder)
        if self.value is not None and not self.value.on_policy_trunk:
            self.value.save(folder / "value")
        data = {"prompts": len(self.prompts), "reward": self.reward_name}
        self.write_policy_card(folder, data, ("objective/", "response/"))
