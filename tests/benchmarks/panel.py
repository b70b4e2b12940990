"""What a run panel costs and how soon it shows a step, in JupyterLab and Chromium: ``make bench``.

``python tests/benchmarks/panel.py`` prints a table and writes it into RESULTS.md, its figures into
results.json; ``--slider`` measures the microscope's slider alone and keeps the others; ``--quick``
takes fewer steps and one pair of trainings, and writes nothing. Where the trainer's cost is
measured, it has one core to itself; JupyterLab, its kernel and the browser have the others.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from record import RESULTS, ROOT, machine, record, tell

sys.path.insert(0, str(ROOT / "tests" / "browser"))
import made_runs
from lab import Lab, Notebook, find_chromium, start_browser, start_lab

import workbench as wb
from workbench.events import Finished
from workbench.runs import FolderWriter, Run, RunFolder, process

LONG = 20_000  # steps of the run that is opened
LIVE = 60  # steps of the run that is watched
GAP = 0.5  # seconds between two of them
PAIRS = 5  # trainings with and without a panel
STEPS = 70  # of a training; CPU is counted from FROM to its end
FROM = 10
LIMITS = {
    "open_seconds": 2,
    "scroll_p95_ms": 50,
    "first_point_seconds": 2,
    "point_p95_ms": 500,
    "cpu_percent": 2,
    "notebook_kb": 300,
    "live_kb_a_step": 20,
    "outside": 1,
    "slider_p95_ms": 200,
}
MOVES = 100  # of the microscope's slider
TOKENS = 64  # of the answer under it
SHOW = "from workbench.widgets.run_panel.panel import RunPanel\nRunPanel({path!r})"
# runs a cell that shows a panel; how long until its first curve has this last step
OPEN = """async ([code, last]) => {
    const start = performance.now();
    void window.jupyterapp.commands.execute('notebook:run-cell');
    for (;;) {
        await new Promise(requestAnimationFrame);
        const plot = [...document.querySelectorAll('.wbp-plot')].find((one) => one.offsetParent);
        if (plot?.data?.[0]?.x?.at(-1) === last && plot.querySelector('.js-line'))
            return (performance.now() - start) / 1000;
        if (performance.now() - start > 60000) return NaN;
    }
}"""
# how long frames take while the notebook is scrolled up and down past the panel
SCROLL = """async () => {
    const pane = document.querySelector('.jp-WindowedPanel-outer') ?? document.scrollingElement;
    const gaps = [];
    let last = performance.now();
    for (let i = 0; i < 150; i++) {
        pane.scrollTop = (1 + Math.sin(i / 12)) / 2 * (pane.scrollHeight - pane.clientHeight);
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        gaps.push(now - last);
        last = now;
    }
    return gaps.slice(5).sort((a, b) => a - b);
}"""
# the time at which each step was drawn [ms since 1970]
WATCH = """() => {
    window.drawnAt = {};
    const look = () => {
        const plot = document.querySelector('.wbp-plot');
        if (plot?.querySelector('.js-line, .points'))
            for (const step of plot.data?.[0]?.x ?? []) window.drawnAt[step] ??= Date.now();
        requestAnimationFrame(look);
    };
    look();
}"""


SCOPE = """
from workbench.algos.one_answer import take_apart
from workbench.verbs.look_closely import recorded
from workbench.widgets.microscope.microscope import Microscope
count = {tokens}
row = dict(
    prompt="What is a lighthouse?", response="a", tokens=[f" word{{i}}" for i in range(count)],
    score=2.0, kl=0.5, paid=2.0, advantage="gae", estimator="k1", kl_coef=0.1, gamma=1.0, lam=0.95,
    clip_range=0.2, logprobs=[-1.0] * count, ref_logprobs=[-1.5] * count, rank="best", step=3,
    after_logprobs=[-0.9] * count, values=[0.1] * count, advantages=[0.0] * count,
)
compute = lambda record, **used: take_apart(recorded(record), **used)._asdict()
Microscope(lambda: [row], compute, name="made", kind="ppo")
"""
# moves the slider of beta; how long each time until what is charged for a token reads otherwise
MOVE = """async (moves) => {
    const root = document.querySelector('.wbm');
    const slider = root.querySelector('input[aria-label^="β"]');
    const charge = () => root.querySelector('.wbm-row.charge').textContent;
    const times = [];
    for (let i = 0; i < moves + 5; i++) {
        const before = charge(), start = performance.now();
        slider.value = String(0.05 + 0.005 * (i % 40));
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        while (charge() === before && performance.now() - start < 10000)
            await new Promise(requestAnimationFrame);
        times.push(performance.now() - start);
        await new Promise((go) => setTimeout(go, 60));
    }
    return times.slice(5).sort((a, b) => a - b);
}"""


def long_run(path: Path, steps: int) -> RunFolder:
    """A finished PPO run of so many steps, with answers every five."""
    folder = made_runs.create(path, "ppo", steps=steps)
    with (path / "metrics.jsonl").open("w") as file:
        for i in range(1, steps + 1):
            figures = made_runs.metrics("ppo", i, steps, made_runs.random.Random(i))
            file.write(json.dumps({"step": i, "time": float(i), **figures}) + "\n")
    with (path / "samples.jsonl").open("w") as file:
        for i in range(5, steps + 1, 5):
            for row in made_runs.samples(i, steps):
                file.write(json.dumps({"step": i, **row}) + "\n")
    with FolderWriter(folder) as writer:
        writer(Finished(steps, False))
    return folder


def move_slider(lab: Lab, browser: Any, moves: int) -> dict:
    """From moving the microscope's β to the rows that it changes: to Python and back."""
    with Notebook(lab, browser, "scope") as notebook:
        page = notebook(SCOPE.format(tokens=TOKENS))
        page.locator(".wbm-row.charge .wbm-worked").wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        times = page.evaluate(MOVE, moves)
    return {
        "slider_moves": moves,
        "slider_median_ms": median(times),
        "slider_p95_ms": times[int(0.95 * len(times))],
    }


