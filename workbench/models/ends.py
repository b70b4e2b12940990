"""The last layer where only some of its outputs are asked for: at the ends of sequences.

A score is read at one token of each answer. All tokens of the last layer are needed as keys and
values, but what follows its attention (most of its work) only at those ends. The layer runs
twice: up to its attention for all tokens, then whole for the ends, which see the first run's
keys and values. In a model of L layers that saves most of 1/L of the time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from workbench.models.attention import Attention, Sight, Span
from workbench.models.base import Base

#: Families whose trunk lays its output out again by the length of its input.
WHOLE = frozenset(("gpt2",))


class _Known(Exception):  # noqa: N818  (not an error: the first run is over)
    """Keys and values are there: the rest of the first run is not needed."""


class Ends(Sight):
    """A sight of a packed row whose last layer gives only the ends of its sequences.

    Args:
        spans: the comparisons.
        positions: ``(N,)`` where a token stands in its own sequence.
        ends: ``(S,)`` index of each sequence's last token.
    """

    def __init__(self, spans: tuple[Span, ...], positions: Tensor, ends: Tensor) -> None:
        super().__init__(spans)
        self.positions, self.ends = positions, ends
        self._looking = False
        self._known: tuple[Tensor, Tensor] | None = None

    def attend(
        self,
        attention: Attention,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        causal: bool,
        **rest: Any,
    ) -> Tensor:
        """As :meth:`Sight.attend`; in the last layer's second run for the ends alone."""
        if self._looking:
            self._known = key, value
            raise _Known
        if self._known is None:
            return super().attend(attention, module, query, key, value, causal=causal, **rest)
        key, value = self._known
        mask = self._ends_mask(query.dtype, rest.get("sliding_window"))
        return attention(module, query, key, value, mask, **rest)[0]

    def _ends_mask(self, dtype: torch.dtype, window: int | None) -> Tensor:
        """Additive mask ``(1, 1, S, N)``: an end sees what its comparison shares, and its own."""
        rows: list[Tensor] = []
        at = 0
        for span in self.spans:
            shared, at = torch.arange(at, at + span.shared), at + span.shared
            for size in span.own:
                rows.append(torch.cat([shared, torch.arange(at, at + size)]))
                at += size
        seen = torch.zeros(len(rows), at, dtype=torch.bool)
        for index, row in enumerate(rows):
            seen[index, row] = True
        seen = seen.to(self.positions.device)
        if window is not None:
            seen &= self.positions[self.ends][:, None] - self.positions < window
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[None, None]

    @contextmanager
    def in_last_layer(self, base: Base) -> Iterator[None]:
        """Within the block the model's last layer gives ``(1, S, D)``."""
        layer = last_layer(base)
        own = layer.forward

        def forward(hidden: Tensor, *rest: Any, **named: Any) -> Any:
            self._looking = True
            try:
                own(hidden, *rest, **named)
            except _Known:
                pass
            finally:
                self._looking = False
            size = hidden.shape[1]
            try:
                return own(*self._cut((hidden, *rest), size), **self._cut(named, size))
            finally:
                self._known = None

        layer.forward = forward
        try:
            yield
        finally:
            del layer.forward

    def _cut(self, value: Any, size: int) -> Any:
        """What belongs to each of the row's tokens, of the ends alone."""
        if isinstance(value, dict):
            return {name: self._cut(part, size) for name, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self._cut(part, size) for part in value)
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == size:
            return value[:, self.ends]
        return value


def ends_alone(base: Base) -> bool:
    """Whether the last layer can be run at some tokens only.

    Not where activations are computed again in the backward pass: the layer would have to
    remember, until then, what it was run for.
    """
    return base.model.config.model_type not in WHOLE and not base.recomputes


def last_layer(base: Base) -> nn.Module:
    """The decoder layer that runs last."""
    return [m for m in base.trunk.modules() if isinstance(m, GradientCheckpointingLayer)][-1]
