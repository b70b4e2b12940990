"""Whether a run's process still lives, told apart from another process that got its number."""

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from workbench.json_lines import read_json, write_json
from workbench.runs.file_rules import MOST_CONFIG, is_count, is_number

RECORD = ".process.json"
_PROC = Path("/proc")
_children: dict[int, "subprocess.Popen[bytes]"] = {}  # ours: kept so that their end can be read


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Who works in a run folder: written by whoever launches, and by the process itself.

    ``started`` tells a reused process number from the one meant; ``machine`` says where ``pid``
    counts; ``control_length`` is where control.jsonl ended at the launch [bytes]: earlier
    commands were meant for an earlier process.
    """

    pid: int | None
    started: str | None
    machine: str
    launched: float
    control_length: int
    device: str | None

    def write(self, folder: Path) -> None:
        """Put the record into a run folder."""
        write_json(folder / RECORD, asdict(self))


_HOLDS: dict[str, Callable[[Any], bool]] = {
    "pid": lambda value: value is None or (is_count(value) and value > 0),
    "started": lambda value: value is None or isinstance(value, str),
    "machine": lambda value: isinstance(value, str),
    "launched": is_number,
    "control_length": is_count,
    "device": lambda value: value is None or isinstance(value, str),
}


def read_record(folder: Path) -> ProcessRecord | None:
    """The record in a run folder; None where there is none, or it holds something else."""
    values = read_json(folder / RECORD, MOST_CONFIG)
    if values is None or not all(holds(values.get(name)) for name, holds in _HOLDS.items()):
        return None
    known: dict[str, Any] = {f.name: values.get(f.name) for f in fields(ProcessRecord)}
    return ProcessRecord(**known)


def new_record(folder: Path, pid: int | None, device: str | None = None) -> ProcessRecord:
    """A record for a process that is launched now, or (pid None) is just about to be."""
    control = folder / "control.jsonl"
    return ProcessRecord(
        pid=pid,
        started=None if pid is None else start_time(pid),
        machine=machine(),
        launched=time.time(),
        control_length=control.stat().st_size if control.exists() else 0,
        device=device,
    )


def start_time(pid: int) -> str | None:
    """When a process began, as an opaque text; None where it is gone or a zombie."""
    return _start_from_proc(pid) if (_PROC / "self").exists() else start_from_ps(pid)


def _start_from_proc(pid: int) -> str | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    values = text[text.rfind(")") + 1 :].split()  # a process name may hold blanks and brackets
    return None if values[0] in "ZX" else values[19]


def start_from_ps(pid: int) -> str | None:
    """The same for systems without /proc."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    state, _, started = text.strip().partition(" ")
    return started.strip() if state and not state.startswith("Z") else None


def alive(pid: int, started: str | None) -> bool:
    """Whether the very process that began at ``started`` still runs."""
    now = start_time(pid)
    return now is not None and started in (None, now)


def is_ours(pid: int, sign: str) -> bool:
    """Whether a process is this user's, leads its own group, and its command ends in ``sign``."""
    try:
        leads = os.getpgid(pid) == pid
        if (_PROC / "self").exists():
            arguments = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            owner = (_PROC / str(pid)).stat().st_uid
            return leads and arguments[-1] == sign.encode() and owner == os.getuid()
    except OSError:
        return False
    command = ["ps", "-o", "uid=,command=", "-p", str(pid)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return leads and text[:1] == [str(os.getuid())] and text[-1:] == [sign]


@cache
def machine() -> str:
    """Names what a process number is valid in: this boot of this machine, and its namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{uuid.getnode():x}"


def spawn(
    command: list[str], *, log: Path, env: dict[str, str], pass_fds: tuple[int, ...] = ()
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own: a notebook's interrupt or end does not reach it."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
            pass_fds=pass_fds,
        )
    _children[child.pid] = child
    reap(child)
    return child


def reap(child: "subprocess.Popen[Any]") -> None:
    """Read a process's end as soon as it comes: nobody may look for hours, and it is no zombie."""
    threading.Thread(target=child.wait, name=f"end of {child.pid}", daemon=True).start()


def how_it_ended(pid: int) -> str:
    """What is known about a process that is gone, in words."""
    code = _exit_code(pid)
    if code is None:
        return f"its process ({pid}) is gone: killed from outside, or out of memory"
    if code >= 0:
        return f"its process ({pid}) ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else str(-code)
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"its process ({pid}) was killed by {name}{hint}"


def _exit_code(pid: int) -> int | None:
    """The exit code of a process that we started and that is ending; None for any other."""
    child = _children.get(pid)
    if child is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        child.wait(1.0)  # its last thread may be a moment behind its first
    return child.returncode


def kill_group(child: "subprocess.Popen[bytes]", *, grace: float = 2.0) -> None:
    """End a process that :func:`spawn` started, with all that it started itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(grace)
            break
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def forget(child: "subprocess.Popen[bytes]") -> None:
    """Let go of a process whose end has been read."""
    _children.pop(child.pid, None)
