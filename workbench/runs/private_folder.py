"""Folders that hold what only this user may write: locks, notes of processes, the key of our runs.

Everyone may write into a machine's temporary folder. What is found in a shared place is therefore
believed only where it is provably this user's: a folder of mode 0700, plain files, no links.
"""

import os
import platform
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from workbench.errors import RunError

LARGEST_NOTE = 65536
"""Bytes of a note that are read; ours have some hundred."""


def runtime_folder() -> Path:
    """The folder of this user's locks on this machine: $WORKBENCH_LOCKS, or a system's own place.

    That is the runtime folder, else the cache, else the temporary folder.

    Raises:
        RunError: the folder is not this user's alone.
    """
    if named := os.environ.get("WORKBENCH_LOCKS"):
        return private_folder(Path(named))
    return _first_of(_runtime_places())


def state_folder() -> Path:
    """The folder of what this user keeps: $WORKBENCH_STATE, or ~/.local/state/workbench.

    Raises:
        RunError: the folder is not this user's alone.
    """
    if named := os.environ.get("WORKBENCH_STATE"):
        return private_folder(Path(named))
    home = os.environ.get("XDG_STATE_HOME")
    return _first_of([(Path(home) if home else _home() / ".local" / "state") / "workbench"])


def private_folder(path: Path) -> Path:
    """Make a folder that nobody else may enter, or see that the one there is such.

    Raises:
        RunError: it is a link, no folder, another user's, or cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        link = ", which is a link" if path.is_symlink() else ""
        raise _not_ours(path, f"is no folder that can be used ({error.strerror}){link}") from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid():
            raise _not_ours(path, f"belongs to another user (number {status.st_uid})")
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return path


def open_own(path: Path, flags: int) -> int:
    """Open a plain file of this user's in a private folder, never what a link points to.

    Args:
        path: the file.
        flags: as for ``os.open``; a file that is made is its owner's alone.

    Raises:
        RunError: it is a link, another user's, has several names, or is no plain file.
        FileNotFoundError: there is none, and the flags do not make one.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _planted(path, str(error.strerror)) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise _planted(path, "a link, a device, or another user's")


def read_own(path: Path) -> bytes | None:
    """The beginning of such a file; None where there is none, or it is not ours."""
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except (OSError, RunError):
        return None
    try:
        return os.read(descriptor, LARGEST_NOTE)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _runtime_places() -> Iterator[Path]:
    """Where a system keeps what one user's processes share, the best first."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.getuid()}"):
        if place and _is_ours_alone(Path(place)):
            yield Path(place) / "workbench"
    home = os.environ.get("XDG_CACHE_HOME")
    mac = _home() / "Library" / "Caches"
    cache = Path(home) if home else mac if mac.is_dir() else _home() / ".cache"
    machine = "".join(c for c in platform.node() if c.isalnum() or c in "-_") or "here"
    yield (
        cache / "workbench" / f"locks-{machine}"
    )  # a home may be on many machines, a lock is on one


def _first_of(places: Iterable[Path]) -> Path:
    for place in places:
        if _may_make(place):
            try:
                return private_folder(place)
            except RunError:
                continue
    return private_folder(Path(tempfile.gettempdir()) / f"workbench-{os.getuid()}")


def _may_make(place: Path) -> bool:
    """Whether it, or the nearest folder above it that exists, is ours to write in."""
    for folder in (place, *place.parents):
        try:
            return folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK | os.X_OK)
        except OSError:
            continue
    return False


def _is_ours_alone(place: Path) -> bool:
    try:
        status = place.stat()
    except OSError:
        return False
    private = not stat.S_IMODE(status.st_mode) & 0o077
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and private


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # this user has none
        return Path("/nonexistent")


def _not_ours(path: Path, why: str) -> RunError:
    return RunError(
        f"the folder for this user's locks and keys {why}",
        where=str(path),
        fix="remove it, or set WORKBENCH_LOCKS (locks) and WORKBENCH_STATE (keys) to folders that "
        "are yours alone",
    )


def _planted(path: Path, why: str) -> RunError:
    return RunError(
        f"{path.name} is no plain file of this user's ({why})",
        where=str(path),
        fix="delete it; whoever put it there is not the workbench",
    )
