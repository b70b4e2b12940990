"""What runs in a process of its own: a training run, or one short job.

``python -m workbench.child FOLDER`` trains what the run folder's config.json says;
``python -m workbench.child --job REQUEST`` does one job and leaves its result beside the request;
``python -m workbench.child --workbench-worker`` answers questions from standard input, with models
that stay loaded.
"""

import logging
import os
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from workbench.errors import ConfigError, RunError, WorkbenchError, disk_watched, first_line
from workbench.runs import FolderControls, FolderWriter, RunFolder, hold_device, jobs, worker
from workbench.settings import (
    KINDS,
    DPOSettings,
    OnlineDPOSettings,
    PPOSettings,
    RewardSettings,
    RunSettings,
    SFTSettings,
)

ROOM = (
    "make room there, then resume: the run goes on from its last checkpoint, and nothing that was "
    "written before is lost"
)


def main(arguments: list[str]) -> int:
    """Run what the arguments name; 0 when it went well."""
    _quiet()
    if arguments[:1] == ["--job"]:
        return jobs.serve_job(Path(arguments[1]), do_job)
    if arguments[:1] == [worker.SIGN]:
        from workbench.training.playground_models import Stage

        stage = Stage()
        return worker.serve({"play": stage.play, "explain": stage.explain})
    return run_training(RunFolder(Path(arguments[0])))


def _quiet() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on a busy CPU
    # what libraries tell their developers as they are imported does not belong in a run's log
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def run_training(folder: RunFolder, *, alone: bool = True) -> int:
    """Train in this process, writing the run folder; a mendable fault ends in its three parts.

    Args:
        folder: the run.
        alone: no other process works on this run.
    """
    config = folder.config()
    try:
        with FolderWriter(folder) as writer:
            folder.check_made_here()
            settings = _settings(folder, config)
            from workbench.models.base import pick_device

            hold_device(pick_device(settings.device).type, folder)
            with disk_watched(folder.path, ROOM):
                _drive_from_a_sound_checkpoint(folder, config, settings, writer, alone=alone)
    except WorkbenchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  goes to log.txt
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


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
        answer = team.told_by_main(_begun(begin) if team.main else None)
        if isinstance(answer, WorkbenchError):
            raise answer
        folder = RunFolder(cast("str", answer))
        if folder.written_status()["state"] == "finished":
            return 0
        if team.main:
            return run_training(folder, alone=team.count == 1)
        config = folder.config()
        settings = _settings(folder, config)
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
        folder.check_made_here()
        if folder.process_alive():
            raise RunError(
                f"{folder.name} is live already",
                where=str(folder.path),
                fix=f"wait for it, or stop it: workbench stop {folder.path}",
            )
    except WorkbenchError as error:
        return error
    return str(folder.path)


def _settings(folder: RunFolder, config: dict[str, Any]) -> RunSettings:
    """What config.json says of how to train.

    Raises:
        ConfigError: it says nothing of the kind.
    """
    kind, settings = config.get("kind"), config.get("settings")
    inputs = config.get("inputs")
    if not (isinstance(kind, str) and kind in KINDS and isinstance(settings, dict)):
        what = "the run's kind and settings are none of ours"
    elif not isinstance(inputs, dict) or (kind in ("ppo", "online_dpo") and "reward" not in inputs):
        what = "the run's inputs are none of ours"
    else:
        return KINDS[kind].from_dict(cast("dict[str, Any]", settings))
    raise ConfigError(
        what,
        where=str(folder.path / "config.json"),
        fix=f"the kinds are {', '.join(KINDS)}; start a run anew, as config.json was meant",
    )


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    """What the run works on.

    Raises:
        RunError: the file that holds it is damaged.
    """
    try:
        rows = list(folder.data_rows())
        if all(isinstance(row, dict) for row in rows):
            return rows
        why = "a row is no object"
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
    raise RunError(
        f"the run's data cannot be read ({why})",
        where=str(folder.path / "data.jsonl.gz"),
        fix="put the file back, or start another run with the data",
    )


def _drive_from_a_sound_checkpoint(
    folder: RunFolder,
    config: dict[str, Any],
    settings: RunSettings,
    writer: FolderWriter,
    *,
    alone: bool,
) -> None:
    """Train on from the newest checkpoint that can be read; what was wrong with others is told.

    Several processes have met in the trainer when one finds that a sound file does not fit: they
    end, with the same advice.
    """
    from workbench.training.checkpoint import (
        UnusableCheckpointError,
        set_aside,
        set_unusable_aside,
    )

    messages: list[str] = []
    while True:
        messages += set_unusable_aside(folder.path)
        try:
            return _drive(folder, config, settings, writer, messages)
        except UnusableCheckpointError as error:
            if not alone:
                raise
            messages.append(set_aside(folder.path, error))


