"""AdamW with a schedule, clipping and a count of what was skipped."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from accelerate.utils import (  # pyright: ignore[reportMissingTypeStubs]
    InitProcessGroupKwargs,
)
from torch import Tensor, nn

from workbench.errors import ModelError
from workbench.models.base import pick_device
from workbench.models.fast.on_card import on_card
from workbench.settings import RunSettings
from workbench.training.process_group import TEAM_PATIENCE, Team

FIRST_SCALE = 2.0**16
"""What a loss in float16 is multiplied by at first, so that small gradients do not become 0."""
CALM = 2000
"""Finite steps after which that number is doubled again."""


class Stepped(NamedTuple):
    """What one optimiser step did: the gradient norm before clipping (infinite where a number in it
    is not one: too large for float16, or NaN), and the rates used.
    """

    grad_norm: float
    learning_rate: float
    skipped: bool


def make_accelerator(settings: RunSettings) -> Accelerator:
    """The process, device and precision a trainer stands on.

    Raises:
        ConfigError: CUDA is absent.
    """
    device = pick_device(settings.device)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=TEAM_PATIENCE)],
    )


class Optimiser:
    """AdamW over named groups, each following its own peak rate through one schedule.

    Attributes:
        taken: steps so far, skipped ones among them.
        skipped: steps whose gradient was not finite.
        in_a_row: how many of these were the last ones, where no scale can be to blame.
        scale: losses are multiplied by it and gradients divided; 1 but for ``half``.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[nn.Parameter]],
        settings: RunSettings,
        *,
        rates: dict[str, float],
        total_steps: int,
        half: bool = False,
        team: Team | None = None,
        units: Mapping[str, float] | None = None,
    ) -> None:
        """Hold the parameters and their schedule.

        Args:
            groups: parameters by name.
            settings: schedule, clipping and AdamW's own.
            rates: each group's peak learning rate.
            total_steps: where the schedule ends.
            half: activations are float16: scale the loss.
            team: the processes whose gradients are added up before each step.
            units: what a group's weights are counted in, 1 where nothing is said: it learns as if
                each of its weights were the unit times a number, and that number were trained.
        """
        self.settings, self.team = settings, team or Team()
        self.rates = dict(rates)
        self.total_steps = total_steps
        self.taken = 0
        self.skipped = self.in_a_row = self._calm = 0
        self.scale = FIRST_SCALE if half else 1.0
        self.half = half
        self.parameters = [p for parameters in groups.values() for p in parameters]
        tables = {name: [_master(p) for p in parameters] for name, parameters in groups.items()}
        self._trained = [p for table in tables.values() for p in table]
        self.units = {name: (units or {}).get(name, 1.0) for name in tables}
        self.adamw = torch.optim.AdamW(
            [
                {
                    "params": table,
                    "name": name,
                    "weight_decay": settings.weight_decay / self.units[name],
                }
                for name, table in tables.items()
            ],
            lr=0.0,
            eps=settings.adam_epsilon,
            fused=True,  # one pass over each weight and its moments
        )

    def factor(self) -> float:
        """Where the schedule stands: 1 at its peak, 0 after the last step."""
        settings, taken = self.settings, self.taken
        warmup = settings.warmup_steps or math.ceil(settings.warmup_share * self.total_steps)
        if taken < warmup:
            return (taken + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        left = self.total_steps - taken
        return max(0.0, left / max(1, self.total_steps - warmup))

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to take the gradient of."""
        return loss * self.scale if self.half else loss

    def step(self) -> Stepped:
        """Clip, step, and clear gradients; a non-finite gradient is skipped and counted.

        Raises:
            ModelError: gradients were not finite several times in a row.
        """
        self._collect()
        limit = self.settings.max_grad_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self._trained, limit)
        factor = self.factor()
        for group in self.adamw.param_groups:
            group["lr"] = self.rates[group["name"]] * factor * self.units[group["name"]]
        found = float(norm)  # the one number of a step that a card is waited for
        finite = math.isfinite(found)
        if finite:
            self.adamw.step()  # pyright: ignore[reportUnknownMemberType]
            # its one kernel writes into weights unnoticed; what is made of them must see it
            torch.autograd.graph.increment_version(self._trained)
            with torch.no_grad():
                for parameter, master in self._masters():
                    parameter.copy_(master)
        self._count(finite)
        self.adamw.zero_grad(set_to_none=True)
        self.taken += 1
        rate = next(iter(self.rates.values())) * factor
        return Stepped(found if finite else math.inf, rate, not finite)

    def _collect(self) -> None:
        """Add up the gradients of all processes, once, as one flat tensor; take the scale out."""
        for parameter, master in self._masters():
            if parameter.grad is not None:
                master.grad, parameter.grad = parameter.grad.float(), None
        held = [p for p in self._trained if p.grad is not None]
        if self.team.count > 1:
            held = self._trained
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
            flat = torch.cat([part.flatten() for part in parts])
            self.team.add(flat)
            summed = torch.split(flat, [p.numel() for p in held])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            for parameter, part in zip(held, cast("Sequence[Tensor]", summed), strict=True):
                parameter.grad = part.view_as(parameter).to(parameter.dtype)
        if self.half:
            for parameter in held:
                cast("Tensor", parameter.grad).div_(self.scale)
        for group in self.adamw.param_groups:
            unit = self.units[group["name"]]
            for parameter in group["params"] if unit != 1.0 else ():
                if parameter.grad is not None:
                    parameter.grad.mul_(unit)

    def _masters(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Weights in half precision, and what is trained in their place."""
        both = zip(self.parameters, self._trained, strict=True)
        return [(parameter, master) for parameter, master in both if master is not parameter]

    def _count(self, finite: bool) -> None:
        """Keep count of what was skipped; move the scale.

        Raises:
            ModelError: too many in a row.
        """
        if finite:
            self.in_a_row, self._calm = 0, self._calm + 1
            if self.half and self._calm >= CALM:
                self.scale, self._calm = self.scale * 2.0, 0
            return
        self.skipped, self._calm = self.skipped + 1, 0
        if self.half and self.scale > 1.0:  # too large a scale overflows: no fault yet
            self.scale /= 2.0
            return
        self.in_a_row += 1
        most = self.settings.max_skipped_steps
        if most and self.in_a_row >= most:
            rates = ", ".join(f"{name} {rate:g}" for name, rate in self.rates.items())
            raise ModelError(
                f"the gradient was not finite {self.in_a_row} times in a row: nothing is learned",
                where=f"optimiser step {self.taken + 1}, learning rate {rates}",
                fix="lower the learning rate, or set dtype='float32' or 'bfloat16'; resume goes on "
                "from the last checkpoint",
            )

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on exactly; tensors are copies on the CPU."""
        state = {
            "adamw": self.adamw.state_dict(),  # AdamW goes on writing into its own
            "taken": self.taken,
            "skipped": self.skipped,
            "rates": dict(self.rates),
            "units": dict(self.units),
            "masters": [master.data for _, master in self._masters()],
            "in_a_row": self.in_a_row,
            "scale": [self.scale, self._calm],
        }
        return copied(state)

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.adamw.load_state_dict(state["adamw"])
        self.taken, self.skipped = state["taken"], state["skipped"]
        self.rates, self.units = dict(state["rates"]), dict(state["units"])
        for (_, master), saved in zip(self._masters(), state["masters"], strict=True):
            master.data.copy_(saved)
        self.in_a_row = state["in_a_row"]
        self.scale, self._calm = state["scale"]


def _master(parameter: nn.Parameter) -> nn.Parameter:
    """What is trained in a weight's place: itself, or of one in half precision a float32 copy.

    In bfloat16 a weight of 1 moves by no less than 1/256, so that small steps would be lost; in
    float16 the squares of small gradients are 0, by which AdamW divides.
    """
    if parameter.dtype not in (torch.float16, torch.bfloat16):
        return parameter
    return nn.Parameter(parameter.detach().float())


def plain_numbers(table: Tensor) -> list[Any]:
    """A table as plain numbers: in one copy, which a card is waited for."""
    return cast("Any", table).tolist()


def copied(value: Any) -> Any:
    """Nested values with every tensor copied to the CPU, from a card all in one piece."""
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in _tensors(value):
        found.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    copies: dict[int, Tensor] = {}
    for (device, _), some in found.items():
        if on_card(device):
            flat = torch.cat([tensor.detach().flatten() for tensor in some]).to("cpu", copy=True)
            parts: list[Tensor] = []
            for own in some:
                parts.append(flat[: own.numel()].view(own.shape))
                flat = flat[own.numel() :]
        else:
            parts = [tensor.detach().to("cpu", copy=True) for tensor in some]
        copies |= {id(own): part for own, part in zip(some, parts, strict=True)}
    return _replaced(value, copies)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list):
        items: Iterable[Any] = cast("Any", value)
        for item in cast("Any", value).values() if isinstance(value, dict) else items:
            yield from _tensors(item)


def _replaced(value: Any, by: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return by[id(value)]
    if isinstance(value, dict):
        return {key: _replaced(item, by) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_replaced(item, by) for item in cast("list[Any]", value)]
    return value
