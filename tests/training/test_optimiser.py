import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import workbench.training.optimiser as module
from workbench.errors import ConfigError, ModelError
from workbench.models.fast import on_card
from workbench.settings import SFTSettings
from workbench.training.optimiser import Optimiser, copied, make_accelerator

from ..models.tiny import tiny_settings


def make(*, steps=10, rates=None, values=(1.0, 1.0), half=False, units=None, **settings):
    a, b = (nn.Parameter(torch.tensor([v])) for v in values)
    optimiser = Optimiser(
        {"policy": [a], "value": [b]},
        tiny_settings(SFTSettings, **settings),
        rates=rates or {"policy": 0.1, "value": 0.2},
        total_steps=steps,
        half=half,
        units=units,
    )
    return optimiser, a, b


def take(optimiser, *gradients):
    for parameter, gradient in zip(optimiser.parameters, gradients, strict=True):
        parameter.grad = torch.tensor([float(gradient)])
    return optimiser.step()


def test_the_rate_falls_in_a_line_to_zero_after_the_last_step():
    optimiser, *_ = make(steps=4)
    rates = [take(optimiser, 1, 1).learning_rate for _ in range(4)]
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert optimiser.factor() == 0.0


def test_warmup_rises_first():
    """2 steps up (1/2, 2/2), then 4 down: 4/4, 3/4, 2/4, 1/4."""
    optimiser, *_ = make(steps=6, warmup_steps=2)
    rates = [take(optimiser, 1, 1).learning_rate for _ in range(6)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.075, 0.05, 0.025])


def test_warmup_may_be_a_share_of_the_steps():
    """0.3 of 5 steps is 2 of them, rounded up; a number of steps comes before a share."""
    optimiser, *_ = make(steps=5, warmup_share=0.3)
    rates = [take(optimiser, 1, 1).learning_rate for _ in range(5)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.2 / 3, 0.1 / 3])
    optimiser, *_ = make(steps=5, warmup_share=0.3, warmup_steps=1)
    assert take(optimiser, 1, 1).learning_rate == pytest.approx(0.1)


def test_constant_stays():
    optimiser, *_ = make(steps=3, schedule="constant")
    assert [take(optimiser, 1, 1).learning_rate for _ in range(5)] == pytest.approx([0.1] * 5)


def test_each_group_follows_its_own_rate():
    """Adam's first step is rate * sign(gradient), whatever the gradient's size."""
    optimiser, a, b = make(adam_epsilon=1e-12)
    take(optimiser, 5, -3)
    assert (float(a), float(b)) == pytest.approx((1 - 0.1, 1 + 0.2), abs=1e-5)


def test_a_group_in_another_unit_learns_as_the_number_of_units_would():
    """b = 1 is 4 quarters: a gradient of 8 is 2 a quarter, and Adam moves 0.2 quarters."""
    optimiser, a, b = make(adam_epsilon=1e-12, units={"value": 0.25}, max_grad_norm=0.0)
    done = take(optimiser, 0, 8)
    assert (done.grad_norm, done.learning_rate) == (pytest.approx(2.0), pytest.approx(0.1))
    assert (float(a), float(b)) == pytest.approx((1.0, 1 - 0.2 * 0.25), abs=1e-6)
    shrunk, _, b = make(units={"value": 0.25}, weight_decay=0.5)
    take(shrunk, 0, 0)
    assert float(b) == pytest.approx(1 - 0.2 * 0.5)  # the same share of a weight in any unit
    other, *_ = make()
    other.load(shrunk.state())
    assert other.units == {"policy": 1.0, "value": 0.25}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_learn_as_float32_ones_do(dtype):
    """A rate of 1e-4 moves a bfloat16 weight of 1 at no single step: half its spacing is 2e-3."""
    rates = {"policy": 1e-4, "value": 1e-4}
    weights = nn.Parameter(torch.ones(1, dtype=dtype)), nn.Parameter(torch.ones(1))
    both = []
    for weight in weights:
        few = tiny_settings(SFTSettings, schedule="constant")
        optimiser = Optimiser({"policy": [weight]}, few, rates=rates, total_steps=100)
        for step in range(60):
            weight.grad = torch.full_like(weight, 1e-5)
            if step == 30:  # another process goes on from here
                state, optimiser = (
                    optimiser.state(),
                    Optimiser({"policy": [weight]}, few, rates=rates, total_steps=100),
                )
                optimiser.load(state)
            optimiser.step()
        both.append(optimiser._trained[0].item())
    assert both[0] == pytest.approx(both[1], abs=1e-6) and both[1] == pytest.approx(0.994, abs=1e-5)
    assert weights[0].dtype == dtype
    assert weights[0].item() == torch.tensor(both[0]).to(dtype).item() < 1.0


