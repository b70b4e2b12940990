"""Products with frozen weights: by hand, with gradients, and the same by either library."""

import pytest
import torch
from torch import nn

from workbench.models.fast import frozen_products


def layer(bias):
    made = nn.Linear(2, 3, bias=bias).requires_grad_(False)
    made.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]]))
    if bias:
        made.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))
    return made


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_output_and_gradient_by_hand(monkeypatch, onednn, bias):
    monkeypatch.setattr(frozen_products, "ONEDNN", onednn and frozen_products.ONEDNN)
    rows = torch.tensor([[1.0, 1.0], [0.0, 2.0]], requires_grad=True)
    y = frozen_products.linear(layer(bias), rows)
    known = torch.tensor([[3.0, -1.0, 3.0], [4.0, -2.0, 0.0]])
    if bias:
        known += torch.tensor([10.0, 20.0, 30.0])
    assert torch.equal(y, known)
    (y * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    # 1 * (1, 2) + 10 * (0, -1) + 100 * (3, 0), for each row
    assert torch.equal(rows.grad, torch.tensor([[301.0, -8.0], [301.0, -8.0]]))


@pytest.mark.parametrize("shape", [(0,), (4, 5), (7,)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_it_is_torchs_own_linear_for_every_shape_and_precision(shape, dtype):
    torch.manual_seed(0)
    own = nn.Linear(16, 24).to(dtype).requires_grad_(False)
    rows = torch.randn(*shape, 16, dtype=dtype)
    found = frozen_products.linear(own, rows)
    assert found.dtype == dtype
    torch.testing.assert_close(found, own(rows))


def test_a_layer_that_learns_keeps_its_gradient():
    own = nn.Linear(2, 3)
    frozen_products.linear(own, torch.ones(4, 2)).sum().backward()
    assert torch.equal(own.weight.grad, torch.full((3, 2), 4.0))


def test_this_torch_has_the_operator():
    """Else all is right, and slower: look for its new name."""
    assert frozen_products.ONEDNN
