"""A reward model by Bradley-Terry: of two answers, the chosen one should score higher.

With several members it is an ensemble: as many adapters and heads on one base, which learn from
different splits in different orders, and whose disagreement says where not to trust the score.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.algos.losses import bradley_terry
from workbench.events import Place
from workbench.models.model_card import how_to_score, write_card
from workbench.models.source import member_folder
from workbench.settings import RewardSettings
from workbench.training.batches import batch_for, steps_for
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.loop import StepLoop, StepOutcome
from workbench.training.optimiser import plain_numbers
from workbench.training.reward.encoded_pairs import encode_comparisons
from workbench.training.reward.members import Judged, Member, Optimisers, how_scored, right
from workbench.training.reward.shown_pairs import ShownPairs, longer_wins

Metrics = dict[str, float | None]
ENOUGH = 2000
"""Pairs that it takes for a reward model to do better than none."""


class RewardTrainer(StepLoop[RewardSettings]):
    """One run: its members, where it stands, and its step.

    Args:
        model: what the reward model starts from.
        rows: as ``encode_comparisons`` takes them.
        settings: see :class:`RewardSettings`.
        place: where to write, and who steers.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: no row can be used.
    """

    def __init__(
        self, model: str, rows: Sequence[dict[str, Any]], settings: RewardSettings, place: Place
    ) -> None:
        super().__init__(model, settings, place)
        comparisons, notices = encode_comparisons(self.base, rows, settings)
        batch = batch_for(len(comparisons), settings.batch_size, once=settings.once)
        self.settings = settings = self.settings.changed(batch_size=batch)
        scoring, about_scoring = how_scored(self.base)
        self.notices += [*notices, *about_scoring]
        source = self.base.source
        folders, start = source.judges or (None,), self._start()
        self.members = [
            Member(
                index,
                self.roles,
                scoring,
                comparisons,
                settings,
                folders[index % len(folders)],
                start,
            )
            for index in range(settings.members)
        ]
        judges = [member for member in self.members if member.heldout]
        self.shown = ShownPairs(judges[0], rows, self.base, settings) if judges else None
        self.longer_wins = longer_wins([c for member in judges for c in member.heldout])
        self._warn_if_few()
        self.total = steps_for(
            len(self.members[0].train),
            settings.batch_size,
            steps=settings.steps,
            epochs=settings.epochs,
        )
        for member in self.members:
            member.make_optimiser(self.total, self.team)
        own = [member.optimiser for member in self.members]
        self.optimiser = own[0] if len(own) == 1 else Optimisers(own)

    def _start(self) -> str | None:
        """The role in which the model samples that this one starts from, where it shall."""
        source = self.base.source
        if self.settings.normalise == "pairs":
            return None
        self.base.check_answers()
        source.check_answers()
        if source.adapter is None:
            return None
        self.roles.add("start", trainable=False, source=source.adapter)
        return "start"

    def _warn_if_few(self) -> None:
        pairs = self.members[0].pairs()["training_pairs"]
        if pairs < ENOUGH:
            self.notices.append(
                f"{pairs:,} pairs to learn from: below about {ENOUGH:,} a reward model may serve "
                "PPO no better than none (Gao et al. 2022); wb.learning_curve says what more bring"
            )

    def set_live(self, name: str, value: Any) -> None:
        """The learning rate is the only one."""
        for member in self.members:
            member.optimiser.rates = member.rates(value)

    def chosen(self) -> dict[str, Any]:
        """The learning rate and the batch size."""
        rate = self.members[0].optimiser.rates[self.members[0].role]
        return {"learning_rate": rate, "batch_size": self.settings.batch_size}

    def train_step(self) -> StepOutcome:
        """One optimiser step of each member on its own batch; now and then held-out figures."""
        clock = Clock()
        most = self.settings.batch_size * len(self.members) // self.team.count
        self.begin("training", most, "comparisons")
        rows = self.attempt(lambda: [self._gradients(member) for member in self.members])
        for member, metrics in zip(self.members, rows, strict=True):
            done = member.optimiser.step()
            metrics["grad_norm"] = done.grad_norm
            metrics["learning_rate"] = done.learning_rate
            metrics["skipped_steps"] = float(member.optimiser.skipped)
        seconds = clock.total()
        metrics = mean_of(rows)
        metrics["time/step"] = seconds
        pairs = sum(len(c.judgements) for m in self.members for c in m.batch(self.step))
        metrics["pairs_per_second"] = pairs / seconds
        metrics["memory/peak_gb"] = peak_memory_gb(self.base.device)
        samples = ()
        if self.is_due(self.settings.evaluate_every) and any(m.heldout for m in self.members):
            metrics |= self._evaluate()
            samples = self._shown()
        return StepOutcome(metrics, samples, self._out_of_patience())

    def _evaluate(self) -> Metrics:
        """Held-out figures, mean over the members; each remembers when it did best."""
        judges = [member for member in self.members if member.heldout]
        self.at_once = 0
        self.begin("evaluating")
        rows = self.attempt(lambda: [member.evaluate() for member in judges])
        for member, figures in zip(judges, rows, strict=True):
            member.note(self.step + 1, figures)
        aside = sum(member.pairs()["heldout_pairs"] for member in judges) / len(judges)
        seen = float((self.step + 1) * self.settings.batch_size)
        about = {"heldout/pairs": aside, "heldout/longer_wins": self.longer_wins}
        return {**mean_of(rows), **about, "pairs_seen": seen}

    def _shown(self) -> tuple[dict[str, Any], ...]:
        """Some held-out pairs with their scores now, by the first member that has any."""
        shown = self.shown
        if shown is None or shown.member.aside is None:
            return ()
        judged = shown.member.aside
        return self.attempt(lambda: shown.rows(judged))

    def _out_of_patience(self) -> tuple[str, ...]:
        """End the run where no member's held-out loss has become lower for too long."""
        if self.step + 1 == self.total or not all(member.spent for member in self.members):
            return ()
        planned, self.total = self.total, self.step + 1
        return (
            f"stopped at step {self.total} of {planned}: the held-out loss was not lower than "
            f"before in {self.settings.patience} evaluations",
        )

    def state(self) -> dict[str, Any]:
        """Weights and optimisers, and the weights that did best so far."""
        return {**super().state(), "memory": [member.memory() for member in self.members]}

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        for member, memory in zip(self.members, state["memory"], strict=True):
            member.remember(memory)
        if all(member.spent for member in self.members):
            self.total = self.step

    def _gradients(self, member: Member) -> Metrics:
        """Gradients of a member's batch, gathered over its micro-batches; its statistics."""
        batch = member.batch(self.step)
        losses, scores = list[Tensor](), list[Judged]()
        for group in member.groups(batch):
            self.safe_point(len(group))
            judged = member.judge(group)
            loss = member.loss(judged, group).sum() / len(batch)
            self.backward(loss, member.optimiser)
            losses.append(loss.detach())
            scores.append(Judged(judged.chosen.detach(), judged.rejected.detach()))
        losses, scores = self.team.gather(losses), Judged.joined(self.team.gather(scores))
        metrics = _described(torch.stack(losses).sum(), *scores)
        if self.step == 0 and member.new_head:
            metrics["first_loss"] = metrics["pair_loss"]
        return metrics

    def use_micro_batches(self, tokens: int) -> None:
        """The members' too."""
        super().use_micro_batches(tokens)
        for member in self.members:
            member.settings = member.settings.changed(micro_batch_tokens=tokens)

    def write_final(self, folder: Path) -> None:
        """Write adapter and head, and what makes its scores read as mean 0, deviation 1.

        Of several members each has a folder of its own, which loads by itself.
        """
        if len(self.members) == 1:
            self._write_member(self.members[0], folder)
            return
        written = [
            self._write_member(member, folder / member_folder(index))
            for index, member in enumerate(self.members)
        ]
        means: dict[str, float] = {"members": len(written), "mean": 0.0}
        for name in ("std", "std_error", "sharpness", "answers", "training_pairs", "heldout_pairs"):
            means[name] = sum(stats[name] for stats in written) / len(written)
        (folder / "reward.json").write_text(json.dumps(means, indent=2) + "\n")
        use = "import workbench as wb\n\nwb.score(folder, prompts, answers, spread=True)"
        self._write_card(folder, means, use)

    def _write_card(self, folder: Path, stats: dict[str, float], use: str) -> None:
        data = ("training_pairs", "heldout_pairs")
        write_card(
            folder,
            facts=self.base.facts,
            settings=self.settings,
            data={name.replace("_", " "): stats[name] for name in data},
            figures={n.replace("_", " "): v for n, v in stats.items() if n not in data},
            use=use,
        )

    def _write_member(self, member: Member, folder: Path) -> dict[str, float]:
        member.take_best()
        self.begin("measuring the scale", len(member.measured()), "comparisons")
        scale = member.normalisation(self.go_on)
        stats = {**scale, "sharpness": member.sharpness(), **member.pairs()}
        if member.best is not None and self.settings.keep_best:
            stats["step"] = member.best.step
            stats |= {name.replace("/", "_"): v for name, v in member.best.figures.items()}
        self.roles.save(member.role, folder, task="SEQ_CLS", extra={"kind": "reward"})
        (folder / "reward.json").write_text(json.dumps(stats, indent=2) + "\n")
        use = how_to_score(
            self.base.facts,
            mean=stats["mean"],
            std=stats["std"],
            two_texts=self.base.encoder,
            skip=self.roles.whole_heads(),
        )
        self._write_card(folder, stats, use)
        return stats


def mean_of(rows: Sequence[Mapping[str, float | None]]) -> Metrics:
    """The mean of each metric over the members."""
    return {name: sum(row[name] or 0.0 for row in rows) / len(rows) for name in rows[0]}


def _described(loss: Tensor, chosen: Tensor, rejected: Tensor) -> Metrics:
    """A step's figures, in one copy from a card."""
    gaps = chosen - rejected
    figures = {
        "loss": loss,
        "pair_loss": bradley_terry(chosen, rejected).mean(),
        "accuracy": right(gaps).mean(),
        "margin": gaps.mean(),
        "score/chosen": chosen.mean(),
        "score/rejected": rejected.mean(),
    }
    return dict(zip(figures, plain_numbers(torch.stack([*figures.values()])), strict=True))
