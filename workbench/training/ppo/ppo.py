"""PPO: a prompt is sampled, the policy answers, the reward model scores, the policy is updated.

One update (Ouyang et al. 2022, section 3.5; Schulman et al. 2017):

1. draw prompts and sample answers at the training temperature;
2. see each answer with the policy, the reference, the value model and the reward model, by the
   same forward passes as training uses, so that the ratio is 1 before the first step;
3. make per-token rewards (KL charge everywhere, score at the end) and advantages;
4. for each epoch, shuffle the episodes into mini-batches and take one clipped step on each.
"""

import json
from collections.abc import Generator, Sequence
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.algos.advantages import Estimates
from workbench.algos.kl import AdaptiveKL
from workbench.algos.losses import PolicyLoss, ValueLoss, clipped_policy_loss, clipped_value_loss
from workbench.algos.scores import RunningMoments
from workbench.errors import DataError, ModelError
from workbench.events import Event, Notice, Place
from workbench.models.encoding import Encoded, Encoder, Message
from workbench.models.fast.dense_weights import dense
from workbench.models.fast.packing_support import packs
from workbench.models.forward import lay, response_hidden, response_logprobs, spread
from workbench.models.model_card import how_to_answer, write_card
from workbench.models.model_source import REFERENCE, Source, resolve
from workbench.models.sampling import draws, sample_responses
from workbench.settings import PPOSettings
from workbench.training.batches import batch_indices
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.learning_rates import rate_for
from workbench.training.loop import StepLoop, StepOutcome
from workbench.training.optimiser import Optimiser
from workbench.training.ppo.heldout_reward import Watch
from workbench.training.ppo.objective import (
    Judge,
    Shaping,
    describe,
    estimate,
    sample_rows,
    whitened,
)
from workbench.training.ppo.rollout import (
    Episodes,
    ValueModel,
    measure,
    mini_batch_groups,
    mini_batch_parts,
    shuffled_episodes,
)
from workbench.training.reward.reward_sources import SourceBuilder

