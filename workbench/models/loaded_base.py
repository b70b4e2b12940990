"""A frozen model as it was loaded: what it is, and what its hidden states mean."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from workbench.errors import ModelError
from workbench.models.fast import norms, rope
from workbench.models.fast.frozen_products import linear
from workbench.models.fast.packing_support import rope_kinds
from workbench.models.fingerprint import fingerprint
from workbench.models.model_kinds import media_ids
from workbench.models.own_head import Joint, OwnHead, joint_of
from workbench.models.source import Source

POSITIONS = ("max_position_embeddings", "max_target_positions", "max_seq_len", "n_positions")
"""Where configs say how many positions there are."""
BOUNDS = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 2.5e-1}
"""How far log-probabilities may be apart, by what the model computes in. [nats]"""
OUTPUT_EMBEDDINGS = "its output embeddings alone"
OWN_FORWARD = "its own forward"


class Proof(NamedTuple):
    """Which way to compute something was found to be exact for a model.

    Attributes:
        way: its name.
        nats: how far its log-probabilities are from the model's own forward.
        against: quicker ways that are not, each with how far it is, or what it raised.
    """

    way: str
    nats: float
    against: dict[str, str]


@dataclass
class Base:
    """A frozen model, its tokenizer, and how it was loaded.

    Attributes:
        model: the transformers model: a causal language model, whose output is never computed for
            a whole sequence, or a sequence classifier.
        dtype: what it computes in.
        quantization: what it really is: ``nf4`` or ``none``.
        eos_ids: every token that ends an answer.
        notices: what a person should be told about how it was loaded.
        encoder: whether each token sees the whole sequence; its own head then gives the score.
        trained_head: the head of a classifier that was saved with one: a decoder's ``(1, D)``.
        proofs: the ways to compute that were proven on it, by what they are for.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    device: torch.device
    dtype: torch.dtype
    quantization: str
    eos_ids: tuple[int, ...]
    notices: list[str] = field(default_factory=list)
    encoder: bool = False
    trained_head: Tensor | None = None
    proofs: dict[str, Proof] = field(default_factory=dict[str, Proof])
    _recomputed: list[nn.Module] = field(default_factory=list[nn.Module])

    def __post_init__(self) -> None:
        norms.take_over_norms(self.model)
        rope.take_over_rope(self.model)

    @cached_property
    def trunk(self) -> nn.Module:
        """Everything below the language-model head: ids ``(B, T)`` to hidden ``(B, T, D)``."""
        trunk = self.model.base_model
        return self._joint.module if trunk is self.model and self.answers else trunk

    @cached_property
    def _joint(self) -> Joint:
        """Where the trunk ends and the head begins, seen in a forward of two tokens."""
        joint = joint_of(self.model, torch.zeros(1, 2, dtype=torch.long, device=self.device))
        if joint is None:
            raise ModelError(
                "nothing in this model gives hidden states that its head could be tried on",
                where=f"{self.source.reference} ({type(self.model).__name__})",
                fix="give a causal language model of transformers' own",
            )
        return joint

    @cached_property
    def width(self) -> int:
        """Size D of a last hidden state."""
        if self.trained_head is not None:
            return int(self.trained_head.shape[1])
        if self.answers and self.has_weights:
            return int(self._joint.output.last_hidden_state.shape[-1])
        embeddings = cast("nn.Embedding", self.model.get_input_embeddings())
        return int(embeddings.weight.shape[1])

    @cached_property
    def last_layer(self) -> nn.Module:
        """The decoder layer that runs last."""
        return [m for m in self.trunk.modules() if isinstance(m, GradientCheckpointingLayer)][-1]

    @property
    def longest(self) -> int:
        """The most positions the model was made for."""
        config: Any = self.model.config.get_text_config()
        sizes = [getattr(config, name, None) for name in POSITIONS]
        longest = next((int(size) for size in sizes if isinstance(size, int)), 1 << 20)
        if "longrope" in rope_kinds(config):  # behind these positions all angles are others
            table: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
            own = table.get("original_max_position_embeddings")
            own = own or getattr(config, "original_max_position_embeddings", None)
            longest = min(longest, int(own or longest))
        if not self.encoder:
            return longest
        return min(longest, int(self.tokenizer.model_max_length))  # some keep positions back

    @cached_property
    def fingerprint(self) -> str | None:
        """Tells it from another base of the same shape; None where its files are not at hand."""
        return fingerprint(self.source)

    @property
    def answers(self) -> bool:
        """Whether it is a language model, and not one that only scores."""
        return self.model.get_output_embeddings() is not None or self.model.can_generate()

    @cached_property
    def unsaid(self) -> Tensor:
        """Ids that are never sampled: no token has them, or an image or sound stands there."""
        some = torch.zeros(1, self.width, dtype=self.dtype, device=self.device)
        with torch.no_grad():
            size = self.logits(some).shape[-1]
        tokens = set(self.tokenizer.get_vocab().values()) - media_ids(self.model.config)
        tokens |= set(self.eos_ids)
        others = [i for i in range(size) if i not in tokens]
        return torch.tensor(others, dtype=torch.long, device=self.device)

    @cached_property
    def has_weights(self) -> bool:
        """Whether there are weights to compute with, and not their shapes alone."""
        some = next(self.model.parameters())
        return some.device.type != "meta" and type(some.data) is Tensor

    @property
    def facts(self) -> dict[str, Any]:
        """What it is and how it was loaded, in plain values."""
        return {
            "base": self.source.base,
            "reference": self.source.reference,
            "quantization": self.quantization,
            "dtype": str(self.dtype).removeprefix("torch."),
            "notices": self.notices,
            "self_test": {name: proof._asdict() for name, proof in self.proofs.items()},
        }

    @property
    def tested(self) -> dict[str, Any]:
        """How it is computed, and how far that is from its own forward: what a run remembers."""
        compared = [proof.nats for name, proof in self.proofs.items() if name != "unsaid"]
        worst = max(compared, default=0.0)
        ways = {name: proof.way for name, proof in self.proofs.items()}
        return {**ways, "nats": float(f"{worst:.0e}"), "bound": BOUNDS[self.dtype]}

    def check_answers(self) -> None:
        """Refuse what gives no answers.

        Raises:
            ModelError: it is an encoder, or a sequence classifier.
        """
        if not self.answers:
            raise ModelError(
                f"this model scores sequences and gives no answers ({type(self.model).__name__})",
                where=self.source.reference,
                fix="give a causal language model here; this one may serve as a reward model",
            )

    @cached_property
    def own_head(self) -> OwnHead | None:
        """The model's own head; None where it is proven to be its output embeddings alone."""
        if "head" not in self.proofs:
            head = OwnHead(self.model, self._joint)
            linear = self.has_weights and head.is_linear(self.model.get_output_embeddings())
            self.proofs["head"] = Proof(OUTPUT_EMBEDDINGS if linear else OWN_FORWARD, 0.0, {})
        way = self.proofs["head"].way
        return None if way == OUTPUT_EMBEDDINGS else OwnHead(self.model, self._joint)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states ``(N, D)`` to vocabulary logits ``(N, V)``, as the model makes them."""
        if self.own_head is not None:
            return self.own_head(hidden)
        head = cast("nn.Linear", self.model.get_output_embeddings())
        return linear(head, hidden.to(head.weight.dtype))

    @property
    def pad_id(self) -> int:
        """The id that stands where a row has no token."""
        return int(self.tokenizer.pad_token_id)  # pyright: ignore[reportArgumentType]

    def recompute(self, contexts: Callable[[], tuple[AbstractContextManager[None], ...]]) -> None:
        """From now on forget each layer's activations, and compute them again when needed.

        Args:
            contexts: gives what to enter for a layer's forward, and for its second one.
        """
        # nothing here is drawn by lot, so that no generator's state is kept
        how = {"use_reentrant": False, "context_fn": contexts, "preserve_rng_state": False}
        self.model.gradient_checkpointing_enable(how)
        self._recomputed = [
            m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)
        ]

    @property
    def recomputes(self) -> bool:
        """Whether layers forget their activations."""
        return bool(self._recomputed)

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Within the block layers forget, where gradients are recorded.

        transformers does so only in a layer that is in training mode; nothing below it is, so
        that no dropout begins.
        """
        try:
            for layer in self._recomputed:
                layer.training = torch.is_grad_enabled()
            yield
        finally:
            for layer in self._recomputed:
                layer.training = False
