"""Ways to compute are proven on a few tokens before they are used: against the model's own forward.

What is quicker than ``model(ids).logits`` (several sequences in one row, padding, keys and values
that are kept) must give the same log-probabilities. The first way that does is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.errors import ModelError
from workbench.models.loaded_base import BOUNDS, Base, Proof
from workbench.models.model_kinds import media_ids

SIZES = ((6, 4), (6, 3), (2, 3))
"""Tokens of prompt and answer of each row that is tried; the first two rows share their prompt."""


class Trial(NamedTuple):
    """Sequences to try, and what the model's own forward says of each by itself.

    Attributes:
        prompts: token ids.
        answers: token ids.
        own: of each row the log-probabilities ``(R, V)`` at its answer's R tokens [nats]; of a
            model that scores, its score ``(1,)``.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    own: list[Tensor]


def plain_ids(base: Base) -> list[int]:
    """Ids that stand for text: in the vocabulary, and neither special nor for an image or sound."""
    rows = int(base.model.get_input_embeddings().weight.shape[0])  # pyright: ignore
    special = {int(i) for i in base.tokenizer.all_special_ids} | media_ids(base.model.config)
    known = (int(i) for i in base.tokenizer.get_vocab().values())
    return sorted(i for i in known if i < rows and i not in special)


@torch.no_grad()
def trial(base: Base) -> Trial:
    """A few sequences and what the model's own forward says of each by itself.

    Raises:
        ModelError: the model's own forward fails on plain tokens, or says something else each time,
            or a token sees what comes after it.
    """
    ids = plain_ids(base)
    draw = torch.Generator().manual_seed(0)
    prompts: list[list[int]] = []
    answers: list[list[int]] = []
    for prompt, answer in SIZES:
        picked = [ids[int(i)] for i in torch.randint(len(ids), (prompt + answer,), generator=draw)]
        same = bool(prompts) and len(prompts[-1]) == prompt
        prompts.append(prompts[-1] if same else picked[:prompt])
        answers.append(picked[prompt:])
    try:
        own = [_own(base, p, a) for p, a in zip(prompts, answers, strict=True)]
        again = _own(base, prompts[0], answers[0])
        sooner = _own(base, prompts[0], answers[0][:-2]) if base.answers else again
    except Exception as error:
        _give_up_memory(error)
        raise ModelError(
            f"the model's own forward fails on a few tokens: {error}",
            where=f"{base.source.reference} ({type(base.model).__name__})",
            fix="give a causal language model, or a sequence classifier, that takes text alone",
        ) from error
    bound, some = BOUNDS[base.dtype], answers[0]
    if base.answers and distance(own[0], again, some) > bound:
        raise _refused(base, "this model's own forward gives other log-probabilities each time")
    if base.answers and distance(own[0][: len(sooner)], sooner, some[:-2]) > bound:
        raise _refused(base, "a token of this model also sees what comes after it")
    return Trial(prompts, answers, own)


def _refused(base: Base, why: str) -> ModelError:
    return ModelError(
        why,
        where=f"{base.source.reference} ({base.model.config.model_type})",
        fix="give a causal language model: one in which a token sees those before it alone",
    )


def _own(base: Base, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """By ``model(ids).logits``: log-probabilities ``(R, V)``, or the score ``(1,)``."""
    ids = torch.tensor([[*prompt, *answer]], device=base.device)
    logits = base.model(input_ids=ids).logits
    return log_softmax(logits[0, len(prompt) - 1 : -1]) if base.answers else logits[0, :1]


def log_softmax(logits: Tensor) -> Tensor:
    """In fp32 or better."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def distance(own: Tensor, other: Tensor, tokens: Sequence[int]) -> float:
    """How far ``(R, V)`` log-probabilities are from a model's own, in nats.

    The most of any of the R tokens, and of the mean over what each place may say.
    """
    gap = (own - other).abs()
    at = torch.tensor(list(tokens), device=gap.device)[:, None]
    each = torch.maximum(gap.gather(1, at)[:, 0], (own.exp() * gap).nan_to_num(0.0).sum(-1))
    return float(each.max())


def score_distance(own: Tensor, other: Tensor) -> float:
    """How far scores ``(B,)`` are from a model's own; of large ones, as a share of them."""
    gap = (own - other).abs() / own.abs().clamp(min=1.0)
    return float(gap.max())


@torch.no_grad()
def first_exact(
    base: Base, ways: Mapping[str, Callable[[Trial], float]], *, what: str, known: Trial | None
) -> Proof:
    """The first way that is as near to the model's own forward as its precision allows.

    Args:
        base: the model, in the role that acts.
        ways: each tells how far it is. [nats, or points of a score]
        what: they are ways to do, for an error.
        known: what to try; made where it is None.

    Raises:
        ModelError: none is exact.
    """
    known = known or trial(base)
    bound, against = BOUNDS[base.dtype], dict[str, str]()
    for way, measure in ways.items():
        try:
            nats = measure(known)
        except Exception as error:
            _give_up_memory(error)
            text = str(error).strip().splitlines() or [""]
            against[way] = f"{type(error).__name__}: {text[0]}"
            continue
        if nats <= bound:
            return Proof(way, nats, against)
        against[way] = f"{nats:.2g} nats from the model's own forward"
    reasons = "; ".join(f"{way}: {why}" for way, why in against.items())
    raise _refused(base, f"no way to {what} agrees with the model's own forward ({reasons})")


def _give_up_memory(error: Exception) -> None:
    """Memory that runs out says nothing about a way."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        raise error
