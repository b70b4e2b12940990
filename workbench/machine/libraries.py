"""The libraries: which are asked for, which are here, and what the probe saw of them."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from workbench.machine.findings import MachineFact

DISTRIBUTION = "rlhf-workbench"
PATIENCE = 300.0
"""Seconds that all imports together may take; on a cold disk torch alone may take one minute."""
_IMPORTED_AS = {"markdown-it-py": "markdown_it"}
_SHOWN = ("torch", "transformers", "peft", "bitsandbytes")
_WITHOUT = {
    "bitsandbytes": "models are then loaded unquantised, and take about four times the memory"
}
"""What is done without, and what that means."""
_MEANS = {
    "notebook": "no widgets in a notebook; a shell has every verb that needs no screen",
    "lab": "no JupyterLab in this environment: the page is another one's, or there is none",
}
"""What it means that an extra is absent."""


class Needed(NamedTuple):
    """A requirement: the distribution, the bound, and the extra that asks for it ("" for none)."""

    name: str
    bound: str
    extra: str

    @property
    def module(self) -> str:
        """What it is imported as."""
        return _IMPORTED_AS.get(self.name, self.name.replace("-", "_"))


def project_folder() -> Path | None:
    """The checkout that this code is in, or None in an installed copy."""
    folder = Path(__file__).absolute().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def needed() -> list[Needed]:
    """What the workbench asks for; of a checkout by its pyproject.toml, which is the newer one.

    Raises:
        PackageNotFoundError: there is neither a checkout nor an installed distribution.
    """
    folder = project_folder()
    if folder is None:
        lines = metadata.requires(DISTRIBUTION) or []
        split = [line.partition(";") for line in lines]
        requirements = [
            (line.strip(), marker.partition("==")[2].strip(" '\"")) for line, _, marker in split
        ]
    else:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        requirements = [(line, "") for line in project["dependencies"]]
        for extra, lines in project["optional-dependencies"].items():
            requirements += [(line, extra) for line in lines]
    cut = [(line.partition(">="), extra) for line, extra in requirements]
    return [
        Needed(name.strip(), bound.strip(), extra)
        for (name, _, bound), extra in cut
        if not name.startswith(DISTRIBUTION) and extra in ("", "notebook", "lab")
    ]


class Probed(NamedTuple):
    """What the probe said: by thing, what was found; and what it was at when it died, if it did."""

    found: dict[str, dict[str, Any]]
    died_at: str
    how: str


def probe(modules: Sequence[str], *, patience: float = PATIENCE) -> Probed:
    """Have another process import these modules and try the device."""
    command = [sys.executable, "-m", "workbench.machine.torch_probe", *modules]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=quiet, stdin=subprocess.DEVNULL, **pipes) as process:
        how = ""
        try:
            output = process.communicate(timeout=patience)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output, how = process.communicate()[0], f"took longer than {patience:.0f} seconds"
    return read_probe(output, how or _ending(process.returncode))


def _ending(code: int) -> str:
    """How a process ended, in words; empty where it ended well."""
    if code >= 0:
        return f"ended with code {code}" if code else ""
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def read_probe(output: str, how: str) -> Probed:
    """The probe's lines; what is no line of its own (a library's chatter) is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    begun = "start"
    for line in output.splitlines():
        try:
            row: Any = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict):
            continue
        if "begun" in row:
            begun = str(row["begun"])
        elif "what" in row:
            rows[str(row["what"])] = row
    return Probed(rows, begun if how else "", how)


def library_findings(libraries: Sequence[Needed], probed: Probed) -> list[MachineFact]:
    """Whether what is asked for is here, new enough, and can be imported."""
    findings: list[MachineFact] = []
    good: dict[str, list[str]] = {"": [], "notebook": [], "lab": []}
    missing: dict[str, list[Needed]] = {"": [], "notebook": [], "lab": []}
    for one in libraries:
        version = installed_version(one.name)
        if version is None:
            missing[one.extra].append(one)
        elif one.bound and version_numbers(version) < version_numbers(one.bound):
            findings.append(_bad(one, f"{version} is here, {one.bound} is needed", "--upgrade "))
        elif error := _import_error(one, probed):
            words = f"{version} is here and cannot be used: {error}"
            findings.append(_bad(one, words, "--force-reinstall --no-deps "))
        else:
            good[one.extra].append(f"{one.name} {version}")
    for extra, absent in missing.items():
        findings += _missing(extra, absent)
    shown = ", ".join(text for text in good[""] if text.split()[0] in _SHOWN)
    findings.append(
        MachineFact("libraries", "ok", f"{len(good[''])} of the core are fine: {shown}")
    )
    if probed.died_at and not probed.died_at.startswith("import "):
        what = {"device": "using the device", "4-bit": "4-bit weights", "start": "starting Python"}
        at = what.get(probed.died_at, probed.died_at)
        words = f"a process that tried {at} {probed.how}"
        fix = "see what `python -c 'import torch'` says; install torch again"
        findings.append(MachineFact("libraries", "failed", words, fix))
    return findings


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None where it is not here, or cannot be told."""
    try:
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, OSError, KeyError):
        return None


def version_numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version: "2.13.0+cpu" is (2, 13); zeros at the end say nothing."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:  # 3rc1
            break
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _import_error(one: Needed, probed: Probed) -> str:
    """Why it cannot be imported; empty where it can, or where nobody came to try."""
    what = f"import {one.module}"
    if probed.died_at == what:
        return f"a process that imported it {probed.how}"
    row: Mapping[str, Any] = probed.found.get(what, {})
    error = str(row.get("error", ""))
    shadow = Path.cwd() / f"{one.module}.py"
    return f"{error}; {shadow} stands in its way" if error and shadow.exists() else error


def _missing(extra: str, absent: Sequence[Needed]) -> list[MachineFact]:
    """What is not installed: a finding for each library of the core, one for all of an extra."""
    if not extra or not absent:
        return [_bad(one, "not installed", "") for one in absent]
    names = ", ".join(one.name for one in absent)
    words = f"not installed: {names}; {_MEANS[extra]}"
    fix = f"pip install '{DISTRIBUTION}[{extra}]' (from its wheel or folder)"
    return [MachineFact(f"extra {extra!r}", "look", words, fix)]


def _bad(one: Needed, words: str, how: str) -> MachineFact:
    soft = bool(one.extra) or one.name in _WITHOUT
    more = f"; {_WITHOUT[one.name]}" if one.name in _WITHOUT else ""
    bound = f"{one.name}>={one.bound}" if one.bound else one.name
    fix = f"{sys.executable} -m pip install {how}'{bound}'"
    shadow = Path.cwd() / f"{one.module}.py"
    if "stands in its way" in words:
        fix = f"rename {shadow}, or start Python in another folder"
    return MachineFact(one.name, "look" if soft else "failed", words + more, fix)
