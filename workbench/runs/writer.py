"""The run folder as the training process writes it: a sink for events, and a heartbeat."""

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Self

from workbench.errors import FULL, RunError, WorkbenchError
from workbench.events import Finished, Notice, Phase, Progress, Saved
from workbench.json_lines import encode, ends_whole, overwrite_json, read_lines, write_json
from workbench.progress import STEP_WORDS
from workbench.runs import process
from workbench.runs.folder import (
    CONTROL,
    ENDED,
    EVENTS,
    LIVE,
    METRICS,
    SAMPLES,
    STATUS,
    TOKENS,
    RunFolder,
    starting_status,
)
from workbench.runs.metric_table import WORTH_COLUMNS, metrics_of
from workbench.runs.summary import Summary, catch_up, read_summary

STREAMS = (METRICS, SAMPLES, TOKENS, EVENTS)
HEARTBEAT = 1.0  # seconds
PHASE = ("phase", "phase_done", "phase_total", "phase_unit")
"""What status.json says while a step is under way."""
SUMMARY_EVERY = 5.0  # seconds between two writings of summary.json, at least
PHASE_EVERY = 0.5  # seconds between two writings of status.json for a phase's sake


class FolderWriter:
    """Writes a trainer's events: Progress, Notice, Saved, Finished.

    Use as a context manager: leaving it by an exception marks the run as failed.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Open the folder for writing.

        Raises:
            RunError: another process is at work in it.
        """
        self.folder = folder
        self._lock = threading.RLock()
        self._status = {**starting_status(), "pid": os.getpid()}
        self._files: dict[str, FileIO] = {}
        self._published = 0.0
        self._word = STEP_WORDS.get(str(folder.config().get("kind")), "step")
        self._closing = threading.Event()
        _sign(folder.path)
        self._open()
        self._summary, self._summarised = read_summary(folder.path), time.monotonic()
        catch_up(self._summary, folder.path, keep=False)
        self._publish()
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._pulse.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and self.state != "failed":
            self.failed(_reason(error))
        elif self.state in LIVE:
            self.failed("the trainer ended before its last step without saying why")
        self.close()

    def __call__(self, event: object) -> None:
        """Take one event of the trainer's.

        Raises:
            RunError: it is none of :data:`workbench.events.Event`.
        """
        match event:
            case Progress():
                self._progress(event)
            case Notice(step, kind, message, data):
                self.record(step=step, kind=kind, message=message, data=data)
            case Saved(step, path):
                self.record(step=step, kind="saved", path=path)
            case Finished(step, stopped):
                self.record(step=step, kind="finished", stopped=stopped)
                self.set_state("stopped" if stopped else "finished", step=step)
            case _:
                raise RunError(
                    f"the run folder cannot write an event of class {type(event).__name__}",
                    where=str(self.folder.path),
                    fix="yield one of Progress, Notice, Saved, Finished (workbench.events)",
                )

    @property
    def state(self) -> str:
        """The state last written."""
        return str(self._status["state"])

    @property
    def step(self) -> int:
        """The last update that was reported."""
        return int(self._status["step"])

    def set_state(self, state: str, *, step: int | None = None, total: int | None = None) -> None:
        """Say at once what the run is doing, and how far it is."""
        with self._lock:
            self._status["state"] = state
            if state not in ("running", "paused"):
                self._no_phase()
            if step is not None:
                self._status["step"] = step
            if total is not None:
                self._status["total_steps"] = total
            self._publish()

    def phase(self, phase: Phase) -> None:
        """Say where the run is inside its step, in status.json alone and twice a second at most.

        The first phase makes a run that was starting a running one, and says so at once.
        """
        with self._lock:
            self._status |= {
                "total_steps": phase.total_steps,
                "step_word": self._word,
                "phase": phase.name,
                "phase_done": phase.done,
                "phase_total": phase.total,
                "phase_unit": phase.unit,
            }
            if self.state == "starting":
                self.set_state("running")
            elif time.monotonic() - self._published >= PHASE_EVERY:
                self._publish()

    def _no_phase(self) -> None:
        for name in PHASE:
            self._status.pop(name, None)

    def estimate(self, seconds: float, source: str) -> None:
        """Say what an update is thought to take [s], and what says so; written with what follows.

        The first estimate is written at once: it comes before a model is loaded.
        """
        with self._lock:
            first = "update_seconds" not in self._status
            self._status |= {"update_seconds": seconds, "update_seconds_from": source}
            self._status["step_word"] = self._word
            if first:
                self._publish()

    def failed(self, error: str) -> None:
        """The run ends here, for this reason."""
        with self._lock:
            self._status["error"] = error
            self.set_state("failed")

    def record(self, **fields: Any) -> None:
        """Append one row to events.jsonl; ``time`` is added, and ``step`` where it is not given."""
        self._append(EVENTS, {"time": time.time(), "step": self.step, **fields})

    def lengths(self) -> dict[str, int]:
        """How long each file is now, safely on disk [bytes]; a checkpoint stores this."""
        with self._lock:
            lengths: dict[str, int] = {}
            for name, file in self._files.items():
                try:
                    os.fsync(file.fileno())
                except OSError as error:
                    raise _no_room(error, self.folder.path / name) from error
                lengths[name] = os.fstat(file.fileno()).st_size
        control = self.folder.path / CONTROL
        return {**lengths, CONTROL: control.stat().st_size if control.exists() else 0}

    def truncate_to(self, lengths: Mapping[str, int], *, step: int = 0) -> None:
        """Go back to a checkpoint: cut what was written after it (all, where lengths is empty).

        control.jsonl is what people asked and stays whole. Settings changed after the checkpoint
        keep their event, so that a resumed run changes them at the same updates again.

        Args:
            lengths: what :meth:`lengths` said at the checkpoint [bytes].
            step: the checkpoint's step; 0 where the run starts over.
        """
        short: list[str] = []
        with self._lock:
            self._close_files()
            for name in STREAMS:
                path, length = self.folder.path / name, lengths.get(name, 0)
                if path.exists() and path.stat().st_size < length:
                    short.append(name)
                _cut(path, length)
            self._open()
            self._summary = Summary()
            catch_up(self._summary, self.folder.path, keep=False)
            self.set_state("starting", step=step)
        for name in short:
            message = f"{name} is shorter than at the checkpoint: rows before step {step} are lost"
            self.record(kind="warning", message=message, data={})

    def close(self) -> None:
        """Write the last status and stop the heartbeat."""
        self._closing.set()
        self._pulse.join()
        with self._lock:
            self._publish()
            self._keep_summary()
            self._close_files()
        if self._summary.length >= WORTH_COLUMNS:
            metrics_of(self.folder)  # reads them once, and keeps them as columns

    def _progress(self, event: Progress) -> None:
        now = time.time()
        row = {"step": event.step, "time": now, **event.metrics}
        self._append(METRICS, row)
        for sample in event.samples:
            self._append(SAMPLES, {"step": event.step, **sample})
        for record in event.tokens:
            self._append(TOKENS, {"step": event.step, **record})
        with self._lock:
            self._summary.wrote(row, self._files[METRICS].fileno())
            self._status["step"] = event.step
            self._status["total_steps"] = event.total_steps
            self._no_phase()  # the next step's has not begun
            if self.state == "starting":
                self.set_state("running")

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        left = memoryview(encode(row))
        with self._lock:
            file = self._files[name]
            length = os.fstat(file.fileno()).st_size
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), length)  # no half lines
                raise _no_room(error, self.folder.path / name) from error

    def _open(self) -> None:
        for name in STREAMS:
            file = (self.folder.path / name).open("a+b", buffering=0)
            if not ends_whole(file.fileno()):  # the process before us died within a line
                file.write(b"\n")
            self._files[name] = file

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _publish(self) -> None:
        with self._lock:
            self._published = time.monotonic()
            self._status["heartbeat"] = time.time()
            try:
                write_json(self.folder.path / STATUS, self._status)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                overwrite_json(self.folder.path / STATUS, self._status)  # it must be told

    def _keep_summary(self) -> None:
        """Put the summary on disk; where that fails, readers fold in what it lacks."""
        with self._lock, suppress(OSError):
            self._summarised = time.monotonic()
            self._summary.keep(self.folder.path)

    def _beat(self) -> None:
        while not self._closing.wait(HEARTBEAT):
            try:
                self._publish()
                if time.monotonic() - self._summarised >= SUMMARY_EVERY:
                    self._keep_summary()
            except OSError:  # a full disk must not end the thread: the next beat may succeed
                continue
            if self.state in ENDED:
                return


