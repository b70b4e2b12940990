"""Step 3 of an update: from scores to rewards to advantages; and what a person reads of it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workbench.algos.advantages import (
    Estimates,
    explained_variance,
    gae,
    group_centred,
    group_normalised,
    masked_mean,
    masked_var,
    rloo,
    whiten,
)
from workbench.algos.kl import KL_ESTIMATORS, AdaptiveKL, kl_k1, kl_k3
from workbench.algos.rewards import token_rewards
from workbench.algos.scores import RunningMoments, end_rewards, standardised
from workbench.data.messages import Message
from workbench.models.encoding import Encoder
from workbench.settings import PPOSettings
from workbench.training.ppo.rollout import Episodes

Judge = Callable[[list[Message], str], float]


class Shaping:
    """From scores to what an answer is paid at its end; remembers the scores' running moments."""

    def __init__(self, settings: PPOSettings) -> None:
        self.settings = settings
        self.moments = RunningMoments()

    def learn(self, scores: Tensor) -> None:
        """Take one update's scores into the running moments."""
        if self.settings.score_normalisation == "running":
            self.moments = self.moments.updated(scores)

    def paid(self, episodes: Episodes) -> Tensor:
        """``(B,)`` rewards at the end of these answers, on the device of their tables."""
        settings, mask = self.settings, episodes.response_mask
        scores = episodes.scores.to(mask.device)
        if settings.score_normalisation == "batch":
            scores = standardised(scores, RunningMoments().updated(scores))
        elif self.moments.count:
            scores = standardised(scores, self.moments)
        return end_rewards(
            scores,
            mask.sum(1),
            episodes.ended.to(mask.device),
            clip=settings.score_clip,
            missing_eos_penalty=settings.missing_eos_penalty,
            length_penalty=settings.length_penalty,
        )


def estimate(
    episodes: Episodes, rewards_at_end: Tensor, settings: PPOSettings, *, kl_coef: float
) -> Estimates:
    """Advantages, not yet whitened, and returns ``(B, T)`` by the settings' estimator.

    ``rewards_at_end`` ``(B,)`` are paid at an answer's last token, beside the KL charge.
    """
    mask = episodes.response_mask
    rewards = token_rewards(
        rewards_at_end,
        episodes.rollout_logprobs,
        episodes.ref_logprobs,
        mask,
        kl_coef=kl_coef if settings.kl_place == "reward" else 0.0,
        estimator=KL_ESTIMATORS[settings.kl_estimator],
    )
    if settings.advantage == "gae":
        return gae(rewards, episodes.values, mask, gamma=settings.gamma, lam=settings.lam)
    grouped = rewards.sum(1).reshape(-1, settings.samples_per_prompt)
    if settings.advantage == "rloo":
        relative = rloo(grouped)
    elif settings.group_scale == "none":
        relative = group_centred(grouped)
    else:
        relative = group_normalised(grouped, eps=1e-4)
    everywhere = torch.where(mask, relative.reshape(-1, 1), 0.0)
    return Estimates(everywhere, torch.zeros_like(everywhere))


def whitened(estimates: Estimates, response_mask: Tensor, settings: PPOSettings) -> Estimates:
    """Advantages as the loss takes them, over all tokens of the update; the returns stay."""
    if not settings.whitens:
        return estimates
    return estimates._replace(advantages=whiten(estimates.advantages, response_mask))


def describe(
    episodes: Episodes,
    rewards_at_end: Tensor,
    estimates: Estimates,
    settings: PPOSettings,
    *,
    kl_coef: float,
) -> dict[str, float | None]:
    """What a practitioner asks of an update, measured before its first step.

    ``estimates`` are those of :func:`estimate`, before whitening.
    """
    mask = episodes.response_mask
    charged = rewards_at_end - kl_coef * charged_kl(episodes, settings)
    metrics: dict[str, float | None] = {
        **describe_answers(episodes, response_kl(episodes)),
        "objective/rlhf_reward": float(charged.mean()),
        "advantages/mean": float(masked_mean(estimates.advantages, mask)),
        "advantages/std": float(masked_var(estimates.advantages, mask).sqrt()),
        "kl_coef": kl_coef,
    }
    if settings.advantage == "gae":
        explained = explained_variance(episodes.values, estimates.returns, mask)
        metrics["value/explained_variance"] = float(explained)
        metrics["value/mean"] = float(masked_mean(episodes.values, mask))
        metrics["returns/mean"] = float(masked_mean(estimates.returns, mask))
    return metrics


