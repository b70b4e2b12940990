"""What a reward run shows of its held-out pairs: some with their texts, and how all scores lie."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.models.answer_scores import token_batches
from workbench.models.base import Base
from workbench.models.encoding import Encoder
from workbench.settings import RewardSettings
from workbench.training.batches import prompt_key
from workbench.training.reward.encoded_pairs import EncodedComparison
from workbench.training.reward.members import Judged, Member

SHOWN = 8
"""Pairs whose texts are written at each evaluation."""
LONGEST = 400
"""Characters of each of their texts."""
BARS = 24
"""Bars of a histogram of scores."""


def longer_wins(comparisons: Sequence[EncodedComparison]) -> float:
    """Share of judgements whose chosen answer has more tokens; equal counts half."""
    gaps = [
        len(comparison.answers[judgement.chosen].response)
        - len(comparison.answers[judgement.rejected].response)
        for comparison in comparisons
        for judgement in comparison.judgements
    ]
    wins = sum(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps)
    return wins / len(gaps) if gaps else 0.0


def spread_of(judged: Judged) -> dict[str, Any]:
    """Histograms of both kinds of raw scores, on one range that has 0 in its middle."""
    chosen, rejected = (scores.detach().float().cpu() for scores in judged)
    most = max(float(torch.cat([chosen, rejected]).abs().max()), 1e-6)

    def counts(scores: Tensor) -> list[int]:
        return [int(count) for count in torch.histc(scores, BARS, -most, most)]

    ends = {"low": -float(f"{most:.4g}"), "high": float(f"{most:.4g}"), "pairs": len(chosen)}
    return {**ends, "chosen": counts(chosen), "rejected": counts(rejected)}


class ShownPairs:
    """The first few held-out comparisons of a member, the same ones at each evaluation.

    Args:
        member: whose they are; it judges them.
        rows: what it learns from, as it was given.
        base: whose tokens they are.
        settings: the run's.
    """

    def __init__(
        self, member: Member, rows: Sequence[dict[str, Any]], base: Base, settings: RewardSettings
    ) -> None:
        self.member = member
        by_prompt = {comparison.group: comparison for comparison in reversed(member.heldout)}
        self.comparisons = list(reversed(by_prompt.values()))[:SHOWN]
        wanted = {comparison.group for comparison in self.comparisons}
        prompts = {
            key: row["prompt"] for row in rows if (key := prompt_key(row["prompt"])) in wanted
        }
        encoder = Encoder.of(base, settings)
        self.texts: list[dict[str, str]] = []
        for comparison in self.comparisons:
            first = comparison.judgements[0]
            sides = {"chosen": first.chosen, "rejected": first.rejected}
            answers = {
                side: encoder.decode(comparison.answers[place].response)[:LONGEST]
                for side, place in sides.items()
            }
            question = str(prompts[comparison.group][-1]["content"])
            self.texts.append({"prompt": question[:LONGEST], **answers})

    @torch.no_grad()
    def rows(self, judged: Judged) -> tuple[dict[str, Any], ...]:
        """Rows for the sample table; the first one has ``heldout_scores``, of all that is judged.

        Args:
            judged: the scores of all held-out pairs, as the evaluation found them.
        """
        sizes = [self.member.scoring.tokens(one.sequences) for one in self.comparisons]
        scores = dict[int, Tensor]()
        for group in token_batches(sizes, tokens=self.member.settings.tokens_at_once):
            raw = self.member.score([self.comparisons[i] for i in group]).float().cpu()
            each = [len(self.comparisons[i].answers) for i in group]
            scores |= dict(zip(group, torch.split(raw, each), strict=True))
        rows: list[dict[str, Any]] = []
        for place, (comparison, texts) in enumerate(zip(self.comparisons, self.texts, strict=True)):
            first = comparison.judgements[0]
            pair = {"chosen_score": first.chosen, "rejected_score": first.rejected}
            figures = {n: float(f"{float(scores[place][i]):.5g}") for n, i in pair.items()}
            more = {} if place else {"heldout_scores": spread_of(judged)}
            rows.append({**texts, **figures, **more})
        return tuple(rows)
