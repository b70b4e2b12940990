"""What a run will take in memory, told from the model's config alone: nothing is loaded.

Weights are counted on a model without numbers. Activations are those of our own forward and
backward pass, run once on tensors that have shapes and no memory (torch's fake tensors), so that
every architecture and every setting is seen as it is.
"""

import math
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig

from workbench.algos.logprobs import chunked_token_logprobs, chunked_token_stats
from workbench.errors import ModelError, WorkbenchError
from workbench.models.base import DTYPES, Base, auto_class, pick_device, pick_dtype
from workbench.models.fast.attention import MOST
from workbench.models.fast.decoding import PROMPT_TOKENS
from workbench.models.fast.dense_weights import SHARE, free_memory, layers_of
from workbench.models.fast.lora_products import HALF
from workbench.models.fast.on_card import on_card
from workbench.models.fast.packing import pack, packed_places
from workbench.models.fast.packing_support import packs
from workbench.models.forward import CHUNK, hidden_states
from workbench.models.model_kinds import is_classifier, is_encoder, text_weights
from workbench.models.roles import Roles
from workbench.models.source import Source, resolve
from workbench.settings import (
    ComparisonSettings,
    PPOSettings,
    RewardSettings,
    RunSettings,
    SFTSettings,
)
from workbench.training.batches import SIZES
from workbench.training.checks.live_bytes import LiveBytes
from workbench.training.hardware import hardware
from workbench.training.sampled_answers import SAMPLED_AT_ONCE

NF4_BITS = 4.127
"""Of a weight in 4 bits with double quantisation (Dettmers et al. 2023, section 3)."""

WORK_SPACE = 3 * 32 * 2**20
"""Bytes that cuBLAS keeps on a Hopper card: for the forward's thread, for the backward's, and for
the stream where decode steps are recorded. Elsewhere it keeps less.
"""

TOKENS = (4096, 2048, 1024, 512)
"""Micro-batches of auto on a card: a longer packed row does not meet the attention in one call.

In pairs of 213 tokens a layer starts 76 kernels, forward and backward; at 8,560 tokens 1,184.
"""

_Row = dict[str, Any]


class MicroBatchShape(NamedTuple):
    """The largest micro-batch: so many sequences of so many tokens, the last ones an answer."""

    rows: int
    length: int
    answer: int

    @property
    def tokens(self) -> int:
        """In the whole micro-batch."""
        return self.rows * self.length


def plan(model: str, settings: RunSettings, *, card: int | None = None) -> dict[str, Any]:
    """What each part of a run takes, by phase.

    Args:
        model: what it starts from; only its config is read.
        settings: of any kind of run.
        card: bytes of a GPU to plan for, which this machine need not have; None: this machine.

    Returns:
        Plain values: ``parts`` (rows of ``phase``, ``part``, ``bytes``), ``free``, facts and
        ``hardware``.

    Raises:
        ModelError: the config cannot be read, or no language model can be made from it.
        ConfigError: CUDA was asked for and is absent.
    """
    source = resolve(model)
    if card is None:
        device = pick_device(settings.device)
        dtype, room = pick_dtype(settings.dtype, device), free_memory(device)
    else:
        device, room = torch.device("cuda"), card
        dtype = DTYPES.get(settings.dtype, torch.bfloat16)
    try:
        return _told(source, settings, device, dtype, room) | {"hardware": hardware()}
    except WorkbenchError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise ModelError(
            f"no plan can be made: {(str(error).splitlines() or [type(error).__name__])[0]}",
            where=source.base,
            fix="check the folder or hub id (and the network), and that it is a causal language "
            "model",
        ) from error


def _told(
    source: Source, settings: RunSettings, device: torch.device, dtype: torch.dtype, room: int
) -> dict[str, Any]:
    """The plan; what is left open on a card is as large as fits, before layers are computed twice.

    Of the two largest micro-batches, where both fit, the one that leaves a base in 4 bits the room
    to lie dense. Where nothing fits it is the plan of what takes the least. Sizes below the longest
    row, which goes alone, save nothing and are not tried.
    """
    open_card = on_card(device)
    sizes = (settings.tokens_at_once,)
    if open_card and not settings.micro_batch_tokens:
        sizes = tuple(n for n in TOKENS if n >= min(settings.max_length, TOKENS[0]))
    once = {"gradient_checkpointing": settings.recomputes}
    tries = [once | {"micro_batch_tokens": tokens} for tokens in sizes]
    if open_card and settings.gradient_checkpointing == "auto":
        tries = tries[:2]
        tries += [
            {"gradient_checkpointing": True, "micro_batch_tokens": tokens} for tokens in sizes
        ]
    told, fitting = dict[str, Any](), dict[str, Any]()
    for number, tried in enumerate(tries):
        told = _Plan(source, settings.changed(**tried), device, dtype, room).as_dict()
        learning = sum(p["bytes"] for p in told["parts"] if p["phase"] == "optimise")
        if learning <= room and (not fitting or told["unpacks"]):
            fitting = told
        final = number or len(sizes) == 1 or settings.quantization != "nf4"
        if fitting and (final or fitting["unpacks"]):
            break
    return fitting or told


