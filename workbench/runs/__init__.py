"""The run folder: its writer, its readers, and the process that fills it. No torch, no widgets."""

from workbench.runs.catalogue import Runs, list_runs, open_run, wait_for
from workbench.runs.controls import FolderControls, ask
from workbench.runs.devices import device_holder, hold_device, live_holder
from workbench.runs.folder import RunFolder
from workbench.runs.housekeeping import keep_evaluation
from workbench.runs.identity import attach_or_create
from workbench.runs.jobs import run_job
from workbench.runs.launcher import find_run, runs_root, start
from workbench.runs.run import Run
from workbench.runs.writer import FolderWriter

__all__ = [
    "FolderControls",
    "FolderWriter",
    "Run",
    "RunFolder",
    "Runs",
    "ask",
    "attach_or_create",
    "device_holder",
    "find_run",
    "hold_device",
    "keep_evaluation",
    "list_runs",
    "live_holder",
    "open_run",
    "run_job",
    "runs_root",
    "start",
    "wait_for",
]
