"""Settings that fit a card and a model together, by name: ``wb.train_ppo(..., preset="t4-0.5b")``.

A preset changes only what the shape asks for: how much is in memory at once, and how much of an
update's time goes into each answer. What is given beside it counts. Learning rates stay "auto".
Each has the memory and the minutes that are planned for it, on one card and one published shape.
"""

from typing import Any, NamedTuple

from workbench.errors import ConfigError, nearest
from workbench.model_shapes import (
    A10,
    A100,
    CPU,
    LLAMA_8B,
    QWEN_05B,
    QWEN_7B,
    T4,
    TINY_CHAT,
    Card,
    Lengths,
    Shape,
    update_seconds,
)
from workbench.settings import PPOSettings


class Planned(NamedTuple):
    """What a preset is planned to take: computed, not measured.

    Attributes:
        card: on which.
        shape: with which model.
        lengths: mean tokens of prompts and answers, for the minutes; memory is planned for the
            longest.
        gb: most of any phase, as ``wb.plan`` has it, but for the dense copy to train on, which
            fills what is free; a test plans it again. [10⁹ bytes]
        dense: whether that plan has room for the dense copy to sample with.
    """

    card: Card
    shape: Shape
    lengths: Lengths
    gb: float
    dense: bool


class Preset(NamedTuple):
    """One shape.

    Attributes:
        card: what it is meant for.
        model: what size of model.
        settings: of ``PPOSettings``, where they differ from the defaults.
        planned: what it takes.
    """

    card: str
    model: str
    settings: dict[str, Any]
    planned: Planned

    @property
    def minutes(self) -> float:
        """Of the whole run, planned from bytes and operations (:func:`update_seconds`)."""
        settings, plan = PPOSettings.from_dict(self.settings), self.planned
        seconds = update_seconds(plan.shape, plan.card, settings, plan.lengths, dense=plan.dense)
        return settings.steps * seconds.total / 60

    @property
    def basis(self) -> str:
        """What its figures are, and what they are for."""
        on, (prompt, answer) = self.planned, self.planned.lengths
        return (
            f"planned, not measured: {on.shape.name} on {on.card.name}, prompts of {prompt} and "
            f"answers of {answer} tokens"
        )


PRESETS: dict[str, Preset] = {
    "cpu-tiny": Preset(
        "a laptop, no GPU",
        "1 to 10 M, such as builtin:tiny-chat",
        {},
        Planned(CPU, TINY_CHAT, Lengths(16, 26), 0.308, dense=True),
    ),
    "t4-0.5b": Preset(
        "T4, 15 GB usable, float16",
        "0.5 B, such as Qwen2.5-0.5B-Instruct",
        {
            "steps": 200,
            "batch_size": 64,
            "epochs": 1,  # scoring and training take most of the time on this card
            "mini_batches": 2,
            "response_length": 128,
            "max_length": 640,
            "micro_batch_tokens": 5120,
            "gradient_checkpointing": True,
            "checkpoint_every": 10,
            "watch_every": 10,
        },
        Planned(T4, QWEN_05B, Lengths(256, 128), 3.3, dense=True),
    ),
    "24gb-7b": Preset(
        "24 GB, bfloat16 (3090, 4090, L4, A10)",
        "7 to 8 B, such as Qwen2.5-7B-Instruct",
        {
            "steps": 150,
            "batch_size": 64,
            "epochs": 1,
            "mini_batches": 2,
            "response_length": 256,
            "max_length": 1024,
            "micro_batch_tokens": 2560,
            "gradient_checkpointing": True,
            "checkpoint_every": 5,
            "watch_every": 10,
        },
        Planned(A10, QWEN_7B, Lengths(384, 256), 11.3, dense=False),
    ),
    "80gb-8b": Preset(
        "80 GB, bfloat16 (A100, H100)",
        "7 to 8 B, such as Llama-3.1-8B-Instruct",
        {
            "steps": 200,
            "batch_size": 128,
            "epochs": 1,
            "mini_batches": 4,
            "response_length": 512,
            "max_length": 2048,
            "micro_batch_tokens": 16384,
            "gradient_checkpointing": True,
            "checkpoint_every": 10,
            "watch_every": 10,
        },
        Planned(A100, LLAMA_8B, Lengths(768, 512), 41.8, dense=True),
    ),
}


def preset_settings(name: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    """A preset's settings with those a person gave over them.

    Raises:
        ConfigError: there is no such preset; all are listed.
    """
    if name is None:
        return changes
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset called {name}",
            where="preset",
            fix=f"{nearest(name, PRESETS)}choose one of {', '.join(PRESETS)}; "
            "wb.presets() shows them",
        )
    return {**PRESETS[name].settings, **changes}


def rounded(minutes: float) -> float:
    """In two digits: an estimate has no more."""
    return float(f"{minutes:.2g}")
