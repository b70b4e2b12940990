"""What looking at runs costs: the table of many, a long one's panel and its report.

``python tests/benchmarks/looking.py`` writes the table in RESULTS.md, and says what is above what
is promised; ``--quick`` takes fewer runs and steps, and only prints; ``--only table``, ``panel`` or
``report`` measures these rows and keeps the others. Each look is a new process: what was read
before is not known to it. CPU seconds stand beside the seconds: they hardly depend
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
from workbench.runs.metric_table import KEPT_COLUMNS

MANY, SHORT = 500, 200  # runs in the table, and steps of each
LONG = 200_000  # steps of the run that is opened
SAMPLED = 100  # steps between two of its rows of answers
LOOKS = 3  # of each kind; the median counts
LIMITS = {
    "table_seconds": 2,
    "table_again_seconds": 0.5,
    "table_bare_seconds": 10,
    "panel_seconds": 3,
    "panel_first_seconds": 5,
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


def open_panel(lab, browser, folder: RunFolder, steps: int, *, bare: bool = False) -> float:
    """Seconds from running a cell that shows the panel to its curves.

    Args:
        bare: without the columns that the writer, or an earlier look, has left.
    """
    from panel import NEW_CELL, OPEN, SHOW

    seconds = []
    for attempt in range(LOOKS):
        if bare:
            (folder.path / KEPT_COLUMNS).unlink(missing_ok=True)
        with Notebook(lab, browser, f"long{attempt}{bare}") as notebook:
            page = notebook("import workbench.widgets.run_panel.panel")
            page.evaluate(NEW_CELL, SHOW.format(path=str(folder.path)))
            seconds.append(page.evaluate(OPEN, [None, steps]))
    return median(seconds)


def look_at_table(place: Path, many: int) -> dict:
    """The table of so many runs: the first time, again, and without their summaries."""
    os.environ["WORKBENCH_RUNS"] = str(place / "many")
    first = write_run(place / "many" / "run-000", SHORT, SHORT)
    for number in range(1, many):
        shutil.copytree(first.path, place / "many" / f"run-{number:03}")
    looks = [look("table") for _ in range(LOOKS)]
    for path in (place / "many").glob("*/summary.json"):
        path.unlink()
    bare = look("table")
    return {
        "table_seconds": median(look[0] for look in looks),
        "table_cpu": median(look[1] for look in looks),
        "table_again_seconds": median(look[2] for look in looks),
        "table_again_cpu": median(look[3] for look in looks),
        "table_bare_seconds": bare[0],
        "table_bare_cpu": bare[1],
    }


def look_at_report(_place: Path, long: RunFolder, _steps: int) -> dict:
    """The long run's report, where its metrics were never parsed before."""
    reports = []
    for _ in range(LOOKS):
        (long.path / KEPT_COLUMNS).unlink(missing_ok=True)
        reports.append(look("report", long=str(long.path)))
    return {
        "report_seconds": median(look[0] for look in reports),
        "report_cpu": median(look[1] for look in reports),
        "report_mb": max(look[2] for look in reports),
    }


def look_at_panel(place: Path, long: RunFolder, steps: int) -> dict:
    """The long run's panel; and where its metrics were never parsed before, as in an old folder."""
    with start_lab(place / "lab") as lab, start_browser(find_chromium()) as browser:
        opened = open_panel(lab, browser, long, steps)
        first = open_panel(lab, browser, long, steps, bare=True)
    return {"panel_seconds": opened, "panel_first_seconds": first}


PARTS = {"report": look_at_report, "panel": look_at_panel}  # of the long run


def measure(parts: list[str], many: int, steps: int) -> dict:
    """The figures of these parts, each with what it was measured at."""
    figures = {}
    with tempfile.TemporaryDirectory(prefix="workbench-looking-") as name:
        place = Path(name)
        os.environ["WORKBENCH_LOCKS"] = str(place / "locks")
        os.environ["PYTHONPATH"] = str(ROOT)
        if "table" in parts:
            figures |= {**look_at_table(place, many), "runs": many}
        if asked := [part for part in PARTS if part in parts]:
            long = write_run(place / "long" / "long", steps, SAMPLED)
            size = (long.path / "metrics.jsonl").stat().st_size
            figures |= {"steps": steps, "metrics_mb": size / 1e6}
            for part in asked:
                figures |= PARTS[part](place, long, steps)
    return {name: round(value, 3) for name, value in figures.items()}


def table(figures: dict) -> str:
    """The figures in Markdown."""
    many, steps = f"{figures['runs']} runs of {SHORT} steps", f"a run of {figures['steps']:,} steps"
    rows = [
        (f"`wb.runs()` over {many}, the first time", "table_seconds", "s"),
        ("again, nothing being new", "table_again_seconds", "s"),
        ("the first time, of folders without a summary", "table_bare_seconds", "s"),
        (f"{steps}: from running the cell to its curves", "panel_seconds", "s"),
        ("the first time, of a folder without kept columns", "panel_first_seconds", "s"),
        ("its report, of such a folder", "report_seconds", "s"),
        ("the most memory of the process that writes it", "report_mb", "MB"),
    ]
    lines = [
        f"| {words} | {_measured(figures, key, unit)} | {_cpu(figures, key)} "
        f"| ≤ {LIMITS[key]} {unit} |"
        for words, key, unit in rows
    ]
    lines = ["| looking at runs | measured | of the CPU | promised |", "|---|---|---|---|", *lines]
    if "about" in figures:
        lines += [
            "",
            f"Medians of {LOOKS} looks, each in a process of its own; the long run's metrics have "
            f"{figures['metrics_mb']:.0f} MB. {_told(figures['about'])} "
            "Written by `tests/benchmarks/looking.py`.",
        ]
    return "\n".join(lines)


def _told(about: dict) -> str:
    """At what the parts were measured, those together that were so at once."""
    words = {
        part: f"commit {one['commit']}, {one['date']}, load before {one['load']:.1f}"
        for part, one in about.items()
    }
    machine_of = next(iter(about.values()))
    together = [
        f"{', '.join(part for part in words if words[part] == word)}: {word}"
        for word in dict.fromkeys(words.values())
    ]
    return (
        f"Machine: {machine_of['machine']}, Python {machine_of['python']}; {'; '.join(together)}."
    )


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
        if figures.get(name, 0) > limit
    ]


def main() -> int:
    """Measure, print, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=["table", *PARTS], default=["table", *PARTS])
    asked = parser.parse_args()
    many, steps = (20, 2_000) if asked.quick else (MANY, LONG)
    load = round(os.getloadavg()[0], 1)
    new = measure(asked.only, many, steps)
    about = {part: {**machine(), "load": load} for part in asked.only}
    known = json.loads(RESULTS.read_text()).get("looking", {}) if len(asked.only) < 3 else {}
    figures = {"runs": many, "steps": steps, **known, **new}
    figures["about"] = {**known.get("about", {}), **about}
    print(json.dumps(figures, indent=2), table(figures), sep="\n\n")
    if not asked.quick:
        record({"looking": figures}, RESULTS)
        tell("looking", table(figures), PAGE)
    found = failures(new)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
