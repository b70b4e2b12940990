"""Batch work on finished models: sample answers, score them, measure KL and accuracy."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.algos.logprobs import exact_kl
from workbench.data.messages import Message, as_messages
from workbench.models.base import Base, load_base
from workbench.models.encoding import Encoded, Encoder, micro_batches
from workbench.models.fast.dense_weights import dense
from workbench.models.forward import CHUNK, Batch, collate, response_hidden, spread
from workbench.models.roles import Roles
from workbench.models.sampling import CHECK_EVERY, sample_responses
from workbench.models.source import Source, resolve
from workbench.settings import PolicySettings, PPOSettings
from workbench.training.optimiser import make_accelerator
from workbench.training.reward.scorer import Scorer

Tell = Callable[[float, int, str], None]
Prompts = Sequence[Sequence[Message]]
TELL_AFTER = 0.5  # seconds between two words of how far a batch is


def answers(
    models: Sequence[str],
    prompts: Prompts,
    settings: PPOSettings,
    *,
    responses: int = 1,
    with_kl: bool = False,
    tell: Tell = lambda done, total, text: None,
) -> list[list[list[dict[str, Any]]]]:
    """Sample answers of several models to the same prompts, with the same random numbers.

    Args:
        models: names, folders or runs; those on the same base share it.
        prompts: message lists.
        settings: temperature, response_length, seed, quantization and device are used.
        responses: answers to each prompt.
        with_kl: measure each answer's exact KL from what its model started from.
        tell: told how far it is.

    Returns:
        For each model and prompt its answers: ``{"text", "ended", "tokens"}`` and, where asked
        for, ``"kl"`` summed over the answer's tokens [nats].
    """
    make_accelerator(settings)
    by_model: dict[int, list[list[dict[str, Any]]]] = {}
    done, total = 0, len(models) * len(prompts)
    for sources in _by_base(models).values():
        tell(done, total, f"loading {', '.join(short_name(models[index]) for index in sources)}")
        base = load_base(next(iter(sources.values())), settings)
        base.check_answers()
        roles = Roles(base, settings)
        for index, source in sources.items():
            role = None if source.adapter is None else f"model{index}"
            if role is not None:
                roles.add(role, trainable=False, source=source.adapter)
            start = None if source.start is None else f"start{index}"
            if start is not None and with_kl:
                roles.add(start, trainable=False, source=source.start)
            doing = f"answers of {short_name(models[index])}"

            def sampled(answered: float, begun: int = done, doing: str = doing) -> None:
                tell(begun + answered / responses, total, doing)

            tables, rows = _answers_of(roles, role, prompts, settings, responses, sampled)
            if with_kl:
                tell(done + len(prompts), total, f"KL of {short_name(models[index])}")
                kls = exact_response_kl(roles, role, rows, settings, start=start)
                for table, kl in zip(tables, kls, strict=True):
                    table["kl"] = float(kl)
            by_model[index] = [tables[i : i + responses] for i in range(0, len(tables), responses)]
            done += len(prompts)
            tell(done, total, doing)
    return [by_model[index] for index in range(len(models))]


def _by_base(models: Sequence[str]) -> dict[tuple[str, str], dict[int, Source]]:
    """Sources by base and tokenizer, each with its place in the list."""
    groups: dict[tuple[str, str], dict[int, Source]] = {}
    for index, model in enumerate(models):
        source = resolve(model)
        source.check_answers()
        groups.setdefault((source.base, source.tokenizer), {})[index] = source
    return groups


def _answers_of(
    roles: Roles,
    role: str | None,
    prompts: Prompts,
    settings: PPOSettings,
    responses: int,
    tell: Callable[[float], None],
) -> tuple[list[dict[str, Any]], list[Encoded]]:
    base = roles.base
    encoder = Encoder.of(base, settings)
    encoded = encoder.prompts(prompts, room=settings.response_length)
    repeated = [ids for ids in encoded for _ in range(responses)]
    batches = sampled_batches(roles, role, repeated, settings, tell)
    rows = [row for batch in batches for row in batch]
    return [as_answer(base, encoder, row) for row in rows], rows


def sampled_batches(
    roles: Roles,
    role: str | None,
    prompts: Sequence[list[int]],
    settings: PPOSettings,
    tell: Callable[[float], None] = lambda _: None,
) -> Iterator[list[Encoded]]:
    """One answer to each prompt under a role, ``batch_size`` at once, from the settings' seed.

    ``tell`` is called now and then with how many answers there are, a batch's by its tokens.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    for start in range(0, len(prompts), settings.batch_size):
        batch = prompts[start : start + settings.batch_size]
        with dense(roles, role):
            responses = sample_responses(
                roles.base,
                batch,
                length=settings.response_length,
                temperature=settings.temperature,
                generator=generator,
                safe_point=_told_of(tell, start, len(batch), settings.response_length),
            )
        yield [Encoded(ids, response) for ids, response in zip(batch, responses, strict=True)]


