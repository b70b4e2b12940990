"""What a model makes of its last hidden states: its own forward, with the trunk left out.

Between the trunk and the logits models multiply, divide, cap or shift, each by settings of its own.
None of that is rebuilt here: the model's forward runs, and where it calls its trunk it is handed
hidden states. Only where that is proven to be one linear map is the map called by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from transformers.utils import ModelOutput

ROWS = 8
"""Hidden states, drawn by lot, that a head is tried on: as they are, and none at all."""
LARGE = 1000.0
"""They are also tried where the largest logit is this: every cap shows there."""
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""How far two ways to one product may be apart, as a share of the largest logit."""


class Joint(NamedTuple):
    """Where a model's forward hands hidden states to what comes after its trunk.

    Attributes:
        module: the outermost module that gives them.
        output: what it gave for a few tokens.
    """

    module: nn.Module
    output: Any


@torch.no_grad()
def joint_of(model: Any, ids: Tensor) -> Joint | None:
    """The joint of a model, seen in a forward of ids ``(1, T)``; None where there is none."""
    seen: list[Joint] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if module is not model and isinstance(getattr(output, "last_hidden_state", None), Tensor):
            seen.append(Joint(module, output))

    hook = register_module_forward_hook(note)
    try:
        model(input_ids=ids)
    finally:
        hook.remove()
    return seen[-1] if seen else None


class OwnHead:
    """Hidden states ``(N, D)`` to logits ``(N, V)`` by the model's own forward.

    Args:
        model: a causal language model.
        joint: where its trunk ends.
    """

    def __init__(self, model: Any, joint: Joint) -> None:
        self.model, self.joint = model, joint

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits; gradients pass."""
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        with _handing_out(self.joint, hidden[None]):
            return cast("Tensor", self.model(input_ids=ids).logits)[0]

    @torch.no_grad()
    def is_linear(self, head: nn.Module | None) -> bool:
        """Whether it does what a linear layer does, to rounding, at any size of logits."""
        if not isinstance(head, nn.Linear):
            return False
        like = cast("Tensor", self.joint.output.last_hidden_state)
        width, draw = like.shape[-1], torch.Generator().manual_seed(0)
        if width != head.in_features:
            return False
        hidden = torch.randn(ROWS, width, generator=draw).to(like)
        largest = float(head(hidden.to(head.weight.dtype)).float().abs().max())
        for scale in (0.0, 1.0, LARGE / max(largest, 1e-6)):
            some = hidden * scale
            own, plain = self(some).double(), head(some.to(head.weight.dtype)).double()
            if own.shape != plain.shape:
                return False
            room = ROUNDING[hidden.dtype] * float(plain.abs().max())
            if not float((own - plain).abs().max()) <= room:
                return False
        return True


@contextmanager
def _handing_out(joint: Joint, hidden: Tensor) -> Iterator[None]:
    """Within the block the trunk computes nothing and gives these hidden states ``(1, N, D)``."""
    before = vars(joint.module).get("forward")
    kept = dict.fromkeys(joint.output) if isinstance(joint.output, ModelOutput) else {}
    output = type(joint.output)(**{**kept, "last_hidden_state": hidden})  # nothing else as long
    joint.module.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del joint.module.forward
        if before is not None:
            joint.module.forward = before