class Traffic:
    """Bytes that reach a page over its web sockets."""

    def __init__(self, page: Any) -> None:
        self.bytes = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self._heard))

    def _heard(self, payload: str | bytes) -> None:
        self.bytes += len(payload)


def open_long(lab: Lab, browser: Any, folder: RunFolder, steps: int) -> dict:
    """Open the long run's panel in a notebook that is ready, then scroll past it."""
    seconds, gaps, sizes, outside = [], [], [], 0
    for attempt in range(3):
        with Notebook(lab, browser, f"long{attempt}") as notebook:
            traffic = Traffic(notebook.page)
            page = notebook("import workbench.widgets.run_panel.panel")
            page.evaluate(SAVE)
            before = notebook.path.stat().st_size
            code = SHOW.format(path=str(folder.path))
            page.evaluate(NEW_CELL, code)
            heard = traffic.bytes
            seconds.append(page.evaluate(OPEN, [code, steps]))
            opened = traffic.bytes - heard
            gaps += page.evaluate(SCROLL)
            page.evaluate(SAVE)
            sizes.append(notebook.path.stat().st_size - before)
            outside += len(page.outside)
    return {
        "open_seconds": median(seconds),
        "open_kb": opened / 1e3,
        "scroll_p95_ms": sorted(gaps)[int(0.95 * len(gaps))],
        "notebook_kb": max(sizes) / 1e3,
        "outside": outside,
    }


SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"
NEW_CELL = """async (code) => {
    const { content } = window.jupyterapp.shell.currentWidget;
    await window.jupyterapp.shell.currentWidget.sessionContext.ready;
    await window.jupyterapp.commands.execute('notebook:insert-cell-below');
    content.activeCell.model.sharedModel.setSource(code);
}"""


