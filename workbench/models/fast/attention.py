"""Attention in a packed row: each sequence of a comparison sees what all share, and itself.

It goes through transformers' own attention interface, around the attention that the model has.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from workbench.models.fast.on_card import on_card, upload

PREFIX = "comparisons_"
"""Before the name of the attention that runs within each comparison."""

ROWS = 512
"""Rows of a mask that are made at once, so that making it takes little memory."""
ALIGNED = 16
"""Numbers of which a mask's row takes a multiple."""
MOST = 4096
"""Tokens of such a row. In a longer one most of the mask would be work for nothing, and its parts
keep a GPU busy by themselves.
"""

Attention = Callable[..., tuple[Tensor, Tensor | None]]


class Heads(NamedTuple):
    """What attention is given: queries, keys and values, ``(B, H, N, d)`` each."""

    query: Tensor
    key: Tensor
    value: Tensor


class Span(NamedTuple):
    """One comparison in a packed row.

    Attributes:
        shared: tokens at the start that all its sequences have in common.
        own: tokens of each sequence after those, at least one.
    """

    shared: int
    own: tuple[int, ...]

    @property
    def size(self) -> int:
        """Tokens in the row."""
        return self.shared + sum(self.own)


class TokenRun(NamedTuple):
    """Tokens that follow each other in a packed row and meet the attention in one call.

    Attributes:
        before: tokens of the comparison's shared part that each of its sequences sees first.
        size: tokens of each sequence.
        many: sequences, of one size, side by side.
        opens: whether this is the shared part itself, which those that follow see.
    """

    before: int
    size: int
    many: int
    opens: bool


def runs_of(spans: Sequence[Span]) -> list[TokenRun]:
    """A packed row's tokens, cut into the calls of attention that they take."""
    runs: list[TokenRun] = []
    for span in spans:
        if span.shared:
            runs.append(TokenRun(0, span.shared, 1, True))
        for size in span.own:
            last = runs[-1] if runs else None
            if last and not last.opens and (last.before, last.size) == (span.shared, size):
                runs[-1] = last._replace(many=last.many + 1)
            else:
                runs.append(TokenRun(span.shared, size, 1, False))
    return runs


