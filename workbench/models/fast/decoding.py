"""One token more for every row: prompts once without padding, then a step at a time.

Keys and values lie in room that is made once. A row's token at position p is in slot p, so no
slot is padding, and rows of any lengths go on side by side. On a GPU the step is recorded as a
CUDA graph and played again. Models that do not pack remember by themselves: rows of several lengths
padded left, or where that changes what they say rows of one length together; and a model that does
not remember what it should reads each sequence from its beginning for every token. Which of these
is exact is tried on a few tokens, once for a base.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from workbench.models.encoding import pad_right
from workbench.models.fast.attention import Attention, Heads, Sight, additive
from workbench.models.fast.packing import pack, run_packed
from workbench.models.fast.packing_support import packs
from workbench.models.forward import hidden_states, prove_packing
from workbench.models.loaded_base import Base, Proof
from workbench.models.proof import SIZES, Trial, distance, first_exact, log_softmax

PROMPT_TOKENS = 4096
"""Tokens of prompts that go through the trunk at once."""


SLOTS, PADDED, BY_LENGTH, BY_ROW, WHOLE = (
    "slots of keys and values",
    "the model's own cache, padded left",
    "the model's own cache, prompts of one length together",
    "the model's own cache, each row by itself",
    "the whole sequence again for every token",
)
"""Ways to decode, the quickest first."""


Make = Callable[[Sequence[Sequence[int]]], "Decoder"]
"""Makes a decoder for prompts."""


def decoder(base: Base, prompts: Sequence[Sequence[int]], *, length: int) -> "Decoder":
    """The quickest decoder that is exact for the model, for answers of at most ``length`` tokens.

    Raises:
        ModelError: none is.
    """
    return _ways(base, length)[prove_decoding(base).way](prompts)


def _ways(base: Base, length: int) -> dict[str, Make]:
    ways: dict[str, Make] = {
        SLOTS: partial(SlotDecoder, base, length=length),
        PADDED: partial(PaddedDecoder, base),
        BY_LENGTH: partial(GroupDecoder, base, lengths=True),
        BY_ROW: partial(GroupDecoder, base, lengths=False),
        WHOLE: partial(WholeDecoder, base),
    }
    if packs(base.model) is not None:
        del ways[SLOTS]
    return ways


def prove_decoding(base: Base, known: Trial | None = None) -> Proof:
    """See once how tokens can follow each other as in a forward of the whole sequence.

    Raises:
        ModelError: the model's own forward fails, or nothing agrees with it: then a token also
            sees what comes after it.
    """
    prove_packing(base, known)
    make = _ways(base, max(answer for _, answer in SIZES))
    if "decoding" not in base.proofs or base.proofs["decoding"].way not in make:
        ways = {way: partial(_apart, make=each) for way, each in make.items()}
        proof = first_exact(base, ways, what="continue a sequence", known=known)
        base.proofs["decoding"] = proof
    return base.proofs["decoding"]


def _apart(tried: Trial, make: Make) -> float:
    """How far a decoder's distributions are from the model's own forward, in nats; a row leaves."""
    decoder = make(tried.prompts)
    if isinstance(decoder, SlotDecoder):
        decoder.graphs = False  # a graph for a few tokens takes longer than they do
    rows = list(range(len(tried.prompts)))
    logits, worst = decoder.start(), 0.0
    for step in range(min(map(len, tried.answers))):
        for at, row in enumerate(rows):
            own, token = tried.own[row][step], tried.answers[row][step]
            worst = max(worst, distance(own[None], log_softmax(logits[at : at + 1]), [token]))
        if step == 1:
            rows = [0, len(rows) - 1]
            decoder.keep(torch.tensor(rows, device=logits.device))
        tokens = [tried.answers[row][step] for row in rows]
        logits = decoder.step(torch.tensor(tokens, device=logits.device))
    return worst


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
        self._rows = torch.arange(rows, device=device)

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
        self, attention: Attention, module: nn.Module, heads: Heads, *, causal: bool, **rest: Any
    ) -> Tensor:
        """Attention of one new token a row ``(B, H, 1, d)``: ``(B, 1, H, d)``."""
        self.used = True
        tables = self._tables[_layer(module)]
        for table, part in zip(tables, heads[1:], strict=True):
            table[self._rows, :, self.positions] = part[:, :, 0]
        mask = self._slots(rest.get("sliding_window"), heads.query.dtype)
        keys, values = (table[:, :, : self.reach] for table in tables)
        return attention(module, heads.query, keys, values, mask, **rest)[0]

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
        self.positions, self._rows = self.positions[rows], self._rows[: len(rows)]
        for tables in self._tables.values():
            tables[:] = [table[rows] for table in tables]


class Filling(Sight):
    """A packed row of prompts whose keys and values are kept in slots."""

    def __init__(self, slots: Slots, rows: Tensor, source: Tensor, sight: Sight) -> None:
        super().__init__(())
        self._slots, self._rows, self._source, self._sight = slots, rows, source, sight

    def attend(
        self, attention: Attention, module: nn.Module, heads: Heads, *, causal: bool, **rest: Any
    ) -> Tensor:
        """As in any packed row; besides, what later tokens look at is put into the slots."""
        self.used = True
        self._slots.put(_layer(module), self._rows, self._source, heads[1:])
        return self._sight.attend(attention, module, heads, causal=causal, **rest)


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
        numbers_of: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(self.prompts):
            numbers_of.setdefault(tuple(prompt), []).append(row)
        groups: list[list[tuple[int, ...]]] = []
        room = 0
        for prompt in sorted(numbers_of, key=len):
            if not groups or len(prompt) > room:
                groups.append([])
                room = PROMPT_TOKENS
            groups[-1].append(prompt)
            room -= len(prompt)
        hidden: list[Tensor] = []
        order: list[int] = []
        for group in groups:
            rows = [numbers_of[prompt] for prompt in group]
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

    def __init__(self, decoder: SlotDecoder, tokens: Tensor) -> None:
        self._decoder, self.tokens = decoder, tokens.clone()
        self._graph: torch.cuda.CUDAGraph | None = None
        if tokens.device.type != "cuda":
            return  # the same path without the recording
        positions = decoder.slots.positions.clone()
        side = _recording(tokens.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # once outside: libraries make their work space
            decoder.advance(self.tokens)
        torch.cuda.current_stream().wait_stream(side)
        decoder.slots.positions.copy_(positions)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=side):
            self._logits = decoder.advance(self.tokens)
        decoder.slots.positions.copy_(
            positions
        )  # recording runs nothing; the count moved all the same

    def play(self, tokens: Tensor) -> Tensor:
        """Logits ``(B, V)``; the next play writes over them."""
        self.tokens.copy_(tokens)
        if self._graph is None:
            return self._decoder.advance(self.tokens)
        self._graph.replay()
        return self._logits


class PaddedDecoder:
    """Decodes with the memory that a model keeps itself, rows padded on the left.

    Args:
        base: its acting role speaks.
        prompts: token ids.
        padded: whether they may be of several lengths; else the model counts by itself.
    """

    def __init__(
        self, base: Base, prompts: Sequence[Sequence[int]], *, padded: bool = True
    ) -> None:
        self.base = base
        self._ids, self._positions, self._mask = left_padded(base, prompts)
        takes = inspect.signature(base.trunk.forward).parameters
        self._memory_name = next((name for name in _MEMORIES if name in takes), _MEMORIES[0])
        self._attends = self._memory_name == _MEMORIES[0]
        self._padded = padded and (self._attends or "attention_mask" in takes)
        self._memory: Any = None
        if padded and self._attends:
            self._memory = DynamicCache(config=base.model.config)

    def start(self) -> Tensor:
        """All prompts, side by side."""
        return self._run()

    def step(self, tokens: Tensor) -> Tensor:
        """One token a row."""
        self._ids, self._positions = tokens[:, None], self._positions[:, -1:] + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._run()

    def _run(self) -> Tensor:
        memory: dict[str, Any] = {self._memory_name: self._memory}
        if self._padded and self._attends:
            memory |= {"position_ids": self._positions, "attention_mask": self._mask}
        elif self._padded and self._memory is None:  # a state has no padding in it
            memory["attention_mask"] = self._mask
        output = self.base.trunk(input_ids=self._ids, use_cache=True, **memory)
        self._memory = getattr(output, self._memory_name)
        return self.base.logits(output.last_hidden_state[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        if isinstance(self._memory, list):
            self._memory = [part[rows] for part in self._memory]
        elif all(hasattr(layer, "batch_select_indices") for layer in self._memory.layers):
            self._memory.batch_select_indices(rows)
        else:
            self._memory.reorder_cache(rows)
        self._positions, self._mask = self._positions[rows], self._mask[rows]


_MEMORIES = ("past_key_values", "cache_params", "state")
"""What models call that which they remember."""


class GroupDecoder:
    """Decodes rows in groups in which nothing is padding, each with a memory of its own.

    Args:
        base: its acting role speaks.
        prompts: token ids.
        lengths: whether prompts of one length go together; else each row is by itself.
    """

    def __init__(self, base: Base, prompts: Sequence[Sequence[int]], *, lengths: bool) -> None:
        groups: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            groups.setdefault(len(prompt) if lengths else row, []).append(row)
        self._groups = [
            (
                torch.tensor(rows, device=base.device),
                PaddedDecoder(base, [prompts[row] for row in rows], padded=False),
            )
            for rows in groups.values()
        ]

    def start(self) -> Tensor:
        """All prompts."""
        return self._joined([inner.start() for _, inner in self._groups])

    def step(self, tokens: Tensor) -> Tensor:
        """One token a row."""
        return self._joined([inner.step(tokens[rows]) for rows, inner in self._groups])

    def _joined(self, logits: Sequence[Tensor]) -> Tensor:
        order = torch.cat([rows for rows, _ in self._groups]).argsort()
        return torch.cat(list(logits))[order]

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        groups: list[tuple[Tensor, PaddedDecoder]] = []
        for numbers, inner in self._groups:
            stays = torch.isin(numbers, rows)
            if bool(stays.any()):
                if not bool(stays.all()):
                    inner.keep(stays.nonzero().squeeze(1))
                groups.append((torch.searchsorted(rows, numbers[stays]), inner))
        self._groups = groups


class WholeDecoder:
    """Reads every sequence from its beginning for each token: slow, and right for any model."""

    def __init__(self, base: Base, prompts: Sequence[Sequence[int]]) -> None:
        self.base = base
        self._rows = [list(prompt) for prompt in prompts]

    def start(self) -> Tensor:
        """Logits after the prompts."""
        base = self.base
        ids = pad_right(self._rows, pad=base.pad_id, device=base.device)
        sizes = [len(row) for row in self._rows]
        last = torch.tensor(sizes, device=base.device) - 1
        hidden = hidden_states(base, ids, sizes)
        return base.logits(hidden[torch.arange(len(last), device=base.device), last])

    def step(self, tokens: Tensor) -> Tensor:
        """One token a row."""
        for row, token in zip(self._rows, tokens.tolist(), strict=True):
            row.append(token)
        return self.start()

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        self._rows = [self._rows[row] for row in rows.tolist()]


Decoder = SlotDecoder | PaddedDecoder | GroupDecoder | WholeDecoder
"""Gives the logits ``(B, V)`` of each row's next token: after the prompts (``start``), after one
token more ``(B,)`` in each row (``step``), for some rows alone from then on (``keep``, by their
numbers). No gradient is recorded."""


def left_padded(base: Base, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions and mask ``(B, P)``: position 0 is each prompt's first real token."""
    longest = max(len(p) for p in prompts)
    table = [[*([base.pad_id] * (longest - len(p))), *p] for p in prompts]
    marks = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    ids = torch.tensor(table, dtype=torch.long, device=base.device)
    mask = torch.tensor(marks, dtype=torch.long, device=base.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return ids, positions, mask
