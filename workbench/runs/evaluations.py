"""What was measured of a finished run, kept in its folder beside what it trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.json_lines import read_json, write_json
from workbench.runs.folder import RunFolder

EVALUATION = "evaluation.json"


def keep_evaluation(folder: RunFolder, data: str, values: Mapping[str, Any]) -> Path:
    """Write an evaluation into a run's folder, and return the file.

    It holds one evaluation for each set of data, the latest last; the same data again replace
    their own.

    Args:
        folder: the run.
        data: a short name of the data, the same for the same rows.
        values: what was found, as JSON values.
    """
    path = folder.path / EVALUATION
    kept = {name: old for name, old in (read_json(path) or {}).items() if name != data}
    write_json(path, {**kept, data: dict(values)})
    return path
