"""PPO: a prompt is sampled, the policy answers, the reward model scores, the policy is updated.

One update (Ouyang et al. 2022, section 3.5; Schulman et al. 2017):

1. draw prompts and sample answers at the training temperature;
2. see each answer with the policy, the reference, the value model and the reward model, by the
   same forward passes as training uses, so that the ratio is 1 before the first step;
3. make per-token rewards (KL charge everywhere, score at the end) and advantages;
4. for each epoch, shuffle the episodes into mini-batches and take one clipped step on each.
"""

from collections.abc import Generator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench.algos.scores import RunningMoments
from workbench.data.messages import Message
from workbench.events import Event, Notice, Place
from workbench.models.encoding import Encoded, Encoder
from workbench.models.fast.packing_support import packs
from workbench.models.model_card import how_to_answer, write_card
from workbench.models.sampling import CHECK_EVERY, draws
from workbench.models.source import REFERENCE, resolve
from workbench.settings import PPOSettings
from workbench.training.batches import batch_indices
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.learning_rates import rate_of
from workbench.training.loop import StepLoop, StepOutcome
from workbench.training.optimiser import Optimiser
from workbench.training.ppo.heldout_reward import Watch
from workbench.training.ppo.mini_batches import (
    ClippedSteps,
    episodes_of,
    own_micro_batches,
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
    whitened,
)
from workbench.training.ppo.ppo_roles import add_policy, add_value
from workbench.training.ppo.prompts import Prompt, encode_prompts, watched_prompts
from workbench.training.ppo.rollout import Episodes, measure, sample_answers
from workbench.training.ppo.token_records import token_records
from workbench.training.reward.reward_sources import SourceBuilder


def steps(
    model: str,
    reward: Any,
    prompts: Sequence[list[Message]],
    settings: PPOSettings,
    place: Place,
    *,
    judge: Judge | None = None,
    reference: str | None = None,
    heldout: str | None = None,
) -> Generator[Event, None, None]:
    """Train a policy against a reward model on prompts (message lists).

    Args:
        model: what the policy starts from; frozen, it is also the reference.
        reward: a run of ``train_reward``, or its ``final/``; or another reward as a config's
            ``inputs.reward`` describes it (:mod:`workbench.training.reward.reward_sources`).
        prompts: sampled without replacement within a pass.
        settings: see :class:`PPOSettings`.
        place: where to write, and who steers.
        judge: a true score to log beside the reward score; the policy never sees it.
        reference: what KL is charged and measured against, where it is not ``model``.
        heldout: a second reward model, trained on other pairs, to log and to keep the best by.

    Raises:
        ModelError: a model cannot be loaded, ``reward`` is not a reward model, or the reference
            stands on another base than the policy.
        DataError: there is no prompt.
        ConfigError: settings that contradict each other.
    """
    trainer = PPOTrainer(model, reward, prompts, settings, place, judge, reference, heldout)
    return trainer.run()


