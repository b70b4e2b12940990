"""A member of a reward ensemble: its adapter and head, what it learns from, how well it does.

A reward model without an ensemble is one member.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench.algos.losses import bradley_terry, centring
from workbench.algos.sharpness import sharpness
from workbench.models.answer_scores import (
    ComparedSequences,
    packed_scores,
    packed_tokens,
    separate_scores,
    separate_tokens,
)
from workbench.models.base import Base
from workbench.models.encoding import Encoded
from workbench.models.fast.on_card import upload
from workbench.models.fast.packing_support import packs
from workbench.models.roles import Roles
from workbench.models.sampling import draws
from workbench.settings import RewardSettings
from workbench.training.batches import batch_indices, shuffled
from workbench.training.learning_rates import in_small_batches, rate_of
from workbench.training.optimiser import Optimiser
from workbench.training.process_group import Team
from workbench.training.reward.encoded_pairs import (
    EncodedComparison,
    judged_answers,
    own_groups,
    split,
)
from workbench.training.sampled_answers import SAMPLED_AT_ONCE, sample_answers

ROLE = "reward"
"""The first member's role; the others' have their number behind it."""


class Judged(NamedTuple):
    """Raw scores ``(J,)`` of both answers of each judgement."""

    chosen: Tensor
    rejected: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Those of several micro-batches as one."""
        return cls(*(torch.cat(tables) for tables in zip(*parts, strict=True)))


class Scoring(NamedTuple):
    """How comparisons go through the base: their scores, and the tokens that takes."""

    scores: Callable[[Base, nn.Linear | None, Sequence[ComparedSequences]], Tensor]
    tokens: Callable[[ComparedSequences], int]


SURE = 100
"""Judgements kept aside from which a model's sharpness is told."""
SCALED, MOST_SCALED = 200, 512
"""Comparisons from which the scale of scores is told: 200 at two answers each tell it to about
4 %. Of those kept aside more are taken, up to the second figure."""

PACKED = Scoring(packed_scores, packed_tokens)
SEPARATE = Scoring(separate_scores, separate_tokens)


def how_scored(base: Base) -> tuple[Scoring, list[str]]:
    """One sequence a comparison where the model can, else a sequence an answer, and say so."""
    against = packs(base.model)
    if against is None:
        return PACKED, []
    return SEPARATE, [f"each answer goes through the model by itself: {against}"]


def role_of(index: int, first: str = ROLE) -> str:
    """The role of a member."""
    return first if index == 0 else f"{first}{index}"


class Best(NamedTuple):
    """The weights that did best on the pairs that were kept aside."""

    step: int
    figures: dict[str, float]
    weights: list[Tensor]