def _told_of(
    tell: Callable[[float], None], start: int, answers: int, length: int
) -> Callable[[], None]:
    """What sampling calls every few tokens: tells how far a batch is, at most twice a second."""
    looks, last = count(), [time.monotonic()]

    def look() -> None:
        share = min(next(looks) * CHECK_EVERY / length, 1.0)
        if time.monotonic() - last[0] >= TELL_AFTER:
            last[0] = time.monotonic()
            tell(start + share * answers)

    return look


def short_name(model: str) -> str:
    """The last part of a model's name, as a person waits for it."""
    return Path(model).name.removeprefix("builtin:")


def as_answer(base: Base, encoder: Encoder, row: Encoded) -> dict[str, Any]:
    """An answer in plain values: its text, whether it ended by itself, its number of tokens."""
    return {
        "text": encoder.decode(row.response),
        "ended": bool(row.response) and row.response[-1] in base.eos_ids,
        "tokens": len(row.response),
    }


@torch.no_grad()
def exact_response_kl(
    roles: Roles,
    role: str | None,
    rows: Sequence[Encoded],
    settings: PolicySettings,
    *,
    start: str | None = None,
) -> Tensor:
    """Exact KL(role || start) in nats, summed over each response's tokens.

    At every state the sum runs over the whole vocabulary; the states are those of the rows,
    which the role sampled. ``start`` None is the base with adapters off. ``(B,)``.
    """
    base = roles.base
    wide = torch.promote_types(base.dtype, torch.float32)  # float64 stays exact
    result = torch.zeros(len(rows), dtype=wide)
    if role is None:
        return result
    lengths = [len(r.ids) for r in rows]
    for group in micro_batches(lengths, tokens=settings.tokens_at_once):
        batch = collate([rows[i] for i in group], base)
        per_token = _token_kl(roles, role, start, batch, settings.temperature)
        result[group] = spread(per_token, batch).sum(1).cpu()
    return result


@torch.no_grad()
def per_token_kl(
    roles: Roles,
    role: str | None,
    row: Encoded,
    settings: PolicySettings,
    *,
    start: str | None = None,
) -> list[float]:
    """Exact KL(role || start) at each token of one response [nats].

    :func:`exact_response_kl` is their sum.
    """
    if role is None:
        return [0.0] * len(row.response)
    batch = collate([row], roles.base)
    per_token = _token_kl(roles, role, start, batch, settings.temperature).float().cpu()
    return [float(value) for value in per_token]


def _token_kl(
    roles: Roles, role: str, start: str | None, batch: Batch, temperature: float
) -> Tensor:
    base = roles.base
    with roles.acting(role):
        policy = response_hidden(base, batch)
    with roles.acting(start):
        reference = response_hidden(base, batch)
    parts = [
        exact_kl(
            base.logits(policy[start : start + CHUNK]),
            base.logits(reference[start : start + CHUNK]),
            temperature=temperature,
        )
        for start in range(0, len(policy), CHUNK)
    ]
    return torch.cat(parts)


def scores(
    reward: str,
    prompts: Prompts,
    responses: Sequence[str],
    settings: PPOSettings,
    *,
    tell: Tell = lambda done, total, text: None,
) -> list[list[float]]:
    """Normalised scores of answers by each member of a trained reward model.

    Returns:
        A list for each member of an ensemble, or one; NaN where an answer is too long.
    """
    make_accelerator(settings)
    tell(0, len(responses), f"loading {short_name(reward)}")
    roles = Roles(load_base(resolve(reward), settings), settings)
    scorer = Scorer.attach(reward, roles, settings)
    encoder = scorer.encoder(settings)
    texts = [as_messages(response, "assistant") for response in responses]
    rows = [encoder.pair(p, text) for p, text in zip(prompts, texts, strict=True)]
    kept = [i for i, row in enumerate(rows) if row is not None]
    result = torch.full((len(scorer.members), len(rows)), float("nan"))
    if kept:
        usable = [row for row in rows if row is not None]
        result[:, kept] = scorer.member_scores(
            usable,
            tokens=settings.tokens_at_once,
            tell=lambda scored: tell(scored, len(rows), "scores"),
        )
    tell(len(rows), len(rows), "scores")
    return [[float(value) for value in own] for own in result]


def measured(
    models: Sequence[str],
    rewards: Mapping[str, str],
    prompts: Prompts,
    settings: PPOSettings,
    *,
    tell: Tell,
) -> list[list[dict[str, Any]]]:
    """One answer of each model to each prompt, with its exact KL and its score by reward models.

    Args:
        models: as in :func:`answers`.
        rewards: reward models by the name of their score; of an ensemble the members' mean.
        prompts: message lists.
        settings: as in :func:`answers`.
        tell: told how far it is.

    Returns:
        For each model and prompt ``{"text", "ended", "tokens", "kl"}`` and the scores by name.
    """
    drawn = [
        [own[0] for own in table]
        for table in answers(models, prompts, settings, with_kl=True, tell=tell)
    ]
    flat = [row for table in drawn for row in table]
    repeated = [prompt for _ in models for prompt in prompts]
    for name, reward in rewards.items():
        by_member = scores(reward, repeated, [row["text"] for row in flat], settings, tell=tell)
        for row, *own in zip(flat, *by_member, strict=True):
            row[name] = sum(own) / len(own)
    return drawn