class PPOTrainer(StepLoop[PPOSettings]):
    """One run: its roles, where it stands, and its update."""

    def __init__(
        self,
        model: str,
        reward: Any,
        prompts: Sequence[list[Message]],
        settings: PPOSettings,
        place: Place,
        judge: Judge | None,
        reference: str | None = None,
        heldout: str | None = None,
    ) -> None:
        resolve(model).check_answers()
        super().__init__(model, settings, place)
        self.judge, self.total = judge, settings.steps
        self.temperature, self.kl_coef = settings.temperature, settings.kl_coef
        self.clip_range = settings.clip_range
        self.shaping = Shaping(settings)
        self.figures: dict[str, float | None] = {}  # of the last update
        self.reference = add_policy(self.roles, reference)
        self.encoder = Encoder.of(self.base, settings)
        self.watch = Watch(heldout, self.roles, settings, self.encoder)
        built = SourceBuilder(self.roles, settings, self.encoder, place.folder).build(reward)
        self.reward, self.scorer = built.source, built.scorer
        self.notices += built.notices
        self.value = add_value(self.roles, settings, built.scorer, built.weight)
        if (against := packs(self.base.model)) is not None:
            self.notices.append(f"answers go through the model side by side, padded: {against}")
        self.prompts = encode_prompts(prompts, self.encoder, room=settings.response_length)
        if self.encoder.shortened:
            self.notices.append(
                f"{self.encoder.shortened} prompts were shortened from the left (max_length)"
            )
        self._watch_these(settings.watch_prompts)
        self.rows_at_once = 0  # answers sampled side by side; 0 for all
        self.generator = torch.Generator().manual_seed(settings.seed)
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

    def _setup(self) -> Notice:
        """What was loaded, and the learning rates that auto became."""
        loaded, rates = super()._setup(), self.optimiser.rates
        learning = {"learning_rate": rates["policy"], "value_learning_rate": rates.get("value")}
        return replace(loaded, data={**loaded.data, **learning})

    def set_live(self, name: str, value: Any) -> None:
        """Rates, temperature, KL coefficient, clip range, and the prompts that are watched."""
        if name in ("learning_rate", "value_learning_rate"):
            role = "policy" if name == "learning_rate" else "value"
            self.optimiser.rates[role] = rate_of(role, value, self.base.width)
        elif name == "watch_prompts":
            self._watch_these(value)
        else:
            setattr(self, name, float(value))

    def _watch_these(self, choice: Any) -> None:
        """From here on watch so many of the prompts, or these."""
        room = self.settings.response_length
        self.watched = watched_prompts(choice, self.prompts, self.encoder, room=room)
        self.watch_prompts = choice

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, the sampler's generator, and the live settings."""
        return {
            **super().state(),
            "generator": self.generator.get_state(),
            "live": [self.temperature, self.kl_coef, self.clip_range],
            "moments": astuple(self.shaping.moments),
            "watch_prompts": self.watch_prompts,
            "rows_at_once": self.rows_at_once,
            "best": self.watch.best.state(),
            "total": self.total,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        self.generator.set_state(state["generator"])
        self.temperature, self.kl_coef, self.clip_range = state["live"]
        self.shaping.moments = RunningMoments(*state["moments"])
        self._watch_these(state["watch_prompts"])
        self.rows_at_once = state["rows_at_once"]
        self.watch.best.load(state["best"])
        self.total = state["total"]

    def train_step(self) -> StepOutcome:
        """One PPO update; a stop inside it puts everything back as it was before."""
        before = self.state()
        return self.attempt(self._update, undo=lambda: self._put_back(before))

    def _put_back(self, before: dict[str, Any]) -> None:
        """All but how much goes through the model at once, which may have been found too much."""
        sizes = {"micro_batch_tokens": self.settings.micro_batch_tokens}
        self.load({**before, **sizes, "rows_at_once": self.rows_at_once})

    def _update(self) -> StepOutcome:
        """One update, in the steps of the module's docstring."""
        settings, clock = self.settings, Clock()
        # 1: prompts and answers
        with clock.phase("generate"):
            prompts = self._draw()
            rows = self.sample(prompts)
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
            metrics = self.clipped_steps.take(episodes, estimates, epochs, clip_range=clip)
        metrics |= describe(episodes, paid, raw, settings, kl_coef=beta) | watched
        kl = float(response_kl(episodes).mean())
        self.kl_coef = next_kl_coef(beta, kl, len(rows), settings)
        if self.judge is not None:
            metrics["objective/gold"] = mean_gold(self.judge, episodes, self.encoder)
        every, done = settings.watch_every, self.step + 1
        due = every and (self.step % every == 0 or done == self.total)
        samples = self.watch_samples() if due else ()
        seen = (self.roles, self.encoder, episodes, paid, raw, settings, beta, clip)
        tokens = token_records(*seen) if due else ()
        self.figures = metrics | self._speed(clock, episodes)
        self.total, notices = self.watch.best.last_update(done, self.total)
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

    def sample(
        self, prompts: Sequence[Prompt], generator: torch.Generator | None = None
    ) -> list[Encoded]:
        """One answer to each prompt under the policy; fewer at once where memory runs out."""
        length = self.settings.response_length
        uniforms = draws(length, len(prompts), generator or self.generator)

        def work() -> list[Encoded]:
            most = length * len(prompts) // self.team.count
            self.begin("generating", most, "tokens", each=CHECK_EVERY)
            return sample_answers(
                self.roles,
                prompts,
                uniforms,
                temperature=self.temperature,
                at_once=self.rows_at_once,
                safe_point=self.safe_point,
                team=self.team,
            )

        return self.attempt(work, smaller=self._fewer_at_once)

    def _fewer_at_once(self) -> str | None:
        """Sample fewer answers side by side; says so, or None where it is one."""
        if self.rows_at_once == 1:
            return None
        self.rows_at_once = max(1, (self.rows_at_once or self.settings.batch_size) // 2)
        return f"memory ran out while sampling: {self.rows_at_once} answers at once from here on"

    def _measured(
        self,
        rows: Sequence[Encoded],
        messages: Sequence[list[Message]],
        micro_batches: Sequence[Sequence[int]],
    ) -> Episodes:
        """What every role says of these answers."""
        self.begin("scoring", sum(map(len, micro_batches)), "answers")
        return measure(
            self.roles,
            rows,
            messages,
            micro_batches,
            self.reward,
            reference=self.reference,
            value=self.value,
            temperature=self.temperature,
            tokens=self.settings.micro_batch_tokens,
            safe_point=self.safe_point,
            team=self.team,
        )

    def watch_samples(self) -> tuple[dict[str, Any], ...]:
        """Rows for the sample table: the same prompts and draws each time, the policy as it is."""
        if not self.watched:
            return ()
        generator = torch.Generator().manual_seed(self.settings.seed + 1)
        rows = self.sample(self.watched, generator)
        groups = own_micro_batches(rows, range(len(rows)), self.settings, self.base, self.team)
        episodes = self._measured(rows, [prompt.messages for prompt in self.watched], groups)
        estimates = None
        if self.value is not None:
            paid = self.shaping.paid(episodes)
            estimates = estimate(episodes, paid, self.settings, kl_coef=self.kl_coef)
        return sample_rows(episodes, self.encoder, estimates, self.judge)

    def write_final(self, folder: Path) -> None:
        """The policy's adapter; beside it the value model, and the reference if an adapter."""
        with self.watch.best.in_place():
            self.roles.save("policy", folder, task="CAUSAL_LM", extra={"kind": "ppo"})
        if self.reference is not None:
            beside = folder / REFERENCE
            self.roles.save(self.reference, beside, task="CAUSAL_LM", extra={"kind": "sft"})
        if self.value is not None and not self.value.on_policy_trunk:
            self.value.save(folder / "value")
        facts = self.base.facts
        write_card(
            folder,
            facts=facts,
            settings=self.settings,
            data={"prompts": len(self.prompts), "reward": self.reward.name},
            figures={k: v for k, v in self.figures.items() if k.startswith(("obj", "resp"))},
            use=how_to_answer(facts),
        )
