"""Faults and strangers, tried anew: what is hostile is harmless, what is broken is told.

``python tests/benchmarks/faults.py`` runs every surface (``--only models pairs`` some of them) and
writes the table in RESULTS.md. A surface is made and tried in a file beside this one:
``faults_runs.py``, ``faults_models.py``, ``faults_pairs.py``, ``faults_store.py``,
``faults_asks.py``. It exits with 1 where a promise is broken.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import PAGE, RESULTS, ROOT, machine, record, tell

sys.path.insert(0, str(ROOT))

NONE = ("raw", "hung", "lost", "silent", "ran_code", "ended", "nonsense", "written")
"""What no surface may have; each is promised to be 0."""


def _runs() -> dict[str, Any]:
    from faults_runs import run_folders

    found = run_folders()
    return {**found, "tried": found["folders"]}


def _models() -> dict[str, Any]:
    from faults_models import model_folders

    found = model_folders()
    return {**found, "tried": found["folders"]}


def _pairs() -> dict[str, Any]:
    from faults_pairs import pairs_files

    found = pairs_files()
    return {**found, "tried": found["files"]}


def _stores() -> dict[str, Any]:
    from faults_store import damaged_stores

    found = damaged_stores()
    return {**found, "tried": found["stores"], "faults": found["odd"]}


def _control() -> dict[str, Any]:
    from faults_asks import control_files

    return control_files()


def _locks() -> dict[str, Any]:
    from faults_asks import lock_attacks

    return lock_attacks()


def _strangers() -> dict[str, Any]:
    from faults_asks import strangers_runs

    return strangers_runs()


def _raced() -> dict[str, Any]:
    from faults_asks import raced

    return raced()


SURFACES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "runs": ("a stranger's run folder, every operation each", _runs),
    "models": ("a stranger's model, adapter or reward model", _models),
    "pairs": ("pairs files", _pairs),
    "stores": ("label stores damaged at random bytes", _stores),
    "control": ("control files, garbage and nonsense", _control),
    "locks": ("another user against the lock folder", _locks),
    "strangers": ("resuming a stranger's run", _strangers),
    "raced": ("one name, one resume, wanted by 4 processes at once", _raced),
}


def broken(found: dict[str, Any]) -> list[str]:
    """What a surface promised to have none of and has, in words."""
    words = [f"{name} {found[name]}" for name in NONE if found.get(name)]
    return words or (["faults"] if found.get("faults") else [])


def _outcome(found: dict[str, Any]) -> str:
    kept = ("answered", "read", "whole", "told", "refused", "one")
    words = {"one": "one run, one process", "answered": "answered", "told": "told in three parts"}
    return ", ".join(f"{found[name]} {words.get(name, name)}" for name in kept if name in found)


def table(figures: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = ["| surface | tried | outcome | broken (promised: nothing) |", "|---|---|---|---|"]
    for name, (words, _) in SURFACES.items():
        if name in figures:
            found = figures[name]
            bad = ", ".join(broken(found)) or "nothing"
            lines.append(f"| {words} | {found['tried']} | {_outcome(found)} | {bad} |")
    about = figures["about"]
    lines += [
        "",
        "Broken would be: code of a stranger ran, an exception not of ours, no answer in 25 s, "
        "something lost or a score that is no number without a word, a run ended by a control "
        "line, a nonsense value done. "
        f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
        f"{about['date']}. Written by `tests/benchmarks/faults.py`.",
    ]
    return "\n".join(lines)


def keep(found: dict[str, Any], results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put the figures beside those of other benchmarks, and the table into RESULTS.md."""
    known = json.loads(results.read_text()).get("faults", {}) if results.exists() else {}
    plain = {
        name: {key: value for key, value in one.items() if key not in ("faults", "odd")}
        for name, one in found.items()
    }
    figures = {**known, **plain, "about": machine()}
    record({"faults": figures}, results)
    tell("faults", table(figures), page)


def main() -> int:
    """Try the surfaces; 1 where one of them broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*SURFACES], default=[*SURFACES])
    found: dict[str, Any] = {}
    for name in parser.parse_args().only:
        found[name] = SURFACES[name][1]()
        print(json.dumps({name: found[name]}), flush=True)
    keep(found)
    return int(any(broken(one) for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
