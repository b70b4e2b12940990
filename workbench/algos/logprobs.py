"""Log-probabilities, entropy and exact KL from logits, in fp32 and in bounded memory.

Every function divides the logits by the sampling temperature, so that what is trained is the
distribution the tokens were drawn from. Shapes: ``N`` tokens (any batch flattened), ``V``
vocabulary, ``D`` hidden size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import (
    checkpoint,  # pyright: ignore[reportUnknownVariableType]  # torch leaves it untyped
)

from workbench.errors import ConfigError


class TokenStats(NamedTuple):
    """What a policy says about given tokens.

    Attributes:
        logprobs: ``(N,)`` log pi(a_t | s_t), carries gradients. [nats]
        entropy: ``(N,)`` entropy of pi(. | s_t), detached: a thing to watch. [nats]
    """

    logprobs: Tensor
    entropy: Tensor


def entropy(logits: Tensor, *, temperature: float) -> Tensor:
    """Entropy of softmax(logits / temperature), for each row.

    H = -sum_v p_v log p_v (Shannon 1948); uniform logits give log V. A logit of minus infinity
    is a token that cannot occur and adds 0.

    Args:
        logits: ``(N, V)`` raw scores of the next token, any float dtype.
        temperature: the sampling temperature, above 0.

    Returns:
        ``(N,)`` entropies from 0 to log V. [nats]

    Raises:
        ConfigError: the temperature is not above 0.
    """
    return _entropy(_log_softmax(logits, temperature))


def exact_kl(policy_logits: Tensor, ref_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(policy || reference) of the next token, exact: summed over the whole vocabulary.

    KL = sum_v p_v (log p_v - log q_v), p the policy and q the reference, both at the sampling
    temperature (Kullback & Leibler 1951). Summed over the tokens of responses the *policy*
    sampled, it estimates the KL between whole responses with less noise than k1 or k3. Infinite
    where the policy gives weight to a token that the reference excludes.

    Args:
        policy_logits: ``(N, V)`` of the policy, any float dtype.
        ref_logits: ``(N, V)`` of the reference at the same positions.
        temperature: the sampling temperature, above 0.

    Returns:
        ``(N,)`` divergences, 0 or above up to rounding. [nats]

    Raises:
        ConfigError: the temperature is not above 0.
    """
    policy = _log_softmax(policy_logits, temperature)
    ref = _log_softmax(ref_logits, temperature)
    p = policy.exp()
    # where p is 0 the term's limit is 0, though the difference may read inf - inf
    return (p * torch.where(p > 0, policy - ref, 0.0)).sum(-1)


def chunked_token_stats(
    hidden: Tensor,
    tokens: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    temperature: float,
    chunk: int,
) -> TokenStats:
    """Log-probability of each token, and ``entropy``, of head(hidden); never all N x V logits.

    log pi(a) = z_a - log sum_v exp(z_v) with z = logits / temperature, in fp32 whatever the
    logits came in (fp64 stays fp64): a half-precision logsumexp over a vocabulary loses digits
    that the PPO ratio needs. Source: Huang et al. 2024, "The N+ Implementation Details of RLHF
    with PPO" (temperature scaling wherever log-probabilities are read).

    The head runs on at most ``chunk`` tokens at a time. Where gradients are recorded and there
    is more than one chunk, each chunk's logits are dropped after use and computed again in the
    backward pass (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): peak
    memory falls from ``N * V`` to ``chunk * V`` for one more pass through the head.

    Args:
        hidden: ``(N, D)`` last hidden states, at the positions that predict ``tokens``.
        tokens: ``(N,)`` integer token ids.
        head: maps ``(n, D)`` to logits ``(n, V)``, row by row; its weights get gradients.
        temperature: the sampling temperature, above 0.
        chunk: the most tokens at once, 1 or more. [tokens]

    Returns:
        TokenStats of ``(N,)`` each; the same whatever the chunk.

    Raises:
        ConfigError: the temperature is not above 0, or the chunk is below 1.
    """

    def stats(some_hidden: Tensor, some_tokens: Tensor) -> tuple[Tensor, ...]:
        logprobs, log_p = _pick(head(some_hidden), some_tokens, temperature)
        with torch.no_grad():
            spread = _entropy(log_p)
        return logprobs, spread

    return TokenStats(*_chunked(stats, hidden, tokens, chunk))