AUTO_RATES = {"learning_rate": (5e-4, 2e-5), "value_learning_rate": (1e-3, 4e-5)}
"""What auto means at a width of 128, and at one of 4096."""


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
        judge: a true score to log beside the learned one; the policy never sees it.
        reference: what KL is charged and measured against, where it is not ``model``.
        heldout: a second reward model, trained on other pairs, to log and to keep the best by.

    Raises:
        ModelError: a model cannot be loaded, ``reward`` is not a reward model, or the reference
            stands on another base than the policy.
        DataError: there is no prompt.
        ConfigError: settings that contradict each other.
    """
    made = PPOTrainer(model, reward, prompts, settings, place, judge, reference, heldout)
    return made.run()


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
        self.judge = judge
        self.temperature, self.kl_coef = settings.temperature, settings.kl_coef
        self.clip_range = settings.clip_range
        self.shaping = Shaping(settings)
        self.reference = self._add_policy(reference)
        self.figures: dict[str, float | None] = {}  # of the last update
        self.watch = Watch(heldout, self.roles, settings)
        self.encoder = Encoder(
            self.base, max_length=settings.max_length, template=settings.chat_template_kwargs
        )
        built = SourceBuilder(self.roles, settings, self.encoder, place.folder).build(reward)
        self.reward, self.scorer = built.source, built.scorer
        self.notices += built.notices
        self.value = self._add_value(built.weight)
        if (against := packs(self.base.model)) is not None:
            self.notices.append(f"answers go through the model side by side, padded: {against}")
        self.prompts = self._encode(prompts)
        self.messages = list(prompts)
        self.drawn_from = len(self.prompts)  # what is only watched stands behind these
        self.watched: list[int] = []
        self.watch_prompts: Any = settings.watch_prompts
        self._watch_these(settings.watch_prompts)
        self.total = settings.steps
        self.decoding, self.rows_at_once = False, 0
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.optimiser = self._optimiser()

    def _add_policy(self, reference: str | None) -> str | None:
        """The policy adapter; returns the reference's role (None = adapters off)."""
        self.base.check_answers()
        source, seed = self.base.source, self.settings.seed
        frozen = source if reference is None else self._on_same_base(reference)
        if frozen.adapter is not None:
            self.roles.add("reference", trainable=False, source=frozen.adapter)
        if source.adapter is None:
            self.roles.add("policy", trainable=True, seed=seed)
        elif source.adapter == frozen.adapter:
            self.roles.add("policy", trainable=True, copy_of="reference")
        else:
            self.roles.add("policy", trainable=True, source=source.adapter)
        return None if frozen.adapter is None else "reference"

    def _on_same_base(self, reference: str) -> Source:
        """Where a reference's adapter is; the base is loaded once.

        Raises:
            ModelError: it scores answers, or stands on another base.
        """
        frozen = resolve(reference)
        frozen.check_answers()
        if frozen.base != self.base.source.base:
            raise ModelError(
                "the reference stands on another base than the policy",
                where=f"{frozen.reference}, policy on {self.base.source.reference}",
                fix="give what the policy was first trained from",
            )
        return frozen

    def _add_value(self, weight: float) -> ValueModel | None:
        """The value model: copied from the reward model where one stands on the same base.

        Where that model is part of a mix, its values are scaled by its weight in it.
        """
        settings, scorer = self.settings, self.scorer
        if settings.advantage != "gae":
            return None
        if settings.value == "shared":
            head = self.roles.add_head("policy", trainable=True, weight=self._no_weight())
            return ValueModel(self.roles, "policy", head, (0.0, 1.0))
        if scorer is not None and scorer.shares_base:
            self.roles.add("value", trainable=True, copy_of=scorer.members[0].role)
            copied = scorer.head.weight.detach()
            head = self.roles.add_head("value", trainable=True, weight=copied)
            return ValueModel(self.roles, "value", head, (scorer.mean, scorer.std / weight))
        self.roles.add("value", trainable=True, seed=settings.seed + 1)
        head = self.roles.add_head("value", trainable=True, weight=self._no_weight())
        return ValueModel(self.roles, "value", head, (0.0, 1.0))

    def _no_weight(self) -> Tensor:
        return torch.zeros(1, self.base.width)

    def _encode(self, prompts: Sequence[list[Message]]) -> list[list[int]]:
        if not prompts:
            raise DataError(
                "there is no prompt to train on", where="prompts", fix="give at least one prompt"
            )
        room = self.settings.response_length
        encoded = [self.encoder.prompt(p, room=room) for p in prompts]
        if self.encoder.shortened:
            self.notices.append(
                f"{self.encoder.shortened} prompts were shortened from the left (max_length)"
            )
        return encoded

    def _optimiser(self) -> Optimiser:
        settings = self.settings
        groups: dict[str, list[nn.Parameter]] = {"policy": self.roles.parameters("policy")}
        rates = {"policy": self._rate("learning_rate", settings.learning_rate)}
        if self.value is not None:
            own = [] if self.value.role == "policy" else self.roles.parameters("value")
            groups["value"] = [*own, *self.value.head.parameters()]
            rates["value"] = self._rate("value_learning_rate", settings.value_learning_rate)
        total = settings.steps * settings.epochs * settings.mini_batches
        half = self.base.dtype == torch.float16
        return Optimiser(
            groups, settings, rates=rates, total_steps=total, half=half, team=self.team
        )

    def _rate(self, name: str, given: float | str) -> float:
        """The rate as it was given, or the one that suits this model's width."""
        small, large = AUTO_RATES[name]
        if isinstance(given, str):
            return rate_for(self.base.width, small=small, large=large)
        return float(given)

    def _setup(self) -> Notice:
        """What was loaded, and the learning rates that auto became."""
        told, rates = super()._setup(), self.optimiser.rates
        found = {"learning_rate": rates["policy"], "value_learning_rate": rates.get("value")}
        return replace(told, data={**told.data, **found})

    def set_live(self, name: str, value: Any) -> None:
        """Rates, temperature, KL coefficient, clip range, and the prompts that are watched."""
        if name == "learning_rate":
            self.optimiser.rates["policy"] = self._rate(name, value)
        elif name == "value_learning_rate":
            self.optimiser.rates["value"] = self._rate(name, value)
        elif name == "watch_prompts":
            self._watch_these(value)
        else:
            setattr(self, name, float(value))

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
        return self.attempt(self._update, undo=lambda: self.load(before))

    def smaller(self) -> str | None:
        """Where an answer was being sampled: fewer answers side by side."""
        if not self.decoding:
            return super().smaller()
        if self.rows_at_once == 1:
            return None
        rows = self.rows_at_once or self.settings.batch_size
        self.rows_at_once = max(1, rows // 2)
        return f"memory ran out while sampling: {self.rows_at_once} answers at once from here on"

    def _update(self) -> StepOutcome:
        clock = Clock()
        with clock.phase("generate"):
            rows, messages = self.sample(self._draw())
        settings = self.settings
        orders = [
            shuffled_episodes(len(rows), settings, self.generator) for _ in range(settings.epochs)
        ]
        first = self._groups(rows, orders[0])
        with clock.phase("score"):
            groups = [group for part in first for group in part]
            episodes = self._measured(rows, messages, groups)
        with clock.phase("watch"):
            watched = self.watch.look(self.step + 1, messages, episodes, self.encoder)
        self.shaping.learn(episodes.scores)
        episodes.rewards_at_end = self.shaping.paid(episodes)
        raw = estimate(episodes, self.settings, kl_coef=self.kl_coef)
        estimates = whitened(raw, episodes.response_mask, self.settings)
        with clock.phase("optimise"):
            metrics = self._optimise(episodes, estimates, orders)
        metrics |= describe(episodes, raw, self.settings, kl_coef=self.kl_coef)
        metrics |= watched
        self._steer(metrics, len(rows))
        samples = self._watch(metrics, messages, episodes)
        for name, seconds in clock.seconds.items():
            metrics[f"time/{name}"] = seconds
        tokens = int(episodes.response_mask.sum())
        metrics["time/step"] = clock.total()
        metrics["tokens_per_second"] = tokens / clock.seconds["generate"]
        metrics["episode"] = float((self.step + 1) * len(rows))
        metrics["memory/peak_gb"] = peak_memory_gb(self.base.device)
        self.figures = metrics
        return StepOutcome(metrics, samples, self._last_words())

    def _last_words(self) -> tuple[str, ...]:
        """Whether this update is the last by the held-out score, and which one ``final/`` is."""
        best, done = self.watch.best, self.step + 1
        said: list[str] = []
        if best.waited_too_long(done) and done < self.total:
            said.append(
                f"stopped after update {done}: the held-out score was best at {best.step}, "
                f"{self.settings.patience} updates ago"
            )
            self.total = done
        if self.settings.keep_best and done == self.total:
            said.append(best.sentence())
        return tuple(said)

    def _groups(self, rows: Sequence[Encoded], order: Sequence[int]) -> list[list[list[int]]]:
        """This process's micro-batches of each mini-batch."""
        return mini_batch_groups(rows, order, self.settings, self.base, self.team)

    def _measured(
        self,
        rows: Sequence[Encoded],
        messages: Sequence[list[Message]],
        groups: Sequence[Sequence[int]],
    ) -> Episodes:
        """What every role says of these answers."""
        seen = measure(
            self.roles,
            rows,
            groups,
            self.reward,
            self.settings,
            scored=self.reward.read(rows, messages),
            reference=self.reference,
            value=self.value,
            temperature=self.temperature,
            safe_point=self.safe_point,
            team=self.team,
        )
        seen.rewards_at_end = self.shaping.paid(seen)
        return seen

    def _steer(self, metrics: dict[str, float | None], answers: int) -> None:
        """Adaptive KL control: the charge of the next update, from this one's KL."""
        settings, kl = self.settings, metrics["objective/kl"]
        if settings.kl_control == "adaptive" and kl is not None:
            controller = AdaptiveKL(
                coef=self.kl_coef,
                target=settings.adaptive_kl_target,
                horizon=settings.adaptive_kl_horizon,
            )
            self.kl_coef = controller.updated(kl, answers).coef

    def _draw(self) -> list[int]:
        """Prompt numbers of this update, each ``samples_per_prompt`` times in a row."""
        settings = self.settings
        distinct = max(1, settings.batch_size // settings.samples_per_prompt)
        drawn = batch_indices(self.step, self.drawn_from, distinct, seed=settings.seed)
        return [i for i in drawn for _ in range(settings.samples_per_prompt)]

    def sample(
        self, indices: Sequence[int], generator: torch.Generator | None = None
    ) -> tuple[list[Encoded], list[list[Message]]]:
        """Sample one answer for each prompt number under the policy, shared out over the team."""
        prompts = [self.prompts[i] for i in indices]
        length = self.settings.response_length
        uniforms = draws(length, len(prompts), generator or self.generator)
        mine = self.team.share(range(len(prompts)), [len(p) for p in prompts])
        most = self.rows_at_once or len(prompts)
        found: list[tuple[int, list[int]]] = []
        self.decoding = True  # stays so where memory runs out, here or beside: `smaller` asks
        with dense(self.roles, "policy"):
            for part in [mine[i : i + most] for i in range(0, len(mine), most)]:
                responses = sample_responses(
                    self.base,
                    [prompts[i] for i in part],
                    length=length,
                    temperature=self.temperature,
                    uniforms=uniforms[:, part],
                    safe_point=partial(self.safe_point, len(part)),
                )
                found += zip(part, responses, strict=True)
        answers = dict(self.team.gather(found))
        self.decoding = False
        rows = [Encoded(prompt, answers[i]) for i, prompt in enumerate(prompts)]
        return rows, [self.messages[i] for i in indices]

    def _optimise(
        self, episodes: Episodes, estimates: Estimates, orders: Sequence[Sequence[int]]
    ) -> dict[str, float | None]:
        """Epochs of mini-batch steps; means of their statistics over steps."""
        sums: dict[str, float] = {}
        taken, first_ratio, grad_norm, rate = 0, 1.0, 0.0, 0.0
        for order in orders:
            stop = False
            parts = mini_batch_parts(order, self.settings)
            for part, groups in zip(parts, self._groups(episodes.rows, order), strict=True):
                tokens = int(episodes.response_mask[part].sum())
                stats = self._mini_batch(groups, episodes, estimates, tokens)
                done = self.optimiser.step()
                if taken == 0:
                    first_ratio = stats["policy/ratio"]
                taken += 1
                grad_norm, rate = grad_norm + done.grad_norm, done.learning_rate
                for name, value in stats.items():
                    sums[name] = sums.get(name, 0.0) + value
                limit = self.settings.target_kl
                stop = limit > 0 and stats["policy/approxkl"] > limit
                if stop:
                    break
            if stop:
                break
        metrics: dict[str, float | None] = {k: v / taken for k, v in sums.items()}
        metrics["policy/first_ratio"] = first_ratio
        metrics["grad_norm"] = grad_norm / taken
        metrics["learning_rate"] = rate
        metrics["optimiser_steps"] = float(taken)
        metrics["skipped_steps"] = float(self.optimiser.skipped)
        return metrics

    def _mini_batch(
        self,
        groups: Sequence[Sequence[int]],
        episodes: Episodes,
        estimates: Estimates,
        tokens: int,
    ) -> dict[str, float]:
        """Gradients of one mini-batch of so many tokens over its micro-batches; its statistics."""
        names = ["policy/loss", "policy/clipfrac", "policy/approxkl", "policy/ratio"]
        names += ["value/loss", "value/clipfrac"] if self.value is not None else []
        sums = dict.fromkeys(names, 0.0)
        for group in groups:
            self.safe_point(len(group))
            policy, value = self._losses(list(group), episodes, estimates, tokens)
            shares = {
                "policy/loss": policy.loss,
                "policy/clipfrac": policy.clip_fraction,
                "policy/approxkl": policy.approx_kl,
                "policy/ratio": policy.ratio_mean,
            }
            if value is not None:
                shares |= {"value/loss": value.loss, "value/clipfrac": value.clip_fraction}
            for name, share in shares.items():
                sums[name] += float(share.detach())
        return self.team.total(sums)

    def _losses(
        self, group: list[int], episodes: Episodes, estimates: Estimates, tokens: int
    ) -> tuple[PolicyLoss, ValueLoss | None]:
        """Both losses of one micro-batch, backward done."""
        settings, value = self.settings, self.value
        batch = lay([episodes.rows[i] for i in group], self.base)
        mask = batch.response_mask
        width = mask.shape[1]
        with self.roles.acting("policy"):
            hidden = response_hidden(self.base, batch)
            policy = clipped_policy_loss(
                response_logprobs(self.base, batch, temperature=self.temperature, hidden=hidden),
                episodes.rollout_logprobs[group, :width],
                estimates.advantages[group, :width],
                mask,
                clip_range=self.clip_range,
                token_count=tokens,
            )
            loss = policy.loss
            if value is None or value.role != "policy":
                self.backward(loss)
        if value is None:
            return policy, None
        if value.role == "policy":
            values = spread(value.from_hidden(hidden), mask)
        else:
            values = value.values(self.base, batch)
        value_loss = clipped_value_loss(
            values,
            episodes.values[group, :width],
            estimates.returns[group, :width],
            mask,
            clip_range=settings.value_clip_range,
            token_count=tokens,
        )
        weighted = settings.value_coef * value_loss.loss
        if value.role == "policy":
            with self.roles.acting("policy"):  # recomputed activations need the role again
                self.backward(loss + weighted)
        else:
            with self.roles.acting(value.role):
                self.backward(weighted)
        return policy, value_loss

    def _watch(
        self,
        metrics: dict[str, float | None],
        messages: Sequence[list[Message]],
        episodes: Episodes,
    ) -> tuple[dict[str, Any], ...]:
        """The judge's mean on this update's answers; now and then the same fixed prompts."""
        if self.judge is not None:
            gold = [
                self.judge(prompt, self.encoder.decode(row.response))
                for prompt, row in zip(messages, episodes.rows, strict=True)
            ]
            metrics["objective/gold"] = sum(gold) / len(gold)
        every = self.settings.watch_every
        if not every or not (self.step % every == 0 or self.step + 1 == self.total):
            return ()
        return self.watch_samples()

    def watch_samples(self) -> tuple[dict[str, Any], ...]:
        """Rows for the sample table: the same prompts and draws each time, the policy as it is."""
        if not self.watched:
            return ()
        generator = torch.Generator().manual_seed(self.settings.seed + 1)
        rows, messages = self.sample(self.watched, generator)
        one = self.settings.changed(mini_batches=1)
        groups = mini_batch_groups(rows, range(len(rows)), one, self.base, self.team)[0]
        seen = self._measured(rows, messages, groups)
        estimates = None
        if self.value is not None:
            estimates = estimate(seen, self.settings, kl_coef=self.kl_coef)
        texts = [self.encoder.decode(row.response) for row in rows]
        tokens = [self.encoder.pieces(row.response) for row in rows]
        return sample_rows(messages, texts, tokens, seen, estimates, self.judge)

    def _watch_these(self, asked: Any) -> None:
        """So many of the prompts, evenly spaced; or the prompts given, texts or messages."""
        del self.prompts[self.drawn_from :], self.messages[self.drawn_from :]
        self.watch_prompts = asked
        if isinstance(asked, int):
            count = min(asked, self.drawn_from)
            self.watched = [i * (self.drawn_from // count) for i in range(count)]
            return
        given = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in asked]
        room = self.settings.response_length
        self.prompts += [self.encoder.prompt(p, room=room) for p in given]
        self.messages += given
        self.watched = list(range(self.drawn_from, len(self.prompts)))

    def write_final(self, folder: Path) -> None:
        """The policy's adapter; beside it the value model, and the reference if an adapter."""
        self.watch.best.swap()
        self.roles.save("policy", folder, task="CAUSAL_LM", extra={"kind": "ppo"})
        self.watch.best.swap()
        if self.reference is not None:
            beside = folder / REFERENCE
            self.roles.save(self.reference, beside, task="CAUSAL_LM", extra={"kind": "sft"})
        if self.value is not None and self.value.role == "value":
            stats = {"mean": self.value.mean, "std": self.value.std}
            self.roles.save("value", folder / "value", task="SEQ_CLS", extra={"kind": "value"})
            (folder / "value" / "value.json").write_text(json.dumps(stats) + "\n")
        facts = self.base.facts
        write_card(
            folder,
            facts=facts,
            settings=self.settings,
            data={"prompts": self.drawn_from, "reward": self.reward.name},
            figures={k: v for k, v in self.figures.items() if k.startswith(("obj", "resp"))},
            use=how_to_answer(facts),
        )
