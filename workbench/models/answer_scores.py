"""Scores of answers that are compared: one sequence a comparison, or a sequence each."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from workbench.models.encoding import pad_right
from workbench.models.fast.on_card import upload
from workbench.models.fast.packing import pack, packed_places, span_of
from workbench.models.forward import ALONE, PADDED, head_values, hidden_states, prove_padding
from workbench.models.loaded_base import Base, Proof
from workbench.models.proof import Trial, first_exact, score_distance

ComparedSequences = Sequence[list[int]]
"""Whole sequences of ids, prompt and answer each, that are compared with each other."""


def packed_scores(
    base: Base, head: nn.Linear | None, comparisons: Sequence[ComparedSequences]
) -> Tensor:
    """Raw score ``(S,)`` of each sequence at its last token; what sequences share runs once.

    For models that `packing_support.packs` has nothing against.

    Raises:
        ModelError: the model cannot take comparisons in one sequence after all.
    """
    assert head is not None  # only encoders have their own, and none packs
    packed = pack(comparisons, base.device)
    return head_values(head, packed_places(base, packed, packed.ends))


def separate_scores(
    base: Base, head: nn.Linear | None, comparisons: Sequence[ComparedSequences]
) -> Tensor:
    """Raw score ``(S,)`` of each sequence; each sequence runs by itself.

    Rows of similar length go together, where the model gives them the scores that it gives them
    alone. The score is read at the last token by the head, or as an encoder's own head reads it.

    Raises:
        ModelError: the model's own forward fails, or what we compute is something else.
    """
    rows = [sequence for sequences in comparisons for sequence in sequences]
    lengths = [len(row) for row in rows]
    proof = prove_padding(base) if _causal(base) else prove_scores(base)
    alone = proof is not None and proof.way == ALONE
    groups = [[i] for i in range(len(rows))] if alone else similar(lengths)
    scores = [_side_by_side(base, head, [rows[i] for i in group]) for group in groups]
    place = {i: at for at, i in enumerate(i for group in groups for i in group)}
    return torch.cat(scores)[upload([place[i] for i in range(len(rows))], base.device)]


def _side_by_side(base: Base, head: nn.Linear | None, rows: Sequence[list[int]]) -> Tensor:
    """Raw scores ``(B,)`` of rows in one forward. An encoder sees no padding: it is masked."""
    ids = pad_right(rows, pad=base.pad_id, device=base.device)
    last = upload([len(row) - 1 for row in rows], base.device)
    mask = torch.arange(ids.shape[1], device=base.device) <= last[:, None]
    if head is None:
        with base.recomputing():
            return _by_own_head(base, ids, mask)
    if _causal(base):
        hidden = hidden_states(base, ids)
    else:
        hidden = base.trunk(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return head_values(head, hidden[torch.arange(len(rows), device=base.device), last])


def _causal(base: Base) -> bool:
    """Whether a token sees those before it alone, so that padding on the right is not seen."""
    return base.answers or base.trained_head is not None


def prove_scores(base: Base, known: Trial | None = None) -> Proof | None:
    """See once whether an encoder scores rows side by side as it scores them alone.

    None for a model that has no scores of its own, or no weights to try.

    Raises:
        ModelError: it cannot score a few tokens.
    """
    if "scores" not in base.proofs and base.encoder and base.has_weights:

        def apart(tried: Trial, *, alone: bool) -> float:
            rows = [p + a for p, a in zip(tried.prompts, tried.answers, strict=True)]
            groups = [[row] for row in rows] if alone else [rows]
            scores = torch.cat([_side_by_side(base, None, group) for group in groups])
            return score_distance(torch.cat(tried.own), scores)

        ways = {PADDED: partial(apart, alone=False), ALONE: partial(apart, alone=True)}
        base.proofs["scores"] = first_exact(base, ways, what="score sequences", known=known)
    return base.proofs.get("scores")


def _by_own_head(base: Base, ids: Tensor, mask: Tensor) -> Tensor:
    """What transformers' sequence classifier makes of right-padded rows ``(B, T)``: ``(B,)``."""
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if int(getattr(base.model.config, "type_vocab_size", 0) or 0) > 1:
        sep = int(base.tokenizer.sep_token_id)  # pyright: ignore[reportArgumentType]
        ends = torch.eq(ids, sep).long()
        after = (ends.cumsum(1) - ends).gt(0)  # the answer stands behind the first end
        inputs["token_type_ids"] = (after & mask).long()
    return base.model(**inputs).logits[:, 0]


def packed_tokens(comparison: ComparedSequences) -> int:
    """Tokens that a comparison takes where its sequences share their beginning."""
    return span_of(comparison).size


def separate_tokens(comparison: ComparedSequences) -> int:
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
