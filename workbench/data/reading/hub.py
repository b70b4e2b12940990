"""Data sets of the Hugging Face hub, through the ``datasets`` package where it is installed."""

import importlib
from collections.abc import Iterable
from typing import Any

from workbench.errors import DataError


def hub_rows(name: str) -> Iterable[Any]:
    """Return the rows of ``owner/name`` or ``owner/name:split`` (train by default).

    Raises:
        DataError: the package is missing, or the data set cannot be had.
    """
    ident, _, split = name.partition(":")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            "there is no such file, and reading it from the hub needs the datasets package",
            where=name,
            fix="pip install datasets, or check the path",
        ) from error
    try:
        return datasets.load_dataset(ident, split=split or "train")
    except Exception as error:  # the package raises its own kinds and the network's
        raise DataError(
            f"the hub's data set could not be read: {error}",
            where=name,
            fix="check the name, the split (owner/name:split) and the connection",
        ) from error