def _sign(path: Path) -> None:
    """Say in the folder that this process works in it, keeping what the launcher recorded."""
    record, pid = process.read_record(path), os.getpid()
    if record is None or record.pid not in (None, pid):
        if RunFolder(path).process_alive():
            raise RunError(
                "another process is at work in this run's folder",
                where=f"{path} (process {record.pid if record else '?'})",
                fix="wait for it, or stop it with wb.open_run(...).stop()",
            )
        process.new_record(path, pid).write(path)
    elif record.pid is None:
        launched = (record.launched, record.control_length, record.device)
        started = process.start_time(pid)
        process.ProcessRecord(pid, started, process.machine(), *launched).write(path)


def _cut(path: Path, length: int) -> None:
    """Keep the first ``length`` bytes, and after them the settings that were changed later."""
    if not path.exists() or path.stat().st_size <= length:
        return
    late = read_lines(path, length).rows
    kept = [row for row in late if row.get("kind") == "done" and row.get("command") == "set"]
    with path.open("rb") as file:
        block = file.read(length)
    aside = path.with_name(f".{path.name}.cut")
    aside.write_bytes(block + b"".join(encode(row) for row in kept))
    os.replace(aside, path)  # a new file: readers notice that it was cut


def _no_room(error: OSError, path: Path) -> RunError:
    reason = "the disk is full" if error.errno in FULL else str(error)
    return RunError(
        f"{path.name} cannot be written: {reason}",
        where=str(path),
        fix="make room on the disk and resume: the run goes on from its last checkpoint",
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    text = str(error)
    if isinstance(error, WorkbenchError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
