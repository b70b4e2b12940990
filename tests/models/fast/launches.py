"""Kernels that a card would start, counted on a CPU by what torch dispatches.

Two models that differ in depth alone tell what one layer takes. What a card runs otherwise than a
CPU is sent down the card's way, but for torch's fused norm, which no CPU has: one stands in here.
"""

from collections import Counter
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.models.encoding import Encoded
from workbench.models.fast import on_card
from workbench.models.fast.decoding import SlotDecoder
from workbench.models.fast.dense_weights import dense
from workbench.models.forward import lay, response_hidden, response_logprobs
from workbench.models.roles import Roles

from ..tiny import load, make_model, tiny_settings

VIEWS = frozenset(
    (
        *("view", "_unsafe_view", "t", "transpose", "expand", "unsqueeze", "squeeze", "slice"),
        *("select", "split", "split_with_sizes", "unsafe_split_with_sizes", "unsafe_split"),
        *("detach", "alias", "permute", "as_strided", "unbind", "_reshape_alias", "unflatten"),
        *("empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided"),
        *("lift_fresh", "_local_scalar_dense"),
    )
)
SEVERAL = {"gemm_4bit": 4, "nonzero": 4, "masked_scatter": 3}
"""Kernels of an operator that starts more than one; of 4 bits the way for many rows."""
ROWS = [Encoded([5, 6, 7], [8, 9, 1]), Encoded([5, 6, 7], [10, 1]), Encoded([9, 7], [5, 6, 1])]


def kernels(name: str) -> int:
    """What one operator starts; views and new room start nothing."""
    base = name.split("::")[-1].split(".")[0]
    if base in VIEWS:
        return 0
    if "attention" in base:
        return 3 if "backward" in base else 1
    return SEVERAL.get(base, 1)


class Counted(TorchDispatchMode):
    """Within the block operators are counted by name, in kernels."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        self.found[name] += kernels(name)
        return func(*args, **(kwargs or {}))


@torch.library.custom_op("counted::rms_norm", mutates_args=())
def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return (wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt() * weight.float()).to(x)


@torch.library.custom_op("counted::rms_norm_backward", mutates_args=())
def _norm_backward(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float
) -> torch.Tensor:
    x, g = x.float(), gradient.float() * weight.float()
    r = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (r * g - x * r**3 * (g * x).mean(-1, keepdim=True)).to(gradient)


class FusedNorm(torch.autograd.Function):
    """torch's norm as a card has it: one kernel each way."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return _norm(x, weight, eps)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return _norm_backward(gradient, x, weight, ctx.eps), None, None


def as_on_a_card(monkeypatch):
    """From here on a CPU is taken for a card."""
    monkeypatch.setattr(on_card, "CARDS", frozenset(("cpu",)))
    monkeypatch.setattr(
        torch.nn.functional, "rms_norm", lambda x, _, weight, eps: FusedNorm.apply(x, weight, eps)
    )


@contextmanager
def counting(into, name):
    """Within the block what is started is counted under a name."""
    with Counted() as mode:
        yield
    into[name] = mode.found


def one_pass(folder, layers, *, recompute=False, unpacks=False):
    """Kernels of a policy's forward and backward, and of a decode step, at so many layers."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = make_model(folder, num_hidden_layers=layers, **heads)
    how = {"quantization": "nf4", "dtype": "bfloat16"}
    base = load(model, **how)
    roles = Roles(base, tiny_settings(gradient_checkpointing=recompute, **how), unpacks=unpacks)
    roles.add("policy", trainable=True)
    found = {}
    with roles.acting("policy"):
        for _ in range(2):  # the first time fills what is kept
            batch = lay(ROWS, base)
            with counting(found, "forward"):
                hidden = response_hidden(base, batch)
            loss = response_logprobs(base, batch, temperature=1.0, hidden=hidden).sum()
            with counting(found, "backward"):
                loss.backward()
            roles.base.model.zero_grad()
    with torch.no_grad(), dense(roles, "policy"):
        made = SlotDecoder(base, [[5, 6, 7], [8, 9]], length=4, graphs=True)
        token = made.start().argmax(-1)
        made.step(token)
        with counting(found, "decode"):
            made.step(token)
    return found


def a_layer(folder, *, recompute=False, **how):
    """Kernels that one layer starts: forward, backward (recompute in it), a decode step."""
    few, many = (one_pass(folder / f"{n}", n, recompute=recompute, **how) for n in (2, 4))
    return {
        phase: Counter({op: (many[phase][op] - few[phase][op]) / 2 for op in many[phase]})
        for phase in many
    }


def table(layer):
    """The count as text: a line a phase, and its operators."""
    lines = []
    for phase, ops in layer.items():
        lines.append(f"{phase}: {sum(ops.values()):g}")
        lines += [f"    {n:4g} {op}" for op, n in ops.most_common() if n]
    return "\n".join(lines)
