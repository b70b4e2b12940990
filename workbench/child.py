"""What runs in a process of its own: a training run, or one short job.

``python -m workbench.child FOLDER`` trains what the run folder's config.json says;
``python -m workbench.child --job REQUEST`` does one job and leaves its result beside the request;
``python -m workbench.child --worker`` answers questions from standard input with loaded models.
"""

import errno
import json
import logging
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from workbench.errors import ConfigError, RunError, WorkbenchError
from workbench.runs import FolderControls, FolderWriter, RunFolder, hold_device, jobs, worker
from workbench.settings import KINDS, PPOSettings, RewardSettings, RunSettings, SFTSettings


def main(arguments: list[str]) -> int:
    """Run what the arguments name; 0 when it went well."""
    _quiet()
    if arguments[:1] == ["--job"]:
        return run_job(Path(arguments[1]))
    if arguments[:1] == ["--worker"]:
        return serve_questions()
    return run_training(RunFolder(Path(arguments[0])))


def _quiet() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on a busy CPU
    # what libraries tell their developers as they are imported does not belong in a run's log
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def run_training(folder: RunFolder) -> int:
    """Train in this process, writing the run folder; a mendable fault ends in its three parts."""
    config = folder.config()
    try:
        with FolderWriter(folder) as writer:
            settings = KINDS[config["kind"]].from_dict(config["settings"])
            _take_device(settings, folder)
            with _disk_watched(folder):
                _drive(folder, config, settings, writer)
    except WorkbenchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  goes to log.txt
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _disk_watched(folder: RunFolder) -> Iterator[None]:
    """Say it as what it is where a file cannot be written because the disk is full.

    Raises:
        RunError: that is so.
    """
    try:
        yield
    except Exception as error:
        full = os.strerror(errno.ENOSPC)  # libraries wrap it: safetensors, torch
        if full.lower() not in str(error).lower():
            raise
        raise RunError(
            "the disk is full",
            where=str(folder.path),
            fix="make room there, then resume: the run goes on from its last checkpoint, and "
            "nothing that was written before is lost",
        ) from error


def run_together(begin: Callable[[], RunFolder], settings: RunSettings) -> int:
    """Train in this and the other processes that were launched for one run.

    Args:
        begin: finds or makes the run's folder; called by the main process alone.
        settings: say on which device.

    Raises:
        WorkbenchError: what ``begin`` raised, in every process; or the run is live.
    """
    import torch.distributed as dist

    from workbench.events import Place
    from workbench.training.optimiser import make_accelerator
    from workbench.training.process_group import Team

    _quiet()
    accelerator = make_accelerator(settings)
    team = Team(accelerator.process_index, accelerator.num_processes)
    try:
        found = team.told_by_main(_begun(begin) if team.main else None)
        if isinstance(found, WorkbenchError):
            raise found
        folder = RunFolder(cast("str", found))
        if folder.written_status()["state"] == "finished":
            return 0
        if team.main:
            return run_training(folder)
        config = folder.config()
        settings = KINDS[config["kind"]].from_dict(config["settings"])
        for _ in _trainer(folder, config, settings, Place(folder.path)):
            pass  # the main process tells what happens
        return 0
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _begun(begin: Callable[[], RunFolder]) -> str | WorkbenchError:
    """The folder to train in, or what is wrong, to be told to the other processes."""
    try:
        folder = begin()
        if folder.process_alive():
            raise RunError(
                f"{folder.name} is live already",
                where=str(folder.path),
                fix=f"wait for it, or stop it: workbench stop {folder.path}",
            )
    except WorkbenchError as error:
        return error
    return str(folder.path)


def _take_device(settings: RunSettings, folder: RunFolder) -> None:
    from workbench.models.base import pick_device

    hold_device(pick_device(settings.device).type, folder)


def _drive(
    folder: RunFolder, config: dict[str, Any], settings: RunSettings, writer: FolderWriter
) -> None:
    """Pass every event of the trainer to the folder."""
    from workbench.events import Notice, Place
    from workbench.training.checkpoint import checkpoints
    from workbench.training.trackers import Trackers

    lengths: dict[str, int] = {}
    if found := checkpoints(folder.path):
        lengths = json.loads((found[-1][1] / "lengths.json").read_text())
    step = lengths.pop("step", 0)
    writer.truncate_to(lengths, step=step)
    controls = FolderControls(folder, writer, from_step=step)
    place = Place(folder.path, controls, writer.lengths)
    trackers = Trackers(settings.report_to, folder.path, settings.to_dict(), device=settings.device)
    with trackers, closing(_trainer(folder, config, settings, place)) as events:
        for event in events:
            if isinstance(event, Notice) and event.kind == "setup":
                folder.add_to_config(hardware=hardware(), resolved=event.data)
            writer(event)
            trackers(event)


