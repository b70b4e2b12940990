"""Where the sample data and the embedded models lie: in a checkout, or inside an installed copy."""

from pathlib import Path

import workbench
from workbench.errors import ModelError, nearest
from workbench.shown_results import WrittenPath

BUILTIN_MODELS = ("tiny-base", "tiny-chat")
_PREFIX = "builtin:"


def _package() -> Path:
    return Path(next(iter(workbench.__path__))).resolve()


def sample_dir() -> WrittenPath:
    """Find the folder of the sample data.

    A checkout keeps it as ``sample_data/`` beside the package; an installed copy carries it inside
    the package as ``_sample_data/``.
    """
    checkout = _package().parent / "sample_data"
    # build.py marks a checkout: another project's sample_data may lie beside an installed package
    if (checkout / "build.py").is_file():
        return WrittenPath(checkout)
    return WrittenPath(_package() / "_sample_data")


def builtin(name: str) -> Path:
    """Find the folder of an embedded model.

    Args:
        name: ``"builtin:tiny-chat"``, or ``"tiny-chat"`` for short.

    Raises:
        ModelError: if no embedded model has this name, or its folder is missing.
    """
    short = name.removeprefix(_PREFIX)
    valid = ", ".join(_PREFIX + known for known in BUILTIN_MODELS)
    if short not in BUILTIN_MODELS:
        raise ModelError(
            "there is no embedded model of this name",
            where=name,
            fix=f"{nearest(short, BUILTIN_MODELS, _PREFIX)}choose one of: {valid}",
        )
    folder = sample_dir() / short
    if not folder.is_dir():
        raise ModelError(
            "the folder of this embedded model is missing",
            where=str(folder),
            fix="run `python sample_data/build.py` in the project, or install the package again",
        )
    return folder
