import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.events import Event, NoControls, Place, Progress, StopRequested
from workbench.models.roles import Roles

from ..models.tiny import load, make_model, tiny_settings, user

PROMPTS = [user(text) for text in ("a b", "c", "d e f", "g h", "i", "j k l m")]
TIMED = ("time/", "memory/", "tokens_per_second", "pairs_per_second")


def fill(roles: Roles, name: str, seed: int, std: float = 0.1) -> None:
    """Make an adapter say something: a fresh one adds nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in roles.parameters(name):
            table.copy_(std * torch.randn(table.shape, generator=generator))


def make_adapter(folder: Path, model: Path, seed: int, *, reward: bool = False) -> Path:
    """A policy's adapter, or a reward model with head and normalisation, without training."""
    roles = Roles(load(model), tiny_settings())
    roles.add("role", trainable=False)
    fill(roles, "role", seed)
    if reward:
        roles.add_head("role", trainable=False, seed=seed)
    task = "SEQ_CLS" if reward else "CAUSAL_LM"
    roles.save("role", folder, task=task, extra={"kind": "reward" if reward else "sft"})
    if reward:
        (folder / "reward.json").write_text(json.dumps({"mean": 0.25, "std": 1.5}))
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def reward(tiny, tmp_path_factory) -> str:
    """A reward model on the tiny base."""
    return str(make_adapter(tmp_path_factory.mktemp("reward"), tiny, 11, reward=True))


@pytest.fixture(scope="session")
def tuned(tiny, tmp_path_factory) -> str:
    """An adapter as an SFT run leaves it."""
    return str(make_adapter(tmp_path_factory.mktemp("tuned"), tiny, 12))


class Steering(NoControls):
    """Controls that a test writes down beforehand.

    Args:
        stop_at: raises at the safe point of this number, counted from 1.
        changes: live settings by step.
        save_at: asks for a checkpoint after these steps.
    """

    def __init__(
        self,
        stop_at: int | None = None,
        changes: dict[int, dict[str, Any]] | None = None,
        save_at: tuple[int, ...] = (),
    ) -> None:
        self.stop_at, self.given, self.save_at = stop_at, changes or {}, save_at
        self.safe_points = self.asked = 0

    def safe_point(self) -> None:
        self.safe_points += 1
        if self.safe_points == self.stop_at:
            raise StopRequested

    def changes(self, step: int) -> dict[str, Any]:
        return self.given.pop(step, {})

    def save_requested(self) -> bool:
        self.asked += 1
        return self.asked in self.save_at


@pytest.fixture
def place(tmp_path) -> Callable[..., Place]:
    """A place to train in, by name; the same name is the same folder."""

    def make(name: str = "run", controls: Any = None) -> Place:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Place(folder, controls or NoControls(), lambda: {"metrics.jsonl": 7})

    return make


def metrics(events: list[Event]) -> list[dict[str, float | None]]:
    """What was logged, without what depends on the clock."""
    return [
        {k: v for k, v in event.metrics.items() if not k.startswith(TIMED)}
        for event in events
        if isinstance(event, Progress)
    ]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All weights below a folder, by path."""
    found = sorted(folder.rglob("*.safetensors"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def forget_after(folder: Path, step: int) -> None:
    """As if the process had died right after the checkpoint of this step."""
    shutil.rmtree(folder / "final", ignore_errors=True)
    for path in (folder / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
