"""Online DPO: the policy answers twice, a reward says which answer is better, and DPO learns that.

One step (Guo et al. 2024, "Direct Language Model Alignment from Online AI Feedback", algorithm 1):
prompts are drawn and two answers sampled to each; the one with the higher reward is chosen; one
step on DPO's loss of these pairs. Unlike a data set's, they are always the policy's own.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.algos.scores import end_rewards
from workbench.data.messages import Message
from workbench.errors import ConfigError
from workbench.events import Place
from workbench.models.encoding import Encoded
from workbench.settings import PERSON, PERSON_ASKED, OnlineDPOSettings
from workbench.training.batches import batch_indices
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.dpo import DirectTrainer, StepMetrics
from workbench.training.loop import StepOutcome
from workbench.training.ppo.heldout_reward import repeated_grams, shared_grams
from workbench.training.ppo.objective import Judge, sample_rows
from workbench.training.ppo.person import Person
from workbench.training.ppo.prompts import encode_prompts
from workbench.training.ppo.rollout import scored_answers
from workbench.training.reward.encoded_pairs import EncodedComparison, Judgement
from workbench.training.reward.reward_sources import RewardScores

TWO = 2
"""Answers to a prompt."""
LOOK = 0.5
"""Seconds between two looks at what a person has said."""


class Answered(NamedTuple):
    """A step's answers, two in a row to each prompt, and what they are worth.

    Attributes:
        scores: None where a person judges.
        paid: ``(2B,)`` the scores less what is taken for length and a missing end; of a person's
            two answers 1 is the better one's and 0 the other's.
    """

    rows: list[Encoded]
    messages: list[list[Message]]
    scores: RewardScores | None
    paid: Tensor
    ended: Tensor


class OnlineDPOTrainer(DirectTrainer[OnlineDPOSettings]):
    """One run: its prompts, where it stands, and its step.

    Args:
        model: what the policy starts from; frozen, it is also the reference.
        reward: as :class:`workbench.training.ppo.ppo.PPOTrainer` has it; or ``person``, who is
            asked in the run's label store, and for whom every step waits.
        prompts: sampled without replacement within a pass.
        settings: see :class:`OnlineDPOSettings`.
        place: where to write, and who steers.
        judge: a gold score to log beside the reward score; the policy never sees it.
        reference: what the policy is compared with, where it is not ``model``.

    Raises:
        ModelError: a model cannot be loaded, or ``reward`` is not a reward model.
        DataError: there is no prompt.
        ConfigError: a person should judge for several processes.
    """

    rate_for = "online_dpo"

    def __init__(
        self,
        model: str,
        reward: Any,
        prompts: Sequence[list[Message]],
        settings: OnlineDPOSettings,
        place: Place,
        judge: Judge | None = None,
        reference: str | None = None,
    ) -> None:
        super().__init__(model, settings, place, reference)
        self.judge = judge
        self.person = self._person() if reward == PERSON else None
        judging = self.build_reward(reward).source if self.person is None else self.person
        self.prompts = encode_prompts(prompts, self.encoder, room=settings.response_length)
        self.about = {"prompts": len(self.prompts), "reward": judging.name}
        self.watch_these(settings.watch_prompts)
        self.build_optimiser(settings.steps)

    def _person(self) -> Person:
        if self.team.count > 1:
            raise ConfigError(
                "a person cannot judge for several processes, which would wait for each other",
                where=f"reward = {PERSON!r}, {self.team.count} processes",
                fix="start this run as one process, or give a reward model",
            )
        return Person(self.place.folder)

    @property
    def sampled_at(self) -> float:
        """Log-probabilities are of the distribution that answers were drawn from."""
        return self.temperature

    def chosen(self) -> dict[str, Any]:
        """The learning rate."""
        return {"learning_rate": self.optimiser.rates["policy"]}

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, the sampler's generator, and the live settings."""
        live = [self.temperature, self.beta]
        return {**super().state(), "generator": self.generator.get_state(), "live": live}

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        self.generator.set_state(state["generator"])
        self.temperature, self.beta = state["live"]

    def _update(self) -> StepOutcome:
        """Sample, compare, learn; where every pair is a tie there is nothing to learn."""
        settings, clock = self.settings, Clock()
        with clock.phase("generate"):
            drawn = batch_indices(
                self.step, len(self.prompts), settings.batch_size, seed=settings.seed
            )
            prompts = [self.prompts[i] for i in drawn for _ in range(TWO)]
            rows = self.sample(prompts)
        with clock.phase("score"):
            messages = [prompt.messages for prompt in prompts]
            if self.person is not None:
                answered = self._judged(self.person, rows, messages)
            else:
                self.begin("scoring", len(rows), "answers")
                answered = self.attempt(lambda: self._scored(rows, messages))
        comparisons = self.compared(answered)
        metrics: StepMetrics = {"beta": self.beta}
        with clock.phase("optimise"):
            if comparisons:
                self.hold(comparisons, [])
                metrics |= self.learn_from(range(len(comparisons)))
        metrics |= self._of_answers(answered, metrics, len(comparisons))
        samples: tuple[dict[str, Any], ...] = ()
        if self.watched and self.watches_now():
            with clock.phase("watch"):
                samples = sample_rows(self.watched_answers(), self.encoder, None, self.judge)
        metrics |= {f"time/{name}": seconds for name, seconds in clock.seconds.items()}
        metrics["time/step"] = clock.total()
        metrics["episode"] = float((self.step + 1) * len(rows))
        metrics["memory/peak_gb"] = peak_memory_gb(self.base.device)
        self.figures |= metrics
        return StepOutcome(metrics, samples)

    def _judged(
        self, person: Person, rows: list[Encoded], messages: list[list[Message]]
    ) -> Answered:
        """Ask a person which of two answers is better, and wait until all of them are judged."""
        texts = [self.encoder.decode(row.response) for row in rows]
        asked: dict[int, str] = {}  # first answer of two -> their item
        with person.store.exclusively():  # a labeller that looks sees all of them
            for first in range(0, len(rows), TWO):
                both = texts[first : first + TWO]
                if both[0] != both[1]:
                    asked[first] = person.ask(messages[first], both, f"step {self.step + 1}")
        wanted, known = set(asked.values()), 0
        self.begin(PERSON_ASKED, len(wanted), "pairs")
        while len(said := person.said(wanted)) < len(wanted):
            self.safe_point(len(said) - known)
            known = len(said)
            time.sleep(LOOK)
        paid = torch.zeros(len(rows))
        for first, item in asked.items():
            for place in range(first, first + TWO):
                paid[place] = float(texts[place] == said[item])
        return Answered(rows, messages, None, paid, self._ended(rows))

    def _ended(self, rows: list[Encoded]) -> Tensor:
        last = torch.tensor([row.response[-1] for row in rows])
        return torch.isin(last, torch.tensor(list(self.base.eos_ids)))

    def _scored(self, rows: list[Encoded], messages: list[list[Message]]) -> Answered:
        self.safe_point()
        settings = self.settings
        tokens = settings.tokens_at_once
        scores = scored_answers(rows, messages, self.reward, tokens=tokens, team=self.team)
        ended = self._ended(rows)
        paid = end_rewards(
            scores.total,
            torch.tensor([len(row.response) for row in rows]),
            ended,
            clip=0.0,
            missing_eos_penalty=settings.missing_eos_penalty,
            length_penalty=settings.length_penalty,
        )
        return Answered(rows, messages, scores, paid, ended)

    def compared(self, answered: Answered) -> list[EncodedComparison]:
        """The pairs of which one answer is worth more; equal ones say nothing and are left out."""
        comparisons: list[EncodedComparison] = []
        for first in range(0, len(answered.rows), TWO):
            one, other = answered.rows[first : first + TWO]
            gap = float(answered.paid[first] - answered.paid[first + 1])
            if gap != 0 and one.response != other.response:
                better = Judgement(int(gap < 0), int(gap > 0), 0.0, 1.0)
                comparisons.append(EncodedComparison((one, other), (better,), ""))
        return comparisons

    def _of_answers(self, answered: Answered, learned: StepMetrics, pairs: int) -> StepMetrics:
        """What a practitioner asks of a step's answers; KL by k1 of those that were learned from.

        They were all sampled before the step: the mean log-ratio of both answers of a pair, that
        is of the implied rewards over beta, is KL(policy || reference) in nats.
        """
        lengths = [len(row.response) for row in answered.rows]
        metrics: StepMetrics = {
            "objective/ties": 1 - pairs / (len(answered.rows) // TWO),
            "response/length": sum(lengths) / len(lengths),
            "response/length_max": float(max(lengths)),
            "response/eos_rate": float(answered.ended.float().mean()),
            "response/repetition": repeated_grams([row.response for row in answered.rows]),
            "response/shared": shared_grams(answered.rows),
        }
        if (scores := answered.scores) is not None:
            metrics["objective/scores"] = float(scores.total.mean())
            metrics["objective/scores_std"] = float(scores.total.std(correction=0))
            metrics |= {f"reward/{n}": float(p.mean()) for n, p in scores.parts.items()}
        if pairs:
            both = (learned["rewards/chosen"] or 0.0) + (learned["rewards/rejected"] or 0.0)
            metrics["objective/kl"] = both / TWO / self.beta
        if self.judge is not None:
            gold = [
                self.judge(messages, self.encoder.decode(row.response))
                for messages, row in zip(answered.messages, answered.rows, strict=True)
            ]
            metrics["objective/gold"] = sum(gold) / len(gold)
        return metrics
