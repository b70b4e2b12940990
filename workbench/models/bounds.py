"""Bounds on what a model folder may take of this machine: sizes, seconds, characters.

All are far beyond what models have; what goes beyond is told, with what to do about it.
"""

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from workbench.errors import ModelError

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file beside the weights; a tokenizer's own is not among them."""
LARGEST_RANK = 16_384
"""Rank of an adapter."""
LARGEST_MEMBERS = 64
"""Members of an ensemble, as in the setting."""
LARGEST_SCORE = 1e9
"""Mean, deviation and sharpness of a reward model's scores are within this, and its reciprocal."""
MOST_LAYERS = 4_096
WIDEST = 2**20
"""Hidden units of one layer, in any of its parts."""
LARGEST_VOCABULARY = 2**24
LARGEST_TEMPLATE = 2**20
"""Characters of a chat template."""
TEMPLATE_SECONDS = 5.0
"""For one conversation; real templates take a millisecond."""
PATTERN_SECONDS = 5.0
"""For an adapter's pattern over the names of a model's layers."""
READING_SECONDS = 10.0
"""For the tokens of a text, and as long again for each megabyte of it."""
_SIZES = {
    "num_hidden_layers": MOST_LAYERS,
    "n_layer": MOST_LAYERS,
    "num_layers": MOST_LAYERS,
    "hidden_size": WIDEST,
    "n_embd": WIDEST,
    "d_model": WIDEST,
    "intermediate_size": 16 * WIDEST,
    "num_attention_heads": WIDEST,
    "num_local_experts": WIDEST,
    "num_experts": WIDEST,
    "vocab_size": LARGEST_VOCABULARY,
    "max_position_embeddings": 2**32,
    "num_labels": LARGEST_VOCABULARY,
}


def rendered_most(characters: int) -> int:
    """Characters that a template may make of so many: its marks are short."""
    return 2**20 + 64 * characters


class _TimeIsUp(BaseException):
    """Not an Exception: what a library catches must not catch it."""


@contextmanager
def within(seconds: float, error: ModelError) -> Generator[None]:
    """Raise an error where the block takes longer.

    It can be interrupted in the main thread of a process, where runs and jobs do their work; a
    timer that was set there before goes on afterwards. Elsewhere the block takes its time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_: int, frame: FrameType | None) -> None:
        raise _TimeIsUp

    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    before, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TimeIsUp:
        raise error from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:
            left = max(before - (time.monotonic() - begun), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def token_ids(tokenizer: Any, text: str, **options: Any) -> list[int]:
    """Ids of a text; a tokenizer whose patterns have no end is told and not waited for.

    Raises:
        ModelError: it takes too long, or its library gives up.
    """
    seconds = READING_SECONDS * (1 + len(text) / 2**20)
    slow = _reading(tokenizer, f"takes longer than {seconds:.0f} s for {len(text)} characters")
    try:
        with within(seconds, slow):
            return list(tokenizer(text, **options)["input_ids"])
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust, which is no Exception
            raise
        raise _reading(tokenizer, f"fails on a text of {len(text)} characters: {error}") from None


def check_sizes(config: Any, where: str) -> None:
    """Refuse a config whose sizes no model has, before anything is made of them.

    Raises:
        ModelError: one of them is beyond its bound, or no number at all.
    """
    tables = [config, getattr(config, "text_config", None), getattr(config, "vision_config", None)]
    for table in (t for t in tables if t is not None):
        for name, most in _SIZES.items():
            value: Any = getattr(table, name, None)
            is_figure = isinstance(value, int | float) and not isinstance(value, bool)
            if is_figure and not 0 <= value <= most:
                raise ModelError(
                    f"the model's config asks for {name} = {value:.6g}; models have at most "
                    f"{most:,}",
                    where=where,
                    fix="restore config.json, or give another model",
                )


def _reading(tokenizer: Any, what: str) -> ModelError:
    return ModelError(
        f"the tokenizer {what}",
        where=str(getattr(tokenizer, "name_or_path", "tokenizer.json")),
        fix="look at the patterns (Regex) in tokenizer.json, or give the tokenizer that the model "
        "was made with",
    )
