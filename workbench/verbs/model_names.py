"""How a person names a model, and what can be said of one before anything is loaded."""

import ctypes.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from workbench.data.reading.hub import is_on_hub, kept_from_hub
from workbench.errors import ConfigError, ModelError, nearest
from workbench.presets import preset_settings
from workbench.runs import Run, RunFolder, runs_root, wait_for
from workbench.runs.launcher import run_folders
from workbench.settings import PPOSettings, RunSettings
from workbench.world.sample_files import BUILTIN_MODELS

Model = str | Path | Run


def model_name(model: Model) -> str:
    """How a model is written in a config; an unfinished run is waited for."""
    run, text = _run_of(model), str(model)
    if run is not None:
        return str(wait_for(run).path)
    return str(Path(text).absolute()) if Path(text).is_dir() else text


def check_model(
    model: Model, argument: str, needs: Literal["answers", "scores"] | None = None
) -> None:
    """Refuse what stands for no model, or for none of the kind, before anything is loaded.

    An unfinished run is not waited for: a verb asks this of all that it was given first.

    Args:
        model: as a verb got it.
        argument: the verb's name for it, for the error.
        needs: whether it has to give answers or to score them.

    Raises:
        ModelError: there is no such model, or it is none of that kind; the nearest name is told.
    """
    from workbench.models.source import resolve

    run = _run_of(model)
    if run is not None and run.status in ("failed", "paused"):
        wait_for(run)  # says that it would be waited for in vain
    if run is not None and not run.final.is_dir():
        _check_kind(run.kind == "reward", run.kind != "reward", needs, argument, model)
        return
    name = str(model) if run is None else str(run.path)
    try:
        source = resolve(name)
    except ModelError as error:
        more = "" if error.where in name else f" ({error.where})"
        missing = not Path(name).exists() and "did you mean" not in error.fix
        fix = f"{nearest_model(name)}{error.fix}" if missing else error.fix
        raise ModelError(error.what, where=f"{argument} = {model}{more}", fix=fix) from None
    if source.reference == name and not name.startswith("builtin:") and not Path(name).is_dir():
        _check_hub_id(name, argument)
    _check_kind(source.may_score, not source.is_reward, needs, argument, model)


def check_preset(preset: str | None, settings: dict[str, Any]) -> PPOSettings:
    """PPO's settings, checked, with a preset's under those that a person gave.

    Raises:
        ConfigError: there is no such preset or setting, or a value that is not allowed.
    """
    return PPOSettings.from_dict(preset_settings(preset, settings))


def _check_kind(
    scores: bool, answers: bool, needs: str | None, argument: str, model: Model
) -> None:
    where = f"{argument} = {model.name if isinstance(model, Run) else model}"
    if needs == "scores" and not scores:
        raise ModelError(
            "this is not a reward model",
            where=where,
            fix="give the run that wb.train_reward returned, or a sequence classifier of one label",
        )
    if needs == "answers" and not answers:
        raise ModelError(
            "a reward model scores answers and gives none",
            where=where,
            fix="give a model that answers: a base, or a run of train_sft or train_ppo",
        )


def _check_hub_id(name: str, argument: str) -> None:
    """Refuse ``owner/name`` that is a mistyped folder, or that the hub has not.

    Raises:
        ModelError: so it is.
    """
    folder = name.partition("/")[0]
    inside = next((place for place in (Path(folder), runs_root() / folder) if place.is_dir()), None)
    if inside is None and is_on_hub("models", name) is not False:
        return
    missing = "on this machine or on the hub" if inside is None else f"in {inside}"
    raise ModelError(
        f"there is no such model {missing}",
        where=f"{argument} = {name}",
        fix=f"{nearest_model(name)}check the name; a hub id is owner/name, and some need a login "
        "(`hf auth login`) or a network",
    )


def nearest_model(name: str) -> str:
    """What a mistyped name of a model was meant to be: a run, a folder, an embedded or kept one."""
    root = runs_root()
    runs = [folder.path.relative_to(root).as_posix() for folder in run_folders(root)]
    embedded = [f"builtin:{short}" for short in BUILTIN_MODELS]
    parent = Path(name).expanduser().parent
    beside = [str(parent / child.name) for child in parent.iterdir()] if parent.is_dir() else []
    known = [*runs, *embedded, *kept_from_hub("models"), *beside]
    return nearest(name, known)


def _run_of(model: Model) -> Run | None:
    """The run that a name or a folder stands for."""
    if isinstance(model, Run):
        return model
    text = str(model)
    for path in (Path(text), runs_root() / text):
        if not text.startswith("builtin:") and RunFolder(path).exists:
            return Run(RunFolder(path.absolute()))
    return None


def on_embedded_base(model: Model) -> bool:
    """Whether a model is an embedded one, or was trained from one."""
    from workbench.models.source import resolve

    return resolve(model_name(model)).reference.startswith("builtin:")


def device_of(settings: RunSettings) -> str:
    """The device a run will take, told without loading torch.

    Raises:
        ConfigError: CUDA was asked for and there is no NVIDIA driver.
    """
    driver = ctypes.util.find_library("cuda") is not None or shutil.which("nvidia-smi") is not None
    if settings.device == "cuda" and not driver:
        raise ConfigError(
            "CUDA was asked for and this machine has no NVIDIA driver",
            where="device = 'cuda'",
            fix="use device='auto' or 'cpu'",
        )
    if settings.device == "auto":
        return "cuda" if driver else "cpu"
    return settings.device


def short_names(models: Sequence[Model]) -> list[str]:
    """The last part of each model's name, numbered where two are alike."""
    names = [m.name if isinstance(m, Run) else Path(str(m)).name or str(m) for m in models]
    names = [name.removeprefix("builtin:") for name in names]
    return [
        name if names.count(name) == 1 else f"{name} ({index + 1})"
        for index, name in enumerate(names)
    ]
