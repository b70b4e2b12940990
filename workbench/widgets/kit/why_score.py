"""Why an answer that a run recorded has its reward score, asked of the playground's worker."""

from collections.abc import Mapping
from typing import Any

from workbench.widgets.kit.texts import as_text
from workbench.widgets.kit.wire import fault, outgoing

LOADED_WITH = ("quantization", "dtype", "device", "max_length", "micro_batch_tokens", "seed")
"""Settings of a run that its reward model is loaded and asked with."""


def reward_of(config: Mapping[str, Any]) -> str | None:
    """The one reward model that scores a run's answers; None where it is something else."""
    reward = (config.get("inputs") or {}).get("reward")
    return reward if isinstance(reward, str) else None


def why_question(config: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What the worker is asked about a recorded ``prompt`` and ``response``."""
    prompt, settings = row.get("prompt"), config.get("settings") or {}
    if not isinstance(prompt, list):
        prompt = [{"role": "user", "content": as_text(prompt)}]
    return {
        "reward": reward_of(config),
        "prompt": prompt,
        "response": as_text(row.get("response")),
        "settings": {name: settings[name] for name in LOADED_WITH if name in settings},
    }


def ask_why(question: Mapping[str, Any]) -> dict[str, Any]:
    """Ask it, and wait for the answer: an ``Attribution`` as plain values."""
    from workbench.runs import worker

    return worker.shared().ask("explain", question)


def shown_why(ask: Any, question: Any) -> dict[str, Any]:
    """The answer as a page shows it; where there is none, the ``fault`` that stands in its place.

    Args:
        ask: :func:`ask_why`, or what stands for it.
        question: what it is asked.
    """
    try:
        why = ask(question)
        return {**why, "texts": [outgoing(text) for text in why["texts"]]}
    except Exception as error:
        return {"fault": fault(error)}
