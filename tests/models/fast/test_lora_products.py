"""Our arithmetic of a LoRA layer against PEFT's own, and where it leaves that alone."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from workbench.models.fast import lora_products

WIDE, LONG = 64, 96


class Holder(nn.Module):
    """One layer, by the name that adapters are put on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def dense(dtype):
    return nn.Linear(WIDE, LONG).to(dtype)


def conv(dtype):
    return Conv1D(LONG, WIDE).to(dtype)


def four_bit(dtype):
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(WIDE, LONG, compute_dtype=dtype, quant_type="nf4").to(dtype)
    layer.load_state_dict(dense(dtype).state_dict())
    layer.support_avx512bf16_for_cpu = False
    return layer.to("cpu")


def adapted(make, dtype=torch.float32, **config):
    """The same adapted layer twice: as PEFT computes it, and as we do."""
    torch.manual_seed(0)
    holder = Holder(make(dtype)).requires_grad_(False)
    config = {"r": 8, "lora_alpha": 24, "target_modules": ["inner"], **config}
    theirs = get_peft_model(holder, LoraConfig(init_lora_weights=False, **config))
    ours = copy.deepcopy(theirs)
    for module in ours.modules():
        if isinstance(module, LoraLayer):
            lora_products.take_over(module)
    return theirs, ours


def layer_of(model):
    return next(m for m in model.modules() if isinstance(m, LoraLayer))


def told(model, x):
    """Output, gradient at the input, gradients of the adapter."""
    x = x.clone().requires_grad_()
    y = model(x)
    weights = [p for p in model.parameters() if p.requires_grad]
    ramp = torch.arange(y.numel(), dtype=torch.float32).reshape(y.shape).sin().to(y.dtype)
    return y.detach(), *torch.autograd.grad((y * ramp).sum(), [x, *weights])


@pytest.mark.parametrize("make", [dense, conv, four_bit])
@pytest.mark.parametrize(
    ("dtype", "off"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"]
)
def test_output_and_gradients_are_those_of_peft(make, dtype, off):
    theirs, ours = adapted(make, dtype)
    x = torch.randn(2, 5, WIDE, generator=torch.Generator().manual_seed(1)).to(dtype)
    for found, known in zip(told(ours, x), told(theirs, x), strict=True):
        assert found.dtype == known.dtype
        assert (found - known).norm() <= off * known.norm()


@pytest.mark.parametrize("make", [dense, four_bit])
def test_an_adapter_that_adds_nothing_is_the_adapter_switched_off_to_the_bit(make):
    """The policy's KL from the reference is exactly 0 before the first update."""
    theirs, ours = adapted(make)
    x = torch.randn(2, 3, WIDE)
    layer_of(ours).lora_B["default"].weight.data.zero_()
    nothing = ours(x)
    layer_of(ours)._disable_adapters = True
    assert torch.equal(nothing, ours(x))
    torch.testing.assert_close(nothing, layer_of(theirs).get_base_layer()(x))


def test_with_the_adapter_off_gradients_still_pass():
    _, ours = adapted(dense)
    layer_of(ours)._disable_adapters = True
    x = torch.randn(3, WIDE, requires_grad=True)
    ours(x).sum().backward()
    torch.testing.assert_close(x.grad, layer_of(ours).base_layer.weight.sum(0).expand(3, -1))


def test_a_base_that_is_watched_is_called():
    _, ours = adapted(dense)
    seen = []
    layer_of(ours).base_layer.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        ours(torch.randn(3, WIDE))
    assert seen == [1]


def test_no_gradient_is_made_where_none_is_wanted():
    _, ours = adapted(dense)
    x = torch.randn(3, WIDE)  # as after frozen embeddings
    ours(x).sum().backward()
    layer_of(ours).requires_grad_(False)
    assert x.grad is None
    assert not ours(x).requires_grad


@pytest.mark.parametrize("config", [{"use_dora": True}, {"lora_bias": True}], ids=" ".join)
def test_other_kinds_of_lora_stay_with_peft(config):
    theirs, ours = adapted(dense, **config)
    assert "forward" not in vars(layer_of(ours))
    x = torch.randn(3, WIDE)
    assert torch.equal(ours(x), theirs(x))


def test_two_adapters_at_once_and_a_merged_one_stay_with_peft():
    theirs, ours = adapted(dense)
    x = torch.randn(3, WIDE)
    for model in (theirs, ours):
        layer_of(model).merge()
    assert torch.equal(ours(x), theirs(x))


def test_settling_twice_is_settling_once():
    _, ours = adapted(dense)
    before = layer_of(ours).forward
    lora_products.take_over(layer_of(ours))
    assert layer_of(ours).forward is before


def test_gradients_are_right_after_a_forward_without_them():
    _, ours = adapted(four_bit)
    x = torch.randn(2, 5, WIDE)
    before = told(ours, x)
    with torch.no_grad():
        ours.eval()(x)
    for found, known in zip(told(ours, x), before, strict=True):
        assert torch.equal(found, known)
