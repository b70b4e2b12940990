"""Many answers to each prompt, scored: what best-of-n chooses among."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.data.messages import Message
from workbench.models.base import load_base
from workbench.models.encoding import Encoder
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import PPOSettings
from workbench.training.batch_jobs import Tell, as_answer, sampled_batches, short_name
from workbench.training.optimiser import make_accelerator
from workbench.training.reward.reward_sources import ModelReward


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
    tell(0, len(prompts) * count, f"loading {short_name(model)}")
    source = resolve(model)
    source.check_answers()
    base = load_base(source, settings)
    roles = Roles(base, settings)
    role = None if source.adapter is None else "policy"
    if role is not None:
        roles.add(role, trainable=False, source=source.adapter)
    encoder = Encoder.of(base, settings)
    judges = {
        name: ModelReward.attach(f"judge-{name}", reward, roles, settings, encoder)
        for name, reward in rewards.items()
    }
    repeated = [prompt for prompt in prompts for _ in range(count)]
    encoded = encoder.prompts(prompts, room=settings.response_length)
    ids = [each for each in encoded for _ in range(count)]
    answers: list[dict[str, Any]] = []
    batches = sampled_batches(
        roles, role, ids, settings, lambda done: tell(done, len(repeated), "answers")
    )
    for rows in batches:
        batch = [as_answer(base, encoder, row) for row in rows]
        messages = repeated[len(answers) : len(answers) + len(batch)]
        for name, judge in judges.items():
            for answer, score in zip(batch, judge.mean_scores(rows, messages), strict=True):
                answer[name] = float(score)
        answers += batch
        tell(len(answers), len(repeated), "answers")
    return [answers[i : i + count] for i in range(0, len(answers), count)]
