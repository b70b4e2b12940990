"""What a person asks of a running process, and how the process listens, at almost no cost."""

import os
import stat
import time
import uuid
from contextlib import suppress
from typing import Any, NamedTuple, cast

from workbench.errors import ConfigError, RunError
from workbench.events import StopRequested
from workbench.json_lines import append_line, parse
from workbench.runs import process
from workbench.runs.folder import CONTROL, RunFolder
from workbench.runs.writer import FolderWriter
from workbench.settings import KINDS, RunSettings

COMMANDS = ("pause", "resume", "stop", "save", "set")
LOOK_EVERY = 0.05  # seconds between looks at control.jsonl
LONGEST_COMMAND = 2**20
"""Bytes of one line of control.jsonl; a longer one is no command."""
LONGEST_ID = 200
"""Characters of a command's id; ours have 12."""


def ask(folder: RunFolder, command: str, **values: Any) -> str:
    """Append a command to control.jsonl and return its id; events.jsonl answers with the same id.

    Raises:
        RunError: a command that does not exist.
    """
    if command not in COMMANDS:
        raise RunError(
            f"there is no command called {command}",
            where=str(folder.path),
            fix=f"choose one of {', '.join(COMMANDS)}",
        )
    command_id = uuid.uuid4().hex[:12]
    row = {"id": command_id, "time": time.time(), "command": command, "values": values}
    append_line(folder.path / CONTROL, row)
    return command_id


