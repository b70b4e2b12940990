"""Scores of answers that are compared: one sequence a comparison, or a sequence each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.base import Base
from workbench.models.encoding import pad_right
from workbench.models.fast.packing import pack, packed_places, span_of
from workbench.models.forward import head_values

Comparison = Sequence[list[int]]
"""Whole sequences of ids, prompt and answer each, that are compared with each other."""


def packed_scores(base: Base, head: nn.Linear | None, comparisons: Sequence[Comparison]) -> Tensor:
    """Raw score ``(S,)`` of each sequence at its last token; what sequences share runs once.

    For models that `support.packs` has nothing against.

    Raises:
        ModelError: the model cannot take comparisons in one sequence after all.
    """
    assert head is not None  # only encoders have their own, and none packs
    packed = pack(comparisons, base.device)
    return head_values(head, packed_places(base, packed, packed.ends))


def separate_scores(
    base: Base, head: nn.Linear | None, comparisons: Sequence[Comparison]
) -> Tensor:
    """Raw score ``(S,)`` of each sequence; each sequence runs by itself.

    Rows of similar length go together. Padding is masked, so that encoders do not see it. The
    score is read at the last token by the head, or as an encoder's own head reads it.
    """
    rows = [sequence for sequences in comparisons for sequence in sequences]
    lengths = [len(row) for row in rows]
    pad = int(base.tokenizer.pad_token_id)  # pyright: ignore[reportArgumentType]
    order: list[int] = []
    found: list[Tensor] = []
    for group in similar(lengths):
        ids = pad_right([rows[i] for i in group], pad=pad, device=base.device)
        last = torch.tensor([lengths[i] - 1 for i in group], device=base.device)
        mask = torch.arange(ids.shape[1], device=base.device) <= last[:, None]
        with base.recomputing():
            if head is None:
                found.append(_by_own_head(base, ids, mask))
            else:
                hidden = base.trunk(input_ids=ids, attention_mask=mask.long(), **_plain(base))
                row = torch.arange(len(group), device=base.device)
                found.append(head_values(head, hidden.last_hidden_state[row, last]))
        order += group
    places = torch.tensor(order, device=base.device).argsort()
    return torch.cat(found)[places]


def _by_own_head(base: Base, ids: Tensor, mask: Tensor) -> Tensor:
    """What transformers' sequence classifier makes of right-padded rows ``(B, T)``: ``(B,)``."""
    given = {"input_ids": ids, "attention_mask": mask.long()}
    if int(getattr(base.model.config, "type_vocab_size", 0) or 0) > 1:
        sep = int(base.tokenizer.sep_token_id)  # pyright: ignore[reportArgumentType]
        ends = torch.eq(ids, sep).long()
        after = (ends.cumsum(1) - ends).gt(0)  # the answer stands behind the first end
        given["token_type_ids"] = (after & mask).long()
    return base.model(**given).logits[:, 0]


def _plain(base: Base) -> dict[str, Any]:
    """An encoder has no cache to leave out."""
    return {"use_cache": False} if hasattr(base.model.config, "use_cache") else {}


def packed_tokens(comparison: Comparison) -> int:
    """Tokens that a comparison takes where its sequences share their beginning."""
    return span_of(comparison).size


def separate_tokens(comparison: Comparison) -> int:
    """Tokens that a comparison takes where each sequence runs by itself."""
    return sum(len(sequence) for sequence in comparison)


def token_batches(sizes: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Split comparisons into groups of at most ``tokens`` tokens, similar sizes together.

    Returns indices; each comparison is in exactly one group. A larger one is alone.
    """
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        if not groups or sizes[index] > room:
            groups.append([])
            room = tokens
        groups[-1].append(index)
        room -= sizes[index]
    return groups


def similar(lengths: Sequence[int], *, waste: float = 0.1) -> list[list[int]]:
    """Split rows into groups in which padding is at most the share ``waste`` of all slots."""
    groups: list[list[int]] = []
    filled = 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        slots = (len(groups[-1]) + 1) * lengths[index] if groups else 0
        if groups and slots - filled - lengths[index] <= waste * slots:
            groups[-1].append(index)
            filled += lengths[index]
        else:
            groups.append([index])
            filled = lengths[index]
    return groups
