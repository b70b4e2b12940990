"""What a step of a run takes: planned from the model's shape, then told by the work itself."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, cast

import torch

from workbench.data.messages import Message
from workbench.events import Phase
from workbench.model_shapes import (
    CPU,
    Card,
    Lengths,
    Shape,
    shape_of,
    step_seconds,
    update_seconds,
)
from workbench.models.base import pick_device
from workbench.models.source import resolve
from workbench.progress import duration
from workbench.settings import (
    ComparisonSettings,
    DPOSettings,
    OnlineDPOSettings,
    PolicySettings,
    PPOSettings,
    RewardSettings,
    RunSettings,
)
from workbench.training.batches import PASS, SIZES, batch_for

PROBE = 0.05
"""Seconds that each of the machine's speeds is measured for."""
SIDE = 512
"""Of the square matrices whose product is measured."""
REACHED = 0.8
"""Of a plain product's measured speed that training reaches."""
COPIED = 2**24
"""Numbers of the tensor whose copy is measured."""
ROWS = 200
"""Rows of data by which the others' length is guessed."""
LETTERS = 4
"""Of a token, as a guess before there is a tokenizer."""
FIRST = 2.0
"""Seconds of a phase after which its own progress is believed."""
FEWEST = 4
"""Answers of the smallest update that is planned."""
PHASE_METRICS = {"generating": "generate", "scoring": "score", "optimising": "optimise"}
"""Phases of an update as they are told, and what their seconds are called in the metrics."""
SMALL = 5e7
"""Weights below which one thread works (as where a base is loaded)."""


class UpdateTime:
    """What one step of a run takes, better known the further the run is.

    By shapes before anything is loaded; by the first seconds of work while the first step goes on:
    a phase that is over took what it took, one that is under way is drawn out to its end, and
    those to come keep their planned ratio to these; then by the step before.

    Attributes:
        seconds: the estimate; None where the model's config says too little.
        source: what it is by, in words.
    """

    def __init__(self, phases: Mapping[str, float]) -> None:
        """Take the planned seconds of each phase, by name; none where they are not known."""
        self._planned = dict(phases)
        self.seconds = sum(phases.values()) if phases else None
        self.source = "its shape and this machine's speed"
        self._phase: Phase | None = None
        self._began = self._step_began = 0.0
        self._over: dict[str, float] = {}

    @classmethod
    def planned(
        cls, model: str, settings: RunSettings, rows: Iterable[Mapping[str, Any]]
    ) -> "UpdateTime":
        """Plan a run's steps from its model's config, its settings and its data."""
        shape = model_shape(model)
        if shape is None:
            return cls({})
        card = measured_card(pick_device(settings.device), threads_for(shape, settings))
        return cls(planned_phases(shape, card, settings, rows))

    def take(self, phase: Phase, now: float) -> None:
        """Hear where the run is at a time [s]; of a clock that stands still while it is paused."""
        before = self._phase
        self._phase = phase
        if before is None or phase.step != before.step:
            if before is not None:
                self.seconds, self.source = now - self._step_began, "the one before"
            self._began = self._step_began = now
            self._over.clear()
        elif phase.name != before.name:
            self._over.setdefault(before.name, now - self._began)
            self._began = now
        if self.source != "the one before":
            self._correct(phase, now - self._began)

    def _correct(self, phase: Phase, elapsed: float) -> None:
        """Estimate the first step by what is done of it."""
        known = {name: taken for name, taken in self._over.items() if name in self._planned}
        begun = elapsed >= FIRST and 0 < phase.done < phase.total
        if begun and phase.name in self._planned and phase.name not in known:
            known[phase.name] = elapsed * phase.total / phase.done
        if not known or sum(known.values()) < FIRST:
            return
        ratio = sum(known.values()) / sum(self._planned[name] for name in known)
        ahead = sum(taken for name, taken in self._planned.items() if name not in known)
        self.seconds, self.source = sum(known.values()) + ratio * ahead, "its first seconds"


class UpdateTimes:
    """What an update of PPO takes, by how many answers it has: planned, then by a short one.

    Attributes:
        words: the estimate by shapes, in words.
    """

    def __init__(
        self, model: str, settings: PPOSettings, prompts: Sequence[Sequence[Message]]
    ) -> None:
        self.settings = settings
        self._rows = [{"prompt": list(prompt)} for prompt in prompts[:ROWS]]
        self._shape = model_shape(model)
        self.words = "what an update takes cannot be told from the model's config"
        if self._shape is not None:
            self._card = measured_card(
                pick_device(settings.device), threads_for(self._shape, settings)
            )
            seconds = sum(self._phases(settings).values())
            self.words = (
                f"an update of {settings.batch_size} answers takes about {duration(seconds)}, by "
                "the model's shape and this machine's speed"
            )

    def _phases(self, settings: PPOSettings) -> dict[str, float]:
        assert self._shape is not None
        return planned_phases(self._shape, self._card, settings, self._rows)

    def by_update(
        self, short: PPOSettings, metrics: Mapping[str, float | None]
    ) -> list[tuple[int, float]]:
        """Numbers of answers, halved again and again, and the seconds of such an update.

        Each phase of the short update that was measured is drawn out as the plan for its settings
        and the plan for these say; without a plan, by the number of tokens.

        Args:
            short: settings of the update that was measured.
            metrics: what it told.
        """
        took = {name: metrics[f"time/{word}"] or 0.0 for name, word in PHASE_METRICS.items()}
        small = self._phases(short) if self._shape is not None else {}
        updates: list[tuple[int, float]] = []
        for size in halved(self.settings):
            parts = min(self.settings.mini_batches, size)
            settings = self.settings.changed(batch_size=size, mini_batches=parts)
            large = self._phases(settings) if small else {}
            tokens = size * self.settings.response_length
            by_tokens = tokens / (short.batch_size * short.response_length)
            seconds = [
                taken * (large[name] / small[name] if small else by_tokens)
                for name, taken in took.items()
            ]
            updates.append((size, sum(seconds)))
        return updates


