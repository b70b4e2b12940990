"""Which run a name means: the one that exists, a new one, or an error that says what differs."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from workbench.errors import ConfigError, RunError, disk_watched
from workbench.json_lines import clean, dumps, encode
from workbench.runs.folder import DATA, LIVE, RunFolder, write_data
from workbench.runs.turns import in_turn

IDENTITY = ("kind", "model", "inputs", "settings", "data")
TURN = ".names.lock"  # of who makes or moves a folder below the root
_ABSENT = "(absent)"


class Attached(NamedTuple):
    """A run's folder, and whether it was made just now."""

    folder: RunFolder
    created: bool


def attach_or_create(
    root: Path,
    kind: str,
    name: str | None,
    config: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    fresh: bool = False,
    files: Mapping[str, bytes] | None = None,
) -> Attached:
    """Find the run of this name, or create it; of several that do so at once, one creates it.

    Args:
        root: the folder that holds the runs.
        kind: sft, reward, ppo.
        name: None makes one from the kind and what the run works on.
        config: model, inputs, settings, and what else belongs in config.json.
        rows: the data, read once.
        fresh: moves a run of this name aside (NAME~1, NAME~2, …) and starts over.
        files: what else a new run's folder holds from the start, by name.

    Raises:
        ConfigError: a name that cannot be a folder's, or a run of that name that differs.
        RunError: fresh was asked for and the old run is live.
    """
    _check_name(name)
    root.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new-", suffix=f"-{os.getpid()}.tmp", dir=root))
    try:
        with disk_watched(root):
            digest = write_data(aside / DATA, rows)
            identity = _identity({**config, "kind": kind, "data": digest._asdict()})
            folder = RunFolder(root / (name or f"{kind}-{_digest(identity)}"))
            if folder.path.exists() and not fresh:
                _check_same(folder, identity)
                return Attached(folder, False)
            for file, content in (files or {}).items():
                (aside / file).write_bytes(content)
            aside.chmod(0o755)  # mkdtemp's folders are for their owner alone
            with in_turn(root / TURN):
                if folder.path.exists():
                    if not fresh:  # another process was first with the name
                        _check_same(folder, identity)
                        return Attached(folder, False)
                    _put_aside(folder)
                folder.adopt(aside, kind, config, digest)
            return Attached(folder, True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two configs' identities: one "key: old -> new" a difference."""
    before, after = _flat(_identity(old)), _flat(_identity(new))
    keys = dict.fromkeys([*before, *after])
    return [
        f"{key}: {_short(before.get(key, _ABSENT))} -> {_short(after.get(key, _ABSENT))}"
        for key in keys
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _unhashed(clean(config.get(key))) for key in IDENTITY}


def _unhashed(value: Any) -> Any:
    """Without the hashes of shipped functions: one function is packed in many ways."""
    if isinstance(value, list):
        return [_unhashed(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    table = cast("dict[str, Any]", value)
    shipped = isinstance(table.get("function"), str) and "file" in table
    return {k: _unhashed(v) for k, v in table.items() if not (shipped and k == "sha256")}


def _digest(identity: Mapping[str, Any]) -> str:
    facts = dict(sorted(_flat(identity).items()))
    return hashlib.sha256(encode(facts).removesuffix(b"\n")).hexdigest()[:8]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names, such as settings.kl_coef."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in cast("dict[str, Any]", value).items():
        flat.update(_flat(item, f"{prefix}.{key}" if prefix else key))
    return flat


def _short(value: Any) -> str:
    text = value if value == _ABSENT else dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_name(name: str | None) -> None:
    if name is None or re.fullmatch(r"\w[\w.~+=-]*", name):
        return
    raise ConfigError(
        f"a run cannot be called {name!r}",
        where="name",
        fix="use letters, digits, and - _ . + = ~ (no blanks, no slashes)",
    )


def _check_same(folder: RunFolder, identity: Mapping[str, Any]) -> None:
    if not folder.exists:
        raise ConfigError(
            f"there is a folder called {folder.name} that holds no run",
            where=str(folder.path),
            fix="give another name, or move the folder away",
        )
    differing = differences(folder.config(), identity)
    if differing:
        raise ConfigError(
            f"there is a run called {folder.name}, and it differs: {'; '.join(differing)}",
            where=str(folder.path),
            fix="fresh=True starts over (the old run is kept aside), or give another name",
        )


def _put_aside(folder: RunFolder) -> None:
    if folder.exists and folder.status()["state"] in LIVE:
        raise RunError(
            f"{folder.name} is live and cannot be started over",
            where=str(folder.path),
            fix=f"stop it first with wb.open_run({folder.name!r}).stop(wait=True)",
        )
    move_aside(folder.path)


def move_aside(folder: Path) -> None:
    """Rename a folder to the first of NAME~1, NAME~2, … that is free."""
    number = 1
    while (target := folder.with_name(f"{folder.name}~{number}")).exists():
        number += 1
    folder.rename(target)
