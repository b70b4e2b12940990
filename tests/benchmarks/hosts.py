"""What a person does, in every host that can be had here: ``make test-hosts``.

JupyterLab 4 with the pinned ipykernel and with 6.31, Notebook 7, marimo, and the classic Notebook
6.5 with Colab's own ipywidgets 7.7.1, ipykernel 6.17.1 and IPython 7.34 on Python 3.13. Two more
cannot be had whole (``host_frames.js``): VS Code's own widget manager is driven in a frame as VS
Code does, and Colab's is simulated by its documented rules, on Colab's versions. Each goes through
the same script in Chromium. A table of hosts by actions goes into RESULTS.md: passed, or what was
seen instead. ``--only NAME`` drives those whose name has it, and puts their rows alone into it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import RESULTS, ROOT, machine, record, tell

sys.path.insert(0, str(ROOT / "tests" / "browser"))
import made_runs
from host_kinds import MARIMO, Host, cells, hosts, machinery, serve_frames, serving, written
from playwright.sync_api import FrameLocator, Page, expect

from workbench.data.store.labels import LabelStore

LABELS = 20
SLOW = 60_000  # ms
ACTIONS = {
    "browse": "browse 15,000 pairs",
    "label": f"label {LABELS} by keys, half of them while a cell runs",
    "watch": "watch a run go on",
    "slider": "change a setting of it",
    "start": "start a run",
    "reload": "reload the page",
    "reopen": "run the cells again",
}
NO_TORCH = "not possible here: no CPU build of torch for Python 3.13"
ALONE = "passed, no cell beside them"
FINE = ("passed", ALONE, NO_TORCH)
NOT_HAD = ("VS Code itself", "Colab itself")
BUSY = """() => {
    const code = "import time; time.sleep(3)";
    const { hostKernel, Jupyter, jupyterapp } = window;
    const shown = () => jupyterapp?.shell.currentWidget.sessionContext.session.kernel;
    const kernel = hostKernel ?? Jupyter?.notebook.kernel ?? shown();
    if (kernel?.requestExecute) void kernel.requestExecute({ code });
    else kernel?.execute(code);
}"""  # marimo has no such line to its kernel


def driven(host: Host, browser: Any, folder: Path) -> dict[str, str]:
    """One host through every action: "passed", or the first line of what was seen instead."""
    path = written(host, folder)
    made_runs.create(folder / "mine", "ppo", steps=5000, kl_coef=0.05)
    outcomes: dict[str, str] = {}
    with serving(host, folder) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 2600})
        play = [sys.executable, made_runs.__file__, str(folder / "mine"), "5000", "0.2"]
        trainer = subprocess.Popen(play, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            asked_elsewhere = nothing_left(page, address)
            serve_frames(page, host)
            opened(page, host, folder, f"{address}/{host.page.format(name=path.name)}")
            for name, act in SCRIPT.items():
                if name == "start" and not host.trains:
                    outcomes[name] = NO_TORCH
                    continue
                try:
                    act(page, host, folder)
                    outcomes[name] = ALONE if name == "label" and host.serve is MARIMO else "passed"
                except Exception as error:
                    outcomes[name] = str(error).strip().splitlines()[0][:120]
                if asked_elsewhere():
                    outcomes[name] = f"passed but for a request: {asked_elsewhere()[0]}"
                print(f"{host.name}: {name}: {outcomes[name]}", flush=True)
        finally:
            trainer.kill()
            trainer.wait()
            page.close()
    return outcomes


def opened(page: Page, host: Host, folder: Path, address: str = "") -> None:
    """The notebook in the page, and every cell run; with no address, in the page as it is."""
    if address:
        page.goto(address)
    page.wait_for_function(host.ready, timeout=2 * SLOW)
    page.wait_for_timeout(2000)  # extensions of the classic page come after its kernel
    told = {"kind": host.frames, "cells": cells(host, folder), "path": "hosts.ipynb"}
    page.evaluate(host.run, told)


def shown(page: Page, host: Host, cell: int) -> Page | FrameLocator:
    """Where the output of a cell is: in the page, or in a frame."""
    frames = {"": "", "vscode": ".cell-all", "colab": f".cell-{cell}"}
    return page.frame_locator(frames[host.frames]) if host.frames else page


def browse(page: Page, host: Host, _folder: Path) -> None:
    """The table is there, and searching it finds fewer."""
    table = shown(page, host, 0).locator(".wbb").first
    expect(table.locator(".wbb-row").nth(3)).to_be_visible(timeout=2 * SLOW)
    table.locator("input[type=search], .wbb-search input").first.fill("desk")
    expect(table).to_contain_text(re.compile(r"[1-9]\d* of 15,000 pairs"), timeout=SLOW)
    expect(table.locator(".wbb-row").first).to_contain_text("desk", timeout=SLOW)


def label(page: Page, host: Host, folder: Path) -> None:
    """As many labels in the store as keys were pressed, and no key was the host's as well."""
    labeller = shown(page, host, 1).locator(".wbl").first
    expect(labeller).to_contain_text("labelled", timeout=2 * SLOW)
    labeller.locator(".wbl-question").click()
    for number in range(LABELS):
        if number == LABELS // 2:
            page.evaluate(BUSY)
        page.keyboard.press("12tb"[number % 4])
        expect(labeller).to_contain_text(f"{number + 1} of 420 labelled", timeout=SLOW)
    in_store(folder)
    heard = [frame.evaluate("window.keys ?? []") for frame in page.frames]
    assert not any(heard), f"keys that the host heard: {heard}"


