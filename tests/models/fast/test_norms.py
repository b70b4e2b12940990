"""Our arithmetic of a norm against each family's own, and where it leaves that alone."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from workbench.models.fast import norms

from ..families import make_family

WIDE = 24


class ScaledRMSNorm(nn.Module):
    """Another formula under such a name."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return 2 * self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


class OutsideRMSNorm(ScaledRMSNorm):
    """Its epsilon stands outside of the root."""

    def forward(self, x):
        return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps)


class BareRMSNorm(nn.Module):
    """The formula; some of its layers have no weight, others get something more."""

    def __init__(self, width, eps=1e-5, scaled=True):
        super().__init__()
        self.eps = eps
        if scaled:
            self.weight = nn.Parameter(torch.ones(width), requires_grad=False)

    def forward(self, x, plus=0.0):
        return (
            getattr(self, "weight", 1) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
            + plus
        )


class OddRMSNorm(nn.Module):
    """It cannot be made from a width and an epsilon."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDE))


def settled(kind, dtype=torch.float32):
    """A family's norm twice: as it computes itself, and as we do."""
    torch.manual_seed(0)
    theirs = kind(WIDE, 1e-5).requires_grad_(False).to(dtype)
    theirs.weight.copy_(torch.randn(WIDE))
    ours = copy.deepcopy(theirs)
    norms.take_over_norms(ours)
    return theirs, ours


def told(norm, x):
    x = x.clone().requires_grad_()
    y = norm(x)
    ramp = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape).sin()
    return y.detach(), *torch.autograd.grad((y * ramp).sum(), x)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen3RMSNorm, Gemma2RMSNorm])
def test_output_and_gradient_are_those_of_the_family(kind):
    theirs, ours = settled(kind)
    assert "forward" in vars(ours)
    x = torch.randn(2, 5, WIDE) * torch.logspace(-3, 2, 5)[:, None]  # eps counts in the first
    for found, known in zip(told(ours, x), told(theirs, x), strict=True):
        assert (found - known).norm() <= 1e-6 * known.norm()
        torch.testing.assert_close(found, known, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_the_formula():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: norms._Norm.apply(x, weight, 1e-3), x)


def test_with_and_without_gradients_it_is_the_same_to_the_bit():
    _, ours = settled(LlamaRMSNorm)
    x = torch.randn(7, WIDE, requires_grad=True)
    with torch.no_grad():
        without = ours(x)
    assert torch.equal(ours(x), without)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=["bf16", "fp64"])
def test_other_precisions_stay_with_the_family(dtype):
    theirs, ours = settled(LlamaRMSNorm, dtype)
    x = torch.randn(3, WIDE, dtype=dtype)
    assert torch.equal(ours(x), theirs(x))


def test_a_weight_that_learns_gets_its_gradient():
    _, ours = settled(LlamaRMSNorm)
    ours.weight.requires_grad_(True)
    ours(torch.randn(3, WIDE)).sum().backward()
    assert ours.weight.grad is not None


@pytest.mark.parametrize(
    "norm", [ScaledRMSNorm(WIDE, 1e-5), OutsideRMSNorm(WIDE, 1e-5), OddRMSNorm()]
)
def test_another_formula_of_such_a_name_is_left_alone(norm):
    norms.take_over_norms(norm)
    assert "forward" not in vars(norm)


def test_a_layer_without_weight_and_a_call_with_more_stay_with_the_family():
    x = torch.randn(3, WIDE)
    bare, whole = BareRMSNorm(WIDE, scaled=False), BareRMSNorm(WIDE)
    norms.take_over_norms(nn.Sequential(bare, whole))
    assert "forward" not in vars(bare)
    assert "forward" in vars(whole)
    assert torch.equal(whole(x, plus=1.0), BareRMSNorm(WIDE)(x, 1.0))


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma 2", "Gemma 3"])
def test_families_are_known(family):
    model = make_family(family).model
    norms.take_over_norms(model)
    named = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm")]
    assert named
    assert all("forward" in vars(m) for m in named)
