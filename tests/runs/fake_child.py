"""A trainer without mathematics, in a process of its own: it obeys, writes, and dies on demand."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError
from workbench.events import Finished, Progress, Saved, StopRequested
from workbench.runs.controls import FolderControls
from workbench.runs.devices import hold_device
from workbench.runs.folder import RunFolder
from workbench.runs.jobs import serve_job
from workbench.runs.writer import FolderWriter


def steps(
    folder: RunFolder, settings: dict[str, Any], controls: FolderControls, writer: FolderWriter
) -> Iterator[object]:
    """Updates whose metric ``coef`` shows the live setting; a checkpoint now and then."""
    first, coef = _restored(folder, settings)
    step = first
    try:
        for step in range(first + 1, settings["steps"] + 1):
            coef = controls.changes(step).get("coef", coef)
            for _ in range(settings.get("micro", 1)):
                controls.safe_point()
                time.sleep(settings.get("delay", 0.0))
            if step == settings.get("crash_at"):
                raise ConfigError("the fake ran dry", where=f"step {step}", fix="refill it")
            yield Progress(
                step, settings["steps"], {"coef": coef, "bad": float("nan")}, ({"prompt": "p"},)
            )
            every = settings.get("checkpoint_every", 0)
            if controls.save_requested() or (every and step % every == 0):
                yield Saved(step, _save(folder, step, coef, writer.lengths()))
    except StopRequested:
        yield Saved(step - 1, _save(folder, step - 1, coef, writer.lengths()))
        yield Finished(step - 1, True)
        return
    yield Finished(step, False)


def _save(folder: RunFolder, step: int, coef: float, lengths: dict[str, int]) -> str:
    target = folder.path / "checkpoints" / f"step-{step}"
    if target.exists():  # a stop right after a checkpoint
        return str(target)
    aside = target.with_name(f".step-{step}.tmp")
    aside.mkdir()
    (aside / "lengths.json").write_text(json.dumps(lengths))
    (aside / "coef.json").write_text(json.dumps(coef))
    os.replace(aside, target)
    return str(target)


def _restored(folder: RunFolder, settings: dict[str, Any]) -> tuple[int, float]:
    if not folder.checkpoints():
        return 0, settings.get("coef", 1.0)
    step, path = folder.checkpoints()[-1]
    return step, json.loads((path / "coef.json").read_text())


def train(path: str) -> None:
    folder = RunFolder(path)
    settings = folder.config()["settings"]
    if "exit" in settings:
        sys.stderr.write("no room to be born\n")
        raise SystemExit(settings["exit"])
    with FolderWriter(folder) as writer:
        hold_device(settings.get("device", "cpu"), folder)
        saved = folder.checkpoints()
        at = saved[-1].step if saved else 0
        lengths = json.loads((saved[-1].path / "lengths.json").read_text()) if saved else {}
        writer.truncate_to(lengths, step=at)
        controls = FolderControls(folder, writer, from_step=at)
        for event in steps(folder, settings, controls, writer):
            writer(event)
            if isinstance(event, Progress) and event.step == settings.get("wedge_at"):
                time.sleep(60)
    time.sleep(settings.get("linger", 0.0))


def job(kind: str, values: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    if kind == "add":
        for done in range(1, 4):
            tell(done, 3, "adding")
        return {"sum": sum(values["numbers"]), "nan": float("nan")}
    if kind == "refuse":
        raise ConfigError("no such model", where="jobs", fix="give another")
    if kind == "crash":
        raise ZeroDivisionError("by accident")
    if kind == "slow":  # goes on as soon as it was seen to have told
        for done in values["tells"]:
            tell(done, values["total"], "answers")
            while not Path(values["mark"]).with_suffix(f".{done}").exists():
                time.sleep(0.01)
        return {}
    Path(values["mark"]).write_text(str(os.getpid()))
    time.sleep(60)
    return {}


if __name__ == "__main__":
    if sys.argv[1] == "--job":
        sys.exit(serve_job(Path(sys.argv[2]), job))
    train(sys.argv[1])