class FolderControls:
    """Listens to control.jsonl for a trainer (the ``Controls`` it is handed).

    Anyone who may write into the folder can ask anything. What a setting's declaration does not
    allow is answered ``refused`` and why; lines that are no commands are counted and left out.

    A setting changed at an update after ``from_step`` was changed by a run that then died; it is
    changed again at the same update. Commands that were left from before the launch are dropped,
    settings among them excepted.

    Attributes:
        waited: how long the run has been paused in all [s].
        garbage: lines that were no commands.

    Args:
        folder: the run's folder.
        writer: answers go through it into events.jsonl.
        from_step: the step of the checkpoint that the run resumes from; 0 without one.
    """

    def __init__(
        self,
        folder: RunFolder,
        writer: FolderWriter,
        *,
        from_step: int = 0,
    ) -> None:
        self._path = str(folder.path / CONTROL)
        self._folder, self._writer = folder, writer
        self._settings = declared_settings(folder)
        answers = [row for row in folder.events() if _is_id(row.get("id"))]
        self._taken = {row["id"] for row in answers}
        self._replay = self._changed_after(from_step, answers)
        self._pending: list[dict[str, Any]] = []
        self._paused = self._stopping = self._saving = self._held = False
        self._next_look = self.waited = 0.0
        self.garbage = self._reported = self._offset = 0
        record = process.read_record(folder.path)
        launch: Any = 0 if record is None else record.control_length
        self._read(stale=True, end=launch if type(launch) is int else 0)

    def safe_point(self) -> None:
        """Return at once, or block while the run is paused, or raise :class:`StopRequested`."""
        if not self._held and time.monotonic() < self._next_look:
            return
        self._look()
        if self._paused and not self._stopping:
            self._wait_while_paused()
        if self._stopping:
            raise StopRequested("the run was asked to stop")

    def changes(self, step: int) -> dict[str, Any]:
        """The settings to change at update ``step`` (the first is 1); each is told only once."""
        self._look()
        due = [values for at, values in self._replay if at <= step]
        self._replay = [(at, values) for at, values in self._replay if at > step]
        for row in self._pending:
            due.append(row["values"])
            self._answer(row, "done", step=step, values=row["values"])
        self._pending.clear()
        return {name: value for values in due for name, value in values.items()}

    def save_requested(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        self._look()
        requested, self._saving = self._saving, False
        return requested

    def _wait_while_paused(self) -> None:
        self._writer.set_state("paused")
        began = time.monotonic()
        while self._paused and not self._stopping:
            time.sleep(LOOK_EVERY)
            self._look()
        self.waited += time.monotonic() - began
        self._writer.set_state("running")

    def _look(self) -> None:
        self._next_look = time.monotonic() + LOOK_EVERY
        try:
            if os.stat(self._path).st_size == self._offset:
                return
        except OSError:
            return
        self._read(stale=False)

    def _read(self, *, stale: bool, end: int | None = None) -> None:
        """Take the commands from where we are to ``end``, or to the last whole line there is."""
        before = self.garbage
        while block := _block(self._path, self._offset, end):
            self._offset = block.offset
            self.garbage += block.garbage
            for row in block.rows:
                self._take(row, stale=stale)
        if self.garbage > max(before, 2 * self._reported - 1):  # reported when it has doubled
            self._reported = self.garbage
            lines = "1 line" if self.garbage == 1 else f"{self.garbage} lines"
            message = f"{lines} of {CONTROL} so far are no commands and were left out"
            self._writer.record(kind="warning", message=message, data={"garbage": self.garbage})

    def _take(self, row: dict[str, Any], *, stale: bool) -> None:
        command, values = row.get("command"), row.get("values", {})
        if not _is_id(row.get("id")):
            self.garbage += 1
            return
        if row["id"] in self._taken:
            return
        self._taken.add(row["id"])
        if command not in COMMANDS or not isinstance(values, dict):
            self._answer(row, "refused", message=f"choose one of {', '.join(COMMANDS)}")
        elif command != "set" and values:
            self._answer(row, "refused", message=f"{command} takes no values")
        elif command == "set":
            self._ask(row, cast("dict[str, Any]", values))
        elif stale:
            self._answer(row, "dropped", message="it was meant for an earlier process")
        else:
            self._obey(str(command))
            self._answer(row, "done")
        self._held = self._paused or self._stopping

    def _ask(self, row: dict[str, Any], values: dict[str, Any]) -> None:
        """Keep what is to be set until it is applied, which is its answer; or refuse it."""
        try:
            self._pending.append({**row, "values": self._checked(values)})
        except ConfigError as error:
            self._answer(row, "refused", message=f"{error.what}: {error.fix}")

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        if self._settings is None:  # a kind of run that declares none
            return values
        return self._settings.live_changes(values, where=self._path)

    def _changed_after(
        self, step: int, answers: list[dict[str, Any]]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Settings that were changed after ``step``, each with the update it was changed at."""
        changes: list[tuple[int, dict[str, Any]]] = []
        for row in answers:
            at, values = row.get("step"), row.get("values")
            done = (row.get("kind"), row.get("command")) == ("done", "set")
            if done and type(at) is int and at > step and isinstance(values, dict):
                with suppress(ConfigError):  # what nobody could have been told was done
                    changes.append((at, self._checked(cast("dict[str, Any]", values))))
        return changes

    def _obey(self, command: str) -> None:
        if command in ("pause", "resume"):
            self._paused = command == "pause"
        elif command == "stop":
            self._stopping = True
        else:
            self._saving = True

    def _answer(self, row: dict[str, Any], kind: str, **more: Any) -> None:
        command = row.get("command")
        name = command[:LONGEST_ID] if isinstance(command, str) else None
        self._writer.record(id=row["id"], kind=kind, command=name, **more)


class _Block(NamedTuple):
    """A stretch of control.jsonl: its rows, how many lines were none, and where to read on."""

    rows: list[dict[str, Any]]
    garbage: int
    offset: int


def _block(path: str, offset: int, end: int | None) -> _Block | None:
    """The whole lines from ``offset`` on, so far as they fit into :data:`LONGEST_COMMAND`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):  # somebody put something else there
            return None
        offset = 0 if offset > status.st_size else offset
        most = LONGEST_COMMAND if end is None else min(LONGEST_COMMAND, end - offset)
        block = os.pread(descriptor, max(0, most), offset)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    whole = block.rfind(b"\n") + 1
    if not whole:
        too_long = len(block) == LONGEST_COMMAND
        return _Block([], 1, offset + len(block)) if too_long else None
    lines = [line for line in block[:whole].split(b"\n") if line.strip()]
    rows = parse(lines)
    return _Block(rows, len(lines) - len(rows), offset + whole)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID


def declared_settings(folder: RunFolder) -> RunSettings | None:
    """What declares the settings of a run; None where it is of no known kind."""
    config = folder.config()
    kind: Any = config.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return None
    try:
        return KINDS[kind].from_dict(config["settings"])
    except (ConfigError, KeyError, TypeError):
        return KINDS[kind]()
