"""DPO: of two answers the policy should make the chosen one likelier than its reference does.

One step (Rafailov et al. 2023, section 4): both answers of each comparison go through the policy
and through the reference, in one sequence with their prompt; the loss is of the difference of
their log-ratios. What the reference says of an answer never changes: it is asked once.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from workbench.algos.direct_losses import DIRECT_LOSSES, LogRatios
from workbench.events import Place
from workbench.models.answer_scores import packed_tokens, separate_tokens
from workbench.models.fast.on_card import on_card, upload
from workbench.models.fast.packing_support import packs
from workbench.models.forward import lay, prove_packing, response_hidden, response_logprobs
from workbench.settings import DirectSettings, DPOSettings
from workbench.training.batch_jobs import exact_response_kl
from workbench.training.batches import batch_for, batch_indices, prompt_key, steps_for
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.learning_rates import rate_of
from workbench.training.loop import StepOutcome
from workbench.training.optimiser import Optimiser
from workbench.training.ppo.heldout_reward import repeated_grams, shared_grams
from workbench.training.ppo.objective import Judge, describe_answers, sample_rows
from workbench.training.ppo.policy_loop import PolicyLoop
from workbench.training.ppo.prompts import encode_prompts
from workbench.training.reward.encoded_pairs import (
    EncodedComparison,
    encode_comparisons,
    judged_answers,
    own_groups,
    split,
)
from workbench.training.reward.members import accuracy
from workbench.training.reward.shown_pairs import longer_wins

StepMetrics = dict[str, float | None]
WATCHABLE = 512
"""Prompts of the pairs from which the watched ones are taken."""


D = TypeVar("D", bound=DirectSettings)


class Compared(NamedTuple):
    """Log-probabilities ``(J,)`` of both answers of each judgement in nats, and what was judged."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    margin: Tensor
    weight: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Compared"]) -> "Compared":
        """Those of several micro-batches as one, without gradients."""
        return cls(
            *(torch.cat([t.detach() for t in tables]) for tables in zip(*parts, strict=True))
        )

    def ratios(self) -> LogRatios:
        """Policy against reference."""
        chosen, rejected = self.chosen - self.ref_chosen, self.rejected - self.ref_rejected
        return LogRatios(chosen, rejected, self.chosen_tokens, self.rejected_tokens)


class _FromReference(NamedTuple):
    """The reference's log-probabilities of some answers, and their numbers among all."""

    numbers: list[int]
    logprobs: Tensor


