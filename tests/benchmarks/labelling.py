"""What labelling promises, measured: how soon the next pair is seen, and what a killing loses.

The figures come from ``labels_kills.py`` and from ``tests/browser/test_labelling_speed.py``; both
put them here, beside one another, and the table in RESULTS.md is made from what is there.
``python tests/benchmarks/labelling.py`` measures the keys and prints all that is known.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from record import PAGE, RESULTS, ROOT, machine, record, tell

PARTS = (("painted", "Keys (`make bench`)"), ("kills", "Kills (`make soak`)"))
SOONEST = 100  # [ms] what 95 of 100 keys may take until the next pair is on screen


def table(figures: dict) -> str:
    """The figures that there are, in Markdown."""
    lines = ["| labelling | measured | promised |", "|---|---|---|"]
    seen, killed = figures.get("painted"), figures.get("kills")
    if seen:
        lines += [
            f"| key to next pair on screen, JupyterLab, {seen['items']:,} pairs, 95 % of "
            f"{seen['labels']} keys within | {seen['shown_95_ms']:.3g} ms | < {SOONEST} ms |",
            f"| key to label on disk and told, the same | {seen['acknowledged_95_ms']:.3g} ms | |",
            f"| {seen['burst']} keys as fast as a program can: events, in order | "
            f"{seen['burst_events']} | {seen['burst']} |",
        ]
    if killed:
        lines += [
            f"| {killed['kills']} times SIGKILL while labelling: acknowledged labels lost, of "
            f"{killed['acknowledged']:,} | {killed['lost']} | 0 |",
            f"| stored twice; stores that did not open clean | {killed['doubled']}; "
            f"{killed['unclean']} | 0; 0 |",
        ]
    told = [_origin(what, figures[name]["about"]) for name, what in PARTS if name in figures]
    return "\n".join([*lines, "", " ".join(told)])


def _origin(what: str, about: dict) -> str:
    return (
        f"{what}: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
        f"{about['date']}."
    )


def keep(name: str, found: dict, results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put one part's figures beside the other's, and the table into RESULTS.md."""
    known = json.loads(results.read_text()).get("labelling", {}) if results.exists() else {}
    figures = {**known, name: {**found, "about": machine()}}
    record({"labelling": figures}, results)
    tell("labelling", table(figures), page)


def main() -> int:
    """Measure the keys in JupyterLab, then print what is known; 1 where a promise is broken."""
    test = ROOT / "tests" / "browser" / "test_labelling_speed.py"
    asked = [sys.executable, "-m", "pytest", "-q", "-m", "slow", str(test)]
    done = subprocess.run(asked, cwd=ROOT, env={**os.environ, "CI": "true"})  # no browser: failed
    print(table(json.loads(RESULTS.read_text())["labelling"]))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
