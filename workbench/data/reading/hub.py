"""The Hugging Face hub: whether it has something, and the rows of its data sets."""

import importlib
import importlib.util
import os
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from workbench.errors import DataError

PATIENCE = 0.6  # seconds that the hub may take to say whether it has something


def check_on_hub(name: str, fix: str) -> None:
    """Refuse ``owner/name`` that cannot be a data set of the hub, before anything is loaded.

    Args:
        name: also ``owner/name:split``.
        fix: what to do where it was meant to be a file.

    Raises:
        DataError: the datasets package is missing, or the hub has no such data set.
    """
    if not _has_datasets():
        raise DataError(
            "there is no such file, and reading it from the hub needs the datasets package",
            where=name,
            fix=f"{fix}; or pip install datasets",
        )
    if is_on_hub("datasets", name.partition(":")[0]) is False:
        raise DataError("there is no such file, nor such a data set", where=name, fix=fix)


def _has_datasets() -> bool:
    loaded: dict[str, Any] = {**sys.modules}
    if "datasets" in loaded:
        return loaded["datasets"] is not None
    return importlib.util.find_spec("datasets") is not None


def hub_rows(name: str) -> Iterable[Any]:
    """Return the rows of ``owner/name`` or ``owner/name:split`` (train by default).

    Raises:
        DataError: the data set cannot be had.
    """
    ident, _, split = name.partition(":")
    datasets: Any = importlib.import_module("datasets")
    try:
        return datasets.load_dataset(ident, split=split or "train")
    except Exception as error:  # the package raises its own kinds and the network's
        raise DataError(
            f"the hub's data set could not be read: {error}",
            where=name,
            fix="check the name, the split (owner/name:split) and the connection",
        ) from error


def kept_from_hub(kind: Literal["models", "datasets"]) -> list[str]:
    """What of the hub lies on this machine, as ``owner/name``."""
    folders = sorted(_cache().glob(f"{kind}--*--*"))
    return ["/".join(folder.name.split("--")[1:]) for folder in folders]


def is_on_hub(kind: Literal["models", "datasets"], ident: str) -> bool | None:
    """Whether ``owner/name`` can be loaded: from this machine, else as the hub says.

    Nothing but the standard library is imported, and it takes a second at most. None where that
    cannot be told: the hub is slow, or wants something that only its own client has.
    """
    if ident in kept_from_hub(kind):
        return True
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return _unreachable(kind)
    answers = list[bool | None]()
    asking = threading.Thread(
        target=lambda: answers.append(_answer_of_hub(kind, ident)), daemon=True
    )
    asking.start()
    asking.join(PATIENCE)
    return answers[0] if answers else None


def _answer_of_hub(kind: str, ident: str) -> bool | None:
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(f"{address}/api/{kind}/{ident}", method="HEAD")
    if token := _token():
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return True
    except urllib.error.HTTPError as error:
        return False if error.code in (401, 404) else None  # 401: not there, or not for everyone
    except urllib.error.URLError as error:
        unreachable = isinstance(error.reason, socket.gaierror | ConnectionError)
        return _unreachable(kind) if unreachable and "ALL_PROXY" not in os.environ else None
    except OSError:
        return None


def _unreachable(kind: str) -> bool | None:
    """What is not on this machine cannot be had then; data sets may be kept elsewhere on it."""
    return False if kind == "models" else None


def _home() -> Path:
    folder = os.environ.get("HF_HOME")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "huggingface"


def _cache() -> Path:
    folder = os.environ.get("HF_HUB_CACHE")
    return Path(folder).expanduser() if folder else _home() / "hub"


def _token() -> str:
    if token := os.environ.get("HF_TOKEN"):
        return token
    try:
        return (_home() / "token").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
