"""The step loop that every trainer shares: controls, checkpoints, resume, final, events."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from workbench.errors import ModelError, WorkbenchError, first_line
from workbench.events import (
    Event,
    Finished,
    Notice,
    Phase,
    Place,
    Progress,
    Saved,
    StopRequested,
)
from workbench.models.base import load_base
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import RunSettings
from workbench.training.checkpoint import (
    checkpoints,
    load_checkpoint,
    replace_folder,
    save_checkpoint,
    unusable,
)
from workbench.training.checks.memory_plan import ways
from workbench.training.optimiser import Optimiser, copied, make_accelerator
from workbench.training.out_of_memory import give_back, ran_out
from workbench.training.process_group import MemoryRanOut, News, Team

S = TypeVar("S", bound=RunSettings)
R = TypeVar("R")
SMALLEST = 16
"""Tokens of a micro-batch that is not halved again."""


class StepOutcome(NamedTuple):
    """What one step has to tell."""

    metrics: dict[str, float | None]
    samples: tuple[dict[str, Any], ...] = ()
    notices: tuple[str, ...] = ()
    tokens: tuple[dict[str, Any], ...] = ()


class StepLoop(ABC, Generic[S]):
    """A trainer: subclasses set ``total`` and ``optimiser``, and say what a step is.

    A step that is interrupted by a stop must leave everything as it was before the step: what
    goes through the model in micro-batches does so inside :meth:`attempt`.

    Attributes:
        settings: the run's; ``micro_batch_tokens`` may have become smaller.
        team: the processes of the run, each of which works on its share.
        at_once: sequences in the model now, where known.
    """

    total: int
    optimiser: Optimiser

    def __init__(self, model: str, settings: S, place: Place) -> None:
        self.settings, self.place = settings, place
        self.accelerator = make_accelerator(settings)
        self.team = Team(self.accelerator.process_index, self.accelerator.num_processes)
        self.at_once = 0
        how = ways(model, settings)
        if self.team.count == 1:  # several would have to agree
            self.settings = settings.changed(micro_batch_tokens=how.tokens)
        settings = settings.changed(gradient_checkpointing=how.recomputes)
        self.base = load_base(resolve(model), settings)
        self.roles = Roles(self.base, settings, unpacks=how.unpacks)
        self.notices: list[str] = list(self.base.notices)
        self._asides: list[str] = []
        self.step = 0
        self._phase, self._each = Phase(1, 0, ""), 1

    @abstractmethod
    def train_step(self) -> StepOutcome:
        """Do step ``self.step`` (from 0); raise StopRequested having undone what was begun."""

    @abstractmethod
    def set_live(self, name: str, value: Any) -> None:
        """Apply a live setting from the next step on."""

    @abstractmethod
    def write_final(self, folder: Path) -> None:
        """Write the trained model into an empty folder."""

    def attempt(
        self,
        work: Callable[[], R],
        undo: Callable[[], None] = lambda: None,
        smaller: Callable[[], str | None] | None = None,
    ) -> R:
        """Do work that goes through the model in micro-batches; where memory runs out, again.

        Gradients add up to the same in smaller micro-batches. What the work changed beside them
        is for ``undo`` to put back. One attempt may be part of another, so that a part has its own
        way to become ``smaller``.

        Raises:
            StopRequested: the run was asked to stop; everything is as before the work.
            ModelError: memory does not suffice for a single sequence.
        """
        while True:
            try:
                return work()
            except StopRequested:
                news = News.STOP
            except MemoryRanOut:
                news = News.OUT_OF_MEMORY
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                news = News.NO_SMALLER if self.at_once == 1 else News.OUT_OF_MEMORY
            for parameter in self.optimiser.parameters:
                parameter.grad = None  # of a step that will not be taken
            undo()
            news = self.team.agree(news)
            if news is News.STOP:
                raise StopRequested
            give_back()
            notice = None if news is News.NO_SMALLER else (smaller or self.smaller)()
            if notice is None:
                raise self._no_memory()
            self._asides.append(notice)

    def smaller(self) -> str | None:
        """Send less through the model at once; says what, or None where it cannot be less."""
        tokens = self.settings.tokens_at_once
        if tokens <= SMALLEST:
            return None
        left = max(SMALLEST, tokens // 2)
        self.use_micro_batches(left)
        return f"memory ran out: micro_batch_tokens is {left} from here on ({tokens} before)"

    def use_micro_batches(self, tokens: int) -> None:
        """From here on at most so many tokens go through the model at once."""
        self.settings = self.settings.changed(micro_batch_tokens=tokens)

    def _no_memory(self) -> ModelError:
        device, length = self.base.device, self.settings.max_length
        return ModelError(
            f"the memory of the {'GPU' if device.type == 'cuda' else 'machine'} does not suffice "
            "for a single sequence",
            where=f"step {self.step + 1}, {self.base.source.reference} on {device}, "
            f"max_length = {length}",
            fix="set gradient_checkpointing=True, lower max_length or lora_rank, or take a smaller "
            "model; end what else uses this memory; then resume: checkpoints are kept",
        )

    def safe_point(self, sequences: int = 0) -> None:
        """Pause or stop here if asked to; the next so many sequences go through the model at once.

        Only the main process is steered; the others hear of a stop where results meet.
        """
        self.at_once = sequences
        self.place.controls.safe_point()
        self.go_on(sequences)

    def go_on(self, sequences: int) -> None:
        """Tell where the phase is; the next so many sequences go through the model at once."""
        self.place.tell(self._phase)
        done = self._phase.done + sequences * self._each
        self._phase = replace(self._phase, done=min(done, self._phase.total))

    def begin(self, name: str, total: int = 0, unit: str = "", *, each: int = 1) -> None:
        """Tell that a phase of the step begins.

        Args:
            name: as in :class:`Phase`.
            total: how much there is to do; 0 where that is not known.
            unit: what is counted.
            each: how many of it a sequence stands for at a safe point.
        """
        self._phase, self._each = Phase(self.step + 1, self.total, name, 0, total, unit), each
        self.place.tell(self._phase)

    def run(self) -> Generator[Event, None, None]:
        """Events from the first step, or from where the newest checkpoint stands, to the end."""
        self._resume()
        yield self._setup()
        for message in self.notices:
            yield Notice(self.step, "warning", message)
        stopped = False
        while self.step < self.total:
            changes = self.team.told_by_main(self.place.controls.changes(self.step + 1))
            for name, value in changes.items():
                try:
                    self.set_live(name, value)
                except WorkbenchError as error:  # such as a prompt that the template refuses
                    message = f"{name} stays as it was: {error.what}"
                    yield Notice(self.step + 1, "warning", message)
                    continue
                yield Notice(self.step + 1, "changed", f"{name} is now {value}", {name: value})
            try:
                outcome = self.train_step()
            except StopRequested:
                stopped = True
                outcome = None
            if outcome is not None:
                self.step += 1
            notices = () if outcome is None else outcome.notices
            for message in (*self._asides, *notices):
                yield Notice(self.step, "warning", message)
            self._asides.clear()
            if outcome is None:
                break
            yield Progress(self.step, self.total, outcome.metrics, outcome.samples, outcome.tokens)
            if self._checkpoint_due():
                yield self._save()
        self.team.count = 1  # from here on the main process works by itself; the others are done
        if self.team.main:
            if stopped:
                yield self._save()
            replace_folder(self.place.folder / "final", self.write_final)
        yield Finished(self.step, stopped)

    @abstractmethod
    def chosen(self) -> dict[str, Any]:
        """What the settings left open, such as a rate that was auto, as it was chosen."""

    def is_due(self, every: int) -> bool:
        """Whether this step is one of every so many, or the last; for 0 it is the last alone."""
        done = self.step + 1
        return done == self.total or (every > 0 and done % every == 0)

    def _setup(self) -> Notice:
        """What was really loaded, and where: a person asked for auto."""
        base = self.base
        facts = {
            "base": base.source.reference,
            "device": str(base.device),
            "dtype": str(base.dtype).removeprefix("torch."),
            "quantization": base.quantization,
            "trainable": sum(p.numel() for p in self.optimiser.parameters),
            "micro_batch_tokens": self.settings.tokens_at_once,
            "recomputes": base.recomputes,
            "self_test": base.tested,
        }
        twice = ", layers computed twice" if base.recomputes else ""
        text = (
            "{base} on {device}, {dtype}, quantization {quantization}, {trainable:,} trained; "
            f"{{micro_batch_tokens:,}} tokens at once{twice}; "
            "what is computed is {self_test[nats]:.0e} from the model's own forward at most "
            "({self_test[bound]:g} allowed)"
        )
        return Notice(self.step, "setup", text.format(**facts), facts | self.chosen())

    def _checkpoint_due(self) -> bool:
        if not self.team.main:
            return False
        every = self.settings.checkpoint_every
        return self.place.controls.save_requested() or (every > 0 and self.step % every == 0)

    def backward(self, loss: Tensor, optimiser: Optimiser | None = None) -> None:
        """Add the loss's gradients to the trainable weights', by the scale of their optimiser."""
        scaled = (optimiser or self.optimiser).scaled(loss)
        self.accelerator.backward(scaled)  # pyright: ignore[reportUnknownMemberType]

    def state(self) -> dict[str, Any]:
        """Everything that changes while training; tensors are copies on the CPU."""
        return {
            "weights": copied(list(self.optimiser.parameters)),
            "optimiser": self.optimiser.state(),
            "micro_batch_tokens": self.settings.tokens_at_once,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        tokens = state["micro_batch_tokens"]
        if tokens != self.settings.tokens_at_once:
            self.use_micro_batches(tokens)
        self.optimiser.load(state["optimiser"])
        with torch.no_grad():
            for parameter, saved in zip(self.optimiser.parameters, state["weights"], strict=True):
                parameter.copy_(saved)

    def _save(self) -> Saved:
        path = save_checkpoint(
            self.place.folder,
            self.step,
            self.state(),
            lengths=self.place.lengths(),
            keep=self.settings.keep_checkpoints,
        )
        return Saved(self.step, str(path))

    def _resume(self) -> None:
        newest = load_checkpoint(self.place.folder) if self.team.main else None
        newest = self.team.told_by_main(newest)
        if newest is not None:
            self.step, state = newest
            try:
                self.load(state)
            except Exception as error:
                if ran_out(error):
                    raise
                path = dict(checkpoints(self.place.folder))[self.step]
                raise unusable(path, f"{type(error).__name__}: {first_line(error)}") from error