def halved(settings: PPOSettings) -> list[int]:
    """Batch sizes from the settings' down, each half of the one before, in whole prompts."""
    group = settings.samples_per_prompt
    prompts, sizes = settings.batch_size // group, list[int]()
    while prompts:
        sizes.append(prompts * group)
        prompts //= 2
    return [size for size in sizes if size >= FEWEST] or sizes[:1]


def model_shape(model: str) -> Shape | None:
    """A model's shape by its config; None where that cannot be read, or says too little."""
    from transformers import AutoConfig

    try:
        config = cast("Any", AutoConfig).from_pretrained(resolve(model).base)
        return shape_of(model, config.get_text_config())
    except Exception:  # whatever is wrong with it is said where it is loaded
        return None


def planned_phases(
    shape: Shape, card: Card, settings: RunSettings, rows: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Seconds that each phase of a step is planned to take, by the name that it is told by."""
    ahead = list(islice(rows, PASS * SIZES[0]))  # more make no difference to the size of a batch
    some = [_letters(row) / LETTERS for row in ahead[:ROWS]]
    length = min(sum(some) / max(1, len(some)), settings.max_length)
    if isinstance(settings, PPOSettings):
        lengths = Lengths(max(1, round(length)), settings.response_length)
        planned = update_seconds(shape, card, settings, lengths, dense=True)
        return dict(zip(PHASE_METRICS, planned, strict=True))
    if isinstance(settings, OnlineDPOSettings):  # an update of two answers to each prompt
        shared = {field.name for field in fields(PolicySettings)}
        alike = {name: value for name, value in settings.to_dict().items() if name in shared}
        alike |= {"advantage": "rloo", "samples_per_prompt": 2, "mini_batches": 1}
        answers = PPOSettings.from_dict({**alike, "batch_size": 2 * settings.batch_size})
        *before, learning = planned_phases(shape, card, answers, ahead).values()
        return dict(zip(("generating", "scoring", "training"), (*before, learning), strict=True))
    once = isinstance(settings, ComparisonSettings) and settings.once
    size = batch_for(len(ahead), cast("Any", settings).batch_size, once=once)
    tokens = size * max(1.0, length)
    if isinstance(settings, RewardSettings):
        return {"training": settings.members * step_seconds(shape, card, settings, tokens, 0)}
    seconds = step_seconds(shape, card, settings, tokens, tokens)
    passes = 4 / 3 if isinstance(settings, DPOSettings) else 1.0  # the reference looks once
    return {"training": passes * seconds}


def _letters(value: Any) -> int:
    """Letters of all texts in a row."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_letters, cast("Mapping[str, Any]", value).values()))
    return sum(map(_letters, cast("list[Any]", value))) if isinstance(value, list) else 0


def threads_for(shape: Shape, settings: RunSettings) -> int:
    """How many CPU threads a run will have."""
    small = shape.linear + shape.head < SMALL
    return settings.threads or (1 if small else max(1, torch.get_num_threads() - 1))


def measured_card(device: torch.device, threads: int) -> Card:
    """What computes here, measured in about a tenth of a second: products and copies."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gpu = device.type == "cuda"
        kind = torch.bfloat16 if gpu else torch.float32
        side = 8 * SIDE if gpu else SIDE
        matrix = torch.ones(side, side, device=device, dtype=kind)
        numbers = torch.ones(COPIED, device=device, dtype=kind)
        copy = torch.ones_like(numbers)
        products = 2 * side**3 / _seconds_of(lambda: matrix @ matrix, device)
        moved = 2 * numbers.nbytes / _seconds_of(lambda: copy.copy_(numbers), device)
    finally:
        torch.set_num_threads(before)
    reached = {"bandwidth": moved, "peak": products, "share": REACHED, "graphs": gpu}
    return CPU._replace(name=str(device), **reached)


def _seconds_of(work: Any, device: torch.device) -> float:
    """Seconds that some work takes, by as often as it can be done in :data:`PROBE`."""
    work()
    _wait_for(device)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < PROBE:
        work()
        _wait_for(device)
        count += 1
    return (time.perf_counter() - began) / count


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