class Member:
    """One reward adapter and head on the shared base.

    Member m is the reward model that a run with ``seed + m`` would give: the new weights, the
    prompts that are kept aside and the order of the others all come from that seed.

    Attributes:
        role: of its adapter and head.
        start: the role of the model that it started from; None is the base with adapters off.
        train, heldout: its comparisons.
        aside: scores of the held-out ones, as the last evaluation found them.
    """

    def __init__(
        self,
        index: int,
        roles: Roles,
        scoring: Scoring,
        comparisons: Sequence[EncodedComparison],
        settings: RewardSettings,
        source: Path | None,
        start: str | None = None,
    ) -> None:
        self.role, self.roles, self.scoring = role_of(index), roles, scoring
        self.settings = settings.changed(seed=settings.seed + index)
        self.start = start
        roles.add(self.role, trainable=True, source=source, seed=self.settings.seed)
        self.new_head = not roles.has_head(self.role) and roles.draw_head(
            self.role, start=settings.head_start, seed=self.settings.seed
        )
        self.head = roles.heads.get(self.role)
        self.train, self.heldout = split(comparisons, self.settings)
        self.best: Best | None = None
        self.aside: Judged | None = None
        self.waited = 0
        self.team = Team()

    def make_optimiser(self, total_steps: int, team: Team) -> None:
        """AdamW over its own weights; clipping and skipping are its own too."""
        self.team = team
        head, own = f"{self.role} head", self.roles.weights(self.role)
        last = self.roles.score_layer(self.role).weight
        groups = {self.role: [w for w in own if w is not last], head: [w for w in own if w is last]}
        self.optimiser = Optimiser(
            groups,
            self.settings,
            rates=self.rates(self.settings.learning_rate),
            total_steps=total_steps,
            half=self.roles.base.dtype == torch.float16,
            team=team,
            units={head: team.told_by_main(self._head_unit())},
        )

    def rates(self, rate: float | str) -> dict[str, float]:
        """Learning rates of the adapter and the head: as one was set, or what auto means here."""
        width = self.roles.base.width
        adapter, head = (rate_of(what, rate, width) for what in ("reward", "reward head"))
        if rate == "auto":
            adapter = in_small_batches(adapter, self.settings.batch_size)
        if not self.new_head or self.settings.head_start == "classic":  # it is something already
            head = adapter
        return {self.role: adapter, f"{self.role} head": head}

    @torch.no_grad()
    def _head_unit(self, most: int = 16) -> float:
        """What the weights of its head are counted in, so that one step suits any base.

        AdamW moves each weight by about its rate, and the score with it by the rate times the sum
        of |h|: by the more, the larger a base's hidden states h are. In the unit sqrt(D) / mean
        norm of h, at the last tokens of some training answers, a step moves the score as if their
        norm were sqrt(D). A classic start has no unit.
        """
        if self.settings.head_start == "classic":
            return 1.0
        norms: list[Tensor] = []

        def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            norms.append(inputs[0].flatten(0, -2).float().square().sum(-1).sqrt())

        layer = self.roles.score_layer(self.role)
        handle = layer.register_forward_pre_hook(note)
        try:
            for comparison in self.train[:most]:
                self.score([comparison])
        finally:
            handle.remove()
        norm = float(torch.cat(norms).double().mean())
        return math.sqrt(layer.in_features) / norm if 0 < norm < math.inf else 1.0

    def batch(self, step: int) -> list[EncodedComparison]:
        """The comparisons of a step."""
        size, seed = self.settings.batch_size, self.settings.seed
        return [self.train[i] for i in batch_indices(step, len(self.train), size, seed=seed)]

    def groups(self, batch: Sequence[EncodedComparison]) -> list[list[EncodedComparison]]:
        """This process's micro-batches of whole comparisons, similar lengths together."""
        sizes = [self.scoring.tokens(comparison.sequences) for comparison in batch]
        return own_groups(batch, sizes, self.team, tokens=self.settings.tokens_at_once)

    def score(self, group: Sequence[EncodedComparison]) -> Tensor:
        """Raw score ``(S,)`` of each answer of each comparison."""
        with self.roles.acting(self.role):
            return self.scoring.scores(self.roles.base, self.head, [c.sequences for c in group])

    def judge(self, group: Sequence[EncodedComparison]) -> Judged:
        """Raw scores of both answers of each judgement."""
        scores, (chosen, rejected) = self.score(group), judged_answers(group)
        numbers = upload([chosen, rejected], scores.device)
        return Judged(scores[numbers[0]], scores[numbers[1]])

    def loss(self, judged: Judged, group: Sequence[EncodedComparison]) -> Tensor:
        """Loss ``(J,)`` of each judgement, times its weight."""
        judgements = [judgement for c in group for judgement in c.judgements]
        scores = judged.chosen
        told = upload(
            [[j.margin for j in judgements], [j.weight for j in judgements]],
            scores.device,
            scores.dtype,
        )
        loss = bradley_terry(
            judged.chosen,
            judged.rejected,
            margin=told[0],
            label_smoothing=self.settings.label_smoothing,
        )
        if self.settings.centering:
            loss = loss + self.settings.centering * centring(judged.chosen, judged.rejected)
        return loss * told[1]

    def note(self, step: int, figures: dict[str, float]) -> None:
        """Remember the weights where the held-out loss is the lowest so far (the first of equals).

        A loss that is not a number is never the lowest.
        """
        lowest = self.best.figures["heldout/loss"] if self.best else math.inf
        if figures["heldout/loss"] < lowest:
            weights = [w.detach().to("cpu", copy=True) for w in self.optimiser.parameters]
            self.best, self.waited = Best(step, figures, weights), 0
        else:
            self.waited += 1

    def take_best(self) -> None:
        """Go back to the weights that did best, where that is asked for."""
        if self.best is None or not self.settings.keep_best:
            return
        with torch.no_grad():
            for weight, kept in zip(self.optimiser.parameters, self.best.weights, strict=True):
                weight.copy_(kept)

    @property
    def spent(self) -> bool:
        """Whether its patience has run out."""
        return 0 < self.settings.patience <= self.waited

    def memory(self) -> dict[str, Any]:
        """What it remembers between evaluations, for a checkpoint."""
        return {"best": None if self.best is None else list(self.best), "waited": self.waited}

    def remember(self, memory: dict[str, Any]) -> None:
        """Take back :meth:`memory`."""
        self.best = None if memory["best"] is None else Best(*memory["best"])
        self.waited = int(memory["waited"])

    @torch.no_grad()
    def _judged_aside(self) -> Judged:
        parts = self.team.gather([self.judge(group) for group in self.groups(self.heldout)])
        return Judged.joined(parts)

    def evaluate(self) -> dict[str, float]:
        """Loss, accuracy and margin on the pairs that were kept aside."""
        self.aside = self._judged_aside()
        chosen, rejected = self.aside
        return {
            "heldout/loss": float(bradley_terry(chosen, rejected).mean()),
            "heldout/accuracy": accuracy(chosen - rejected),
            "heldout/margin": float((chosen - rejected).mean()),
        }

    @torch.no_grad()
    def normalisation(self, tell: Callable[[int], None] = lambda _: None) -> dict[str, float]:
        """Mean and deviation of raw scores, so that scores read as 0, 1, and their standard errors.

        Over the answers of both kinds to :meth:`measured` prompts; or, with
        ``normalise="samples"``, over answers to these prompts that the model samples from which
        the reward model started: what the policy will say before it has learned.

        Args:
            tell: called before a micro-batch with the comparisons that it holds.
        """
        some = self.measured()
        if self.settings.normalise == "samples":
            some = sampled(self.roles, self.start, some, seed=self.settings.seed)
        scores: list[Tensor] = []
        together = self.groups(some)
        for group in together:
            tell(len(group))
            scores.append(self.score(group))
        parts = self.team.gather(scores)
        sizes = self.team.gather([torch.tensor([len(c.answers) for c in g]) for g in together])
        return scale_of(torch.cat(parts).double().cpu(), torch.cat(sizes))

    def measured(self) -> list[EncodedComparison]:
        """The comparisons that its scale is told from.

        Those kept aside; where these are fewer than :data:`SCALED`, some that were learned as well.
        """
        some = self.heldout[:MOST_SCALED]
        order = shuffled(len(self.train), torch.Generator().manual_seed(self.settings.seed))
        return [*some, *(self.train[i] for i in order[: max(0, SCALED - len(some))])]

    def sharpness(self) -> float:
        """What makes its margins probabilities, by the pairs that were kept aside; 1 if few."""
        if sum(len(comparison.judgements) for comparison in self.heldout) < SURE:
            return 1.0
        chosen, rejected = self._judged_aside()
        return sharpness(chosen - rejected)

    def pairs(self) -> dict[str, int]:
        """How many pairs it learned from, and how many were kept aside."""
        parts = {"training_pairs": self.train, "heldout_pairs": self.heldout}
        return {name: sum(len(c.judgements) for c in part) for name, part in parts.items()}


