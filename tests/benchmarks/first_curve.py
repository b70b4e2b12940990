"""The first minute: notebook 00's first curve, and the gallery's page: ``first_curve.py``.

Runs all cells of notebook 00 in a new JupyterLab with no run yet, as it stands, and counts the
seconds from the first cell's start to the first curve on the screen. Then opens the gallery
(``make gallery`` first, or ``--gallery FILE``) from its file, five times. Both go into RESULTS.md.
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
from lab import READY, RUN_ALL, Notebook, find_chromium, start_browser, start_lab
from playwright.sync_api import Browser

import workbench as wb

NOTEBOOK = ROOT / "notebooks" / "00_start_here.ipynb"
CURVE = ".wbp .js-line"
PROMISED = {"first_curve": 120, "gallery": 3, "megabytes": 3}  # at most
OPENED = 5
SLOW = 900_000  # ms
UNPACKED = "() => !document.querySelector('.wb-loading')"


def first_curve(browser: Browser, folder: Path) -> float:
    """Seconds from the start of the first cell to the first curve."""
    runs = {name: str(folder / name) for name in ("WORKBENCH_RUNS", "WORKBENCH_LOCKS")}
    with start_lab(folder / "lab", **runs) as lab, Notebook(lab, browser, "first") as notebook:
        notebook.path.write_bytes(NOTEBOOK.read_bytes())
        page = notebook.page
        page.goto(f"{lab.url}/lab/tree/{notebook.path.name}?reset")
        page.wait_for_function(READY, timeout=SLOW)
        begun = time.monotonic()
        page.evaluate(RUN_ALL)
        page.locator(CURVE).first.wait_for(state="attached", timeout=SLOW)
        seconds = time.monotonic() - begun
        wb.open_run(folder / "WORKBENCH_RUNS" / "reward").stop(wait=True)  # it outlives the page
    return seconds


def gallery(browser: Browser, path: Path) -> dict:
    """Seconds until the page answers, and until its curves are drawn; and its requests."""
    answers: list[float] = []
    drawn: list[float] = []
    requests: list[str] = []
    for _ in range(OPENED):
        with browser.new_context(viewport={"width": 1300, "height": 900}) as context:
            page = context.new_page()
            page.on("request", lambda request: requests.append(request.url))
            begun = time.monotonic()
            page.goto(path.as_uri())
            page.wait_for_function(UNPACKED, timeout=SLOW)
            answers.append(time.monotonic() - begun)
            page.locator(CURVE).first.wait_for(state="attached", timeout=SLOW)
            drawn.append(time.monotonic() - begun)
    return {
        "answers": round(median(answers), 2),
        "slowest_answers": round(max(answers), 2),
        "drawn": round(median(drawn), 2),
        "slowest_drawn": round(max(drawn), 2),
        "requests": sum(url != path.as_uri() for url in requests),
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    about, page = results["about"], results["gallery"]
    return "\n".join(
        [
            "| the first minute | measured | promised |",
            "|---|---|---|",
            "| notebook 00: seconds from the first cell's start to the first curve "
            f"| {results['first_curve']} | {PROMISED['first_curve']} at most |",
            "| the gallery, opened from its file: seconds until every view answers, median and "
            f"slowest of {OPENED} | {page['answers']}, {page['slowest_answers']} "
            f"| {PROMISED['gallery']} at most |",
            f"| … and until its curves are drawn | {page['drawn']}, {page['slowest_drawn']} "
            f"| {PROMISED['gallery']} at most |",
            f"| requests beside the file itself | {page['requests']} | 0 |",
            f"| its size in MB | {page['megabytes']} | {PROMISED['megabytes']} at most |",
            "",
            f"Load average when it began: {results['load']}. Machine: {about['machine']}, Python "
            f"{about['python']}; commit {about['commit']}, {about['date']}. Written by "
            "`tests/benchmarks/first_curve.py`.",
        ]
    )


def holds(results: dict) -> bool:
    """Whether everything is as promised."""
    page = results["gallery"]
    return (
        results["first_curve"] <= PROMISED["first_curve"]
        and page["slowest_drawn"] <= PROMISED["gallery"]
        and page["megabytes"] <= PROMISED["megabytes"]
        and page["requests"] == 0
    )


def main() -> int:
    """Measure, write, and say whether what is promised holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gallery", type=Path, default=ROOT / "build" / "gallery" / "index.html")
    args = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder, start_browser(find_chromium()) as browser:
        page = gallery(browser, args.gallery.absolute())
        seconds = round(first_curve(browser, Path(folder)), 1)
    results = {"about": machine(), "load": load, "first_curve": seconds, "gallery": page}
    print(table(results))
    record({"first_curve": results})
    tell("first_curve", table(results))
    return 0 if holds(results) else 1


if __name__ == "__main__":
    sys.exit(main())