def test_the_norm_is_of_all_gradients_before_clipping():
    optimiser, *_ = make(max_grad_norm=1.0)
    done = take(optimiser, 3, 4)
    assert (done.grad_norm, done.skipped) == (pytest.approx(5.0), False)


def test_clipping_scales_all_groups_together():
    """Norm 5 clipped to 1: gradients 0.6 and 0.8, read off Adam's first moment (1 - 0.9) g."""
    optimiser, a, b = make(max_grad_norm=1.0)
    take(optimiser, 3, 4)
    moments = [float(optimiser.adamw.state[p]["exp_avg"]) for p in (a, b)]
    assert moments == pytest.approx([0.06, 0.08], rel=1e-5)


def test_no_limit_clips_nothing():
    optimiser, a, _ = make(max_grad_norm=0.0)
    take(optimiser, 30, 40)
    assert float(optimiser.adamw.state[a]["exp_avg"]) == pytest.approx(3.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("limit", [1.0, 0.0])
def test_a_gradient_that_is_not_finite_is_skipped_and_counted(bad, limit):
    optimiser, a, b = make(max_grad_norm=limit)
    done = take(optimiser, bad, 1)
    assert done.skipped
    assert not math.isfinite(done.grad_norm)
    assert (float(a), float(b)) == (1.0, 1.0)
    assert (optimiser.skipped, optimiser.taken) == (1, 1)
    assert a.grad is None
    assert not take(optimiser, 1, 1).skipped
    assert optimiser.skipped == 1
    assert math.isfinite(float(a))


def test_epsilon_and_weight_decay_are_the_settings():
    optimiser, *_ = make(adam_epsilon=1e-5, weight_decay=0.01)
    assert {g["eps"] for g in optimiser.adamw.param_groups} == {1e-5}
    assert {g["weight_decay"] for g in optimiser.adamw.param_groups} == {0.01}


def test_a_state_taken_earlier_does_not_move_with_later_steps():
    """A stop inside an update goes back to the state taken at its beginning."""
    optimiser, a, _ = make()
    take(optimiser, 1, 1)
    state, weight = optimiser.state(), a.detach().clone()
    moments = {k: v.clone() for k, v in optimiser.adamw.state[a].items()}
    take(optimiser, 7, 7)
    optimiser.load(state)
    a.data.copy_(weight)
    assert optimiser.taken == 1
    for name, value in moments.items():
        assert torch.equal(optimiser.adamw.state[a][name], value), name


def test_a_state_from_before_the_first_step_has_no_moments():
    optimiser, a, _ = make()
    state = optimiser.state()
    take(optimiser, 1, 1)
    optimiser.load(state)
    assert optimiser.taken == 0
    assert not optimiser.adamw.state[a]


def test_another_process_goes_on_exactly():
    whole, *parameters = make(steps=6)
    for g in (1, -2, 3):
        take(whole, g, g)
    other, *others = make(steps=6)
    other.load(torch.load(_saved(whole.state()), weights_only=True))
    for mine, theirs in zip(others, parameters, strict=True):
        mine.data.copy_(theirs.data)
    assert take(whole, 0.5, 1) == take(other, 0.5, 1)
    assert [float(p) for p in parameters] == [float(p) for p in others]


def _saved(state):
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def test_changed_rates_are_part_of_the_state():
    optimiser, *_ = make()
    optimiser.rates["policy"] = 0.5
    other, *_ = make()
    other.load(optimiser.state())
    assert other.rates == {"policy": 0.5, "value": 0.2}


@pytest.mark.parametrize("half", [False, True])
def test_several_in_a_row_that_are_not_finite_end_the_run(half):
    """A scale may be to blame for the first 16 in float16: 2^16 halves to 1 in as many steps."""
    optimiser, *_ = make(max_skipped_steps=3, half=half)
    for _ in range(16 if half else 0):
        take(optimiser, math.nan, 1)
    take(optimiser, math.inf, 1)
    take(optimiser, 1, 1)
    take(optimiser, math.nan, 1)
    take(optimiser, math.nan, 1)
    with pytest.raises(ModelError, match="not finite 3 times in a row") as caught:
        take(optimiser, math.nan, 1)
    assert "learning rate policy 0.1, value 0.2" in caught.value.where and caught.value.fix


def test_any_number_may_be_skipped_where_no_limit_is_set():
    optimiser, *_ = make(max_skipped_steps=0)
    for _ in range(9):
        assert take(optimiser, math.nan, 1).skipped


def test_float16_losses_are_scaled_and_gradients_are_not():
    """2^16 times the loss; the gradient that clipping sees is the loss's own."""
    optimiser, a, b = make(half=True)
    loss = 3.0 * a + 4.0 * b
    optimiser.scaled(loss.sum()).backward()
    assert float(a.grad) == 3.0 * 2**16
    assert optimiser.step().grad_norm == pytest.approx(5.0)


def test_the_scale_halves_where_it_overflows_and_doubles_when_all_is_calm(monkeypatch):
    monkeypatch.setattr(module, "CALM", 3)
    optimiser, *_ = make(half=True)
    take(optimiser, math.inf, 1)
    assert (optimiser.scale, optimiser.skipped, optimiser.in_a_row) == (2**15, 1, 0)
    for _ in range(3):
        take(optimiser, 1, 1)
    assert optimiser.scale == 2**16
    other, *_ = make(half=True)
    take(optimiser, math.inf, 1)
    take(optimiser, 1, 1)
    other.load(optimiser.state())
    assert other.scale == 2**15
    take(other, 1, 1)
    take(other, 1, 1)
    assert other.scale == 2**16  # calm steps are counted on


def test_cuda_that_is_absent_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="CUDA was asked for"):
        make_accelerator(SFTSettings(device="cuda"))


def test_the_accelerator_is_the_cpu_where_it_was_asked_for():
    accelerator = make_accelerator(SFTSettings(device="cpu"))
    assert accelerator.device.type == "cpu"
    assert accelerator.mixed_precision == "no"


def test_from_a_card_a_state_comes_in_one_piece_a_precision(monkeypatch):
    """However many tensors it has: each copy is waited for."""
    monkeypatch.setattr(on_card, "CARDS", frozenset(("cpu",)))
    wide, long = torch.arange(6.0).view(2, 3), torch.tensor(7.0)
    half = torch.ones(4, dtype=torch.bfloat16)
    value = {"a": [wide, half], "b": {"step": long, "kept": "text", "number": 3}}
    copies = []

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            copies.extend(["copy"] * (func.name() == "aten::_to_copy"))
            return func(*args, **(kwargs or {}))

    with Watched():
        found = copied(value)
    assert len(copies) == 2
    wide.zero_()
    assert found["a"][0].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert (found["b"], found["a"][1].dtype) == ({**value["b"], "step": 7.0}, torch.bfloat16)
