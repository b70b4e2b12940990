"""One score from several reward models': the mean, the worst, or the mean less their disagreement.

A policy that is paid by one model learns where that model is wrong. Where several disagree, one of
them is; what they all pay for is less likely to be a mistake (Coste et al. 2023, "Reward Model
Ensembles Help Mitigate Overoptimization").
"""

from collections.abc import Callable

from torch import Tensor


def ensemble_mean(members: Tensor, std_coef: float) -> Tensor:
    """The mean of the members' scores; ``std_coef`` plays no part.

    Args:
        members: ``(M, B)`` normalised scores of M models. [deviations]
        std_coef: the charge for disagreement, which all three take, to be called alike.

    Returns:
        ``(B,)`` scores. [deviations]
    """
    return members.mean(0)


def ensemble_worst(members: Tensor, std_coef: float) -> Tensor:
    """The lowest of the members' scores ``(B,)``: what the harshest judge says of an answer."""
    return members.amin(0)


def ensemble_mean_minus_std(members: Tensor, std_coef: float) -> Tensor:
    """Mean - lambda * std over the members ``(B,)``, with the biased deviation (divide by M).

    Lambda is ``std_coef``; one member alone is its own mean.
    """
    return members.mean(0) - std_coef * members.std(0, correction=0)


REDUCERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "mean": ensemble_mean,
    "worst": ensemble_worst,
    "mean_minus_std": ensemble_mean_minus_std,
}