def describe_answers(episodes: Episodes, kl: Tensor) -> dict[str, float]:
    """What is told of answers whoever gave them; scores where something scored them.

    ``kl`` ``(B,)`` is KL(policy || reference) of each, in nats.
    """
    mask, scores = episodes.response_mask, episodes.scores
    metrics = {
        "objective/kl": float(kl.mean()),
        "objective/entropy": float(masked_mean(episodes.entropy, mask)),
        "response/length": float(mask.sum(1).float().mean()),
        "response/eos_rate": float(episodes.ended.float().mean()),
        "response/length_max": float(mask.sum(1).max()),
    }
    if not scores.isnan().all():
        metrics["objective/scores"] = float(scores.mean())
        metrics["objective/scores_std"] = float(scores.std(correction=0))
    return metrics | {f"reward/{n}": float(part.mean()) for n, part in episodes.parts.items()}


def next_kl_coef(kl_coef: float, kl: float, answers: int, settings: PPOSettings) -> float:
    """The charge of the next update: as it is, or steered by this one's mean KL [nats]."""
    if settings.kl_control != "adaptive":
        return kl_coef
    controller = AdaptiveKL(
        coef=kl_coef, target=settings.adaptive_kl_target, horizon=settings.adaptive_kl_horizon
    )
    return controller.updated(kl, answers).coef


def mean_gold(judge: Judge, episodes: Episodes, encoder: Encoder) -> float:
    """The judge's mean score of an update's answers."""
    scores = [
        judge(messages, encoder.decode(row.response))
        for messages, row in zip(episodes.messages, episodes.rows, strict=True)
    ]
    return sum(scores) / len(scores)


def charged_kl(episodes: Episodes, settings: PPOSettings) -> Tensor:
    """KL of each response by the estimator that is charged, over its tokens: ``(B,)`` nats."""
    estimator = KL_ESTIMATORS[settings.kl_estimator]
    per_token = estimator(episodes.rollout_logprobs, episodes.ref_logprobs)
    return (per_token * episodes.response_mask).sum(1)


def response_kl(episodes: Episodes) -> Tensor:
    """KL(policy || reference) of each response by k1, summed over its tokens: ``(B,)`` nats."""
    k1 = kl_k1(episodes.rollout_logprobs, episodes.ref_logprobs)
    return (k1 * episodes.response_mask).sum(1)


def sampler_kl(drawn: Tensor, episodes: Episodes) -> float:
    """KL(sampler || policy as training computes it) per token by k3, in nats; 0 but for rounding.

    ``drawn`` ``(T, B)`` are the log-probabilities that the tokens were drawn with. They come from a
    decode step, often on other weights of the same values, and the clip takes them for the same.
    """
    mask = episodes.response_mask.cpu()
    trained = episodes.rollout_logprobs.cpu().double()
    return float(masked_mean(kl_k3(drawn[: mask.shape[1]].T, trained), mask))


def sample_rows(
    episodes: Episodes,
    encoder: Encoder,
    estimates: Estimates | None,
    judge: Judge | None,
) -> tuple[dict[str, Any], ...]:
    """Rows for the sample table: prompt, answer, score, KL and, where there is a judge, gold.

    For each token its text, its KL by k1 [nats] and, where there is a value model (``estimates``),
    its value and its advantage before whitening [reward].
    """
    kl = response_kl(episodes)
    tables = {"token_kl": kl_k1(episodes.rollout_logprobs, episodes.ref_logprobs)}
    if estimates is not None:
        tables |= {"token_value": episodes.values, "token_advantage": estimates.advantages}
    rows: list[dict[str, Any]] = []
    for index, (prompt, seen) in enumerate(zip(episodes.messages, episodes.rows, strict=True)):
        text, tokens = encoder.decode(seen.response), encoder.pieces(seen.response)
        score = float(episodes.scores[index])
        row: dict[str, Any] = {
            "prompt": prompt[-1]["content"],
            "response": text,
            **({} if math.isnan(score) else {"score": score}),
            "kl": float(kl[index]),
            "ended": bool(episodes.ended[index]),
            "tokens": tokens,
        }
        for name, table in tables.items():
            values = table[index, : len(tokens)].cpu()
            row[name] = [float(f"{float(value):.6g}") for value in values]  # more is noise
        if judge is not None:
            row["gold"] = judge(prompt, text)
        rows.append(row)
    return tuple(rows)
