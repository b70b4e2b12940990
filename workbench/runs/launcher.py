"""Where runs are, and how the process of one is started."""

import difflib
import os
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from workbench.errors import RunError
from workbench.json_lines import write_json
from workbench.runs import devices, process, worker
from workbench.runs.folder import LIVE, LOG, STATUS, RunFolder, starting_status
from workbench.runs.turns import in_turn

TURN = ".start.lock"


def runs_root() -> Path:
    """Where runs live: $WORKBENCH_RUNS, else runs/ in the project, else ~/workbench/runs."""
    if named := os.environ.get("WORKBENCH_RUNS"):
        return Path(named).expanduser().absolute()
    project = Path(__file__).absolute().parents[2]
    inside = (project / "pyproject.toml").exists()
    return project / "runs" if inside else Path.home() / "workbench" / "runs"


def within_root(path: str | Path) -> str:
    """A run's name below the root of all runs; a path from elsewhere, or another name, as it is."""
    place, root = Path(path), runs_root()
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(path)


def run_folders(root: Path | None = None) -> list[RunFolder]:
    """Every run below a root, also those in groups one folder deeper, by name.

    One that cannot be read is among them; a folder that two names lead to comes once.
    """
    root = runs_root() if root is None else root
    runs: dict[tuple[int, int], RunFolder] = {}
    for folder in _folders_in(root):
        for path in (folder, *([] if _holds_run(folder) else _folders_in(folder))):
            if _holds_run(path):
                status = path.stat()
                runs.setdefault((status.st_dev, status.st_ino), RunFolder(path))
    return sorted(runs.values(), key=lambda folder: folder.name)


def _folders_in(place: Path) -> list[Path]:
    """The folders in a folder that are not hidden, by name; none where it cannot be read."""
    try:
        with os.scandir(place) as entries:
            names = sorted(one.name for one in entries if not one.name.startswith("."))
    except OSError:
        return []
    return [place / name for name in names if os.path.isdir(place / name)]


def _holds_run(path: Path) -> bool:
    """Whether a run was made here: its status.json is there, or the folder may not be looked into.

    A config.json alone is a model's.
    """
    try:
        os.lstat(path / STATUS)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def find_run(name_or_path: str | os.PathLike[str], root: Path | None = None) -> RunFolder:
    """The folder of a run, by its name below the root or by its path.

    Raises:
        RunError: there is no such run; the nearest names are listed.
    """
    root = runs_root() if root is None else root
    for path in (root / name_or_path, Path(name_or_path).expanduser()):
        if (folder := RunFolder(path)).exists:
            return folder
    runs = sorted(run_folders(root), key=lambda folder: folder.path.stat().st_mtime)
    names = [str(folder.path.relative_to(root)) for folder in runs]
    near = difflib.get_close_matches(str(name_or_path), names, n=3, cutoff=0.4) or names[-5:]
    known = f"did you mean {', '.join(near)}?" if near else "there are no runs there yet;"
    raise RunError(
        f"there is no run called {os.fspath(name_or_path)}",
        where=str(root),
        fix=f"{known} wb.runs() lists all; $WORKBENCH_RUNS says where they are",
    )


def child_command(folder: RunFolder) -> list[str]:
    """How a run's process is started."""
    return [sys.executable, "-m", "workbench.child", str(folder.path)]


def start(folder: RunFolder, command: list[str] | None = None, *, device: str | None = None) -> int:
    """Start a run's process, which outlives this one; return its number.

    Args:
        folder: a run that was created and is not live.
        command: what to start; None is the workbench's own child.
        device: locked here and handed to the child, so that two starts cannot both succeed;
            None leaves the locking to the child (``hold_device``).

    Raises:
        RunError: the run is live already, its device is busy, it was made elsewhere and is not
            trusted, or the command cannot be started.
    """
    folder.check_made_here()
    with starting(folder):
        launched = process.read_record(folder.path) is not None
        if launched and folder.status()["state"] in LIVE:
            raise RunError(
                f"{folder.name} is live already",
                where=str(folder.path),
                fix=f"wb.open_run({folder.name!r}) attaches to it",
            )
        worker.release()  # what is interactive makes room
        return _start(folder, command, device)


def starting(folder: RunFolder) -> AbstractContextManager[None]:
    """Within the block no other process starts this run.

    Raises:
        RunError: another one has been starting it for too long.
    """
    return in_turn(folder.path / TURN)


def _start(folder: RunFolder, command: list[str] | None, device: str | None) -> int:
    env, command = {**os.environ, "PYTHONUNBUFFERED": "1"}, command or child_command(folder)
    with ExitStack() as stack:
        handed: tuple[int, ...] = ()
        if device is not None:
            lock = devices.take_device(device, folder)
            stack.callback(os.close, lock)  # the child keeps its own copy
            handed, env[devices.HANDED_OVER] = (lock,), f"{lock}:{device}"
        record = process.new_record(folder.path, None, device)
        record.write(folder.path)
        write_json(folder.path / STATUS, starting_status())
        pid = _spawn(folder, command, env, handed)
        for lock in handed:
            devices.write_holder(lock, folder, pid)
        replace(record, pid=pid, started=process.start_time(pid)).write(folder.path)
    return pid


def _spawn(
    folder: RunFolder, command: list[str], env: dict[str, str], handed: tuple[int, ...]
) -> int:
    try:
        child = process.spawn(command, log=folder.path / LOG, env=env, pass_fds=handed)
    except OSError as error:
        reason = f"the process could not be started ({error})"
        write_json(folder.path / STATUS, {**starting_status(), "state": "failed", "error": reason})
        raise RunError(
            reason, where=" ".join(command), fix="see that the command exists and may be run"
        ) from error
    return child.pid