class Sight:
    """Who sees whom in a packed row: given to every layer; its masks are made once for all.

    Attributes:
        used: whether a layer has looked.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self.runs = runs_of(spans)
        self.used = False
        self._sizes = [run.size * run.many for run in self.runs]
        self._masks: dict[tuple[int, int, int | None, torch.dtype], Tensor] = {}

    def attend(
        self, attention: Attention, module: nn.Module, heads: Heads, *, causal: bool, **rest: Any
    ) -> Tensor:
        """Attention of a packed row's heads ``(1, H, N, d)``: ``(1, N, H, d)``.

        Args:
            attention: the model's own.
            module: the layer's attention module.
            heads: of all the row's tokens.
            causal: whether the model's own attention is causal where no mask is given.
            rest: what the model hands its attention besides.
        """
        self.used = True
        window: int | None = rest.get("sliding_window")
        if self.at_once(heads.query, heads.key, causal=causal):
            return attention(module, *heads, self.row_mask(heads.query, window), **rest)[0]
        outputs: list[Tensor] = []
        shared: list[Tensor] = []
        parts = (row.split(self._sizes, dim=2) for row in heads)
        for run, q, *kv in zip(self.runs, *parts, strict=True):
            if run.opens:
                shared = kv
            q, *kv = (apart(part, run.many) for part in (q, *kv))
            if run.before:
                begin = (part.expand(run.many, -1, -1, -1) for part in shared)
                kv = [torch.cat(both, dim=2) for both in zip(begin, kv, strict=True)]
            near = window if window is not None and window < run.before + run.size else None
            plain = causal and not run.before and near is None
            mask = None if plain else self.mask(q, run.before, near)
            out = attention(module, q, *kv, mask, **rest)[0]
            outputs.append(out.reshape(1, -1, *out.shape[2:]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def at_once(self, query: Tensor, key: Tensor, *, causal: bool) -> bool:
        """Whether all of the row goes through the attention in one call.

        On a card: a call for each sequence leaves out what nobody sees, but starting it costs more
        than that. Not with eager attention (the one that is not causal by itself): it would keep
        its scores of the whole row.
        """
        return causal and on_card(query.device) and key.shape[2] <= MOST

    def row_mask(self, like: Tensor, window: int | None) -> Tensor:
        """Additive mask ``(1, 1, N, N)`` of the whole row, for one call of attention."""
        key = (0, 0, window, like.dtype)
        if key not in self._masks:
            self._masks[key] = whole_row(self.spans, like, window)[None, None]
        return self._masks[key]

    def mask(self, query: Tensor, before: int, window: int | None) -> Tensor:
        """Additive mask ``(1, 1, n, before + n)``.

        Args:
            query: ``(1, H, n, d)``, tokens that follow each other.
            before: tokens of the same sequence in front of them.
            window: a token sees those fewer than so many *positions* before it; None = all.
        """
        count = query.shape[2]
        key = (before, count, window, query.dtype)
        if key not in self._masks:
            at = torch.arange(before + count, device=query.device)
            distance = at[before:, None] - at
            self._masks[key] = additive(distance, window, query.dtype)[None, None]
        return self._masks[key]


def additive(distance: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """What is added to attention's scores: 0 where a token is seen, else the least number.

    Args:
        distance: how many positions each key stands before the query; below 0 is behind it.
        window: keys so far away or farther are not seen; None = all that come before are.
        dtype: of the scores.
    """
    seen = distance >= 0
    if window is not None:
        seen &= distance < window
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


def whole_row(spans: Sequence[Span], like: Tensor, window: int | None) -> Tensor:
    """Additive mask ``(N, N)`` of a packed row: who sees whom, in one table.

    A token sees those before it in its own sequence, and of its comparison's shared part all.

    Args:
        spans: the comparisons.
        like: of the mask's device and dtype.
        window: a token sees those fewer than so many positions before it; None = all.
    """
    sequences: list[int] = []  # the shared part is one too
    shares: list[int] = []  # the number of the part that a token's sequence shares
    positions: list[int] = []
    number = 0
    for span in spans:
        common = number
        for begin, size in ((0, span.shared), *((span.shared, own) for own in span.own)):
            sequences += [number] * size
            shares += [common] * size
            positions += range(begin, begin + size)
            number += 1
    known = upload([sequences, shares, positions], like.device, torch.int32)
    sequence, shared, position = known
    count = len(position)
    # rows begin where kernels can read them: else each layer would copy the mask
    table = torch.empty(count, -count % ALIGNED + count, dtype=like.dtype, device=like.device)
    mask = table[:, :count]
    for rows in torch.arange(count, device=like.device).split(ROWS):
        sees = (sequence[rows, None] == sequence) | (shared[rows, None] == sequence)
        distance = (position[rows, None] - position).masked_fill_(~sees, -1)
        mask[rows] = additive(distance, window, like.dtype)
    return mask


def apart(heads: Tensor, count: int) -> Tensor:
    """Heads ``(1, H, count * n, d)`` of sequences that follow each other, side by side."""
    if count == 1:
        return heads
    return heads.squeeze(0).unflatten(1, (count, -1)).transpose(0, 1)


def _around(name: str, own: Callable[[nn.Module], Attention], *, causal: bool) -> None:
    """Register attention by the model's own, in each sequence of a packed row by itself.

    Args:
        name: of the model's own attention.
        own: gives it, for one of the model's attention modules.
        causal: whether it is causal where no mask is given.
    """

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        sight: Sight | None = None,
        **rest: Any,
    ) -> tuple[Tensor, Tensor | None]:
        attention = own(module)
        if sight is None:
            return attention(module, query, key, value, attention_mask, **rest)
        heads = Heads(query, key, value)
        return sight.attend(attention, module, heads, causal=causal, **rest), None

    AttentionInterface.register(PREFIX + name, attend)
    AttentionMaskInterface.register(PREFIX + name, ALL_MASK_ATTENTION_FUNCTIONS[name])


def _eager(module: nn.Module) -> Attention:
    """A family's own eager attention, which transformers keeps in the family's Python module."""
    return sys.modules[type(module).__module__].eager_attention_forward


_around("sdpa", lambda _: ALL_ATTENTION_FUNCTIONS["sdpa"], causal=True)
_around("eager", _eager, causal=False)


def wrap_attention(model: Any) -> None:
    """Put our attention around a model's own, for good.

    It does what the model's own does unless a row comes with a :class:`Sight`; so a layer that
    runs once more in the backward pass needs nothing to be switched.
    """
    name = str(model.config._attn_implementation)
    if not name.startswith(PREFIX):
        model.set_attn_implementation(PREFIX + name)