class Ways(NamedTuple):
    """What a run does to save memory, or to spend it.

    Attributes:
        recomputes: layers are computed twice.
        unpacks: the base in 4 bits lies dense beside itself, to train on.
        tokens: padded tokens of a micro-batch.
    """

    recomputes: bool
    unpacks: bool
    tokens: int


def ways(model: str, settings: RunSettings) -> Ways:
    """What the plan for this machine says; off a card nothing is planned and nothing is spent.

    Raises:
        ConfigError: CUDA was asked for and is absent.
    """
    as_set = Ways(settings.recomputes, False, settings.tokens_at_once)
    if not on_card(pick_device(settings.device)):
        return as_set
    try:
        told = plan(model, settings)
    except ModelError:  # such as an encoder
        return as_set
    return Ways(told["recomputes"], told["unpacks"], told["micro_batch_tokens"])


def micro_batch(settings: RunSettings) -> MicroBatchShape:
    """The largest micro-batch that the settings allow."""
    batch: int = getattr(settings, "batch_size", 1)
    answer = settings.max_length
    if isinstance(settings, PPOSettings):
        batch = math.ceil(batch / settings.mini_batches)
        answer = min(settings.response_length, settings.max_length - 1)
    elif isinstance(settings, ComparisonSettings):
        batch = 2 * (batch or SIZES[0])  # both answers
    length = settings.max_length
    return MicroBatchShape(max(1, min(batch, settings.tokens_at_once // length)), length, answer)


class _GroupedProducts(TorchFunctionMode):
    """Within the block a product grouped by experts has its shape in every precision.

    torch's own fake of it takes bfloat16 alone.
    """

    def __torch_function__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """The rows times the first expert's weights: as large as the grouped product."""
        if func in _GROUPED:
            rows, weights = args[:2]
            return rows @ weights[0]
        return func(*args, **(kwargs or {}))


_GROUPED = [
    product
    for product in (
        getattr(nn.functional, "grouped_mm", None),
        getattr(torch, "_grouped_mm", None),
    )
    if product is not None
]


class _Plan:
    """One model and its settings, without weights."""

    def __init__(
        self,
        source: Source,
        settings: RunSettings,
        device: torch.device,
        dtype: torch.dtype,
        free: int,
    ) -> None:
        self.source, self.settings, self.device, self.free = source, settings, device, free
        self.shape = micro_batch(settings)
        self.ppo = settings if isinstance(settings, PPOSettings) else None
        self.whole = (  # every weight is trained; elsewhere the adapters refuse a rank of 0
            isinstance(settings, SFTSettings)
            and settings.lora_rank == 0
            and settings.quantization == "none"
        )
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        config = cast("Any", AutoConfig).from_pretrained(source.base)
        if is_encoder(config) or is_classifier(config):
            raise ModelError(
                "only language models are planned",
                where=f"{source.reference} ({config.model_type})",
                fix="plan the language model; a sequence classifier takes less",
            )
        with torch.device("meta"):
            network = auto_class(config).from_config(config, dtype=dtype)
            network.requires_grad_(False).eval()
            self.base = Base(
                network, cast("Any", None), source, torch.device("cpu"), dtype, "none", ()
            )
            self.frozen = self._frozen(network)
            self.roles = Roles(self.base, settings)
            self.trained, self.fixed = self._add_roles()
        with self.fake:
            _make_fake(network)
        self.config: Any = config.get_text_config()

    def _frozen(self, network: nn.Module) -> dict[str, int]:
        """Bytes of the base: its linear layers, and the rest."""
        head = cast("Any", network).get_output_embeddings()
        linear = [m for m in network.modules() if isinstance(m, nn.Linear) and m is not head]
        packed = {id(m.weight): m.weight.numel() for m in linear}
        itemsize = self.base.dtype.itemsize
        bits = NF4_BITS / 8 if self.settings.quantization == "nf4" else itemsize
        rest = sum(p.numel() for p in network.parameters() if id(p) not in packed)
        rest = rest * itemsize + sum(_size(b) for b in network.buffers())
        self.largest = max(packed.values(), default=0)
        return {"linear layers": round(sum(packed.values()) * bits), "embeddings, head": rest}

    def _add_roles(self) -> tuple[int, int]:
        """Weights that are trained, and those of adapters that are not."""
        settings, ppo = self.settings, self.ppo
        if self.whole:
            weights = self._weights()
            for weight in weights:
                weight.requires_grad_(True)
            return sum(weight.numel() for weight in weights), 0
        self.roles.add("policy", trainable=True)  # it stands for all: they are of one size
        own = self._count("policy")
        if ppo is None:
            count = settings.members if isinstance(settings, RewardSettings) else 1
            head = self.base.width if isinstance(settings, RewardSettings) else 0
            compared = settings.kind in ("dpo", "online_dpo") and self.source.adapter is not None
            return count * (own + head), own if compared else 0
        heads = self.base.width if ppo.advantage == "gae" else 0
        values = own if ppo.advantage == "gae" and ppo.value == "adapter" else 0
        reference = own if self.source.adapter is not None else 0
        return own + values + heads, own + self.base.width + reference

    def _count(self, role: str) -> int:
        return sum(p.numel() for p in self.roles.parameters(role))

    def _weights(self) -> list[nn.Parameter]:
        """What one role trains: its adapter, or every weight that text goes through."""
        return text_weights(self.base.model) if self.whole else self.roles.parameters("policy")

    def _own(self, wide: int) -> dict[str, int]:
        """What is trained, beside the base: adapters, or what stands for weights in half precision.

        The optimiser trains a float32 copy of these (``optimiser.py``).
        """
        if not self.whole:
            return {"adapters and heads": (self.trained + self.fixed) * wide}
        halves = self.base.dtype.itemsize < wide
        return {"float32 copy of the weights": self.trained * wide} if halves else {}

    def as_dict(self) -> dict[str, Any]:
        """The plan in plain values."""
        wide = torch.promote_types(self.base.dtype, torch.float32).itemsize
        moments = self.trained * 2 * wide
        held = {
            **{f"base: {name}": size for name, size in self.frozen.items()},
            **self._own(wide),
            "AdamW's moments": moments,
        }
        if self.device.type == "cuda":
            held["work space of the GPU's libraries"] = WORK_SPACE
        if self.ppo is not None and self.device.type == "cpu":
            held["copy of the state, to undo an update"] = self.trained * wide + moments
        seen, beside = "activations and logits of a micro-batch", self._mask() | self._unpacked()
        learned = {"gradients": self.trained * wide, seen: self._traced(train=True)}
        phases = {"optimise": learned | beside}
        if self.ppo is not None:
            looked = {seen: self._traced(train=False)}
            phases = {
                "generate": self._generate(self.ppo.batch_size, self.shape.answer),
                "score": looked | beside,
            } | phases
        if isinstance(self.settings, RewardSettings) and self.settings.normalise == "samples":
            # answers by which its scale is told, at the end
            phases["generate"] = self._generate(SAMPLED_AT_ONCE, self.shape.length // 2)
        room = self.free - sum(held.values()) - max(sum(own.values()) for own in phases.values())
        unpacks = self._can_unpack and self._dense_size <= SHARE * room
        if unpacks:
            held["dense copy of the base to train on, where it fits"] = self._dense_size
        rows: list[_Row] = []
        for phase, own in phases.items():
            parts = {**held, **own}
            if phase == "generate" and (copy := self._dense_copy(sum(parts.values()))):
                parts["dense copy for sampling, where it fits"] = copy
            rows += [{"phase": phase, "part": k, "bytes": v} for k, v in parts.items() if v]
        facts = self.shape._asdict() | {"device": self.device.type}
        facts |= {"dtype": str(self.base.dtype).removeprefix("torch.")}
        facts |= {"recomputes": self.settings.recomputes, "unpacks": unpacks}
        facts |= {"micro_batch_tokens": self.settings.tokens_at_once}
        facts |= {"quantization": self.settings.quantization, "model": self.source.reference}
        return {"parts": rows, "free": self.free, "trained": self.trained, **facts}

    def _mask(self) -> dict[str, int]:
        """What says who sees whom where a micro-batch meets the attention in one call."""
        tokens = self.shape.tokens
        once = on_card(self.device) and tokens <= MOST and packs(self.base.model) is None
        return {"mask of a micro-batch": tokens * tokens * self.base.dtype.itemsize} if once else {}

    def _unpacked(self) -> dict[str, int]:
        """A 4-bit layer is unpacked for its product."""
        if self.settings.quantization != "nf4":
            return {}
        return {"one layer out of its 4 bits": self.largest * self.base.dtype.itemsize}

    def _generate(self, rows: int, answer: int) -> dict[str, int]:
        """Keys and values of so many answers, and the last step's logits over the vocabulary."""
        config = self.config
        queries = getattr(config, "num_attention_heads", None) or 0  # none in a recurrent model
        heads = getattr(config, "num_key_value_heads", None) or queries
        size = getattr(config, "head_dim", None) or config.hidden_size // max(queries, 1)
        room = self.shape.length
        cache = 2 * config.num_hidden_layers * heads * size * rows * room
        logits = rows * config.vocab_size * (self.base.dtype.itemsize + 3 * 4)
        prompt = max(1, room - answer)
        prompts = MicroBatchShape(max(1, min(rows, PROMPT_TOKENS // prompt)), prompt, 1)
        return {
            "keys and values": cache * self.base.dtype.itemsize,
            "prompts, or a step's logits": max(logits, self._traced(train=False, shape=prompts)),
            **self._unpacked(),
        }

    def _dense_copy(self, held: int) -> int:
        """What the dense copy for sampling will take (``models/fast/dense_weights.py``)."""
        return self._dense_size if self._dense_size <= SHARE * (self.free - held) else 0

    @property
    def _dense_size(self) -> int:
        """Bytes of the layers that have adapters, dense."""
        modules = (m for _, m in layers_of(self.base.model))
        layers = [getattr(m, "base_layer", m) for m in modules]
        return sum(cast("Tensor", m.weight).numel() for m in layers) * self.base.dtype.itemsize

    @property
    def _can_unpack(self) -> bool:
        """Whether training would use a dense copy: in half precision, on a card."""
        half = self.base.dtype in HALF
        return self.settings.quantization == "nf4" and half and on_card(self.device)

    def _traced(self, *, train: bool, shape: MicroBatchShape | None = None) -> int:
        """Peak bytes of a micro-batch's pass beyond weights, gradients and moments."""
        shape = shape or self.shape
        weights = self._weights()
        with self.fake:
            if train:
                for weight in weights:
                    weight.grad = torch.zeros_like(weight)
            known = [*self.base.model.parameters(), *self.base.model.buffers()]
            known += [w.grad for w in weights if w.grad is not None]
            live = LiveBytes(known, counted=False)
            with (
                live,
                self.roles.acting(None if self.whole else "policy"),
                nullcontext() if train else torch.no_grad(),
                _GroupedProducts(),
            ):
                self._pass(shape, train)
        return live.peak

    def _pass(self, shape: MicroBatchShape, train: bool) -> None:
        """Forward, and backward, as a training step takes them."""
        base = self.base
        last = range(shape.length - 1, shape.tokens, shape.length)
        if train and isinstance(self.settings, RewardSettings):
            torch.autograd.backward(_hidden(base, shape, [*last]).float().sum())
            return
        at = [end - shape.answer + i for end in last for i in range(shape.answer)]
        states, tokens = _hidden(base, shape, at), torch.zeros(len(at), dtype=torch.long)
        chunked = chunked_token_logprobs if train else chunked_token_stats
        logprobs: Any = chunked(states, tokens, base.logits, temperature=1.0, chunk=CHUNK)
        if train:
            torch.autograd.backward(logprobs.sum())


def _hidden(base: Base, shape: MicroBatchShape, at: list[int]) -> Tensor:
    """The trunk's last hidden states at some of all tokens."""
    if packs(base.model) is not None:
        ids = torch.zeros(shape.rows, shape.length, dtype=torch.long)
        return hidden_states(base, ids).flatten(0, 1)[at]
    one = [0] * shape.length
    return packed_places(base, pack([[one]] * shape.rows, base.device), at)


def _make_fake(network: nn.Module) -> None:
    """Put a fake tensor on a CPU in the place of each that is on no device."""
    fakes: dict[int, Tensor] = {}  # tied weights stay one
    for module in network.modules():
        tables = cast("tuple[dict[str, Any], ...]", (module._parameters, module._buffers))  # pyright: ignore[reportPrivateUsage]
        for table in tables:
            for name, own in table.items():
                if own is None:
                    continue
                if id(own) not in fakes:
                    new = torch.empty(own.shape, dtype=own.dtype)
                    learned = isinstance(own, nn.Parameter)
                    fakes[id(own)] = nn.Parameter(new, own.requires_grad) if learned else new
                table[name] = fakes[id(own)]


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
