"""A short child process for one batch of work: scoring, sampling, evaluating.

The notebook's process asks with :func:`run_job`; the child reads the request, reports progress and
leaves a result or an error beside it. A job ends when whoever asked for it ends.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench import errors
from workbench.errors import RunError, WorkbenchError
from workbench.json_lines import Follower, append_line, read_json, write_json
from workbench.progress import working
from workbench.runs import process
from workbench.runs.folder import LOG, RunFolder

REQUEST, RESULT, ERROR, PROGRESS = "request.json", "result.json", "error.json", "progress.jsonl"
POLL = 0.05  # seconds


def run_job(
    kind: str,
    request: Mapping[str, Any],
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    timeout: float | None = None,
    command: list[str] | None = None,
) -> dict[str, Any]:
    """Run one job in a process of its own and return its result; a line says how far it is.

    Args:
        kind: which job.
        request: what it needs, as plain JSON values.
        on_progress: told each row of progress: {"done", "total", "text", ...}.
        timeout: the job is ended after so long [s]; None lets it take its time.
        command: what to start, the request's file is added; None is the workbench's own child.

    Raises:
        WorkbenchError: what the job raised, of the same class.
        RunError: it ended in any other way, with the end of its log; or took too long.
    """
    command = command or [sys.executable, "-m", "workbench.child", "--job"]
    with tempfile.TemporaryDirectory(prefix="workbench-job-") as folder:
        place = Path(folder)
        write_json(place / REQUEST, {"kind": kind, "request": request, "parent": os.getpid()})
        child = process.spawn(
            [*command, str(place / REQUEST)],
            log=place / LOG,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            with working(_about(kind, request)) as work:
                work.tell(0, None, "starting its process")

                def hear(row: dict[str, Any]) -> None:
                    work.tell(row["done"], row["total"], row["text"])
                    if on_progress is not None:
                        on_progress(row)

                _follow(child, kind, place, hear, timeout)
        finally:
            process.kill_group(child)  # nothing happens where it has ended; an interrupt ends it
            process.forget(child)
        return _outcome(kind, place, child.returncode)


def _about(kind: str, request: Mapping[str, Any]) -> str:
    """What a job is about, for whoever waits: its models, by the last part of their names."""
    named: Any = [request.get(key) for key in ("model", "reward")] + [*request.get("models", ())]
    models = [Path(name).name.removeprefix("builtin:") for name in named if isinstance(name, str)]
    return ", ".join(dict.fromkeys(models)) or kind


def _follow(
    child: "subprocess.Popen[bytes]",
    kind: str,
    place: Path,
    on_progress: Callable[[dict[str, Any]], None],
    timeout: float | None,
) -> None:
    """Pass progress on until the child ends."""
    follower, begun = Follower(place / PROGRESS), time.monotonic()
    ended = False
    while not ended:
        try:
            child.wait(POLL)
            ended = True
        except subprocess.TimeoutExpired:
            pass
        for row in follower.read().rows:
            on_progress(row)
        if not ended and timeout is not None and time.monotonic() - begun > timeout:
            raise RunError(
                f"the job {kind} was ended: it took longer than {timeout:g} s",
                where=log_end(place),
                fix="give it less to do, or more time",
            )


def _outcome(kind: str, place: Path, code: int | None) -> dict[str, Any]:
    error, result = read_json(place / ERROR), read_json(place / RESULT)
    if error is not None:
        raise error_from(error)
    if result is not None and code == 0:
        return result
    raise RunError(
        f"the job {kind} ended without a result (exit code {code})",
        where=log_end(place),
        fix="read the last lines of its log above; where memory ran out, give it less at once",
    )


def log_end(place: Path) -> str:
    """The end of a log, to stand in an error; empty where there is none."""
    lines = RunFolder(place).log_tail(15)
    return "\n".join(["its log ends in:", *(f"    {line}" for line in lines)]) if lines else ""


def error_from(values: dict[str, Any]) -> WorkbenchError:
    """An error of another process, as it was raised there."""
    kind: Any = getattr(errors, str(values.get("class")), None)
    if not (isinstance(kind, type) and issubclass(kind, WorkbenchError)):
        kind = RunError
    return kind(
        str(values.get("what")), where=str(values.get("where", "")), fix=str(values.get("fix", ""))
    )


# The child's side


def serve_job(
    file: Path, work: Callable[[str, dict[str, Any], Callable[..., None]], Mapping[str, Any]]
) -> int:
    """Do one job and leave its result, or the error that a person can mend; an exit code.

    This process ends when the one that asked is gone.

    Args:
        file: the request.
        work: given the job's kind, its values, and what is called with (done, total, text), where
            it says how far it is; returns the result.

    Raises:
        RunError: the file is no request.
    """
    request = read_json(file)
    if request is None:
        raise RunError(
            "this is not a job's request",
            where=str(file),
            fix="jobs are started by the workbench itself",
        )
    threading.Thread(target=_end_with, args=(request["parent"],), daemon=True).start()

    def tell(done: int, total: int | None, text: str = "") -> None:
        append_line(file.with_name(PROGRESS), {"done": done, "total": total, "text": text})

    try:
        result = work(str(request["kind"]), request["request"], tell)
    except WorkbenchError as error:
        write_json(file.with_name(ERROR), error_values(error))
        return 1
    write_json(file.with_name(RESULT), result)
    return 0


def error_values(error: WorkbenchError) -> dict[str, Any]:
    """An error as plain JSON values, for another process."""
    kind = type(error).__name__
    return {"class": kind, "what": error.what, "where": error.where, "fix": error.fix}


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
