"""Whether a run was made by this user, which is asked before code out of its folder is run.

A run that was made here carries a seal: a keyed hash of what decides which code its process runs
(model, inputs, and the files that hold reward functions). The key is this user's alone, so that a
folder that was sent, or one that was changed since, has none. A run that is moved keeps its seal.
"""

import fcntl
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from workbench.errors import RunError
from workbench.json_lines import clean, encode, read_json, write_json
from workbench.plain_files import LARGEST_FUNCTION, read_plain
from workbench.runs.private_folder import open_own, state_folder

SEAL, KEY = ".made-here.json", "key"
SEALED = ("kind", "model", "inputs")
_DEEPEST = 8  # a mix holds ensembles, and nothing that is deeper
_BYTES = 32


class ForeignCode(NamedTuple):
    """One reward function that a run's process would load or import.

    Attributes:
        name: as its config calls it.
        file: the plain name of the file that holds it; None where it is imported.
        path: where it is imported from; None where that is wherever Python finds it.
        told: the hash that its config tells of the file; None where it tells none.
    """

    name: str
    file: str | None
    path: str | None
    told: str | None


def functions(reward: Any, depth: int = 0) -> Iterator[ForeignCode]:
    """Every Python function in what a config has as its reward, whatever else stands there."""
    if depth > _DEEPEST:
        yield ForeignCode("something nested too deeply", None, None, None)
    elif isinstance(reward, dict):
        table = cast("dict[str, Any]", reward)
        for key, value in table.items():
            if key == "function" and isinstance(value, dict):
                yield _function(cast("dict[str, Any]", value))
            else:
                yield from functions(value, depth + 1)
    elif isinstance(reward, list):
        for value in cast("list[Any]", reward):
            yield from functions(value, depth + 1)


def _function(spec: dict[str, Any]) -> ForeignCode:
    def said(key: str) -> str | None:
        value = spec.get(key)
        return None if value is None else str(value)[:200]

    return ForeignCode(said("function") or "?", said("file"), said("path"), said("sha256"))


def seal(folder: Path, config: Mapping[str, Any]) -> None:
    """Say in a run's folder that it is this user's, or that this user trusts it as it is now.

    Raises:
        RunError: it cannot be said; or a file that the config names cannot be read.
    """
    write_json(folder / SEAL, {"seal": _keyed(folder, config)})


def is_made_here(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether this user made a run, or trusted it, and nothing was changed that decides on code."""
    seal = (read_json(folder / SEAL) or {}).get("seal")
    if not isinstance(seal, str):
        return False
    try:
        return hmac.compare_digest(seal.encode(), _keyed(folder, config).encode())
    except RunError:
        return False


def check_made_here(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to run what somebody else wrote.

    Raises:
        RunError: the run was made elsewhere, or was changed; it says what would be run.
    """
    if is_made_here(folder, config):
        return
    code = would_run(folder, config)
    changed = " or was changed since" if (folder / SEAL).exists() else ""
    raise RunError(
        f"{folder.name} was made elsewhere{changed}, and to go on with it would run "
        + (
            "its author's code, with your rights"
            if code
            else "what its author set up (no Python of theirs)"
        ),
        where="; ".join([str(folder), *code]),
        fix="where you trust its author: run.resume(trust=True), or workbench resume --trust "
        f"{folder}; it is then taken as yours for as long as it stays as it is",
    )


def would_run(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """What a run's process would load or import of its author's, in words."""
    words: list[str] = []
    for code in functions(config.get("inputs")):
        if code.file is None:
            place = f" from {code.path}" if code.path else ""
            words.append(f"it imports {code.name}{place}")
            continue
        try:
            digest = hashlib.sha256(_read(folder, code.file)).hexdigest()
        except RunError as error:
            words.append(f"it loads {code.file!r}, which it may not ({error.what})")
            continue
        other = "" if code.told in (None, digest) else ", which is not what its config.json tells"
        words.append(f"it unpickles {code.file} ({code.name}, sha256 {digest[:12]}…{other})")
    return words


def _keyed(folder: Path, config: Mapping[str, Any]) -> str:
    """The keyed hash of what decides on a run's code."""
    facts: dict[str, Any] = {name: clean(config.get(name)) for name in SEALED}
    files = sorted({code.file for code in functions(config.get("inputs")) if code.file})
    facts["files"] = {name: hashlib.sha256(_read(folder, name)).hexdigest() for name in files}
    return hmac.new(_key(), encode(facts), "sha256").hexdigest()


def _read(folder: Path, name: str) -> bytes:
    try:
        return read_plain(folder, name, most=LARGEST_FUNCTION)
    except FileNotFoundError as error:
        raise RunError(
            "the file with the run's reward function is gone",
            where=str(folder / name),
            fix="put it back, or start another run",
        ) from error


def _key() -> bytes:
    """This user's key, made where there is none.

    Raises:
        RunError: it cannot be kept.
    """
    path = state_folder() / KEY
    try:
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # two processes make one key
            key = os.pread(descriptor, _BYTES, 0)
            if len(key) < _BYTES:
                key = os.urandom(_BYTES)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, key, 0)
                os.fsync(descriptor)
            return key
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(
            f"the key that marks your runs cannot be kept ({error.strerror})",
            where=str(path),
            fix="make room there, or set WORKBENCH_STATE to a folder that is yours alone",
        ) from error
