"""Many answers to each prompt, scored: what best-of-n chooses among."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from workbench.models.base import load_base
from workbench.models.encoding import Encoded, Encoder, Message
from workbench.models.fast.dense_weights import dense
from workbench.models.model_source import resolve
from workbench.models.roles import Roles
from workbench.models.sampling import sample_responses
from workbench.settings import PPOSettings
from workbench.training.batch_jobs import Tell
from workbench.training.optimiser import make_accelerator
from workbench.training.ppo.heldout_reward import HeldoutReward


def candidates(
    model: str,
    rewards: Mapping[str, str],
    prompts: Sequence[list[Message]],
    settings: PPOSettings,
    *,
    count: int,
    tell: Tell,
) -> list[list[dict[str, Any]]]:
    """Sample ``count`` answers to each prompt and score each by every reward model.

    Args:
        model: what answers.
        rewards: reward models by the name of their score.
        prompts: message lists.
        settings: temperature, response_length, seed, batch_size (answers sampled at once) count.
        count: answers to each prompt.
        tell: told how far it is.

    Returns:
        For each prompt its answers: ``{"text", "ended", "tokens"}`` and its scores by name.
    """
    make_accelerator(settings)
    source = resolve(model)
    source.check_answers()
    base = load_base(source, settings)
    roles = Roles(base, settings)
    role = None if source.adapter is None else "policy"
    if role is not None:
        roles.add(role, trainable=False, source=source.adapter)
    readers = {
        name: HeldoutReward(f"judge-{name}", reward, roles, settings)
        for name, reward in rewards.items()
    }
    encoder = Encoder(base, max_length=settings.max_length, template=settings.chat_template_kwargs)
    asked = [(prompt, encoder.prompt(prompt, room=settings.response_length)) for prompt in prompts]
    generator = torch.Generator().manual_seed(settings.seed)
    flat = [each for each in asked for _ in range(count)]
    found: list[dict[str, Any]] = []
    for start in range(0, len(flat), settings.batch_size):
        part = flat[start : start + settings.batch_size]
        with dense(roles, role):
            responses = sample_responses(
                base,
                [ids for _, ids in part],
                length=settings.response_length,
                temperature=settings.temperature,
                generator=generator,
            )
        rows = [Encoded(ids, r) for (_, ids), r in zip(part, responses, strict=True)]
        answers = [_answer(row, encoder, base.eos_ids) for row in rows]
        for name, reader in readers.items():
            scores = reader.scores(rows, [prompt for prompt, _ in part], encoder)
            for answer, score in zip(answers, scores, strict=True):
                answer[name] = float(score)
        found += answers
        tell(len(found), len(flat), "answers")
    return [found[i : i + count] for i in range(0, len(found), count)]


def _answer(row: Encoded, encoder: Encoder, eos_ids: Sequence[int]) -> dict[str, Any]:
    ended = bool(row.response) and row.response[-1] in eos_ids
    return {"text": encoder.decode(row.response), "ended": ended, "tokens": len(row.response)}