class Optimisers(Optimiser):
    """The members' optimisers, as the step loop sees them: weights to save, and a state."""

    def __init__(self, each: Sequence[Optimiser]) -> None:
        self.each = list(each)
        self.parameters = [parameter for own in each for parameter in own.parameters]

    def state(self) -> dict[str, Any]:
        """Each one's state."""
        return {"each": [own.state() for own in self.each]}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for own, saved in zip(self.each, state["each"], strict=True):
            own.load(saved)


def sampled(
    roles: Roles, start: str | None, comparisons: Sequence[EncodedComparison], *, seed: int
) -> list[EncodedComparison]:
    """Comparisons whose answers a role (None: the base) has sampled, one to each prompt.

    An answer may be as long as the longest that was judged, its EOS included.
    """
    prompts = [comparison.answers[0].prompt for comparison in comparisons]
    length = max(len(answer.response) for c in comparisons for answer in c.answers)
    uniforms = draws(length, len(prompts), torch.Generator().manual_seed(seed))
    responses = sample_answers(
        roles, start, prompts, uniforms, temperature=1.0, at_once=SAMPLED_AT_ONCE, team=Team()
    )
    return [
        comparison._replace(answers=(Encoded(prompt, response),))
        for comparison, prompt, response in zip(comparisons, prompts, responses, strict=True)
    ]


def scale_of(scores: Tensor, sizes: Tensor) -> dict[str, float]:
    """Mean and deviation of scores ``(S,)``, with the standard errors of both.

    The answers of one comparison are no independent draws: an error is the root of the summed
    squares of what each comparison adds to a figure's first-order error (a cluster sandwich).

    Args:
        scores: those of one comparison stand next to each other.
        sizes: ``(C,)``, how many each comparison has.
    """
    mean, deviation = scores.mean(), scores.std(correction=0)
    figures = {"mean": float(mean), "std": 1.0, "answers": float(len(scores))}

    def error(influence: Tensor) -> float:
        sums = influence.new_zeros(len(sizes)).index_add(0, owners, influence)
        return float(sums.square().sum().sqrt()) / len(scores)

    owners = torch.arange(len(sizes)).repeat_interleave(sizes)
    off = scores - mean
    figures["mean_error"], figures["std_error"] = error(off), 0.0
    if float(deviation) > 1e-6:
        figures["std"] = float(deviation)
        figures["std_error"] = error((off.square() - deviation.square()) / (2 * deviation))
    return figures


def right(gaps: Tensor) -> Tensor:
    """1 where the chosen answer scores higher, 0.5 where both score the same, else 0."""
    return (gaps > 0).double() + 0.5 * (gaps == 0).double()


def accuracy(gaps: Tensor) -> float:
    """Share of comparisons whose chosen answer scores higher; an equal score is half right."""
    return float(right(gaps).mean())
