"""Where things are kept: room on the disk, folders that may be written, locks, the sample data."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from workbench.errors import RunError, WorkbenchError
from workbench.machine.findings import MachineFact
from workbench.machine.libraries import DISTRIBUTION, installed_version, project_folder
from workbench.runs import devices, private_folder
from workbench.runs.launcher import runs_root
from workbench.version import __version__
from workbench.world.sample_files import sample_dir

GB = 1e9
LITTLE, TOO_LITTLE = 5 * GB, 0.2 * GB
"""Free bytes on a disk: a real model's checkpoints want more than the one, nothing runs under
the other.
"""


def place_findings() -> list[MachineFact]:
    """Runs, disk, locks and samples, and whether a live run holds a device."""
    return [*_runs(), _temporary(), _locks(), *_held(), _samples(), *_copies()]


def _runs() -> list[MachineFact]:
    try:
        root = runs_root()
    except RuntimeError:  # this user has no home
        return [MachineFact("runs", "failed", "this user has no home folder", _elsewhere())]
    nearest = next(place for place in (root, *root.parents) if place.exists())
    if error := cannot_write(nearest):
        return [MachineFact("runs", "failed", f"{root} cannot be written: {error}", _elsewhere())]
    free = shutil.disk_usage(nearest).free
    state = "failed" if free < TOO_LITTLE else "look" if free < LITTLE else "ok"
    fix = "" if state == "ok" else f"wb.runs() deletes old runs; else {_elsewhere()}"
    return [
        MachineFact("runs", "ok", f"are kept in {root}"),
        MachineFact("disk", state, f"{free / GB:.1f} GB are free there", fix),
        *_forgotten(root),
    ]


def _elsewhere() -> str:
    return "set WORKBENCH_RUNS to a folder that may be written and has room"


def _forgotten(root: Path) -> list[MachineFact]:
    """Whether runs are lost with a machine that is taken away (Colab, Kaggle), and what to set."""
    host, kept = hosted(), {"Colab": "/content/drive/", "Kaggle": "/kaggle/working"}
    place = kept.get(host)
    if place is None or str(root).startswith(place):
        return []
    fix = f"before a long run set WORKBENCH_RUNS to a folder in {place}"
    return [MachineFact("runs", "look", f"{host} forgets {root} when the machine goes away", fix)]


def hosted() -> str:
    """Whose machine it is: "Colab", "Kaggle", or empty."""
    if "COLAB_RELEASE_TAG" in os.environ or "COLAB_BACKEND_VERSION" in os.environ:
        return "Colab"
    return "Kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else ""


def cannot_write(folder: Path) -> str:
    """Why nothing can be written to a folder, by trying; empty where it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"workbench")
    except OSError as error:
        return str(error.strerror or error)
    return ""


def _temporary() -> MachineFact:
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        fix = "set TMPDIR to a folder that may be written"
        return MachineFact("temporary files", "failed", str(error), fix)
    free = shutil.disk_usage(folder).free
    small = free < TOO_LITTLE
    fix = "make room, or set TMPDIR to a folder with room" if small else ""
    words = f"{folder}, {free / GB:.1f} GB free"
    return MachineFact("temporary files", "failed" if small else "ok", words, fix)


def _locks() -> MachineFact:
    """Whether locks work here, which keep two runs apart; some network disks have none."""
    try:
        folder = private_folder.runtime_folder()
        keys = private_folder.state_folder()
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except RunError as error:
        return MachineFact("locks and keys", "failed", f"{error.what} ({error.where})", error.fix)
    except OSError as error:
        fix = "set WORKBENCH_LOCKS to a folder of yours on this machine's own disk"
        return MachineFact(
            "locks and keys", "failed", f"no lock can be held: {error.strerror}", fix
        )
    shared = Path(tempfile.gettempdir())
    lost = keys.is_relative_to(shared) and "WORKBENCH_STATE" not in os.environ
    words = f"{folder} and {keys}"
    if lost:
        fix = "set WORKBENCH_STATE to a folder that stays: else later your own runs read as foreign"
        return MachineFact("locks and keys", "look", f"{words}: the home cannot be written", fix)
    return MachineFact("locks and keys", "ok", words)


def _held() -> list[MachineFact]:
    findings: list[MachineFact] = []
    for device in ("cuda", "cpu"):
        try:
            holder = devices.device_holder(device)
        except (OSError, WorkbenchError):
            continue  # said by the locks
        if holder is not None:
            name = holder["run"] or "another process"
            words = f"{name} holds {device}: another run there has to wait"
            findings.append(
                MachineFact("live run", "look", words, "wait for it, or stop it: wb.runs()")
            )
    return findings


def _samples() -> MachineFact:
    folder = sample_dir()
    wanted = ("manifest.json", "pairs_train.jsonl", "tiny-chat/model.safetensors")
    absent = [name for name in wanted if not (folder / name).is_file()]
    if not absent:
        return MachineFact("sample data", "ok", str(folder))
    words = f"{', '.join(absent)} missing in {folder}"
    fix = "install the package again, or run `python sample_data/build.py` in the project"
    return MachineFact("sample data", "failed", words, fix)


def _copies() -> list[MachineFact]:
    """Whether the workbench that is imported is another copy than the one that pip knows."""
    here = Path(__file__).parents[1]
    words = f"{__version__}, from {here}"
    known = installed_version(DISTRIBUTION)
    if known in (None, __version__) or project_folder() is not None:
        return [MachineFact("workbench", "ok", words)]
    fix = "uninstall one of the two (pip uninstall rlhf-workbench), then start the kernel anew"
    return [MachineFact("workbench", "look", f"{words}; pip knows {known}", fix)]