def watch_live(lab: Lab, browser: Any, path: Path, steps: int) -> dict:
    """A run that takes its time: when each step is written, and when it is seen."""
    folder = made_runs.create(path, "ppo", steps=steps, kl_coef=0.05)
    with FolderWriter(folder) as writer, Notebook(lab, browser, "live") as notebook:
        traffic = Traffic(notebook.page)
        page = notebook(SHOW.format(path=str(folder.path)))
        page.evaluate(WATCH)
        page.wait_for_timeout(3000)  # as when a model is loaded
        before = traffic.bytes
        for step in range(1, steps + 1):
            made_runs.write_steps(writer, "ppo", step, step, steps)
            page.wait_for_timeout(1000 * (GAP if step > 1 else 3))
        page.wait_for_timeout(1500)
        drawn = {int(step): at / 1000 for step, at in page.evaluate("window.drawnAt").items()}
        outside, live_bytes = len(page.outside), traffic.bytes - before
        writer(Finished(steps, False))
    written = {row["step"]: row["time"] for row in folder.metrics()}
    late = sorted(drawn.get(step, float("inf")) - written[step] for step in range(2, steps + 1))
    return {
        "first_point_seconds": drawn.get(1, float("inf")) - written[1],
        "point_median_ms": 1000 * median(late),
        "point_p95_ms": 1000 * late[int(0.95 * len(late))],
        "point_most_ms": 1000 * late[-1],
        "live_kb_a_step": live_bytes / 1e3 / steps,
        "outside": outside,
    }


def cpu_of(pid: int) -> float:
    """CPU-seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def train(number: int, seconds_seen: list[float], show: Any = None) -> None:
    """One short training on core 0; its CPU-seconds a step, after the first few."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        data = wb.load_examples("sample:instructions")
        run = wb.train_sft(
            "builtin:tiny-chat", data, name=f"train{number}", steps=STEPS, seed=number
        )
    finally:
        os.sched_setaffinity(0, everywhere)
    if show is not None:
        show(run)
    seen: dict[int, float] = {}
    record_of = None
    while run.status in ("starting", "running"):
        record_of = record_of or process.read_record(run.path)
        step = len(run.folder.metrics())
        if step >= FROM and record_of and record_of.pid:
            try:
                seen[step] = cpu_of(record_of.pid)
            except OSError:
                break
        time.sleep(0.03)
    run.wait(progress=False)
    first, last = min(seen), max(step for step in seen if step < STEPS)
    seconds_seen.append((seen[last] - seen[first]) / (last - first))


def trainer_cost(lab: Lab, browser: Any, pairs: int) -> dict:
    """CPU-seconds a step of the same training with and without a panel, in turns."""
    headless, shown = [], []
    for pair in range(pairs):
        turns = [False, True] if pair % 2 else [True, False]
        for with_panel in turns:
            number = 2 * pair + with_panel
            if not with_panel:
                train(number, headless)
                continue
            with Notebook(lab, browser, f"cost{pair}") as notebook:
                page = notebook("import workbench.widgets.run_panel.panel")

                def show(run: Run, page: Any = page) -> None:
                    page.evaluate(NEW_CELL, SHOW.format(path=str(run.path)))
                    page.evaluate(
                        "() => void window.jupyterapp.commands.execute('notebook:run-cell')"
                    )

                train(number, shown, show)
    ratios = [100 * (with_ / without - 1) for with_, without in zip(shown, headless, strict=True)]
    return {
        "cpu_percent": median(ratios),
        "cpu_pairs": len(ratios),
        "cpu_headless_ms": 1000 * median(headless),
        "cpu_shown_ms": 1000 * median(shown),
    }


def family(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in children for one in [int(child), *family(int(child))]]


def keep_off(core: int) -> None:
    """Leave a core to the trainer: JupyterLab and the browser take the others."""
    others = os.sched_getaffinity(0) - {core}
    for pid in family(os.getpid()) if others else []:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), others)