def nothing_left(page: Page, address: str) -> Callable[[], list[str]]:
    """What the page asks of anybody but its server, from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return lambda: [url for url in asked if url.startswith("http") and address not in url]


def in_store(folder: Path) -> None:
    """Every label is on disk."""
    kinds = LabelStore(folder / "labels.sqlite").events()["kind"].tolist()
    assert kinds.count("label") == LABELS, f"{kinds.count('label')} labels in the store"


def watch(page: Page, host: Host, _folder: Path) -> None:
    """The curves of a live run, which goes on."""
    panel = shown(page, host, 2).locator(".wbp").first
    expect(panel.locator(".wbp-state")).to_contain_text("running", timeout=2 * SLOW)
    panel.locator(".js-line").first.wait_for(state="attached", timeout=2 * SLOW)
    how = panel.locator(".wbp-how")
    before = how.inner_text(timeout=SLOW)
    expect(how).not_to_have_text(before, timeout=SLOW)


def slider(page: Page, host: Host, folder: Path) -> None:
    """The run hears of it, and answers."""
    panel = shown(page, host, 2).locator(".wbp").first
    panel.focus()
    field = panel.get_by_label("kl_coef, reward/nat")
    if not field.is_visible():
        page.keyboard.press("m")
    field.fill("0.125", timeout=SLOW)
    field.press("Enter")
    events = folder / "mine" / "events.jsonl"
    deadline = time.monotonic() + SLOW / 1000
    while '"kl_coef": 0.125' not in events.read_text().replace('":0', '": 0'):
        assert time.monotonic() < deadline, "the run was not told"
        time.sleep(0.2)


def start(page: Page, host: Host, folder: Path) -> None:
    """The kernel started a trainer, and its curves are on the screen."""
    panel = shown(page, host, 3).locator(".wbp").last
    panel.locator(".js-line").first.wait_for(state="attached", timeout=4 * SLOW)
    assert (folder / "started" / "metrics.jsonl").stat().st_size


def reload(page: Page, host: Host, folder: Path) -> None:
    """The page comes back with its notebook, and no label is lost."""
    page.reload()
    page.wait_for_function(host.ready, timeout=2 * SLOW)
    in_store(folder)


def reopen(page: Page, host: Host, folder: Path) -> None:
    """The labeller goes on where it was, and the run's curves are there again."""
    opened(page, host, folder)
    labelled = shown(page, host, 1).locator(".wbl").last
    expect(labelled).to_contain_text(f"{LABELS} of 420 labelled", timeout=2 * SLOW)
    line = shown(page, host, 2).locator(".wbp .js-line").last
    line.wait_for(state="attached", timeout=2 * SLOW)


SCRIPT: dict[str, Callable[[Page, Host, Path], None]] = {
    "browse": browse,
    "label": label,
    "watch": watch,
    "slider": slider,
    "start": start,
    "reload": reload,
    "reopen": reopen,
}


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    about = results["about"]
    lines = ["| " + " | ".join(["host", *ACTIONS.values()]) + " |", "|---" * 8 + "|"]
    untried = dict.fromkeys(NOT_HAD, dict.fromkeys(ACTIONS, "not tried here"))
    for name, outcomes in {**results["hosts"], **untried}.items():
        lines.append("| " + " | ".join([name, *(outcomes.get(a, "") for a in ACTIONS)]) + " |")
    return "\n".join(
        [
            *lines,
            "",
            "The run that is watched is played by a process of its own. VS Code's widget manager "
            "is the package that its Jupyter extension ships, on JupyterLab's line to the kernel; "
            "what is around it in VS Code is not there. Colab is simulated by its rules: its "
            "versions, an output a frame, nothing heard from threads. No page asked anybody but "
            "its own server. Machine: "
            f"{about['machine']}; commit {about['commit']}, {about['date']}. Written by "
            "`tests/benchmarks/hosts.py`.",
        ]
    )


def main() -> int:
    """Drive them; 1 where something did not pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="parts of hosts' names, by commas")
    parser.add_argument("--python313", default="python3.13")
    options = parser.parse_args()
    only = options.only.split(",")
    results: dict[str, Any] = {"about": machine(), "hosts": {}}
    with machinery.start_browser(machinery.find_chromium()) as browser:
        for host in hosts(options.python313):
            if not any(part in host.name for part in only):
                continue
            with tempfile.TemporaryDirectory(prefix="workbench-host-") as folder:
                results["hosts"][host.name] = driven(host, browser, Path(folder))
    done = [o for outcomes in results["hosts"].values() for o in outcomes.values()]
    if options.only:
        results["hosts"] = {**json.loads(RESULTS.read_text())["hosts"]["hosts"], **results["hosts"]}
    record({"hosts": results})
    tell("hosts", table(results))
    print(table(results))
    return int(any(outcome not in FINE for outcome in done))


if __name__ == "__main__":
    sys.exit(main())
