"""Answers to one prompt in one sequence: the prompt once, then answers that do not see each other.

Several such comparisons lie in one flat row without padding. Attention runs in each sequence by
itself (`attention.py`); every other layer only sees tokens and their positions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.errors import ModelError
from workbench.models.fast.attention import Sight, Span, wrap_attention
from workbench.models.fast.last_layer import Places, places_alone
from workbench.models.fast.on_card import upload
from workbench.models.loaded_base import Base


class Packed(NamedTuple):
    """Comparisons in one flat row of N tokens.

    Attributes:
        ids: ``(N,)`` for each comparison the shared tokens, then each sequence's own.
        positions: ``(N,)`` where a token stands in its own sequence.
        last: ``(S,)`` index of each sequence's last token, in the order they were given.
        ends: the same as numbers, for which no GPU has to be waited for.
        spans: the comparisons.
        sights: who sees whom, by the places that are asked for (none: all tokens); made once for
            all roles.
    """

    ids: Tensor
    positions: Tensor
    last: Tensor
    ends: tuple[int, ...]
    spans: tuple[Span, ...]
    sights: dict[tuple[int, ...], Sight]


def span_of(sequences: Sequence[list[int]]) -> Span:
    """How much the sequences of a comparison share; each keeps its last token for itself."""
    most = min(len(s) for s in sequences) - 1 if len(sequences) > 1 else 0
    first, last = min(sequences), max(sequences)  # the two that part the soonest
    shared = 0
    while shared < most and first[shared] == last[shared]:
        shared += 1
    return Span(shared, tuple(len(s) - shared for s in sequences))


def pack(comparisons: Sequence[Sequence[list[int]]], device: torch.device) -> Packed:
    """Lay comparisons, each one or more whole sequences of ids, into one flat row."""
    ids: list[int] = []
    positions: list[int] = []
    last: list[int] = []
    spans: list[Span] = []
    for sequences in comparisons:
        span = span_of(sequences)
        ids += sequences[0][: span.shared]
        positions += range(span.shared)
        for sequence in sequences:
            ids += sequence[span.shared :]
            positions += range(span.shared, len(sequence))
            last.append(len(ids) - 1)
        spans.append(span)
    flat, ends = upload([ids, positions], device, torch.long), upload(last, device)
    return Packed(flat[0], flat[1], ends, tuple(last), tuple(spans), {})


def packed_hidden(base: Base, packed: Packed) -> Tensor:
    """The trunk's last hidden states ``(N, D)`` of a packed row, under the acting role.

    They equal those of separate forward passes where `support.packs` has nothing against it.

    Raises:
        ModelError: the model's layers do not hand the comparisons on to their attention.
    """
    sight = packed.sights.setdefault((), packed.sights.get(()) or Sight(packed.spans))
    return run_packed(base, packed.ids[None], packed.positions[None], sight).squeeze(0)


def packed_places(base: Base, packed: Packed, places: Sequence[int]) -> Tensor:
    """Of :func:`packed_hidden` the states ``(S, D)`` at S of the tokens, in rising order.

    Raises:
        ModelError: as there.
    """
    if not places_alone(base):
        return packed_hidden(base, packed)[list(places)]
    sight = packed.sights.get(key := tuple(places))
    if not isinstance(sight, Places):
        sight = packed.sights[key] = Places(packed.spans, places)
    with sight.in_last_layer(base):
        return run_packed(base, packed.ids[None], packed.positions[None], sight).squeeze(0)


def run_packed(base: Base, ids: Tensor, positions: Tensor, sight: Sight) -> Tensor:
    """The trunk's last hidden states ``(B, T, D)`` where a sight says who sees whom.

    Raises:
        ModelError: the model's layers do not hand it on to their attention.
    """
    wrap_attention(base.model)
    sight.used = False
    with base.recomputing():
        hidden = base.trunk(
            input_ids=ids,
            position_ids=positions,
            # a mask of four dimensions is handed on as it is: nothing is made for the whole row
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device),
            use_cache=False,
            sight=sight,
        ).last_hidden_state
    if not sight.used:
        raise ModelError(
            "the model's attention does not take several answers in one sequence",
            where=f"{base.source.reference} ({base.model.config.model_type})",
            fix="install the tested version of transformers (constraints.txt)",
        )
    return hidden
