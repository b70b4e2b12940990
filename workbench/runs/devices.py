"""One live run a device: a lock that the run's process holds for as long as it lives."""

import fcntl
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, cast

from workbench.errors import RunError
from workbench.runs.folder import ENDED, RunFolder
from workbench.runs.private_folder import LARGEST_NOTE, open_own, runtime_folder
from workbench.runs.turns import happens, locked

HANDED_OVER = "WORKBENCH_DEVICE_LOCK"  # "<descriptor>:<device>": a lock that the launcher took
LEAVING = 20.0  # seconds that a run which has said its last word may take to end its process
PROBE = 0.5  # seconds that another process's look at the lock may disturb us

_held: dict[str, int] = {}


def lock_dir() -> Path:
    """Where the locks are: a folder that is this user's alone (:mod:`.private_folder`).

    Raises:
        RunError: somebody else has put something there.
    """
    return runtime_folder()


def _path(device: str) -> Path:
    return lock_dir() / f"{''.join(c if c.isalnum() else '-' for c in device)}.lock"


def _open(device: str) -> int:
    return open_own(_path(device), os.O_RDWR | os.O_CREAT)


def _read(descriptor: int) -> dict[str, Any]:
    """What a lock says of its holder; what is not of its kind is left out."""
    try:
        value: Any = json.loads(os.pread(descriptor, LARGEST_NOTE, 0))
    except (ValueError, RecursionError):
        value = None
    note = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    kinds = {"run": str, "pid": int, "folder": str}
    return {key: note[key] if isinstance(note.get(key), kinds[key]) else None for key in kinds}


def write_holder(descriptor: int, folder: RunFolder, pid: int) -> None:
    """Say in a lock that we hold whose it is."""
    holder = {"run": folder.name, "pid": pid, "folder": str(folder.path)}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def device_holder(device: str) -> dict[str, Any] | None:
    """Who holds a device: {"run", "pid", "folder"}; None where it is free."""
    descriptor = _open(device)
    try:
        return None if locked(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    finally:
        os.close(descriptor)


def live_holder(device: str) -> dict[str, Any] | None:
    """Who holds a device as of :func:`device_holder`; one that is about to end is waited for."""
    happens(lambda: not _is_leaving(device_holder(device)), LEAVING)
    return device_holder(device)


def take_device(device: str, folder: RunFolder) -> int:
    """Lock a device and return the open descriptor that holds it.

    A holder that has said its last word is waited for; its process is about to end.

    Raises:
        RunError: a live run holds the device; it is named.
    """
    descriptor = _open(device)
    is_ours = partial(locked, descriptor, fcntl.LOCK_EX)
    if not happens(is_ours, PROBE):
        holder = _read(descriptor)
        if not _is_leaving(holder) or not happens(is_ours, LEAVING):
            os.close(descriptor)
            raise busy(device, holder, folder)
    write_holder(descriptor, folder, os.getpid())
    return descriptor


def hold_device(device: str, folder: RunFolder) -> None:
    """Hold a device until this process ends; takes over the lock that the launcher handed on.

    Raises:
        RunError: another live run holds the device.
    """
    number, _, handed = os.environ.pop(HANDED_OVER, "").partition(":")
    if number.isdecimal() and _is_lock(int(number), handed):
        os.set_inheritable(int(number), False)
        if handed == device:
            _held[device] = int(number)
        else:
            os.close(int(number))
    if device in _held:
        write_holder(_held[device], folder, os.getpid())
    else:
        _held[device] = take_device(device, folder)


def release_device(device: str) -> None:
    """Let a device go before this process ends."""
    if device in _held:
        os.close(_held.pop(device))


def busy(device: str, holder: dict[str, Any], folder: RunFolder) -> RunError:
    """The error for a device that another run holds."""
    name = holder["run"] or "another run"
    attach = f"wb.open_run({holder['folder'] or name!r})"
    return RunError(
        f"{device} is busy: the run {name} (process {holder['pid']}) is live on it",
        where=f"starting {folder.name}",
        fix=f"wait for it with {attach}.wait(), or end it with {attach}.stop()",
    )


def _is_lock(descriptor: int, device: str) -> bool:
    """Whether the lock was really handed to us, and not to a process that started us."""
    try:
        ours, meant = os.fstat(descriptor), _path(device).stat()
    except OSError:
        return False
    return os.path.samestat(ours, meant)


def _is_leaving(holder: dict[str, Any] | None) -> bool:
    if holder is None or holder["folder"] is None:
        return False
    folder = RunFolder(holder["folder"])
    return folder.exists and folder.written_status()["state"] in ENDED