class DirectTrainer(PolicyLoop[D]):
    """A policy that learns from comparisons: subclasses hold them and take the steps.

    Attributes:
        beta: reward of a nat.
        about: the data, for the model card.
    """

    rate_for = "dpo"
    """Which rate "auto" is, of :data:`workbench.training.learning_rates.RATES`."""
    about: dict[str, int | str]

    def __init__(self, model: str, settings: D, place: Place, reference: str | None) -> None:
        super().__init__(model, settings, place, reference)
        self.beta = settings.beta
        prove_packing(self.base)

    def build_optimiser(self, total: int) -> None:
        """The policy's, for so many steps."""
        self.total, settings = total, self.settings
        self.optimiser = Optimiser(
            {"policy": self.roles.parameters("policy")},
            settings,
            rates={"policy": rate_of(self.rate_for, settings.learning_rate, self.base.width)},
            total_steps=total,
            half=self.base.dtype == torch.float16,
            team=self.team,
        )

    @property
    def sampled_at(self) -> float:
        """Temperature of log-probabilities; how a data set's answers were drawn is not known."""
        return 1.0

    def hold(
        self, train: Sequence[EncodedComparison], heldout: Sequence[EncodedComparison]
    ) -> None:
        """Set the comparisons to learn from and those kept aside; no reference is known yet."""
        self.learned, self.heldout = len(train), list(heldout)
        self.comparisons = [*train, *heldout]
        tokens = packed_tokens if packs(self.base.model) is None else separate_tokens
        self.sizes = [tokens(comparison.sequences) for comparison in self.comparisons]
        self.first = [0]  # number of each comparison's first answer
        for comparison in self.comparisons:
            self.first.append(self.first[-1] + len(comparison.answers))
        wide = torch.promote_types(self.base.dtype, torch.float32)
        self.ref_logprobs = torch.full((self.first[-1],), math.nan, dtype=wide)
        self._seen: list[_FromReference] = []  # on the device, until the step is done

    def set_live(self, name: str, value: Any) -> None:
        """The rate, beta, the temperature of the watched answers, and their prompts."""
        if name == "learning_rate":
            self.optimiser.rates["policy"] = rate_of(self.rate_for, value, self.base.width)
        elif name == "watch_prompts":
            self.watch_these(value)
        else:
            setattr(self, name, float(value))

    def learn_from(self, batch: Sequence[int]) -> StepMetrics:
        """One optimiser step on some of the comparisons."""
        self.begin("training", len(batch) // self.team.count, "comparisons")
        metrics = self.attempt(lambda: self._gradients(batch))
        done = self.optimiser.step()
        return metrics | {
            "beta": self.beta,
            "grad_norm": done.grad_norm,
            "learning_rate": done.learning_rate,
            "skipped_steps": float(self.optimiser.skipped),
        }

    def _gradients(self, batch: Sequence[int]) -> StepMetrics:
        """Gradients of a batch, gathered over its micro-batches; its statistics."""
        parts: list[Compared] = []
        losses: list[Tensor] = []
        for group in self._groups(batch):
            self.safe_point(len(group))
            compared = self._compare(group)
            loss = (self._loss(compared) * compared.weight).sum() / len(batch)
            self.backward(loss)
            losses.append(loss.detach())
            parts.append(Compared.joined([compared]))
        self._share_reference(batch)
        losses = self.team.gather(losses)
        compared = Compared.joined(self.team.gather(parts))
        return {"loss": float(torch.stack(losses).sum()), **self._described(compared)}

    def _groups(self, batch: Sequence[int]) -> list[list[int]]:
        """This process's micro-batches of comparisons, similar lengths together."""
        sizes, tokens = [self.sizes[i] for i in batch], self.settings.tokens_at_once
        return own_groups(batch, sizes, self.team, tokens=tokens)

    def _compare(self, group: Sequence[int]) -> Compared:
        """Both answers of each judgement of some comparisons, by policy and reference."""
        comparisons = [self.comparisons[i] for i in group]
        chosen, rejected = judged_answers(comparisons)
        judgements = [j for comparison in comparisons for j in comparison.judgements]
        answers = [answer for comparison in comparisons for answer in comparison.answers]
        laid = lay(answers, self.base)
        numbers = [n for i in group for n in range(self.first[i], self.first[i + 1])]
        known, device = self.ref_logprobs[numbers], self.base.device
        if bool(known.isnan().any()):
            with torch.no_grad():
                reference = self._logprobs(self.reference, laid)
            self._seen.append(_FromReference(numbers, reference))
        else:
            reference = known.to(device, non_blocking=on_card(device))
        policy = self._logprobs("policy", laid)
        first, second = upload([chosen, rejected], device)
        facts = [[j.margin for j in judgements], [j.weight for j in judgements]]
        facts += [[len(answers[i].response) for i in side] for side in (chosen, rejected)]
        margin, weight, chosen_tokens, rejected_tokens = upload(facts, device, policy.dtype)
        return Compared(
            policy[first],
            policy[second],
            reference[first],
            reference[second],
            chosen_tokens,
            rejected_tokens,
            margin,
            weight,
        )

    def _logprobs(self, role: str | None, laid: Any) -> Tensor:
        """Log-probability ``(S,)`` of each answer under a role, summed over its tokens."""
        with self.roles.acting(role):
            hidden = response_hidden(self.base, laid)
            by_token = response_logprobs(
                self.base, laid, temperature=self.sampled_at, hidden=hidden
            )
            return by_token.sum(1)

    def _share_reference(self, batch: Sequence[int]) -> None:
        """Remember the reference's log-probabilities of a batch, in all processes."""
        for part in self._seen:
            self.ref_logprobs[part.numbers] = part.logprobs.to(self.ref_logprobs)
        self._seen.clear()
        if self.team.count == 1:
            return
        numbers = [n for i in batch for n in range(self.first[i], self.first[i + 1])]
        own = [n for n in numbers if not math.isnan(float(self.ref_logprobs[n]))]
        for part in self.team.gather([_FromReference(own, self.ref_logprobs[own])]):
            self.ref_logprobs[part.numbers] = part.logprobs

    def _loss(self, compared: Compared) -> Tensor:
        """Loss ``(J,)`` of each judgement as it is learned from, before its weight."""
        settings = self.settings
        return DIRECT_LOSSES[settings.loss_type](
            compared.ratios(),
            beta=self.beta,
            margin=compared.margin,
            label_smoothing=settings.label_smoothing,
        )

    def _described(self, compared: Compared) -> StepMetrics:
        """The implied rewards and the log-probabilities, means over the judgements."""
        ratios = compared.ratios()
        return {
            "rewards/chosen": self.beta * float(ratios.chosen.mean()),
            "rewards/rejected": self.beta * float(ratios.rejected.mean()),
            "rewards/margins": self.beta * float(ratios.gap().mean()),
            "rewards/accuracies": accuracy(ratios.gap()),
            "logps/chosen": float(compared.chosen.mean()),
            "logps/rejected": float(compared.rejected.mean()),
        }

    def write_final(self, folder: Path) -> None:
        """The policy's adapter; beside it the reference if that is an adapter."""
        self.save_policy(folder)
        self.write_policy_card(
            folder, self.about, ("rewards/", "heldout/", "objective/", "response/length")
        )


class DPOTrainer(DirectTrainer[DPOSettings]):
    """One run: its comparisons, where it stands, and its step.

    Args:
        model: what the policy starts from; frozen, it is also the reference.
        rows: the comparisons, as ``encode_comparisons`` takes them.
        settings: see :class:`DPOSettings`.
        place: where to write, and who steers.
        judge: a gold score of the watched answers; the policy never sees it.
        reward: scores the watched answers, as a config's ``inputs.reward`` describes it
            (:mod:`workbench.training.reward.reward_sources`); nothing is learned from it.
        reference: what the policy is compared with, where it is not ``model``.

    Raises:
        ModelError: a model cannot be loaded, or the reference stands on another base.
        DataError: no row can be used.
    """

    def __init__(
        self,
        model: str,
        rows: Sequence[dict[str, Any]],
        settings: DPOSettings,
        place: Place,
        judge: Judge | None = None,
        reward: Any = None,
        reference: str | None = None,
    ) -> None:
        super().__init__(model, settings, place, reference)
        self.judge = judge
        if reward is not None:
            self.build_reward(reward)
        comparisons, notices = encode_comparisons(self.base, rows, settings)
        self.notices += notices
        batch = batch_for(len(comparisons), settings.batch_size, once=settings.once)
        self.settings = settings = self.settings.changed(batch_size=batch)
        self.hold(*split(comparisons, settings))
        self._watch_prompts_of(rows)
        self.about = {"comparisons": self.learned, "kept aside": len(self.heldout)}
        total = steps_for(self.learned, batch, steps=settings.steps, epochs=settings.epochs)
        self.build_optimiser(total)

    def _watch_prompts_of(self, rows: Sequence[dict[str, Any]]) -> None:
        """Watch prompts that nothing is learned from, where some are kept aside."""
        texts = {prompt_key(row["prompt"]): row["prompt"] for row in rows}
        own = dict.fromkeys(c.group for c in self.heldout or self.comparisons)
        prompts = [texts[group] for group in list(own)[:WATCHABLE]]
        self.prompts = encode_prompts(prompts, self.encoder, room=self.settings.response_length)
        self.watch_these(self.settings.watch_prompts)

    def chosen(self) -> dict[str, Any]:
        """The learning rate and the batch size."""
        rate = self.optimiser.rates["policy"]
        return {"learning_rate": rate, "batch_size": self.settings.batch_size}

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, the live settings, and what the reference said so far."""
        live = [self.temperature, self.beta]
        return {**super().state(), "live": live, "ref_logprobs": self.ref_logprobs.clone()}

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        self.temperature, self.beta = state["live"]
        self.ref_logprobs = state["ref_logprobs"].clone()

    def train_step(self) -> StepOutcome:
        """One optimiser step; where answers are watched, a stop puts back what it had changed."""
        return super().train_step() if self.watches_now() else self._update()

    def _update(self) -> StepOutcome:
        """A step on the comparisons that belong to it; now and then, how the policy does."""
        settings, clock = self.settings, Clock()
        size = settings.batch_size
        batch = batch_indices(self.step, self.learned, size, seed=settings.seed)
        with clock.phase("optimise"):
            metrics = self.learn_from(batch)
        pairs = sum(len(self.comparisons[i].judgements) for i in batch)
        metrics["pairs_per_second"] = pairs / clock.total()
        if self.heldout and self.is_due(settings.evaluate_every):
            with clock.phase("evaluate"):
                metrics |= self.attempt(self._evaluate)
        samples: tuple[dict[str, Any], ...] = ()
        if self.watched and self.watches_now():
            with clock.phase("watch"):
                watched, samples = self._look()
            metrics |= watched
        metrics |= {f"time/{name}": seconds for name, seconds in clock.seconds.items()}
        metrics["time/step"] = clock.total()
        metrics["memory/peak_gb"] = peak_memory_gb(self.base.device)
        self.figures |= metrics
        return StepOutcome(metrics, samples)

    @torch.no_grad()
    def _evaluate(self) -> StepMetrics:
        """Loss, accuracy and margin on the pairs that were kept aside, labels taken as they are."""
        self.at_once = 0
        self.begin("evaluating")
        aside = list(range(self.learned, len(self.comparisons)))
        parts = [Compared.joined([self._compare(group)]) for group in self._groups(aside)]
        self._share_reference(aside)
        ratios = Compared.joined(self.team.gather(parts)).ratios()
        loss = DIRECT_LOSSES[self.settings.loss_type](ratios, beta=self.beta)
        return {
            "heldout/loss": float(loss.mean()),
            "heldout/accuracy": accuracy(ratios.gap()),
            "heldout/margin": self.beta * float(ratios.gap().mean()),
            "heldout/pairs": float(len(ratios.chosen)),
            "heldout/longer_wins": longer_wins(self.heldout),
            "pairs_seen": float((self.step + 1) * self.settings.batch_size),
        }

    def _look(self) -> tuple[StepMetrics, tuple[dict[str, Any], ...]]:
        """What the policy now answers to the watched prompts, in figures and as rows."""
        episodes = self.watched_answers()
        answers = episodes.rows
        mine = self.team.share(range(len(answers)), [len(row.ids) for row in answers])
        settings = self.settings.changed(temperature=self.temperature)
        share = [answers[i] for i in mine]
        kl = torch.zeros(len(answers), dtype=self.ref_logprobs.dtype)
        kl[mine] = exact_response_kl(self.roles, "policy", share, settings, start=self.reference)
        self.team.add(kl)
        metrics: StepMetrics = {
            **describe_answers(episodes, kl),
            "response/repetition": repeated_grams([row.response for row in answers]),
            "response/shared": shared_grams(answers),
        }
        rows = sample_rows(episodes, self.encoder, None, self.judge)
        for row, nats in zip(rows, kl, strict=True):
            row["kl"] = float(nats)
        if self.judge is not None:
            metrics["objective/gold"] = sum(row["gold"] for row in rows) / len(rows)
        return metrics, rows