def _trainer(
    folder: RunFolder, config: dict[str, Any], settings: RunSettings, place: Any
) -> Generator[Any, None, None]:
    from workbench.training import sft
    from workbench.training.ppo import ppo
    from workbench.training.reward import reward
    from workbench.world.judge import gold_score

    model, rows = str(config["model"]), list(folder.data_rows())
    if isinstance(settings, SFTSettings):
        return sft.steps(model, rows, settings, place)
    if isinstance(settings, RewardSettings):
        return reward.steps(model, rows, settings, place)
    assert isinstance(settings, PPOSettings)
    inputs = config["inputs"]
    judge = gold_score if inputs.get("judge") == "gold" else None
    prompts = [row["prompt"] for row in rows]
    return ppo.steps(
        model,
        inputs["reward"],
        prompts,
        settings,
        place,
        judge=judge,
        reference=inputs.get("reference"),
        heldout=inputs.get("heldout_reward"),
    )


def hardware() -> dict[str, Any]:
    """What this process runs on, and with which versions."""
    from importlib.metadata import version

    import torch

    names = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _processor(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def _processor() -> str:
    """What the processor is called; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def run_job(file: Path) -> int:
    """Do one job and leave its result, or the error that a person can mend."""
    request = jobs.read_request(file)
    try:
        if request.kind not in JOBS:
            raise ConfigError(
                f"there is no job called {request.kind}",
                where=str(file),
                fix=f"choose one of {', '.join(JOBS)}",
            )
        jobs.write_result(file, JOBS[request.kind](request.values, _teller(file)))
    except WorkbenchError as error:
        jobs.write_error(file, error)
        return 1
    return 0


def serve_questions() -> int:
    """Keep models loaded for what is interactive, and answer until nobody asks any more."""
    from workbench.training.playground_models import Stage

    return worker.serve({"play": Stage().play})


def _teller(file: Path) -> Callable[[int, int, str], None]:
    return lambda done, total, text: jobs.report_progress(file, done, total, text)


def _job_answers(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    from workbench.training import batch_jobs

    found = batch_jobs.answers(
        values["models"],
        values["prompts"],
        PPOSettings.from_dict(values["settings"]),
        responses=values["responses"],
        with_kl=values["with_kl"],
        tell=tell,
    )
    return {"answers": found}


def _job_scores(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    from workbench.training import batch_jobs

    settings = PPOSettings.from_dict(values["settings"])
    found = batch_jobs.scores(
        values["reward"], values["prompts"], values["responses"], settings, tell=tell
    )
    return {"scores": found}


def _job_export(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    from workbench.training.export import export_model

    settings = PPOSettings.from_dict(values["settings"])
    folder = Path(values["folder"])
    return export_model(values["model"], folder, settings, dtype=values["dtype"])


def _job_best_of_n(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    from workbench.training import best_of_n

    found = best_of_n.candidates(
        values["model"],
        values["rewards"],
        values["prompts"],
        PPOSettings.from_dict(values["settings"]),
        count=values["count"],
        tell=tell,
    )
    return {"answers": found}


def _job_optimum(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    import tempfile

    from workbench.training.checks import analytic_optimum

    with tempfile.TemporaryDirectory(prefix="workbench-optimum-") as folder:
        found = analytic_optimum.compare(
            analytic_optimum.SETTINGS.changed(**values["settings"]), Path(folder)
        )
    return {**found._asdict(), "answers": [answer._asdict() for answer in found.answers]}


def _job_plan(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    from workbench.training.checks.memory_plan import plan

    settings = KINDS[values["kind"]].from_dict(values["settings"])
    return {**plan(values["model"], settings, card=values["card"]), "hardware": hardware()}


def _job_preflight(values: dict[str, Any], tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    from workbench.training.checks.preflight import preflight

    settings, folder = PPOSettings.from_dict(values["settings"]), Path(values["folder"])
    found = preflight(values["model"], values["reward"], values["prompts"], settings, folder)
    return {"checks": [check._asdict() for check in found]}


JOBS: dict[str, Callable[[dict[str, Any], Callable[[int, int, str], None]], dict[str, Any]]] = {
    "answers": _job_answers,
    "scores": _job_scores,
    "export": _job_export,
    "best_of_n": _job_best_of_n,
    "optimum": _job_optimum,
    "plan": _job_plan,
    "preflight": _job_preflight,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