def chunked_token_logprobs(
    hidden: Tensor,
    tokens: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    temperature: float,
    chunk: int,
) -> Tensor:
    """The log-probabilities of :func:`chunked_token_stats` alone, bit for bit the same.

    A training step needs no entropy, which costs as much as the rest beside the head. It takes and
    raises the same, and returns ``(N,)`` log-probabilities, at most 0. [nats]
    """

    def logprobs(some_hidden: Tensor, some_tokens: Tensor) -> tuple[Tensor, ...]:
        return _pick(head(some_hidden), some_tokens, temperature)[:1]

    return _chunked(logprobs, hidden, tokens, chunk)[0]


def _chunked(
    part: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    hidden: Tensor,
    tokens: Tensor,
    chunk: int,
) -> tuple[Tensor, ...]:
    """Run ``part`` on a chunk of tokens at a time, again in the backward pass; join its tables."""
    if chunk < 1:
        raise ConfigError(
            f"a chunk of {chunk} tokens holds nothing", where="chunk", fix="give 1 or more"
        )

    def part_again(some_hidden: Tensor, some_tokens: Tensor) -> tuple[Tensor, ...]:
        typed = cast(Callable[..., tuple[Tensor, ...]], checkpoint)
        return typed(part, some_hidden, some_tokens, use_reentrant=False)

    several = tokens.shape[0] > chunk
    one_chunk = part_again if several and torch.is_grad_enabled() else part
    pieces = zip(torch.split(hidden, chunk), torch.split(tokens, chunk), strict=True)
    chunks = [one_chunk(h, t) for h, t in pieces]
    return tuple(torch.cat(tables) for tables in zip(*chunks, strict=True))


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """``(N, V)`` logits / temperature, in fp32 or better."""
    if not temperature > 0:
        raise ConfigError(
            f"a sampling temperature of {temperature} has no distribution",
            where="temperature",
            fix="give a number above 0, such as 1.0",
        )
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide if temperature == 1 else wide / temperature


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """``(N, V)`` log softmax(logits / temperature), in fp32 or better."""
    return torch.log_softmax(_scaled(logits, temperature), dim=-1)


def _pick(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``(N,)`` log-probabilities of the tokens, and ``(N, V)`` of all, which carry no gradients."""
    apply = cast("Callable[..., tuple[Tensor, Tensor]]", _Picked.apply)  # pyright: ignore[reportUnknownMemberType]
    return apply(_scaled(logits, temperature), tokens)


class _Picked(torch.autograd.Function):
    """One entry a row of log softmax(z): d log p_a / dz_v = 1[v = a] - p_v, times the gradient.

    By the chain rule of its two parts a table of N x V zeros, a copy of it with one entry a row and
    a third of the same size would be written in the backward pass; here it is one.
    """

    @staticmethod
    def forward(ctx: Any, scaled: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        log_p = torch.log_softmax(scaled, dim=-1)
        ctx.save_for_backward(log_p, tokens)
        ctx.mark_non_differentiable(log_p)
        ctx.set_materialize_grads(False)
        return log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), log_p

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor | None, _log_p: Tensor | None
    ) -> tuple[Tensor | None, None]:
        if gradient is None:
            return None, None
        log_p, tokens = ctx.saved_tensors
        upstream = gradient.unsqueeze(-1)
        table = log_p.exp().mul_(-upstream)
        return table.scatter_add_(-1, tokens.unsqueeze(-1), upstream), None


def _entropy(log_p: Tensor) -> Tensor:
    """``(N,)`` entropies [nats] of ``(N, V)`` normalised log-probabilities."""
    p = log_p.exp()
    # 0 log 0 is 0, not 0 * -inf
    return -(p * torch.where(p > 0, log_p, 0.0)).sum(-1)
