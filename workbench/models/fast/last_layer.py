"""The last layer where only some of its outputs are asked for: scores, or an answer's tokens.

A score is read at one token of each answer, and log-probabilities and values where the answer's
tokens are chosen. All tokens of the last layer are needed as keys and values, but what follows its
attention (most of its work) only at those places. The layer runs twice: up to its attention for
all tokens, then whole for the places, which see the first run's keys and values (so the first needs
no queries, and the second no keys and values: where they have projections of their own, these stand
idle). In a model of L layers that saves up to 1/L of the time: the less, the more of the tokens are
asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from workbench.models.fast.attention import Attention, Heads, Sight, Span, additive, apart
from workbench.models.fast.on_card import upload
from workbench.models.loaded_base import Base

#: Families whose trunk lays its output out again by the length of its input.
WHOLE = frozenset(("gpt2",))


class Look(NamedTuple):
    """Sequences that follow each other, of one size, asked for at the same places in them.

    Attributes:
        shared: where the tokens begin that each of them sees first.
        before: how many of those there are.
        at: where the first sequence begins.
        size: tokens of each sequence.
        many: sequences.
        offsets: the places in each, from its own beginning.
    """

    shared: int
    before: int
    at: int
    size: int
    many: int
    offsets: tuple[int, ...]


def looks_of(spans: Sequence[Span], places: Sequence[int]) -> list[Look]:
    """A packed row's places, in rising order, cut into the calls of attention that they take."""
    looks: list[Look] = []
    start, taken = 0, 0
    for span in spans:
        at, before = start, 0
        for size in ((span.shared,) if span.shared else ()) + span.own:
            first = taken
            while taken < len(places) and places[taken] < at + size:
                taken += 1
            offsets = tuple(place - at for place in places[first:taken])
            own = Look(start if before else 0, before, at, size, 1, offsets)
            last = looks[-1] if looks else None
            if (
                last
                and last == own._replace(at=last.at, many=last.many)
                and last.at + (size * last.many) == at
            ):
                looks[-1] = last._replace(many=last.many + 1)
            elif offsets:
                looks.append(own)
            at, before = at + size, span.shared
        start += span.size
    return looks


class _Known(Exception):  # noqa: N818  (not an error: the first run is over)
    """Keys and values are there: the rest of the first run is not needed."""


class Places(Sight):
    """A sight of a packed row whose last layer gives only some of its tokens.

    Args:
        spans: the comparisons.
        places: indices of those tokens in the row, in rising order.
    """

    def __init__(self, spans: tuple[Span, ...], places: Sequence[int]) -> None:
        super().__init__(spans)
        self.places = tuple(places)
        self._places: Tensor | None = None
        self.looks = looks_of(spans, places)
        self._looking = False
        self._known: tuple[Tensor, Tensor] | None = None
        self._seen: dict[tuple[Any, ...], Tensor] = {}

    def attend(
        self, attention: Attention, module: nn.Module, heads: Heads, *, causal: bool, **rest: Any
    ) -> Tensor:
        """As :meth:`Sight.attend`; in the last layer's second run for the places alone."""
        self.used = True
        if self._looking:
            self._known = heads.key, heads.value
            raise _Known
        if self._known is None:
            return super().attend(attention, module, heads, causal=causal, **rest)
        query = heads.query
        if self.at_once(query, self._known[0], causal=causal):
            mask = self.row_mask(query, rest.get("sliding_window"))[:, :, self._at(query)]
            return attention(module, query, *self._known, mask, **rest)[0]
        counts = [len(look.offsets) * look.many for look in self.looks]
        outputs: list[Tensor] = []
        for look, q in zip(self.looks, query.split(counts, dim=2), strict=True):
            kv = [self._keys(part, look) for part in self._known]
            mask = self.places_mask(query, look, rest.get("sliding_window"))
            out = attention(module, apart(q, look.many), *kv, mask, **rest)[0]
            outputs.append(out.reshape(1, -1, *out.shape[2:]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _at(self, like: Tensor) -> Tensor:
        """The places, on the row's device."""
        if self._places is None:
            self._places = upload(self.places, like.device)
        return self._places

    def _keys(self, heads: Tensor, look: Look) -> Tensor:
        """Of a row's heads ``(1, H, N, d)`` what a look's sequences see ``(many, H, n, d)``."""
        own = apart(heads[:, :, look.at : look.at + look.size * look.many], look.many)
        if not look.before:
            return own
        begin = heads[:, :, look.shared : look.shared + look.before]
        return torch.cat([begin.expand(look.many, -1, -1, -1), own], dim=2)

    def places_mask(self, like: Tensor, look: Look, window: int | None) -> Tensor:
        """Additive mask ``(1, 1, places, before + size)``: what each place of a sequence sees."""
        key = (look.before, look.size, look.offsets, window, like.dtype)
        if key not in self._seen:
            at = torch.arange(look.before + look.size, device=like.device)
            own = upload(look.offsets, like.device) + look.before
            mask = additive(own[:, None] - at, window, like.dtype)
            self._seen[key] = mask[None, None]
        return self._seen[key]

    @contextmanager
    def in_last_layer(self, base: Base) -> Iterator[None]:
        """Within the block the model's last layer gives ``(1, S, D)``."""
        layer = base.last_layer
        own = layer.forward
        queries = _projections(layer, "q_proj")
        keys_values = _projections(layer, "k_proj", "v_proj")

        def forward(hidden: Tensor, *rest: Any, **named: Any) -> Any:
            self._looking = True
            try:
                with _idle(queries):
                    own(hidden, *rest, **named)
            except _Known:
                pass
            finally:
                self._looking = False
            size = hidden.shape[1]
            try:
                with _idle(keys_values):
                    return own(*self._cut((hidden, *rest), size), **self._cut(named, size))
            finally:
                self._known = None

        layer.forward = forward
        try:
            yield
        finally:
            del layer.forward

    def _cut(self, value: Any, size: int) -> Any:
        """What belongs to each of the row's tokens, of the places alone."""
        if isinstance(value, dict):
            return {name: self._cut(part, size) for name, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self._cut(part, size) for part in value)
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == size:
            return value[:, self._at(value)]
        return value


def places_alone(base: Base) -> bool:
    """Whether the last layer can be run at some tokens only.

    Not where activations are computed again in the backward pass: the layer would have to
    remember, until then, what it was run for.
    """
    return base.model.config.model_type not in WHOLE and not base.recomputes


def _projections(layer: nn.Module, *names: str) -> list[nn.Module]:
    """A layer's linear maps by these names, those that nobody watches."""
    named = ((name.rpartition(".")[2], module) for name, module in layer.named_modules())
    layers = [m for name, m in named if name in names and hasattr(m, "out_features")]
    return [m for m in layers if not m._forward_hooks and not m._forward_pre_hooks]


@contextmanager
def _idle(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block these give zeros and compute nothing: nobody looks at what they say."""
    before = [vars(module).get("forward") for module in modules]

    def zeros(width: int, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x.new_zeros(()).expand(*x.shape[:-1], width)

    try:
        for module in modules:
            vars(module)["forward"] = partial(zeros, cast("int", module.out_features))
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            del vars(module)["forward"]
            if own is not None:
                vars(module)["forward"] = own