def _drive(
    folder: RunFolder,
    config: dict[str, Any],
    settings: RunSettings,
    writer: FolderWriter,
    messages: list[str],
) -> None:
    """Pass every event of the trainer to the folder, after some messages that become warnings."""
    from workbench.events import Notice, Phase, Place
    from workbench.training.checkpoint import newest_checkpoint
    from workbench.training.hardware import hardware
    from workbench.training.trackers import Trackers
    from workbench.training.update_time import UpdateTime

    newest = newest_checkpoint(folder.path)
    step, lengths = (0, {}) if newest is None else (newest.step, newest.lengths)
    writer.truncate_to(lengths, step=step)
    for message in messages:
        writer.record(kind="warning", message=message)
    controls = FolderControls(folder, writer, from_step=step)
    times = UpdateTime.planned(str(config["model"]), settings, _rows(folder))

    def tell(phase: Phase) -> None:
        times.take(phase, time.monotonic() - controls.waited)
        if times.seconds is not None:
            writer.estimate(times.seconds, times.source)
        writer.phase(phase)

    if times.seconds is not None:  # before a model is loaded
        writer.estimate(times.seconds, times.source)
    place = Place(folder.path, controls, writer.lengths, tell)
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
    from workbench.training.dpo import DPOTrainer
    from workbench.training.ppo import PPOTrainer
    from workbench.training.ppo.online_dpo import OnlineDPOTrainer
    from workbench.training.reward import RewardTrainer
    from workbench.training.sft import SFTTrainer
    from workbench.world.judge import gold_score

    model, rows = str(config["model"]), _rows(folder)
    if isinstance(settings, SFTSettings):
        return SFTTrainer(model, rows, settings, place).run()
    if isinstance(settings, RewardSettings):
        return RewardTrainer(model, rows, settings, place).run()
    inputs = config["inputs"]
    judge = gold_score if inputs.get("judge") == "gold" else None
    beside: dict[str, Any] = {"judge": judge, "reference": inputs.get("reference")}
    if isinstance(settings, DPOSettings):
        reward = inputs.get("reward")
        return DPOTrainer(model, rows, settings, place, reward=reward, **beside).run()
    prompts = [row["prompt"] for row in rows]
    reward, heldout = inputs["reward"], inputs.get("heldout_reward")
    if isinstance(settings, OnlineDPOSettings):
        return OnlineDPOTrainer(model, reward, prompts, settings, place, **beside).run()
    assert isinstance(settings, PPOSettings)
    return PPOTrainer(model, reward, prompts, settings, place, heldout=heldout, **beside).run()


def do_job(kind: str, values: Mapping[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """Call a job's function in this process and return its result as plain JSON values.

    Args:
        kind: which job, a key of :data:`JOBS`.
        values: the function's arguments as plain JSON values: of settings a dictionary, whose kind
            is ``values["kind"]`` (PPO's where it is absent), of a folder its path.
        tell: called with (done, total, text), where the job's function says how far it is.

    Raises:
        ConfigError: there is no such job.
    """
    if kind not in JOBS:
        raise ConfigError(
            f"there is no job called {kind}",
            where="workbench.child",
            fix=f"choose one of {', '.join(JOBS)}",
        )
    address, name = JOBS[kind]
    function = resolve_name(address)
    arguments = dict(values)
    if "settings" in arguments:
        settings_class = KINDS[arguments.pop("kind", "ppo")]
        arguments["settings"] = settings_class.from_dict(arguments["settings"])
    if "folder" in arguments:
        arguments["folder"] = Path(arguments["folder"])
    if "tell" in signature(function).parameters:
        arguments["tell"] = tell
    result = _plain(function(**arguments))
    return {name: result} if name else result


def _plain(value: Any) -> Any:
    """A result with every named tuple in it as a dictionary."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[str, Any]", value).items()}
    return [_plain(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


JOBS = {  # module:function, and the name under which its result is given; none: it gives several
    "answers": ("workbench.training.batch_jobs:answers", "answers"),
    "attributions": ("workbench.training.reward.attribution:attributions", "attributions"),
    "scores": ("workbench.training.batch_jobs:scores", "scores"),
    "export": ("workbench.training.merged_export:export_model", ""),
    "best_of_n": ("workbench.training.best_of_n:candidates", "answers"),
    "measured": ("workbench.training.batch_jobs:measured", "answers"),
    "influences": ("workbench.training.reward.influence:influences", ""),
    "optimum": ("workbench.training.checks.analytic_optimum:compare_changed", ""),
    "plan": ("workbench.training.checks.memory_plan:plan", ""),
    "preflight": ("workbench.training.checks.preflight:measured_preflight", ""),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
