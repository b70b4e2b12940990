"""Forward passes over many sequences: token log-probabilities, values, scores.

Where the model can take it the sequences lie in one flat row without padding (`packing.py`), a
prompt once for all its responses; other models see them side by side, padded on the right. The
language-model head only ever sees the response positions, a chunk at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.algos.logprobs import chunked_token_logprobs, chunked_token_stats
from workbench.models.encoding import Encoded, micro_batches, pad_right
from workbench.models.fast.on_card import upload
from workbench.models.fast.packing import Packed, pack, packed_places
from workbench.models.fast.packing_support import packs, refuse_packing
from workbench.models.loaded_base import Base, Proof
from workbench.models.proof import Trial, distance, first_exact, log_softmax, score_distance

PACKED, PADDED, ALONE = "in one row", "side by side, padded", "each by itself"
"""Ways in which several sequences go through a model."""
CHUNK = 1024
"""Response positions that meet the language-model head at once."""


class Batch(NamedTuple):
    """Sequences side by side, and where their responses are.

    Attributes:
        ids: ``(B, T)`` prompt and response, padded on the right.
        states: ``(B, R)`` position of the state in which each response token is chosen.
        tokens: ``(B, R)`` the response tokens; padding holds the pad id.
        response_mask: ``(B, R)`` True where a response token is.
        last: ``(B,)`` position of the last real token.
        sizes: of each row without its padding, as numbers.
        at: ``(M,)`` row and column of each of the M response tokens, one response after the other.
    """

    ids: Tensor
    states: Tensor
    tokens: Tensor
    response_mask: Tensor
    last: Tensor
    sizes: tuple[int, ...]
    at: tuple[Tensor, Tensor]


class Flat(NamedTuple):
    """Sequences in one flat row of N tokens, without padding, and where their responses are.

    Attributes:
        packed: the row.
        places: index of each of the S states in which a response token is chosen, rising.
        states: ``(M,)`` which of those is that of each of the M response tokens, one response
            after the other.
        tokens: ``(B, R)`` the response tokens; padding holds the pad id.
        response_mask: ``(B, R)`` True where a response token is.
        ends: index of each sequence's last token.
        at: ``(M,)`` row and column of each of the M response tokens, in the order of ``states``.
    """

    packed: Packed
    places: tuple[int, ...]
    states: Tensor
    tokens: Tensor
    response_mask: Tensor
    ends: tuple[int, ...]
    at: tuple[Tensor, Tensor]


class ResponseStats(NamedTuple):
    """Per response token, ``(B, R)``, zero on padding; ``[nats]``."""

    logprobs: Tensor
    entropy: Tensor


def collate(rows: Sequence[Encoded], base: Base) -> Batch:
    """Put encoded rows side by side on the base's device."""
    device, pad = base.device, base.pad_id
    prompts = upload([len(r.prompt) for r in rows], device)
    responses = upload([len(r.response) for r in rows], device)
    offsets = torch.arange(max(len(r.response) for r in rows), device=device)
    mask = offsets < responses[:, None]
    states = torch.where(mask, prompts[:, None] - 1 + offsets, 0)
    return Batch(
        pad_right([r.ids for r in rows], pad=pad, device=device),
        states,
        pad_right([r.response for r in rows], pad=pad, device=device),
        mask,
        prompts + responses - 1,
        tuple(len(r.ids) for r in rows),
        response_places(rows, device),
    )


def response_places(rows: Sequence[Encoded], device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of each response token in a table ``(B, R)``, one response after the other.

    As a mask says it, but without a look at a number on a card.
    """
    row = [i for i, one in enumerate(rows) for _ in one.response]
    column = [i for one in rows for i in range(len(one.response))]
    found = upload([row, column], device, torch.long)
    return found[0], found[1]


def lay(rows: Sequence[Encoded], base: Base) -> Flat | Batch:
    """Put encoded rows on the base's device: flat where its model packs, else side by side."""
    prove_packing(base)
    return _flat(rows, base) if packs(base.model) is None else collate(rows, base)


def _flat(rows: Sequence[Encoded], base: Base) -> Flat:
    # what is of one size side by side meets the attention in one call
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt), len(rows[i].response)))
    families = by_prompt(rows, order)
    device = base.device
    packed = pack([[rows[i].ids for i in family] for family in families], device)
    states: list[list[int]] = [[] for _ in rows]
    last = [0] * len(rows)
    start = 0
    for family, span in zip(families, packed.spans, strict=True):
        own = start + span.shared
        for i, size in zip(family, span.own, strict=True):
            first = len(rows[i].prompt) - 1
            shift = own - span.shared  # from a position of its own to its place in the row
            states[i] = [
                p + (start if p < span.shared else shift)
                for p in range(first, first + len(rows[i].response))
            ]
            own += size
            last[i] = own - 1
        start += span.size
    tokens = pad_right([r.response for r in rows], pad=base.pad_id, device=device)
    lengths = upload([len(r.response) for r in rows], device)
    mask = torch.arange(tokens.shape[1], device=device) < lengths[:, None]
    chosen_in = [place for one in states for place in one]
    places = sorted(set(chosen_in))  # answers to one prompt share the state of their first token
    number = {place: i for i, place in enumerate(places)}
    flat = upload([number[place] for place in chosen_in], device)
    at = response_places(rows, device)
    return Flat(packed, tuple(places), flat, tokens, mask, tuple(last), at)


