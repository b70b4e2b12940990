"""How a person names a model, and what can be said of one before anything is loaded."""

import ctypes.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import ConfigError, ModelError
from workbench.runs import Run, RunFolder, runs_root, wait_for
from workbench.settings import RunSettings

Model = str | Path | Run


def model_name(model: Model) -> str:
    """How a model is written in a config; an unfinished run is waited for."""
    if isinstance(model, Run):
        return str(wait_for(model).path)
    text = str(model)
    for path in (Path(text), runs_root() / text):
        if not text.startswith("builtin:") and RunFolder(path).exists:
            return str(wait_for(Run(RunFolder(path.absolute()))).path)
    return str(Path(text).absolute()) if Path(text).is_dir() else text


def on_embedded_base(model: Model) -> bool:
    """Whether a model is an embedded one, or was trained from one."""
    from workbench.models.source import resolve

    return resolve(model_name(model)).reference.startswith("builtin:")


def check_reward(reward: str) -> None:
    """Refuse what is not a reward model, before a process is started for it.

    Raises:
        ModelError: it is not one.
    """
    from workbench.models.source import resolve

    if not resolve(reward).may_score:
        raise ModelError(
            "this is not a reward model",
            where=reward,
            fix="give the run that wb.train_reward returned, or a sequence classifier of one label",
        )


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
