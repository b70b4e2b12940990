"""Figures in results.json, their tables in RESULTS.md.

Every benchmark has a key and a place of its own, and none writes over another's.
"""

import fcntl
import json
import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("RESULTS.md")


def machine() -> dict:
    """The commit, the day and the kind of machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, no GPU",
        "python": platform.python_version(),
    }


def record(figures: dict, results: Path = RESULTS) -> None:
    """Put figures, by their keys, beside those of other benchmarks; several may do so at once.

    A key with None is taken away.
    """
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(results.read_text()) if results.exists() else {}
        aside = results.with_suffix(".tmp")
        merged = {name: value for name, value in {**known, **figures}.items() if value is not None}
        aside.write_text(json.dumps(merged, indent=2) + "\n")
        aside.replace(results)


def with_table(text: str, name: str, table: str) -> str:
    """The page's text with one of its tables made anew."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def tell(name: str, table: str, page: Path = PAGE) -> None:
    """Put a table into the page of results, in its own place."""
    page.write_text(with_table(page.read_text(encoding="utf-8"), name, table), encoding="utf-8")