def slider_alone(moves: int = MOVES) -> dict:
    """The microscope's figures, and at what they were measured."""
    with (
        tempfile.TemporaryDirectory(prefix="workbench-panel-") as name,
        start_lab(Path(name) / "lab") as lab,
        start_browser(find_chromium()) as browser,
    ):
        found = move_slider(lab, browser, moves)
    rounded = {name: round(value, 3) for name, value in found.items()}
    return {**rounded, "slider_about": machine()}


def measure(steps: int, live: int, pairs: int, moves: int) -> dict:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="workbench-panel-") as name:
        folder = Path(name)
        for place in ("runs", "locks"):
            os.environ[f"WORKBENCH_{place.upper()}"] = str(folder / place)
        made = long_run(folder / "runs" / "long", steps)
        with start_lab(folder / "lab") as lab, start_browser(find_chromium()) as browser:
            figures = open_long(lab, browser, made, steps)
            watched = watch_live(lab, browser, folder / "runs" / "live", live)
            watched["outside"] += figures["outside"]
            figures |= move_slider(lab, browser, moves)
            keep_off(min(os.sched_getaffinity(0)))
            figures |= watched | trainer_cost(lab, browser, pairs)
    return {name: round(value, 3) for name, value in figures.items()}


def table(figures: dict) -> str:
    """The figures in Markdown."""
    rows = [
        (f"a run of {figures['steps']:,} steps: from running the cell to its curves",
         "open_seconds", "s"),
        ("scrolling past it: 95 % of the frames within", "scroll_p95_ms", "ms"),
        ("a live run: its first point is seen, after the step", "first_point_seconds", "s"),
        ("95 % of the further points", "point_p95_ms", "ms"),
        ("to the page, for each step of a live run", "live_kb_a_step", "kB"),
        ("the trainer's CPU-seconds a step, a panel being open, above headless",
         "cpu_percent", "%"),
        ("the saved notebook grows by", "notebook_kb", "kB"),
        ("requests that leave 127.0.0.1", "outside", ""),
    ]  # fmt: skip
    if "slider_p95_ms" in figures:
        words = f"microscope, {TOKENS} tokens: from moving β to its rows changed, 95 % within"
        rows.insert(-1, (words, "slider_p95_ms", "ms"))
    about = figures["about"]
    lines = [
        f"| {words} | {figures[key]:.3g} {unit} | < {LIMITS[key]} {unit} |".replace("  ", " ")
        for words, key, unit in rows
    ]
    return "\n".join(
        [
            "| the run panel | measured | promised |",
            "|---|---|---|",
            *lines,
            "",
            f"Opening: {figures['open_kb']:,.0f} kB reach the page, most of it Plotly, once a "
            f"page. CPU: median of {figures['cpu_pairs']} pairs, "
            f"{figures['cpu_headless_ms']:.0f} and {figures['cpu_shown_ms']:.0f} ms a step. "
            f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
            f"{about['date']}. Written by `tests/benchmarks/panel.py`." + _slider_told(figures),
        ]
    )


def _slider_told(figures: dict) -> str:
    if "slider_about" not in figures:
        return ""
    about = figures["slider_about"]
    return (
        f" The slider: {figures['slider_moves']} moves, median {figures['slider_median_ms']:.0f} "
        f"ms; commit {about['commit']}, {about['date']}."
    )


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    return [
        f"{name} is {figures[name]:.3g}, not under {limit}"
        for name, limit in LIMITS.items()
        if not figures[name] < limit
    ]


def main() -> int:
    """Measure, print, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--slider", action="store_true")
    asked = parser.parse_args()
    quick = asked.quick
    if asked.slider:
        known = json.loads(RESULTS.read_text())["panel"]
        figures = {**known, **slider_alone(20 if quick else MOVES)}
    else:
        sizes = (2_000, 10, 1, 20) if quick else (LONG, LIVE, PAIRS, MOVES)
        figures = {**measure(*sizes), "steps": sizes[0], "about": machine()}
        figures["slider_about"] = figures["about"]
    print(json.dumps(figures, indent=2), table(figures), sep="\n\n")
    if not quick:
        record({"panel": figures})
        tell("panel", table(figures))
    found = failures(figures)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
