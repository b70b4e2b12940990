"""What every trainer of a policy has: its roles, its answers, and the prompts that are watched."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from workbench.data.messages import Message
from workbench.events import Place
from workbench.models.encoding import Encoded, Encoder
from workbench.models.fast.packing_support import packs
from workbench.models.model_card import Figures, how_to_answer, write_card
from workbench.models.sampling import CHECK_EVERY, draws
from workbench.models.source import REFERENCE, resolve
from workbench.settings import PolicySettings
from workbench.training.loop import StepLoop, StepOutcome
from workbench.training.ppo.mini_batches import own_micro_batches
from workbench.training.ppo.ppo_roles import ValueModel, add_policy
from workbench.training.ppo.prompts import Prompt, watched_prompts
from workbench.training.ppo.rollout import Episodes, measure
from workbench.training.reward.reward_sources import Built, RewardSource, SourceBuilder
from workbench.training.sampled_answers import sample_answers

P = TypeVar("P", bound=PolicySettings)


class PolicyLoop(StepLoop[P]):
    """A trainer of a policy: subclasses set ``prompts`` and watch some of them.

    Attributes:
        reference: the reference's role; None is the base with adapters off.
        reward: what scores answers; None where nothing does.
        value: the value model; None where there is none.
        prompts: from which the watched ones are taken.
        watched: prompts whose answers a person sees in the course of the run.
        rows_at_once: answers sampled side by side; 0 for all.
        figures: of the last step, and the newest of what is not measured at each.
    """

    prompts: list[Prompt]
    reward: RewardSource | None = None
    value: ValueModel | None = None

    def __init__(self, model: str, settings: P, place: Place, reference: str | None) -> None:
        resolve(model).check_answers()
        super().__init__(model, settings, place)
        self.temperature = settings.temperature
        self.rows_at_once = 0
        self.figures: dict[str, float | None] = {}
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.watched: list[Prompt] = []
        self.watch_prompts: Any = settings.watch_prompts
        self.reference = add_policy(self.roles, reference)
        self.encoder = Encoder.of(self.base, settings)
        if (against := packs(self.base.model)) is not None:
            self.notices.append(f"answers go through the model side by side, padded: {against}")

    def build_reward(self, spec: Any) -> Built:
        """Have answers scored by what a config's ``inputs.reward`` describes."""
        built = SourceBuilder(self.roles, self.settings, self.encoder, self.place.folder).build(
            spec
        )
        self.reward = built.source
        self.notices += built.notices
        return built

    def watch_these(self, choice: Any) -> None:
        """From here on watch so many of the prompts, or these."""
        room = self.settings.response_length
        self.watched = watched_prompts(choice, self.prompts, self.encoder, room=room)
        self.watch_prompts = choice

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, and what of the watching changes."""
        watching = {"watch_prompts": self.watch_prompts, "rows_at_once": self.rows_at_once}
        return {**super().state(), **watching}

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        self.watch_these(state["watch_prompts"])
        self.rows_at_once = state["rows_at_once"]

    @abstractmethod
    def _update(self) -> StepOutcome:
        """A step, inside which a stop may fall."""

    def train_step(self) -> StepOutcome:
        """One step; a stop inside it puts everything back as it was before."""
        before = self.state()
        return self.attempt(self._update, undo=lambda: self.put_back(before))

    def put_back(self, before: dict[str, Any]) -> None:
        """Take back a state, but for how much goes through the model at once: that was too much."""
        sizes = {"micro_batch_tokens": self.settings.tokens_at_once}
        self.load({**before, **sizes, "rows_at_once": self.rows_at_once})

    def sample(
        self,
        prompts: Sequence[Prompt],
        generator: torch.Generator | None = None,
        logprobs: Tensor | None = None,
    ) -> list[Encoded]:
        """One answer to each prompt under the policy; fewer at once where memory runs out.

        ``logprobs`` ``(T, B)`` takes what each token was drawn with, as in :func:`sample_answers`.
        """
        length = self.settings.response_length
        uniforms = draws(length, len(prompts), generator or self.generator)

        def work() -> list[list[int]]:
            most = length * len(prompts) // self.team.count
            self.begin("generating", most, "tokens", each=CHECK_EVERY)
            return sample_answers(
                self.roles,
                "policy",
                [prompt.ids for prompt in prompts],
                uniforms,
                temperature=self.temperature,
                at_once=self.rows_at_once,
                team=self.team,
                logprobs=logprobs,
                safe_point=self.safe_point,
            )

        responses = self.attempt(work, smaller=lambda: self._fewer_at_once(len(prompts)))
        return [Encoded(p.ids, response) for p, response in zip(prompts, responses, strict=True)]

    def _fewer_at_once(self, count: int) -> str | None:
        """Sample fewer answers side by side; says so, or None where it is one."""
        if self.rows_at_once == 1:
            return None
        self.rows_at_once = max(1, min(self.rows_at_once or count, count) // 2)
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
            tokens=self.settings.tokens_at_once,
            safe_point=self.safe_point,
            team=self.team,
        )

    def watched_answers(self) -> Episodes:
        """The watched prompts' answers by the policy as it is, with the same draws each time."""
        generator = torch.Generator().manual_seed(self.settings.seed + 1)
        rows = self.sample(self.watched, generator)
        groups = own_micro_batches(rows, range(len(rows)), self.settings, self.base, self.team)
        return self._measured(rows, [prompt.messages for prompt in self.watched], groups)

    def watches_now(self) -> bool:
        """Whether the watched prompts are answered at this step: the first, some, and the last."""
        every = self.settings.watch_every
        return every > 0 and (self.step % every == 0 or self.step + 1 == self.total)

    def save_policy(self, folder: Path) -> None:
        """The policy's adapter; beside it the reference if that is an adapter."""
        kind = self.settings.kind
        self.roles.save("policy", folder, task="CAUSAL_LM", extra={"kind": kind})
        if self.reference is not None:
            beside = folder / REFERENCE
            self.roles.save(self.reference, beside, task="CAUSAL_LM", extra={"kind": "sft"})

    def write_policy_card(self, folder: Path, data: Figures, shown: tuple[str, ...]) -> None:
        """The policy's card: what it learned from, and the figures whose names begin so."""
        facts = self.base.facts
        figures = {name: value for name, value in self.figures.items() if name.startswith(shown)}
        use = how_to_answer(facts)
        write_card(folder, facts=facts, settings=self.settings, data=data, figures=figures, use=use)
