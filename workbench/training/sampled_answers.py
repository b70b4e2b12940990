"""Answers of a whole team under one role, so many side by side, each drawn with its own numbers."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from workbench.models.fast.dense_weights import dense
from workbench.models.roles import Roles
from workbench.models.sampling import sample_responses
from workbench.training.process_group import Team

SAMPLED_AT_ONCE = 128
"""Answers side by side where a reward model's scale is told: of all, keys and values may not fit.
"""


def sample_answers(
    roles: Roles,
    role: str | None,
    prompts: Sequence[list[int]],
    uniforms: Tensor,
    *,
    temperature: float,
    at_once: int,
    team: Team,
    logprobs: Tensor | None = None,
    safe_point: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """One answer's ids to each prompt under a role, shared out over the team.

    Args:
        roles: on the base that answers.
        role: which of them; None is the base with adapters off.
        prompts: ``B`` of them, as ids.
        uniforms: ``(T, B)`` numbers that the tokens are drawn with; ``T`` is the longest answer.
        temperature: logits are divided by it.
        at_once: answers sampled side by side; 0 for all.
        team: the processes of the run.
        logprobs: ``(T, B)`` of zeros, on the CPU: takes the log-probability [nats] that each token
            was drawn with; what lies behind an answer's end has no meaning.
        safe_point: where the run may pause or stop while so many sequences are in the model.
    """
    mine = team.share(range(len(prompts)), [len(ids) for ids in prompts])
    most = at_once or len(prompts)
    answers: list[tuple[int, list[int]]] = []
    with dense(roles, role):
        for part in [mine[i : i + most] for i in range(0, len(mine), most)]:
            told = None
            if logprobs is not None:
                told = logprobs[:, part].to(roles.base.device)
            responses = sample_responses(
                roles.base,
                [prompts[i] for i in part],
                length=len(uniforms),
                temperature=temperature,
                uniforms=uniforms[:, part],
                logprobs=told,
                safe_point=partial(safe_point, len(part)),
            )
            answers += zip(part, responses, strict=True)
            if logprobs is not None and told is not None:
                logprobs[:, part] = told.cpu()
    if logprobs is not None:
        team.add(logprobs)
    by_number = dict(team.gather(answers))
    return [by_number[i] for i in range(len(prompts))]
