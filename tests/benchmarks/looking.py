"""What looking at runs costs: the table of many, a long one's panel and its report.

``python tests/benchmarks/looking.py`` writes the table in RESULTS.md, and says what is above what
is promised; ``--quick`` takes fewer runs and steps, and only prints. Each look is a new process:
what was read before is not known to it. CPU seconds stand beside the seconds: they hardly depend
on what else the machine does.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from record import PAGE, RESULTS, ROOT, machine, record, tell

sys.path.insert(0, str(ROOT / "tests" / "browser"))
import made_runs
from lab import Notebook, find_chromium, start_browser, start_lab

from workbench.events import Finished
from workbench.json_lines import encode
from workbench.runs import FolderWriter, RunFolder

MANY, SHORT = 500, 200  # runs in the table, and steps of each
LONG = 200_000  # steps of the run that is opened
SAMPLED = 100  # steps between two of its rows of answers
LOOKS = 3  # of each kind; the median counts
LIMITS = {
    "table_seconds": 2,
    "table_again_seconds": 0.5,
    "table_bare_seconds": 10,
    "panel_seconds": 3,
    "report_seconds": 5,
    "report_mb": 300,
}
LOOK = {
    "table": "runs.frame; print(*since()); begin(); runs.frame; print(*since())",
    "report": "wb.report({long!r}); print(*since(), peak())",
}
PRELUDE = """
import resource, time
import workbench as wb
def begin():
    global began
    began = time.perf_counter(), time.process_time()
since = lambda: (time.perf_counter() - began[0], time.process_time() - began[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
runs = wb.runs()
begin()
"""


def look(kind: str, **places: str) -> list[float]:
    """One look in a process of its own; what it prints."""
    code = PRELUDE + LOOK[kind].format(**places)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def write_run(path: Path, steps: int, sampled: int, *, summary: bool = True) -> RunFolder:
    """A finished PPO run of so many steps, as a trainer leaves it."""
    folder, rng = made_runs.create(path, "ppo", steps=steps, kl_coef=0.05), random.Random(steps)
    with (
        (folder.path / "metrics.jsonl").open("wb") as metrics,
        (folder.path / "samples.jsonl").open("wb") as answers,
    ):
        for step in range(1, steps + 1):
            row = made_runs.metrics("ppo", step, steps, rng)
            metrics.write(encode({"step": step, "time": 1.8e9 + step, **row}))
            if step % sampled == 0:
                for answer in made_runs.samples(step, steps):
                    answers.write(encode({"step": step, **answer}))
    with FolderWriter(folder) as writer:
        writer(Finished(steps, False))
    if not summary:
        (folder.path / "summary.json").unlink()
    return folder


def open_panel(lab, browser, folder: RunFolder, steps: int) -> float:
    """Seconds from running a cell that shows the panel to its curves."""
    from panel import NEW_CELL, OPEN, SHOW

    seconds = []
    for attempt in range(LOOKS):
        with Notebook(lab, browser, f"long{attempt}") as notebook:
            page = notebook("import workbench.widgets.run_panel.panel")
            page.evaluate(NEW_CELL, SHOW.format(path=str(folder.path)))
            seconds.append(page.evaluate(OPEN, [None, steps]))
    return median(seconds)


def measure(many: int, steps: int) -> dict:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="workbench-looking-") as name:
        place = Path(name)
        os.environ["WORKBENCH_RUNS"] = str(place / "many")
        os.environ["WORKBENCH_LOCKS"] = str(place / "locks")
        os.environ["PYTHONPATH"] = str(ROOT)
        first = write_run(place / "many" / "run-000", SHORT, SHORT)
        for number in range(1, many):
            shutil.copytree(first.path, place / "many" / f"run-{number:03}")
        looks = [look("table") for _ in range(LOOKS)]
        for path in (place / "many").glob("*/summary.json"):
            path.unlink()
        bare = look("table")
        long = write_run(place / "long" / "long", steps, SAMPLED)
        reports = [look("report", long=str(long.path)) for _ in range(LOOKS)]
        with start_lab(place / "lab") as lab, start_browser(find_chromium()) as browser:
            panel = open_panel(lab, browser, long, steps)
        size = (long.path / "metrics.jsonl").stat().st_size
    return {
        "table_seconds": median(look[0] for look in looks),
        "table_cpu": median(look[1] for look in looks),
        "table_again_seconds": median(look[2] for look in looks),
        "table_again_cpu": median(look[3] for look in looks),
        "table_bare_seconds": bare[0],
        "table_bare_cpu": bare[1],
        "panel_seconds": panel,
        "report_seconds": median(look[0] for look in reports),
        "report_cpu": median(look[1] for look in reports),
        "report_mb": max(look[2] for look in reports),
        "metrics_mb": size / 1e6,
    }


def table(figures: dict) -> str:
    """The figures in Markdown."""
    many, steps = f"{figures['runs']} runs of {SHORT} steps", f"a run of {figures['steps']:,} steps"
    rows = [
        (f"`wb.runs()` over {many}, the first time", "table_seconds", "s"),
        ("again, nothing being new", "table_again_seconds", "s"),
        ("the first time, of folders without a summary", "table_bare_seconds", "s"),
        (f"{steps}: from running the cell to its curves", "panel_seconds", "s"),
        ("its report", "report_seconds", "s"),
        ("the most memory of the process that writes it", "report_mb", "MB"),
    ]
    lines = [
        f"| {words} | {_measured(figures, key, unit)} | {_cpu(figures, key)} "
        f"| ≤ {LIMITS[key]} {unit} |"
        for words, key, unit in rows
    ]
    lines = ["| looking at runs | measured | of the CPU | promised |", "|---|---|---|---|", *lines]
    if "about" in figures:
        about = figures["about"]
        lines += [
            "",
            f"Medians of {LOOKS} looks, each in a process of its own; the long run's metrics have "
            f"{figures['metrics_mb']:.0f} MB. Load of the machine before: {figures['load']:.1f}. "
            f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
            f"{about['date']}. Written by `tests/benchmarks/looking.py`.",
        ]
    return "\n".join(lines)


def _measured(figures: dict, key: str, unit: str) -> str:
    return f"{figures[key]:.3g} {unit}" if key in figures else "not measured yet"


def _cpu(figures: dict, key: str) -> str:
    seconds = figures.get(key.replace("_seconds", "_cpu")) if key.endswith("_seconds") else None
    return "" if seconds is None else f"{seconds:.3g} s"


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    return [
        f"{name} is {figures[name]:.3g}, above {limit}"
        for name, limit in LIMITS.items()
        if figures[name] > limit
    ]


def main() -> int:
    """Measure, print, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    many, steps = (20, 2_000) if quick else (MANY, LONG)
    load = os.getloadavg()[0]
    figures = {name: round(value, 3) for name, value in measure(many, steps).items()}
    figures |= {"runs": many, "steps": steps, "load": round(load, 1), "about": machine()}
    print(json.dumps(figures, indent=2), table(figures), sep="\n\n")
    if not quick:
        record({"looking": figures}, RESULTS)
        tell("looking", table(figures), PAGE)
    found = failures(figures)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
