"""Sample answers: temperature and nothing else, finished rows leave the batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from workbench.models.base import Base

CHECK_EVERY = 8
"""Decode steps between two looks at pause and stop."""


def sample_responses(
    base: Base,
    prompts: Sequence[Sequence[int]],
    *,
    length: int,
    temperature: float,
    generator: torch.Generator | None = None,
    uniforms: Tensor | None = None,
    safe_point: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Sample one response for each prompt under the acting role.

    No top-k, no top-p, no penalties: what is scored later is the distribution sampled from.

    Args:
        base: its acting role answers.
        prompts: token ids; padded on the left here.
        length: most tokens in a response.
        temperature: logits are divided by it.
        generator: on the CPU; one number is drawn for each row and step whether or not the row
            has ended, so a row's answer does not depend on when others end.
        uniforms: ``(length, B)`` numbers drawn beforehand (:func:`draws`), in its place.
        safe_point: called every few steps; may block (pause) or raise (stop).

    Returns:
        Response ids for each prompt, in order, EOS included where it came.
    """
    device, rows = base.device, len(prompts)
    ids, positions, mask = _left_padded(base, prompts)
    if uniforms is None:
        uniforms = draws(length, rows, generator)
    eos = torch.tensor(base.eos_ids, device=device)
    tokens = torch.full((rows, length), -1, dtype=torch.long)
    alive, going = torch.arange(rows), torch.ones(rows, dtype=torch.bool, device=device)
    cache = DynamicCache(config=base.model.config)
    with torch.no_grad():
        for step in range(length):
            if step % CHECK_EVERY == 0:
                safe_point()
            hidden = base.trunk(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            drawn = _inverse_cdf(base.logits(hidden), uniforms[step, alive], temperature)
            tokens[alive, step] = drawn.cpu()
            going &= ~torch.isin(drawn, eos)
            if not bool(going.any()):
                break
            ids, positions = drawn[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            if int(going.sum()) <= 0.75 * len(alive):  # compacting costs a copy of the cache
                keep = going.nonzero().squeeze(1)
                cache.batch_select_indices(keep)
                ids, positions, mask = ids[keep], positions[keep], mask[keep]
                alive, going = alive[keep.cpu()], going[keep]
    return [_until_eos(row, base.eos_ids) for row in tokens.tolist()]


def draws(length: int, rows: int, generator: torch.Generator | None) -> Tensor:
    """What ``rows`` answers are drawn with: ``(length, rows)`` numbers from 0 to 1."""
    return torch.rand(length, rows, generator=generator, dtype=torch.float64)


def _left_padded(base: Base, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions and mask ``(B, P)``: position 0 is each prompt's first real token."""
    longest = max(len(p) for p in prompts)
    pad = int(base.tokenizer.pad_token_id)  # pyright: ignore[reportArgumentType]
    table = [[*([pad] * (longest - len(p))), *p] for p in prompts]
    marks = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    ids = torch.tensor(table, dtype=torch.long, device=base.device)
    mask = torch.tensor(marks, dtype=torch.long, device=base.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return ids, positions, mask


def _inverse_cdf(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Draw one token a row: the first whose cumulative probability exceeds the uniform."""
    probabilities = torch.softmax(logits.float() / temperature, dim=-1).double()
    cumulative = probabilities.cumsum(-1)
    threshold = uniforms.to(logits.device)[:, None] * cumulative[:, -1:]
    return (
        torch.searchsorted(cumulative, threshold, right=True)
        .squeeze(1)
        .clamp(max=logits.shape[-1] - 1)
    )


def _until_eos(row: list[int], eos_ids: tuple[int, ...]) -> list[int]:
    """Cut after the first EOS (which stays); rows that had ended keep later draws out."""
    for index, token in enumerate(row):
        if token == -1:
            return row[:index]
        if token in eos_ids:
            return row[: index + 1]
    return row
