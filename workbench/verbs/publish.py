"""A trained model for others: pushed to the hub, and only when asked."""

from pathlib import Path
from typing import Any

from workbench.errors import ModelError
from workbench.progress import working
from workbench.shown_results import WebAddress
from workbench.verbs.model_names import Model, model_name, nearest_model


@working("push")
def push(model: Model, repository: str, *, private: bool = True) -> WebAddress:
    """Upload a trained adapter, or a folder of plain weights, to the Hugging Face hub.

    Args:
        model: a run, whose ``final/`` is uploaded as it is; or a model's folder.
        repository: ``owner/name``; made where it is missing.
        private: who may see a new repository: only its owner, or everyone.

    Returns:
        The address of the repository.

    Raises:
        ModelError: there is no such folder, or the hub refuses (not logged in, no network).
    """
    folder = _published(model)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

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
    return WebAddress(url)


def _published(model: Model) -> Path:
    folder = Path(model_name(model))
    final = folder / "final"
    upload = final if final.is_dir() else folder
    if not upload.is_dir():
        raise ModelError(
            "there is no folder to upload",
            where=str(model),
            fix=f"{nearest_model(str(model))}give a run or a model's folder",
        )
    return upload
