"""A trained policy for others: merged into one model, pushed to the hub. Only when asked."""

from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, ModelError
from workbench.runs import run_job
from workbench.verbs.launch import Model, model_name

DTYPES = ("bfloat16", "float16", "float32")


def merge(model: Model, out: str | Path, *, dtype: str = "bfloat16") -> Path:
    """Write a policy as one model of its own: its adapter added to its base's full weights.

    A run's ``final/`` needs no merging: transformers and peft load it alone, at a hundredth of
    the size. Merge for tools that know no adapters. The full weights are loaded for it, in a
    child process; they are never merged into 4 bits.

    Args:
        model: a run of :func:`train_sft` or :func:`train_ppo`, or an adapter's folder.
        out: the folder to write; must not exist.
        dtype: bfloat16, float16 or float32.

    Raises:
        ConfigError: the folder exists, or a dtype that cannot be had.
        ModelError: there is nothing to merge.
    """
    folder = Path(out).expanduser().absolute()
    if folder.exists():
        raise ConfigError(
            "this folder exists already", where=str(folder), fix="give another, or move it away"
        )
    if dtype not in DTYPES:
        raise ConfigError(
            f"a model cannot be merged into {dtype}",
            where=f"dtype = {dtype!r}",
            fix=f"choose one of {', '.join(DTYPES)}: 4 bits would round the weights again",
        )
    run_job("merge", {"model": model_name(model), "out": str(folder), "dtype": dtype})
    return folder


def push(model: Model, repository: str, *, private: bool = True) -> str:
    """Upload a trained adapter, or a merged model's folder, to the Hugging Face hub.

    Args:
        model: a run, whose ``final/`` is uploaded as it is; or a folder, as :func:`merge` writes.
        repository: ``owner/name``; made where it is missing.
        private: who may see a new repository: only its owner, or everyone.

    Returns:
        The address of the repository.

    Raises:
        ModelError: there is no such folder, or the hub refuses (not logged in, no network).
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    folder = _published(model)
    hub: Any = HfApi()
    try:
        url = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=str(folder))
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        raise ModelError(
            f"the hub did not take it: {str(error).splitlines()[0]}",
            where=f"{folder} to {repository}",
            fix="log in with `hf auth login` (a token that may write), and check the name",
        ) from error
    return str(url)


def _published(model: Model) -> Path:
    folder = Path(model_name(model))
    final = folder / "final"
    found = final if final.is_dir() else folder
    if not found.is_dir():
        raise ModelError(
            "there is no folder to upload", where=str(model), fix="give a run or a model's folder"
        )
    return found
