"""One token more for every row: prompts once without padding, then a step at a time.

Keys and values lie in room that is made once. A row's token at position p is in slot p, so no
slot is padding, and rows of any lengths go on side by side. On a GPU the step is recorded as a
CUDA graph and played again. Models that do not pack take transformers' own cache, padded left.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from workbench.models.base import Base
from workbench.models.fast.attention import Attention, Sight, additive
from workbench.models.fast.packing import pack, run_packed
from workbench.models.fast.packing_support import packs

PROMPT_TOKENS = 4096
"""Tokens of prompts that go through the trunk at once."""


class Decoder(Protocol):
    """Gives the logits of each row's next token. No gradient is recorded."""

    def start(self) -> Tensor:
        """Logits ``(B, V)`` after the prompts."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Logits ``(B, V)`` after one token more ``(B,)`` in each row."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Only these rows, by their numbers, go on."""
        ...


def decoder(base: Base, prompts: Sequence[Sequence[int]], *, length: int) -> Decoder:
    """The quickest decoder that the model can take, for answers of at most ``length`` tokens."""
    if packs(base.model) is not None:
        return PaddedDecoder(base, prompts)
    return SlotDecoder(base, prompts, length=length)


class Slots(Sight):
    """Keys and values of B rows; each layer puts those of new tokens in, and looks at all.

    Attributes:
        positions: ``(B,)`` where each row's next token stands.
        reach: how many slots are looked at: more than any row's position.
    """

    def __init__(self, rows: int, room: int, device: torch.device) -> None:
        super().__init__(())
        self.positions = torch.zeros(rows, dtype=torch.long, device=device)
        self.room, self.reach = room, room
        self._tables: dict[int, list[Tensor]] = {}
        self._seen: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def put(self, layer: int, rows: Tensor, source: Tensor, parts: Sequence[Tensor]) -> None:
        """Fill the first slots of some rows.

        Args:
            layer: the layer's number.
            rows: ``(b,)`` their numbers.
            source: ``(b, P)`` index into the flat row of each row's token; what lies beyond a
                prompt is never looked at, and written over later.
            parts: keys and values ``(1, H, N, d)`` of a flat row.
        """
        if layer not in self._tables:  # zeros: what is not looked at must still be finite
            sizes = (len(self.positions), self.room)
            self._tables[layer] = [
                part.new_zeros(sizes[0], part.shape[1], sizes[1], part.shape[3]) for part in parts
            ]
        for table, part in zip(self._tables[layer], parts, strict=True):
            table[rows, :, : source.shape[1]] = part[0][:, source].transpose(0, 1)

    def before_step(self) -> None:
        """The masks of the step before are no longer true."""
        self._seen.clear()

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
        """Attention of one new token a row ``(B, H, 1, d)``: ``(B, 1, H, d)``."""
        self.used = True
        tables = self._tables[_layer(module)]
        rows = torch.arange(len(self.positions), device=query.device)
        for table, part in zip(tables, (key, value), strict=True):
            table[rows, :, self.positions] = part[:, :, 0]
        mask = self._slots(rest.get("sliding_window"), query.dtype)
        keys, values = (table[:, :, : self.reach] for table in tables)
        return attention(module, query, keys, values, mask, **rest)[0]

    def _slots(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Additive mask ``(B, 1, 1, reach)``: a token sees its own slot and those before it."""
        if (window, dtype) not in self._seen:
            distance = self.positions[:, None] - torch.arange(
                self.reach, device=self.positions.device
            )
            mask = additive(distance, window, dtype)
            self._seen[window, dtype] = mask[:, None, None]
        return self._seen[window, dtype]

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        self.positions = self.positions[rows]
        for tables in self._tables.values():
            tables[:] = [table[rows] for table in tables]


class Filling(Sight):
    """A packed row of prompts whose keys and values are kept in slots."""

    def __init__(self, slots: Slots, rows: Tensor, source: Tensor, sight: Sight) -> None:
        super().__init__(())
        self._slots, self._rows, self._source, self._sight = slots, rows, source, sight

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
        """As in any packed row; besides, what later tokens look at is put into the slots."""
        self.used = True
        self._slots.put(_layer(module), self._rows, self._source, (key, value))
        return self._sight.attend(attention, module, query, key, value, causal=causal, **rest)


def _layer(module: nn.Module) -> int:
    """The number of the layer that an attention module belongs to, as transformers counts."""
    return int(module.layer_idx)  # pyright: ignore[reportArgumentType]


class SlotDecoder:
    """Decodes in slots, for models that pack.

    Args:
        base: its acting role speaks.
        prompts: token ids.
        length: most tokens that come after a prompt.
        graphs: whether to record the step; None = on a GPU.
    """

    def __init__(
        self,
        base: Base,
        prompts: Sequence[Sequence[int]],
        *,
        length: int,
        graphs: bool | None = None,
    ) -> None:
        self.base, self.prompts = base, prompts
        room = max(map(len, prompts)) + length
        self.slots = Slots(len(prompts), room, base.device)
        self.slots.positions += torch.tensor([len(p) for p in prompts], device=base.device)
        self._longest = max(map(len, prompts))
        self.graphs = base.device.type == "cuda" if graphs is None else graphs
        self._graph: _Graph | None = None

    def start(self) -> Tensor:
        """Every prompt once, however many rows it has."""
        found: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(self.prompts):
            found.setdefault(tuple(prompt), []).append(row)
        groups: list[list[tuple[int, ...]]] = []
        room = 0
        for prompt in sorted(found, key=len):
            if not groups or len(prompt) > room:
                groups.append([])
                room = PROMPT_TOKENS
            groups[-1].append(prompt)
            room -= len(prompt)
        hidden: list[Tensor] = []
        order: list[int] = []
        for group in groups:
            rows = [found[prompt] for prompt in group]
            hidden.append(self._fill(group, rows))
            order += [row for same in rows for row in same]
        places = torch.tensor(order, device=self.base.device).argsort()
        return self.base.logits(torch.cat(hidden)[places])

    def _fill(self, prompts: Sequence[tuple[int, ...]], rows: Sequence[list[int]]) -> Tensor:
        """Prompts in one flat row, into the slots of their rows: states ``(b, D)``."""
        packed = pack([[list(prompt)] for prompt in prompts], self.base.device)
        longest, start = max(map(len, prompts)), 0
        source: list[list[int]] = []
        for prompt, same in zip(prompts, rows, strict=True):
            places = range(start, start + len(prompt))
            source += [[*places, *([start] * (longest - len(prompt)))]] * len(same)
            start += len(prompt)
        device = self.base.device
        numbers = torch.tensor([row for same in rows for row in same], device=device)
        table = torch.tensor(source, device=device)
        filling = Filling(self.slots, numbers, table, Sight(packed.spans))
        hidden = run_packed(self.base, packed.ids[None], packed.positions[None], filling)
        sizes = torch.tensor([len(same) for same in rows], device=device)
        return hidden[0, packed.last].repeat_interleave(sizes, dim=0)

    def step(self, tokens: Tensor) -> Tensor:
        """One token a row."""
        self._longest += 1
        if self.graphs:
            if self._graph is None or len(self._graph.tokens) != len(tokens):
                self.slots.reach = self.slots.room  # a recorded step always looks at all
                self._graph = _Graph(self, tokens)
            return self._graph.play(tokens)
        self.slots.reach = self._longest
        return self.advance(tokens)

    def advance(self, tokens: Tensor) -> Tensor:
        """The step itself: in place, with no look at a number on the GPU."""
        slots = self.slots
        slots.before_step()
        hidden = run_packed(self.base, tokens[:, None], slots.positions[:, None], slots)
        slots.positions += 1
        return self.base.logits(hidden[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        self.slots.keep(rows)
        self._graph = None


@cache
def _recording(device: torch.device) -> torch.cuda.Stream:
    """Where steps are recorded: always the same, since libraries keep work space for each."""
    return torch.cuda.Stream(device)


class _Graph:
    """A step recorded once for so many rows and played as often as they take it."""

    def __init__(self, made: SlotDecoder, tokens: Tensor) -> None:
        self._made, self.tokens = made, tokens.clone()
        self._graph: torch.cuda.CUDAGraph | None = None
        if tokens.device.type != "cuda":
            return  # the same path without the recording
        positions = made.slots.positions.clone()
        side = _recording(tokens.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # once outside: libraries make their work space
            made.advance(self.tokens)
        torch.cuda.current_stream().wait_stream(side)
        made.slots.positions.copy_(positions)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=side):
            self._logits = made.advance(self.tokens)
        made.slots.positions.copy_(
            positions
        )  # recording runs nothing; the count moved all the same

    def play(self, tokens: Tensor) -> Tensor:
        """Logits ``(B, V)``; the next play writes over them."""
        self.tokens.copy_(tokens)
        if self._graph is None:
            return self._made.advance(self.tokens)
        self._graph.replay()
        return self._logits


class PaddedDecoder:
    """Decodes with transformers' own cache, rows padded on the left, for any causal model."""

    def __init__(self, base: Base, prompts: Sequence[Sequence[int]]) -> None:
        self.base = base
        self._ids, self._positions, self._mask = left_padded(base, prompts)
        self._cache = DynamicCache(config=base.model.config)

    def start(self) -> Tensor:
        """All prompts, side by side."""
        return self._run()

    def step(self, tokens: Tensor) -> Tensor:
        """One token a row."""
        self._ids, self._positions = tokens[:, None], self._positions[:, -1:] + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._run()

    def _run(self) -> Tensor:
        hidden = self.base.trunk(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return self.base.logits(hidden[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        self._cache.batch_select_indices(rows)
        self._positions, self._mask = self._positions[rows], self._mask[rows]


def left_padded(base: Base, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions and mask ``(B, P)``: position 0 is each prompt's first real token."""
    longest = max(len(p) for p in prompts)
    pad = int(base.tokenizer.pad_token_id)  # pyright: ignore[reportArgumentType]
    table = [[*([pad] * (longest - len(p))), *p] for p in prompts]
    marks = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    ids = torch.tensor(table, dtype=torch.long, device=base.device)
    mask = torch.tensor(marks, dtype=torch.long, device=base.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return ids, positions, mask
