"""From a reward's scores to what an answer is paid at its end: scale, clip, penalties.

Shapes: ``B`` responses. The order is fixed: normalise, clip, then take the penalties off.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.algos.rewards import clip_scores

EPS = 1e-8


@dataclass(frozen=True)
class RunningMoments:
    """Mean and squared deviations of all scores so far, batch by batch.

    Chan et al. 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances":
    exact, whatever the batches. The deviation is the biased one (divided by the count).

    Attributes:
        count: scores so far.
        mean: of them. [reward]
        squares: sum of (score - mean)^2. [reward squared]
    """

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """Biased deviation; 0 before there are two different scores, in reward points."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def updated(self, scores: Tensor) -> "RunningMoments":
        """The moments with ``(B,)`` more scores; with none they stay as they are."""
        n = float(scores.numel())
        if not n:
            return self
        wide = scores.double()
        mean = float(wide.mean())
        squares = float((wide - mean).square().sum())
        total, gap = self.count + n, mean - self.mean
        return RunningMoments(
            total,
            self.mean + gap * n / total,
            self.squares + squares + gap * gap * self.count * n / total,
        )


def standardised(scores: Tensor, moments: RunningMoments) -> Tensor:
    """(score - mean) / sqrt(variance + 1e-8): mean 0 and deviation 1 over what was measured.

    Args:
        scores: ``(B,)``. [reward]
        moments: of which scores; of these alone, or of all so far.

    Returns:
        ``(B,)`` scores in deviations; equal scores become 0.
    """
    return (scores - moments.mean) / math.sqrt(moments.std**2 + EPS)


def end_rewards(
    scores: Tensor,
    lengths: Tensor,
    ended: Tensor,
    *,
    clip: float,
    missing_eos_penalty: float,
    length_penalty: float,
) -> Tensor:
    """What each answer is paid at its last token, before the KL charge.

    clip(score, -c, c) - m [did not end] - l * length. The penalties are outside of the clip, so
    that they are felt where the score is at its bound, and they look at the response alone.

    Args:
        scores: ``(B,)`` scores, normalised or not. [reward]
        lengths: ``(B,)`` response tokens, EOS included. [tokens]
        ended: ``(B,)`` bool, the response ended by itself.
        clip: c, the largest absolute score let through; 0 = all. [reward]
        missing_eos_penalty: m. [reward]
        length_penalty: l. [reward per token]

    Returns:
        ``(B,)`` rewards. [reward]
    """
    kept = clip_scores(scores, limit=clip) if clip else scores
    missing = torch.where(ended, 0.0, missing_eos_penalty)
    return kept - missing.to(kept.dtype) - length_penalty * lengths.to(kept.dtype)
