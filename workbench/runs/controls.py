"""What a person asks of a running process, and how the process listens, at almost no cost."""

import os
import time
import uuid
from typing import Any

from workbench.errors import RunError
from workbench.events import StopRequested
from workbench.json_lines import append_line, read_lines
from workbench.runs import process
from workbench.runs.folder import CONTROL, RunFolder
from workbench.runs.writer import FolderWriter

COMMANDS = ("pause", "resume", "stop", "save", "set")
LOOK_EVERY = 0.05  # seconds between looks at control.jsonl


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

    A setting changed at an update after ``from_step`` was changed by a run that then died; it is
    changed again at the same update. Commands that were left from before the launch are dropped,
    settings among them excepted.

    Attributes:
        waited: how long the run has been paused in all [s].

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
        answers = [row for row in folder.events() if "id" in row]
        self._answered = {row["id"] for row in answers}
        self._replay: list[tuple[int, dict[str, Any]]] = [
            (int(row["step"]), row["values"])
            for row in answers
            if (row["kind"], row["command"]) == ("done", "set") and row["step"] > from_step
        ]
        self._pending: list[dict[str, Any]] = []
        self._paused = self._stopping = self._saving = self._held = False
        self._next_look = self.waited = 0.0
        record = process.read_record(folder.path)
        launch = 0 if record is None else record.control_length
        rows, self._offset = read_lines(folder.path / CONTROL, 0, launch)
        for row in rows:
            self._take(row, stale=True)

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
        except FileNotFoundError:
            return
        rows, self._offset = read_lines(self._folder.path / CONTROL, self._offset)
        for row in rows:
            self._take(row, stale=False)

    def _take(self, row: dict[str, Any], *, stale: bool) -> None:
        command = row.get("command")
        if row.get("id") is None or row["id"] in self._answered:
            return
        if command not in COMMANDS or not isinstance(row.get("values", {}), dict):
            self._answer(row, "refused", message=f"choose one of {', '.join(COMMANDS)}")
        elif command == "set":
            self._pending.append(row)  # answered when it is applied
        elif stale:
            self._answer(row, "dropped", message="it was meant for an earlier process")
        else:
            self._obey(str(command))
            self._answer(row, "done")
        self._held = self._paused or self._stopping

    def _obey(self, command: str) -> None:
        if command in ("pause", "resume"):
            self._paused = command == "pause"
        elif command == "stop":
            self._stopping = True
        else:
            self._saving = True

    def _answer(self, row: dict[str, Any], kind: str, **more: Any) -> None:
        self._answered.add(row["id"])
        self._writer.record(id=row["id"], kind=kind, command=row.get("command"), **more)