def by_prompt(rows: Sequence[Encoded], order: Iterable[int]) -> list[list[int]]:
    """Row numbers with one prompt together, in the order in which a prompt comes first."""
    numbers_of: dict[tuple[int, ...], list[int]] = {}
    for i in order:
        numbers_of.setdefault(tuple(rows[i].prompt), []).append(i)
    return list(numbers_of.values())


def in_batches(
    rows: Sequence[Encoded], order: Sequence[int], base: Base, *, tokens: int
) -> list[list[int]]:
    """Split row numbers into groups for one forward each, of at most ``tokens`` tokens.

    Padding counts where there is some. Rows with one prompt stay together where they lie flat.
    """
    if packs(base.model) is not None:
        lengths = [len(rows[i].ids) for i in order]
        return [[order[i] for i in group] for group in micro_batches(lengths, tokens=tokens)]
    groups: list[list[int]] = []
    room = 0
    for family in by_prompt(rows, order):
        for place, i in enumerate(family):
            size = len(rows[i].response if place else rows[i].ids)
            if not groups or size > room:
                groups.append([])
                room, size = tokens, len(rows[i].ids)
            groups[-1].append(i)
            room -= size
    return groups


def prove_packing(base: Base, known: Trial | None = None) -> Proof | None:
    """See once whether a model that packs is exact there; from then on `packs` says so.

    None where it does not pack, or there is nothing to try it with.

    Raises:
        ModelError: its own forward fails, or nothing agrees with it.
    """
    if "packing" not in base.proofs and packs(base.model) is None and _can_try(base):
        ways = {
            PACKED: lambda tried: _apart(base, tried, _flat(_rows(tried), base)),
            ALONE: lambda tried: _apart(base, tried, collate(_rows(tried), base), alone=True),
        }
        base.proofs["packing"] = first_exact(base, ways, what="read several sequences", known=known)
    proof = base.proofs.get("packing")
    if proof is not None and proof.way != PACKED and packs(base.model) is None:
        refuse_packing(base.model, f"{PACKED} it is {proof.against[PACKED]}")
    return proof


def prove_padding(base: Base, known: Trial | None = None) -> Proof | None:
    """See once whether rows side by side are worth what they are alone.

    None where there is nothing to try it with.

    Raises:
        ModelError: the model's own forward fails, or nothing agrees with it.
    """
    if "padding" not in base.proofs and _can_try(base):
        ways = {
            PADDED: lambda tried: _apart(base, tried, collate(_rows(tried), base)),
            ALONE: lambda tried: _apart(base, tried, collate(_rows(tried), base), alone=True),
        }
        base.proofs["padding"] = first_exact(base, ways, what="read several sequences", known=known)
    return base.proofs.get("padding")


def _can_try(base: Base) -> bool:
    """Whether it has weights, and a head of its own that tells."""
    return base.has_weights and (base.answers or base.trained_head is not None)


def _rows(tried: Trial) -> list[Encoded]:
    return [Encoded(*row) for row in zip(tried.prompts, tried.answers, strict=True)]


def _apart(base: Base, tried: Trial, batch: Flat | Batch, *, alone: bool = False) -> float:
    """How far what is computed of a batch is from the model's own forward, in nats or points."""
    own = torch.cat(tried.own)
    whole = torch.empty(0)
    if isinstance(batch, Batch):
        whole = _alone(base, batch.ids, batch.sizes) if alone else _side_by_side(base, batch.ids)
    if base.answers:
        hidden = response_hidden(base, batch) if isinstance(batch, Flat) else _chosen(whole, batch)
        tokens = [token for answer in tried.answers for token in answer]
        return distance(own, log_softmax(base.logits(hidden)), tokens)
    assert base.trained_head is not None
    ends = _ends(base, batch) if isinstance(batch, Flat) else _at_last(whole, batch)
    return score_distance(own.float(), (ends.float() @ base.trained_head.T)[:, 0])


