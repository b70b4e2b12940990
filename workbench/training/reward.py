"""A reward model by Bradley-Terry: of two answers, the chosen one should score higher."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.algos.losses import bradley_terry, centring
from workbench.models.comparisons import (
    packed_scores,
    packed_tokens,
    separate_scores,
    separate_tokens,
    token_batches,
)
from workbench.models.support import packs
from workbench.settings import RewardSettings
from workbench.training.batches import batch_indices, steps_for
from workbench.training.comparisons import Comparison, encode_comparisons, split
from workbench.training.events import Event, Place
from workbench.training.loop import StepLoop, StepOutcome
from workbench.training.measure import Clock, peak_memory_gb
from workbench.training.optimiser import Optimiser


class Judged(NamedTuple):
    """Raw scores ``(J,)`` of both answers of each judgement."""

    chosen: Tensor
    rejected: Tensor


def steps(
    model: str, rows: Sequence[dict[str, Any]], settings: RewardSettings, place: Place
) -> Generator[Event, None, None]:
    """Train a reward adapter and head on rows as ``encode_comparisons`` takes them.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: no row can be used.
    """
    return RewardTrainer(model, rows, settings, place).run()


class RewardTrainer(StepLoop[RewardSettings]):
    """One run: what it trains, where it stands, and its step."""

    def __init__(
        self, model: str, rows: Sequence[dict[str, Any]], settings: RewardSettings, place: Place
    ) -> None:
        super().__init__(model, settings, place)
        source = self.base.source.adapter
        self.roles.add("reward", trainable=True, source=source, seed=settings.seed)
        if "reward" not in self.roles.heads:
            self.roles.add_head("reward", trainable=True, seed=settings.seed)
        self.head = self.roles.heads["reward"]
        comparisons, notices = encode_comparisons(self.base, rows, settings)
        self.notices += notices
        self._how_scored()
        self.train, self.heldout = split(comparisons, settings)
        self.total = steps_for(
            len(self.train), settings.batch_size, steps=settings.steps, epochs=settings.epochs
        )
        self.optimiser = Optimiser(
            {"reward": [*self.roles.parameters("reward"), *self.head.parameters()]},
            settings,
            rates={"reward": settings.learning_rate},
            total_steps=self.total,
            half=self.base.dtype == torch.float16,
            team=self.team,
        )

    def _how_scored(self) -> None:
        """One sequence a comparison where the model can, else a sequence an answer."""
        against = packs(self.base.model)
        if against is None:
            self._scores, self._tokens = packed_scores, packed_tokens
        else:
            self._scores, self._tokens = separate_scores, separate_tokens
            self.notices.append(f"each answer goes through the model by itself: {against}")

    def set_live(self, name: str, value: Any) -> None:
        """The learning rate is the only one."""
        self.optimiser.rates["reward"] = float(value)

    def train_step(self) -> StepOutcome:
        """One optimiser step on the batch that belongs to it; now and then held-out figures."""
        settings, clock = self.settings, Clock()
        rows = batch_indices(self.step, len(self.train), settings.batch_size, seed=settings.seed)
        batch = [self.train[i] for i in rows]
        pairs = sum(len(comparison.judgements) for comparison in batch)
        losses, scores = self.attempt(lambda: self._gradients(batch))
        done = self.optimiser.step()
        seconds = clock.total()
        gaps = torch.cat([s.chosen - s.rejected for s in scores])
        metrics: dict[str, float | None] = {
            "loss": float(torch.cat(losses).sum()) / len(batch),
            "accuracy": accuracy(gaps),
            "margin": float(gaps.mean()),
            "score/chosen": float(torch.cat([s.chosen for s in scores]).mean()),
            "score/rejected": float(torch.cat([s.rejected for s in scores]).mean()),
            "grad_norm": done.grad_norm,
            "learning_rate": done.learning_rate,
            "skipped_steps": float(self.optimiser.skipped),
            "time/step": seconds,
            "pairs_per_second": pairs / seconds,
            "memory/peak_gb": peak_memory_gb(self.base.device),
        }
        if self._evaluation_due():
            metrics |= self.attempt(self.evaluate)
        return StepOutcome(metrics)

    def _gradients(self, batch: Sequence[Comparison]) -> tuple[list[Tensor], list[Judged]]:
        """Add the gradients of the mean loss of a batch; losses and scores of its micro-batches."""
        losses: list[Tensor] = []
        scores: list[Judged] = []
        for group in self._groups(self._share(batch)):
            self.safe_point(len(group))
            judged = self._judge(group)
            loss = self._loss(judged, group)
            self.backward(loss.sum() / len(batch))
            losses.append(loss.detach())
            scores.append(Judged(judged.chosen.detach(), judged.rejected.detach()))
        return self.team.gather(losses), self.team.gather(scores)

    def _share(self, batch: Sequence[Comparison]) -> list[Comparison]:
        """This process's comparisons of a batch."""
        return self.team.share(batch, [self._tokens(c.sequences) for c in batch])

    def _evaluation_due(self) -> bool:
        every, step = self.settings.evaluate_every, self.step + 1
        return bool(self.heldout) and (step == self.total or (every > 0 and step % every == 0))

    def _groups(self, batch: Sequence[Comparison]) -> list[list[Comparison]]:
        """Micro-batches of whole comparisons, similar lengths together."""
        sizes = [self._tokens(comparison.sequences) for comparison in batch]
        groups = token_batches(sizes, tokens=self.settings.micro_batch_tokens)
        return [[batch[i] for i in group] for group in groups]

    def _score(self, group: Sequence[Comparison]) -> Tensor:
        """Raw score ``(S,)`` of each answer of each comparison."""
        with self.roles.acting("reward"):
            return self._scores(self.base, self.head, [c.sequences for c in group])

    def _judge(self, group: Sequence[Comparison]) -> Judged:
        scores = self._score(group)
        chosen: list[int] = []
        rejected: list[int] = []
        first = 0
        for comparison in group:
            chosen += [first + judgement.chosen for judgement in comparison.judgements]
            rejected += [first + judgement.rejected for judgement in comparison.judgements]
            first += len(comparison.answers)
        return Judged(scores[chosen], scores[rejected])

    def _loss(self, judged: Judged, group: Sequence[Comparison]) -> Tensor:
        """Loss ``(J,)`` of each judgement, times its weight."""
        judgements = [judgement for c in group for judgement in c.judgements]
        loss = bradley_terry(
            judged.chosen,
            judged.rejected,
            margin=judged.chosen.new_tensor([j.margin for j in judgements]),
            label_smoothing=self.settings.label_smoothing,
        )
        if self.settings.centering:
            loss = loss + self.settings.centering * centring(judged.chosen, judged.rejected)
        return loss * judged.chosen.new_tensor([j.weight for j in judgements])

    @torch.no_grad()
    def evaluate(self) -> dict[str, float | None]:
        """Loss, accuracy and margin on the pairs that were kept aside."""
        found: list[Judged] = []
        for group in self._groups(self._share(self.heldout)):
            self.at_once = len(group)  # no stop here: the step has been taken
            found.append(self._judge(group))
        found = self.team.gather(found)
        chosen = torch.cat([j.chosen for j in found])
        rejected = torch.cat([j.rejected for j in found])
        return {
            "heldout/loss": float(bradley_terry(chosen, rejected).mean()),
            "heldout/accuracy": accuracy(chosen - rejected),
            "heldout/margin": float((chosen - rejected).mean()),
        }

    @torch.no_grad()
    def normalisation(self, most: int = 512) -> dict[str, float]:
        """Mean and deviation of raw scores over answers of both kinds, so that scores read 0, 1."""
        some = (self.heldout or self.train)[:most]
        scores = [self._score(group) for group in self._groups(some)]
        values = torch.cat(scores).double()
        deviation = float(values.std(correction=0))
        return {
            "mean": float(values.mean()),
            "std": deviation if deviation > 1e-6 else 1.0,
            "answers": float(len(values)),
        }

    def write_final(self, folder: Path) -> None:
        """Write adapter and head, and what makes its scores read as mean 0, deviation 1."""
        stats = self.normalisation()
        self.roles.save("reward", folder, task="SEQ_CLS", extra={"kind": "reward"})
        for name, part in (("training", self.train), ("heldout", self.heldout)):
            stats[f"{name}_pairs"] = sum(len(comparison.judgements) for comparison in part)
        (folder / "reward.json").write_text(json.dumps(stats, indent=2) + "\n")


def accuracy(gaps: Tensor) -> float:
    """Share of comparisons whose chosen answer scores higher; an equal score is half right."""
    return float(((gaps > 0).double() + 0.5 * (gaps == 0).double()).mean())
