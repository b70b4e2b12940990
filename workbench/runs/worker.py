"""One process that keeps models loaded for what is interactive, and goes when it is in the way.

The notebook's process asks with :meth:`Worker.ask`, a line of JSON a message over pipes. The
worker ends when a run starts, after five idle minutes, when who asked ends, or by :func:`release`.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from workbench.errors import RunError, WorkbenchError
from workbench.json_lines import write_json
from workbench.runs import process
from workbench.runs.devices import lock_dir
from workbench.runs.folder import LOG
from workbench.runs.jobs import error_from, error_values, log_end
from workbench.runs.private_folder import read_own

IDLE = 300.0  # seconds without a question until it ends by itself
GONE = 5.0  # seconds that an ended process may take
STARTED = "worker-"
SIGN = "--workbench-worker"
"""The last argument of every worker's command: only a process that shows it is ever ended."""

OnEvent = Callable[[dict[str, Any]], None]
Stopped = Callable[[], bool]
WorkerJob = Callable[[dict[str, Any], OnEvent, Stopped], dict[str, Any]]


class Worker:
    """The process, from the side of who asks. It starts with the first question.

    Args:
        command: what to start, :data:`SIGN` is added; None is the workbench's own child.
    """

    def __init__(self, command: list[str] | None = None) -> None:
        self.command = [*(command or [sys.executable, "-m", "workbench.child"]), SIGN]
        self._asking = threading.Lock()
        self._writing = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._current: str | None = None

    @property
    def pid(self) -> int | None:
        """Its process number; None where it does not live."""
        child = self._child
        return None if child is None or child.poll() is not None else child.pid

    def ask(
        self, kind: str, request: Mapping[str, Any], on_event: OnEvent = lambda _: None
    ) -> dict[str, Any]:
        """Ask one thing and wait for its answer; questions of other threads wait their turn.

        Args:
            kind: which job.
            request: what it needs, as plain JSON values.
            on_event: told what happens meanwhile.

        Raises:
            WorkbenchError: what the job raised, of the same class.
            RunError: the worker ended before it had answered.
        """
        with self._asking:
            child = self._alive()
            ident = uuid.uuid4().hex
            self._current = ident
            try:
                self._tell(child, {"id": ident, "kind": kind, "request": request})
                assert child.stdout is not None
                for line in child.stdout:
                    message = json.loads(line)
                    if message.get("id") != ident:
                        continue
                    if "event" in message:
                        on_event(message["event"])
                    elif "error" in message:
                        raise error_from(message["error"])
                    else:
                        return message["result"]
            finally:
                self._current = None
            raise self._ended(kind)

    def stop(self) -> None:
        """Ask what goes on now to end early; it then answers with what it has."""
        child, ident = self._child, self._current
        if child is not None and ident is not None:
            with suppress(RunError):
                self._tell(child, {"stop": ident})

    def close(self) -> None:
        """End the process, if it lives."""
        child, self._child = self._child, None
        if child is None:
            return
        process.kill_group(child)  # pyright: ignore[reportArgumentType]
        _note(child.pid).unlink(missing_ok=True)
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _alive(self) -> "subprocess.Popen[str]":
        if self.pid is None:
            self.close()
            self._folder = tempfile.TemporaryDirectory(prefix="workbench-worker-")
            with (Path(self._folder.name) / LOG).open("ab") as log:
                self._child = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # a notebook's interrupt is not meant for it
                )
            process.reap(self._child)
            pid = self._child.pid
            write_json(_note(pid), {"pid": pid, "started": process.start_time(pid)})
        assert self._child is not None
        return self._child

    def _tell(self, child: "subprocess.Popen[str]", message: Mapping[str, Any]) -> None:
        assert child.stdin is not None
        try:
            with self._writing:
                child.stdin.write(json.dumps(message) + "\n")
                child.stdin.flush()
        except (OSError, ValueError):
            raise self._ended("a question") from None

    def _ended(self, kind: str) -> RunError:
        """The error for a worker that is gone; the next question starts another."""
        self.close()
        log = log_end(Path(self._folder.name)) if self._folder else ""
        return RunError(
            f"the worker ended before it had answered ({kind})",
            where=log or "a run that started, or wb.release(), ends it",
            fix="ask again: it starts anew; where memory ran out, ask with fewer models",
        )


_shared = Worker()


def shared() -> Worker:
    """The one worker of this process, for all that is interactive."""
    return _shared


def release() -> None:
    """End every worker of this user, and free what it holds; a run that starts does the same."""
    _shared.close()
    for note in lock_dir().glob(f"{STARTED}*.json"):
        known = _noted(note)
        if known and process.start_time(known[0]) == known[1] and process.is_ours(known[0], SIGN):
            _end(*known)  # the very process that was noted, and a worker of this user's
        with suppress(OSError):
            note.unlink(missing_ok=True)


def _noted(note: Path) -> tuple[int, str] | None:
    """The process that a note names, and when it began; None where it says no such thing."""
    try:
        known: Any = json.loads(read_own(note) or b"")
        pid, started = known["pid"], known["started"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return (pid, started) if type(pid) is int and pid > 1 and isinstance(started, str) else None


def _end(pid: int, started: str) -> None:
    """End a worker that another process of this user started."""
    deadline = time.monotonic() + GONE
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, 15)
        while process.alive(pid, started) and time.monotonic() < deadline:
            time.sleep(0.02)


def _note(pid: int) -> Path:
    return lock_dir() / f"{STARTED}{pid}.json"


# The child's side


def serve(jobs: Mapping[str, WorkerJob], *, idle: float = IDLE) -> int:
    """Answer questions from standard input until there are none for a while, or no one asks."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log
    questions: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stopped: set[str] = set()
    threading.Thread(target=_read, args=(sys.stdin, questions, stopped), daemon=True).start()
    while True:
        try:
            message = questions.get(timeout=idle)
        except queue.Empty:
            return 0
        if message is None:
            return 0
        _answer(jobs, message, out, stopped)


def _read(
    lines: IO[str], questions: "queue.Queue[dict[str, Any] | None]", stopped: set[str]
) -> None:
    for line in lines:
        message = json.loads(line)
        if "stop" in message:
            stopped.add(message["stop"])
        else:
            questions.put(message)
    questions.put(None)
    os._exit(0)  # who asked is gone: nobody waits for an answer


def _answer(
    jobs: Mapping[str, WorkerJob], message: dict[str, Any], out: IO[str], stopped: set[str]
) -> None:
    ident = message["id"]

    def tell(**values: Any) -> None:
        out.write(json.dumps({"id": ident, **values}) + "\n")
        out.flush()

    try:
        job = jobs[message["kind"]]
        result = job(message["request"], lambda e: tell(event=e), lambda: ident in stopped)
        tell(result=result)
    except WorkbenchError as error:
        tell(error=error_values(error))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        tell(error={"class": "RunError", "what": what, "where": message["kind"], "fix": ""})
    finally:
        stopped.discard(ident)
