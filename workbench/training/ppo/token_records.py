"""A few answers of an update, token by token, as the microscope takes them apart."""

from typing import Any

import torch
from torch import Tensor

from workbench.algos.advantages import Estimates, masked_mean, masked_var
from workbench.models.encoding import Encoder
from workbench.models.forward import lay, response_hidden, response_logprobs
from workbench.models.roles import Roles
from workbench.settings import PPOSettings
from workbench.training.ppo.objective import charged_kl, response_kl
from workbench.training.ppo.rollout import Episodes

RANKS = ("best", "middle", "worst")
"""By score, among the answers of an update."""


def best_middle_worst(scores: Tensor) -> dict[str, int]:
    """Which of ``(B,)`` scores is the best, the middle and the worst; fewer where B is below 3."""
    order = [int(i) for i in torch.argsort(scores, descending=True, stable=True)]
    places = (0, len(order) // 2, len(order) - 1)
    picked = {order[place]: rank for rank, place in zip(RANKS, places, strict=True)}
    return {rank: i for i, rank in picked.items()}


def token_records(
    roles: Roles,
    encoder: Encoder,
    episodes: Episodes,
    paid: Tensor,
    raw: Estimates,
    settings: PPOSettings,
    kl_coef: float,
    clip_range: float,
) -> tuple[dict[str, Any], ...]:
    """The best, the middle and the worst answer of an update, after its last step.

    Costs one forward pass over three answers: the policy as it is now sees them again.

    Args:
        roles: of the policy's base.
        encoder: which names the tokens.
        episodes: the update's answers, as every role saw them before its first step.
        paid: ``(B,)`` paid at each answer's end. [reward]
        raw: advantages before whitening. [reward]
        settings: of the run.
        kl_coef: beta in this update. [reward per nat]
        clip_range: eps in this update.
    """
    picked = best_middle_worst(episodes.scores)
    rows = [episodes.rows[i] for i in picked.values()]
    batch = lay(rows, roles.base)
    with torch.no_grad(), roles.acting("policy"):
        hidden = response_hidden(roles.base, batch)
        after = response_logprobs(
            roles.base, batch, temperature=episodes.temperature, hidden=hidden
        )
    mask = episodes.response_mask
    used = {
        "kl_coef": kl_coef if settings.kl_place == "reward" else 0.0,
        "gamma": settings.gamma,
        "lam": settings.lam,
        "clip_range": clip_range,
        "advantage": settings.advantage,
        "estimator": settings.kl_estimator,
    }
    if settings.clip_range_high:
        used["clip_range_high"] = settings.clip_range_high
    if settings.group_scale == "none":
        used["group_scale"] = "none"
    if settings.whitens:
        used["mean"] = _number(masked_mean(raw.advantages, mask))
        used["std"] = _number(masked_var(raw.advantages, mask).sqrt())
    tables = {"logprobs": episodes.rollout_logprobs, "ref_logprobs": episodes.ref_logprobs}
    if settings.advantage == "gae":
        tables["values"] = episodes.values
    tables["advantages"] = raw.advantages
    kl = response_kl(episodes)
    charged = charged_kl(episodes, settings)
    records: list[dict[str, Any]] = []
    for place, (rank, i) in enumerate(picked.items()):
        size = len(episodes.rows[i].response)
        record: dict[str, Any] = {
            "rank": rank,
            "prompt": episodes.messages[i][-1]["content"],
            "response": encoder.decode(episodes.rows[i].response),
            "tokens": encoder.pieces(episodes.rows[i].response),
            "score": _number(episodes.scores[i]),
            "kl": _number(kl[i]),
            "paid": _number(paid[i]),
            **used,
            **{name: _numbers(table[i, :size]) for name, table in tables.items()},
            "after_logprobs": _numbers(after[place, :size]),
        }
        if settings.advantage != "gae":
            first = i - i % settings.samples_per_prompt
            group = range(first, first + settings.samples_per_prompt)
            record["group"] = [[_number(paid[n]), _number(charged[n])] for n in group]
            record["place"] = i - first
        records.append(record)
    return tuple(records)


def _numbers(row: Tensor) -> list[float]:
    return [_number(number) for number in row.cpu()]


def _number(number: Tensor | float) -> float:
    """A number to nine figures, which say a float32 exactly."""
    return float(f"{float(number):.9g}")
