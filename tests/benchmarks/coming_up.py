"""How surely widgets come up on a busy machine: the labeller, the table and the run panel.

``python tests/benchmarks/coming_up.py`` opens a notebook with the three twenty times while all
cores have other work, and never runs a cell a second time; part of ``make soak``. It prints a table
and writes it into RESULTS.md, its figures into results.json. ``--burners`` and ``--tries`` take
others than ten and twenty (none where the machine has other work enough); fewer tries write
nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from record import ROOT, machine, record, tell

sys.path.insert(0, str(ROOT / "tests" / "browser"))
import made_runs
from lab import Notebook, find_chromium, start_browser, start_lab
from test_waiting import BROWSE, LABEL, OPEN, are_up, burners

TRIES = 20
LOAD = 8  # of the machine, at least
BURNERS = 10
PATIENCE = 180.0  # seconds that one may take, from the first cell's start


def measured(tries: int, count: int) -> dict:
    """How many of the tries came up, and in how many seconds from the opening of the page."""
    seconds: list[float] = []
    failed: list[str] = []
    loads: list[float] = []
    with tempfile.TemporaryDirectory(prefix="coming-up-") as folder:
        run = made_runs.finished_run(Path(folder) / "mine", steps=20)
        cells = (LABEL, BROWSE, OPEN.format(path=str(run.path)))
        with (
            start_lab(Path(folder) / "lab") as lab,
            start_browser(find_chromium()) as browser,
            burners(count),
        ):
            while count and os.getloadavg()[0] < LOAD:
                time.sleep(1.0)
            for number in range(tries):
                with Notebook(lab, browser, f"try_{number}") as notebook:
                    begun = time.monotonic()
                    try:
                        page = notebook(*cells, timeout=1000 * PATIENCE)
                        are_up(page, 1000 * PATIENCE)
                        seconds.append(time.monotonic() - begun)
                    except Exception as error:
                        failed.append(f"try {number}: {str(error).splitlines()[0]}")
                loads.append(os.getloadavg()[0])
                print(f"{number + 1} of {tries}: {len(seconds)} up, load {loads[-1]:.1f}")
    return {
        "about": machine(),
        "tries": tries,
        "up": len(seconds),
        "failed": failed,
        "median_seconds": round(median(seconds), 1) if seconds else None,
        "slowest_seconds": round(max(seconds), 1) if seconds else None,
        "least_load": round(min(loads), 1),
    }


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    about = results["about"]
    return "\n".join(
        [
            "| labeller, table and run panel, opened on a busy machine | measured | promised |",
            "|---|---|---|",
            f"| came up without a second run of a cell | {results['up']} of {results['tries']} "
            f"| {results['tries']} of {results['tries']} |",
            f"| seconds until all three were up: median, slowest | {results['median_seconds']}, "
            f"{results['slowest_seconds']} | |",
            f"| load average, the least | {results['least_load']} | 8 or more |",
            "",
            "From the opening of the page, with the start of its kernel and its imports. Machine: "
            f"{about['machine']}, Python {about['python']}; commit {about['commit']}, "
            f"{about['date']}. Written by `tests/benchmarks/coming_up.py`.",
        ]
    )


def main() -> int:
    """Measure, write, and say whether what is promised holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--burners", type=int, default=BURNERS)
    parser.add_argument("--tries", type=int, default=TRIES)
    args = parser.parse_args()
    results = measured(args.tries, args.burners)
    print(table(results), *results["failed"], sep="\n")
    if args.tries >= TRIES:
        record({"coming_up": results})
        tell("coming_up", table(results))
    return int(results["up"] < results["tries"] or results["least_load"] < LOAD)


if __name__ == "__main__":
    sys.exit(main())
