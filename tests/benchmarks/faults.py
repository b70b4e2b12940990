"""Faults and strangers, tried anew: what is hostile is harmless, what is broken is told.

``python tests/benchmarks/faults.py`` tries the surfaces that this commit has no row of yet, about
ten minutes in all (``--only models pairs``: these, again), and writes the table in RESULTS.md after
each. A surface is made and tried in a file beside this one: ``faults_runs.py``,
``faults_models.py``, ``faults_pairs.py``, ``faults_store.py``, ``faults_asks.py``. It exits with 1
where a promise is broken.
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
    commits = sorted({_commit(figures, name) for name in SURFACES if name in figures})
    slowest = figures.get("runs", {}).get("slowest")
    most = f" (of a run folder at most {slowest[0]:g} CPU seconds)" if slowest else ""
    lines += [
        "",
        "Broken would be: code of a stranger ran, an exception not of ours, no answer in 25 s"
        f"{most}, something lost or a score that is no number without a word, a run ended by a "
        "control line, a nonsense value done. "
        f"Machine: {about['machine']}, Python {about['python']}; commit {', '.join(commits)}, "
        f"{about['date']}. Written by `tests/benchmarks/faults.py`.",
    ]
    return "\n".join(lines)


def _commit(figures: dict[str, Any], name: str) -> str:
    """At which commit a surface was tried."""
    return figures[name].get("commit", figures["about"]["commit"])


def keep(found: dict[str, Any], results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put the figures beside those of other benchmarks, and the table into RESULTS.md."""
    known, about = _known(results), machine()
    rows = {n: {**known[n], "commit": _commit(known, n)} for n in SURFACES if n in known}
    for name, one in found.items():
        plain = {key: value for key, value in one.items() if key not in ("faults", "odd")}
        rows[name] = {**plain, "commit": about["commit"]}
    figures = {name: rows[name] for name in SURFACES if name in rows} | {"about": about}
    record({"faults": figures}, results)
    tell("faults", table(figures), page)


def _known(results: Path) -> dict[str, Any]:
    return json.loads(results.read_text()).get("faults", {}) if results.exists() else {}


def missing(results: Path = RESULTS) -> list[str]:
    """The surfaces that were not tried at this commit."""
    known, commit = _known(results), machine()["commit"]
    return [name for name in SURFACES if name not in known or _commit(known, name) != commit]


def main() -> int:
    """Try the surfaces; 1 where one of them broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*SURFACES])
    bad = 0
    for name in parser.parse_args().only or missing():
        found = SURFACES[name][1]()
        print(json.dumps({name: found}), flush=True)
        keep({name: found})
        bad |= bool(broken(found))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
