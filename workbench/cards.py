"""Settings that fit a card and a model together, by name: ``wb.train_ppo(..., preset="t4-0.5b")``.

A preset changes only what the shape asks for: how much is in memory at once, and how much of an
update's time goes into each answer. What is given beside it counts. Learning rates stay "auto".
"""

from typing import Any, NamedTuple

from workbench.errors import ConfigError


class Preset(NamedTuple):
    """One shape.

    Attributes:
        card: what it is meant for.
        model: what size of model.
        settings: of ``PPOSettings``, where they differ from the defaults.
    """

    card: str
    model: str
    settings: dict[str, Any]


PRESETS: dict[str, Preset] = {
    "cpu-tiny": Preset("a laptop, no GPU", "1 to 10 M, such as builtin:tiny-chat", {}),
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
    ),
    "80gb-8b": Preset(
        "80 GB, bfloat16 (A100, H100)",
        "7 to 8 B, such as Llama-3.1-8B-Instruct",
        {
            "steps": 200,
            "batch_size": 256,
            "epochs": 2,
            "mini_batches": 4,
            "response_length": 512,
            "max_length": 2048,
            "micro_batch_tokens": 16384,
            "gradient_checkpointing": True,
            "checkpoint_every": 10,
            "watch_every": 10,
        },
    ),
}


def preset_settings(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """A preset's settings with those a person gave over them.

    Raises:
        ConfigError: there is no such preset; all are listed.
    """
    if name is None:
        return given
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset called {name}",
            where="preset",
            fix=f"choose one of {', '.join(PRESETS)}; wb.presets() shows them",
        )
    return {**PRESETS[name].settings, **given}
