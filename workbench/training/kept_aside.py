"""The examples that a fine-tuning run keeps aside, and what it answers to their prompts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from workbench.models.encoding import Encoded, Encoder
from workbench.models.roles import Roles
from workbench.models.sampling import draws
from workbench.settings import SFTSettings
from workbench.training.batches import shuffled
from workbench.training.process_group import Team
from workbench.training.sampled_answers import sample_answers

MOST_ASIDE = 256
"""Examples kept aside at most: more say little more, and each takes time at every evaluation."""
ANSWER = 128
"""Tokens of a watched answer at most."""
BEGINNING = 24
"""Tokens of a plain text that are given, where what follows is watched."""
TEMPERATURE = 0.7
"""Of the watched answers, which are drawn with the same numbers each time."""


class Example(NamedTuple):
    """One row as it is learned: its ids, which of the response's tokens count, the question."""

    encoded: Encoded
    learned: list[bool]
    question: str | None = None

    @property
    def response(self) -> list[int]:
        """The tokens that are learned, of one answer after the other."""
        pairs = zip(self.encoded.response, self.learned, strict=True)
        return [token for token, counts in pairs if counts]

    @classmethod
    def whole(cls, encoded: Encoded, question: str | None = None) -> "Example":
        """Every token of the response counts."""
        return cls(encoded, [True] * len(encoded.response), question)


def keep_aside(
    examples: Sequence[Example], share: float, *, seed: int
) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and those kept aside; all to one prompt are on the same side.

    Args:
        examples: all of them; a block of plain texts is a prompt of its own.
        share: of them to keep aside, :data:`MOST_ASIDE` at most; less than half of one is none.
        seed: of the draw.
    """
    prompts: dict[tuple[int, ...], list[int]] = {}
    for number, (encoded, _, question) in enumerate(examples):
        key = (-1, number) if question is None else tuple(encoded.prompt)
        prompts.setdefault(key, []).append(number)
    groups, wanted = list(prompts.values()), min(MOST_ASIDE, round(share * len(examples)))
    aside = set[int]()
    for index in shuffled(len(groups), torch.Generator().manual_seed(seed)):
        if len(aside) + len(groups[index]) <= wanted:
            aside.update(groups[index])
    kept = [example for number, example in enumerate(examples) if number in aside]
    return [example for number, example in enumerate(examples) if number not in aside], kept


class WatchedAnswers:
    """What the model says to the same prompts in the course of a run, and what it said at first.

    Attributes:
        starts: the answers before the first step; empty until then.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        roles: Roles,
        encoder: Encoder,
        settings: SFTSettings,
        team: Team,
    ) -> None:
        count = min(settings.watch_prompts, len(examples))
        chosen = [examples[i * len(examples) // count] for i in range(count)]
        longest = encoder.max_length
        self.length = min(ANSWER, longest // 2)
        self.prompts: list[tuple[str, list[int]]] = []
        for encoded, _, question in chosen:
            text = [*encoded.prompt, *encoded.response][:BEGINNING]
            ids = (text if question is None else encoded.prompt)[-(longest - self.length) :]
            self.prompts.append((encoder.decode(ids) if question is None else question, ids))
        self.roles, self.encoder, self.team, self.seed = roles, encoder, team, settings.seed
        self.role = "policy" if settings.lora_rank else None
        self.at_once = len(self.prompts)
        self.starts: list[str] = []

    def fewer(self) -> str | None:
        """Sample fewer answers side by side; says so, or None where it is one."""
        if self.at_once <= 1:
            return None
        self.at_once //= 2
        return f"memory ran out while sampling: {self.at_once} answers at once from here on"

    def rows(self, safe_point: Callable[[int], None]) -> tuple[dict[str, Any], ...]:
        """The sample table's rows: prompt, answer now, and the answer at first (``reference``).

        ``safe_point`` is told how many sequences are in the model.
        """
        uniforms = draws(
            self.length, len(self.prompts), torch.Generator().manual_seed(self.seed + 1)
        )
        responses = sample_answers(
            self.roles,
            self.role,
            [ids for _, ids in self.prompts],
            uniforms,
            temperature=TEMPERATURE,
            at_once=self.at_once,
            team=self.team,
            safe_point=safe_point,
        )
        texts = [self.encoder.decode(response) for response in responses]
        self.starts = self.starts or texts
        return tuple(
            {
                "prompt": self.prompts[i][0],
                "response": texts[i],
                "reference": self.starts[i],
                "ended": bool(response) and response[-1] in self.roles.base.eos_ids,
            }
            for i, response in enumerate(responses)
        )
