"""Sample answers: temperature and nothing else, finished rows leave the batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workbench.models.fast.decoding import decoder
from workbench.models.fast.on_card import on_card
from workbench.models.loaded_base import Base

CHECK_EVERY = 8
"""Decode steps between two looks at pause and stop."""
FEW, FEW_ON_CARD = 0.75, 0.25
"""Share of the rows still going at which the others leave: that costs a copy of what these saw, and
on a card the step is recorded anew, which takes as long as a dozen steps of however many rows.
"""
BLOCK = 128
"""Tokens whose probabilities are added up first, when one is drawn."""


@torch.no_grad()
def sample_responses(
    base: Base,
    prompts: Sequence[Sequence[int]],
    *,
    length: int,
    temperature: float,
    generator: torch.Generator | None = None,
    uniforms: Tensor | None = None,
    logprobs: Tensor | None = None,
    safe_point: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Sample one response for each prompt under the acting role.

    No top-k, no top-p, no penalties: what is scored later is the distribution sampled from, but for
    ids that no token has (:attr:`Base.unsaid`), which are never drawn.

    Args:
        base: its acting role answers.
        prompts: token ids.
        length: most tokens in a response.
        temperature: logits are divided by it.
        generator: on the CPU; one number is drawn for each row and step whether or not the row
            has ended, so a row's answer does not depend on when others end.
        uniforms: ``(length, B)`` numbers drawn beforehand (:func:`draws`), in its place.
        logprobs: ``(length, B)``, on the base's device: takes the log-probability [nats] that each
            token was drawn with; what lies behind an answer's end has no meaning.
        safe_point: called every few steps; may block (pause) or raise (stop).

    Returns:
        Response ids for each prompt, in order, EOS included where it came.
    """
    device, rows = base.device, len(prompts)
    if uniforms is None:
        uniforms = draws(length, rows, generator)
    uniforms = uniforms.to(device)
    eos = torch.tensor(base.eos_ids, device=device)
    tokens = torch.full((rows, length), -1, dtype=torch.long, device=device)
    alive = torch.arange(rows, device=device)
    going = torch.ones(rows, dtype=torch.bool, device=device)
    decoding = decoder(base, prompts, length=length)
    few = FEW_ON_CARD if on_card(device) else FEW
    look = 1 if device.type == "cpu" else CHECK_EVERY  # a look makes a GPU wait
    logits = torch.empty(0)
    drawn = alive
    for step in range(length):
        if step % CHECK_EVERY == 0:
            safe_point()
        logits = sayable(base, decoding.step(drawn) if step else decoding.start())
        drawn, chance = _inverse_cdf(logits, uniforms[step, alive], temperature)
        if logprobs is not None:
            logprobs[step, alive] = chance.log()
        tokens[alive, step] = drawn
        going &= ~torch.isin(drawn, eos)
        if step % look == 0:
            left = int(going.sum())
            if not left:
                break
            if left <= few * len(alive):
                keep = going.nonzero().squeeze(1)
                decoding.keep(keep)
                drawn, alive, going = drawn[keep], alive[keep], going[keep]
    return [_until_eos(row, base.eos_ids) for row in tokens.tolist()]


def sayable(base: Base, logits: Tensor) -> Tensor:
    """Logits ``(B, V)`` in whose place no id is drawn that stands for no text; changed in place."""
    if len(base.unsaid):
        logits[:, base.unsaid] = -torch.inf
    return logits


def draws(length: int, rows: int, generator: torch.Generator | None) -> Tensor:
    """What ``rows`` answers are drawn with: ``(length, rows)`` numbers from 0 to 1."""
    return torch.rand(length, rows, generator=generator, dtype=torch.float64)


def _inverse_cdf(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw one token a row: the first whose cumulative probability exceeds the uniform.

    Returns the tokens ``(B,)`` and the probability of each, in float64.

    Only the sums of blocks are added up for the whole vocabulary, and tokens within one block.
    """
    room = -logits.shape[-1] % BLOCK
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    if room:
        scaled = functional.pad(scaled, (0, room), value=-torch.inf)
    parts = torch.softmax(scaled, dim=-1).unflatten(-1, (-1, BLOCK))
    ends = parts.sum(-1, dtype=torch.float64).cumsum(-1)
    threshold = uniforms.to(ends)[:, None] * ends[:, -1:]
    block = _first_above(ends, threshold)
    chances = parts[torch.arange(len(parts), device=parts.device), block[:, 0]].double()
    before = functional.pad(ends, (1, 0)).gather(-1, block)
    place = _first_above(chances.cumsum(-1), threshold - before)
    chance = chances.gather(-1, place) / ends[:, -1:]
    return (block * BLOCK + place).squeeze(1), chance.squeeze(1)


def _first_above(cumulative: Tensor, threshold: Tensor) -> Tensor:
    """``(B, 1)``: the first entry above the threshold, or the first that reaches the end."""
    place = torch.searchsorted(cumulative, threshold, right=True)
    return torch.minimum(place, (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True))


def _until_eos(row: list[int], eos_ids: tuple[int, ...]) -> list[int]:
    """Cut after the first EOS (which stays); rows that had ended keep later draws out."""
    for index, token in enumerate(row):
        if token == -1:
            return row[:index]
        if token in eos_ids:
            return row[: index + 1]
    return row
