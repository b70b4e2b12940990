"""Published shapes of models, what cards can do, and the seconds that a PPO update takes by both.

All of it is arithmetic: planned, not measured. The shapes are those of the models' published
configs; nothing is downloaded for them.
"""

import math
from typing import Any, NamedTuple

from workbench.settings import PPOSettings, RunSettings

NF4_BYTES, DENSE_BYTES = 0.516, 2.0
"""Of a weight in 4 bits with its scales (Dettmers et al. 2023), and of one in 16 bits."""


class Shape(NamedTuple):
    """A model's config, as far as sizes go.

    Attributes:
        name: as it is known.
        config: of transformers: enough for :func:`workbench.training.checks.memory_plan.plan`.
    """

    name: str
    config: dict[str, Any]

    @property
    def layers(self) -> int:
        """How many there are."""
        return int(self.config["num_hidden_layers"])

    @property
    def linear(self) -> int:
        """Weights of all layers' products."""
        c = self.config
        width, heads, pairs = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        size = c.get("head_dim", width // heads)
        layer = 2 * width * size * (heads + pairs) + 3 * width * c["intermediate_size"]
        return self.layers * layer

    @property
    def head(self) -> int:
        """Weights between a hidden state and the vocabulary."""
        return self.config["vocab_size"] * self.config["hidden_size"]

    @property
    def cache(self) -> int:
        """Numbers that are kept of a token, to attend to it."""
        c = self.config
        size = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
        return 2 * self.layers * c["num_key_value_heads"] * size


def _shape(
    name: str,
    kind: str,
    architecture: str,
    width: int,
    inner: int,
    layers: int,
    heads: int,
    pairs: int,
    words: int,
    **more: Any,
) -> Shape:
    config = {"model_type": kind, "architectures": [architecture], "hidden_size": width}
    config |= {"intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": words}
    config |= {"num_attention_heads": heads, "num_key_value_heads": pairs}
    return Shape(name, {"tie_word_embeddings": False, **config, **more})


def shape_of(name: str, config: Any) -> Shape | None:
    """The shape of a model by its config (transformers'); None where the config does not say.

    A mixture of experts counts as one expert, and a feed-forward layer as a gated one.
    """
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    sizes = {name: _size(config, name) for name in names}
    if not all(sizes.values()):
        return None
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    usual = {"intermediate_size": 4 * width, "num_key_value_heads": heads}
    usual["head_dim"] = max(1, width // heads)
    sizes |= {name: _size(config, name) or value for name, value in usual.items()}
    return Shape(name, sizes)


def _size(config: Any, name: str) -> int:
    """A size of a config; 0 where it has none, or one for each layer."""
    value = getattr(config, name, None)
    return value if isinstance(value, int) else 0


QWEN, LLAMA = ("qwen2", "Qwen2ForCausalLM"), ("llama", "LlamaForCausalLM")
TINY_CHAT = _shape(
    "builtin:tiny-chat", *LLAMA, 128, 384, 4, 4, 4, 1536, head_dim=32, tie_word_embeddings=True
)
QWEN_05B = _shape("Qwen2.5-0.5B", *QWEN, 896, 4864, 24, 14, 2, 151936, tie_word_embeddings=True)
QWEN_7B = _shape("Qwen2.5-7B", *QWEN, 3584, 18944, 28, 28, 4, 152064)
LLAMA_8B = _shape("Llama-3.1-8B", *LLAMA, 4096, 14336, 32, 32, 8, 128256)


class Card(NamedTuple):
    """What computes, by its data sheet, and how much of that is taken to be reached.

    Attributes:
        name: as it is sold.
        gb: memory that a run may take [10⁹ bytes].
        bandwidth: of its memory [bytes/s].
        peak: 16-bit products without sparsity; on a CPU 32-bit ones on one core [FLOP/s].
        share: of the peak that training reaches.
        graphs: whether a decode step is played back, so that starting it costs nothing.
    """

    name: str
    gb: float
    bandwidth: float
    peak: float
    share: float
    graphs: bool = True


CPU = Card("one CPU core with AVX-512", 8, 20e9, 215e9, 0.4, graphs=False)
T4 = Card("T4", 15, 320e9, 65e12, 0.3)
A10 = Card("A10", 24, 600e9, 125e12, 0.4)
A100 = Card("A100 80 GB", 80, 2039e9, 312e12, 0.4)

READ_SHARE = 0.25
"""Of a memory's bandwidth that decoding reaches."""
START = 1e-3
"""Seconds to start the operations of one layer, from Python."""


class Lengths(NamedTuple):
    """Mean tokens of a prompt and of an answer."""

    prompt: int
    answer: int


class Seconds(NamedTuple):
    """Of one update, by phase."""

    generate: float
    score: float
    optimise: float

    @property
    def total(self) -> float:
        """Of the whole update."""
        return sum(self)


def update_seconds(
    shape: Shape, card: Card, settings: PPOSettings, lengths: Lengths, *, dense: bool
) -> Seconds:
    """Plan the seconds of one PPO update from bytes and floating-point operations.

    With N weights in the layers, H in the vocabulary's head, B answers of R tokens to prompts of
    P tokens, T = B (P + R), and E epochs:

    - *generate*: the prompts' forward, 2 N B P FLOP. Then for each of R steps what takes longer:
      2 (N + H) B FLOP, or reading the weights once and the keys and values of all answers. A
      weight of a layer is 2 bytes in the dense copy; without that it is unpacked at every step:
      0.5 bytes read, 2 written, 2 read.
    - *score*: 2 N T each for policy, reference, value and reward model (without a value adapter
      of its own the policy's pass serves); 2 H B R each for the policy's and the reference's
      logits.
    - *optimise*: E times, for the policy and a value adapter of its own: 2 N T forward, as much
      backward (a frozen base has no gradients of its weights), as much again where layers are
      recomputed; and three times 2 H B R for the policy's logits.

    Every pass of a micro-batch also unpacks the layers, and takes 1 ms a layer to start; so does
    a decode step where it is not played back as a CUDA graph. Taken to be reached: the card's
    ``share`` of its peak (0.3 on a T4, 0.4 elsewhere), and a quarter of its bandwidth. Left out:
    attention's own products (about a twentieth at 2,000 tokens), what is watched, checkpoints. An
    estimate, good to a factor of two.

    Args:
        shape: of the model.
        card: what computes.
        settings: batch, epochs, micro-batches, recomputing, value and advantage count.
        lengths: of prompts and answers.
        dense: whether the dense copy for sampling fits (the memory plan says).
    """
    rows, layers = settings.batch_size, 2 * shape.linear  # FLOP of a token
    tokens = rows * sum(lengths)
    logits = 2 * shape.head * rows * lengths.answer
    flops = card.share * card.peak
    own = int(settings.advantage == "gae" and settings.value == "adapter")
    micro = math.ceil(tokens / settings.tokens_at_once)
    a_pass = _unpacking(shape, card, settings) + shape.layers * START

    prompts = layers * rows * lengths.prompt / flops + a_pass
    generate = prompts + lengths.answer * _step_seconds(shape, card, settings, lengths, dense)

    roles = 3 + own
    score = (roles * layers * tokens + 2 * logits) / flops + roles * micro * a_pass

    times = (1 + own) * (3 if settings.recomputes else 2)
    batches = max(micro, settings.mini_batches)
    once = (times * layers * tokens + 3 * logits) / flops + times * batches * a_pass
    return Seconds(generate, score, settings.epochs * once)


def step_seconds(
    shape: Shape, card: Card, settings: RunSettings, tokens: float, read_tokens: float
) -> float:
    """Plan the seconds of one step of supervised fine-tuning or of a reward model.

    With N weights in the layers and H in the vocabulary's head: 2 N FLOP a token forward, as much
    backward, as much again where layers are recomputed; three times 2 H for a token whose logits
    are read; and the passes' own costs as in :func:`update_seconds`. As good as that.

    Args:
        shape: of the model.
        card: what computes.
        settings: micro-batches and recomputing count.
        tokens: that go through the model in one step.
        read_tokens: those of them whose logits are read; 0 for a reward model.
    """
    micro = math.ceil(tokens / settings.tokens_at_once)
    times = 3 if settings.recomputes else 2
    flop = times * 2 * shape.linear * tokens + 3 * 2 * shape.head * read_tokens
    a_pass = _unpacking(shape, card, settings) + shape.layers * START
    return flop / (card.share * card.peak) + times * micro * a_pass


def _unpacking(shape: Shape, card: Card, settings: RunSettings) -> float:
    """Seconds to unpack all layers from their 4 bits, and read them."""
    packed = shape.linear if settings.quantization == "nf4" else 0
    return packed * (NF4_BYTES + 2 * DENSE_BYTES) / (READ_SHARE * card.bandwidth)


def _step_seconds(
    shape: Shape, card: Card, settings: PPOSettings, lengths: Lengths, dense: bool
) -> float:
    """Seconds to sample one token of all answers."""
    rows, held = settings.batch_size, lengths.prompt + lengths.answer / 2
    computing = 2 * (shape.linear + shape.head) * rows / (card.share * card.peak)
    plain = dense or settings.quantization != "nf4"
    numbers = shape.linear * plain + shape.head + rows * held * shape.cache
    reading = DENSE_BYTES * numbers / (READ_SHARE * card.bandwidth)
    reading += 0.0 if plain else _unpacking(shape, card, settings)
    return max(computing, reading) + (0.0 if card.graphs else shape.layers * START)