def hidden_states(base: Base, ids: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """Ids ``(B, T)``, padded right, to the trunk's last hidden states ``(B, T, D)``.

    Args:
        base: its acting role is asked.
        ids: of the rows.
        sizes: of each row without its padding; None where there is none. A model that is not exact
            beside padding sees each row by itself, and gives zero there.
    """
    if sizes is not None and len(ids) > 1:
        proof = prove_padding(base)
        if proof is not None and proof.way == ALONE:
            return _alone(base, ids, sizes)
    return _side_by_side(base, ids)


def _side_by_side(base: Base, ids: Tensor) -> Tensor:
    with base.recomputing():
        return base.trunk(input_ids=ids, use_cache=False).last_hidden_state


def _alone(base: Base, ids: Tensor, sizes: Sequence[int]) -> Tensor:
    return one_by_one(lambda row: _side_by_side(base, row), ids, sizes)


def one_by_one(states: Callable[[Tensor], Tensor], ids: Tensor, sizes: Sequence[int]) -> Tensor:
    """Right-padded rows ``(B, T)`` through a model without their padding: ``(B, T, D)``."""
    rows = [states(row[None, :size])[0] for row, size in zip(ids, sizes, strict=True)]
    room = [(0, 0, 0, ids.shape[1] - size) for size in sizes]
    return torch.stack([nn.functional.pad(row, pad) for row, pad in zip(rows, room, strict=True)])


def response_hidden(base: Base, batch: Flat | Batch) -> Tensor:
    """Hidden states ``(M, D)`` in which the M response tokens of the batch are chosen."""
    if isinstance(batch, Flat):
        return packed_places(base, batch.packed, batch.places)[batch.states]
    return _chosen(hidden_states(base, batch.ids, batch.sizes), batch)


def _chosen(hidden: Tensor, batch: Batch) -> Tensor:
    """Of hidden states ``(B, T, D)`` those in which the response tokens are chosen."""
    return hidden[batch.at[0], batch.states[batch.at]]


def response_stats(
    base: Base, batch: Flat | Batch, *, temperature: float, hidden: Tensor | None = None
) -> ResponseStats:
    """Log-probabilities and entropies of the response tokens under the acting role."""
    if hidden is None:
        hidden = response_hidden(base, batch)
    stats = chunked_token_stats(
        hidden, batch.tokens[batch.at], base.logits, temperature=temperature, chunk=CHUNK
    )
    return ResponseStats(*(spread(table, batch) for table in stats))


def response_logprobs(
    base: Base, batch: Flat | Batch, *, temperature: float, hidden: Tensor
) -> Tensor:
    """The log-probabilities ``(B, R)`` of :func:`response_stats`, bit for bit, alone."""
    logprobs = chunked_token_logprobs(
        hidden, batch.tokens[batch.at], base.logits, temperature=temperature, chunk=CHUNK
    )
    return spread(logprobs, batch)


def spread(flat: Tensor, batch: Flat | Batch) -> Tensor:
    """Put ``(M,)`` values where a batch's response tokens are, ``(B, R)``; zero elsewhere."""
    table = torch.zeros(batch.response_mask.shape, dtype=flat.dtype, device=flat.device)
    return table.index_put(batch.at, flat)


def head_values(head: nn.Linear, hidden: Tensor) -> Tensor:
    """Hidden states ``(..., D)`` through a fp32 head to numbers ``(...)``."""
    return head(hidden.to(head.weight.dtype)).squeeze(-1)


def sequence_scores(base: Base, head: nn.Linear, batch: Flat | Batch) -> Tensor:
    """Raw score ``(B,)`` of each sequence, read at its last real token."""
    if isinstance(batch, Flat):
        return head_values(head, _ends(base, batch))
    return head_values(head, _at_last(hidden_states(base, batch.ids, batch.sizes), batch))


def _ends(base: Base, batch: Flat) -> Tensor:
    """Hidden states ``(B, D)`` at each sequence's last token."""
    rising = sorted(range(len(batch.ends)), key=batch.ends.__getitem__)
    states = packed_places(base, batch.packed, [batch.ends[row] for row in rising])
    place = {row: i for i, row in enumerate(rising)}
    return states[upload([place[row] for row in range(len(rising))], states.device)]


def _at_last(hidden: Tensor, batch: Batch) -> Tensor:
    """The same of hidden states ``(B, T, D)``."""
    return hidden[torch.arange(len(batch.ids), device=hidden.device), batch.last]
