"""What a million pairs cost: import, open again, first page, search, notebook: ``make bench``.

``python tests/benchmarks/data.py`` makes the pairs in a folder that goes away, measures each step
in a process of its own, prints a table and writes results.json; ``--rows N`` takes fewer pairs and
writes nothing; ``--file FILE`` takes pairs that ``--make FILE`` made.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from made_pairs import SCRIPTS, Maker, write
from record import ROOT, machine, record, tell

MILLION = 1_000_000
SHARES = (0.009, 0.003, 0.001, 0.0003, 0.0001, 0.00003)  # of the rows: words so frequent
WORDS_EACH = 5  # of each share and script
MOST = 0.01  # a word in more rows than this does not count
ROUNDS = 2  # each word is searched so often before; what is measured is warm
CELLS = (
    "import workbench as wb\npairs = wb.load_pairs({path!r})",
    "view = wb.browse(pairs)\nview",
)
LIMITS = {
    "import_seconds": 60,
    "import_peak_gb": 4,
    "open_seconds": 2,
    "first_page_seconds": 1,
    "browse_peak_gb": 4,
    "search_p95_ms": 50,
    "notebook_kb": 50,
}


# --- in processes of their own


def child_import(source: str, saved: str) -> dict:
    """Read the JSONL, and write the table that opens at once."""
    import workbench as wb

    start = time.perf_counter()
    pairs = wb.load_pairs(source)
    read = time.perf_counter() - start
    start = time.perf_counter()
    pairs.save(saved)
    about = {"items": len(pairs), "bad": pairs.report.input - pairs.report.imported}
    return {"import_seconds": read, "save_seconds": time.perf_counter() - start, **about}


def child_browse(saved: str) -> dict:
    """Open the table again, show its first page, index it, search it."""
    import workbench as wb
    import workbench.widgets.browser.browser  # its imports are not the table's cost

    start = time.perf_counter()
    pairs = wb.load_pairs(saved)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    page = Page(wb.browse(pairs))
    page.tell(type="ready")
    page.tell(type="rows", req=1, start=0, count=36)
    first = time.perf_counter() - start
    start, worked = time.perf_counter(), time.process_time()
    page.widget._table.jobs["index"].wait()
    built = {"index_seconds": time.perf_counter() - start}
    built["index_cpu_seconds"] = time.process_time() - worked
    page.widget._table.read()
    index = page.widget._table.index
    found = searches(page, len(pairs))
    return {
        "open_seconds": opened,
        "first_page_seconds": first,
        **built,
        "index_mb": index.size / 1e6,
        **found,
    }


class Page:
    """Asks the browser what its page asks."""

    def __init__(self, widget: Any) -> None:
        self.widget, self.heard = widget, []
        widget.send = lambda content, buffers=None: self.heard.append(json.dumps(content))

    def tell(self, **content: Any) -> dict:
        """One message; its answer, as it travels."""
        self.widget._handle_custom_msg(content, [])
        return json.loads(self.heard[-1])

    def search(self, query: str, request: int) -> dict:
        """Ask for a word until the first hits are there."""
        question = {"query": query}
        answer = self.tell(type="ask", req=request, question=question)
        while answer["type"] == "wait" or (answer["counting"] and answer["shown"] < 100):
            if answer["type"] == "wait":
                answer = self.tell(type="ask", req=request, question=question)
            else:
                more = self.tell(type="more", version=answer["version"])
                answer = {**answer, **more, "type": "table"}
        return answer


def searches(page: Page, rows: int) -> dict:
    """Times of searches, warm, over words of several frequencies and scripts."""
    times: list[tuple[str, float, float, float]] = []  # script, share, ms, ms of this process
    for script, word in chosen_words():
        for request in range(ROUNDS + 1):
            page.search("", 0)
            start, worked = time.perf_counter(), time.process_time()
            page.search(word, request)
            spent = time.perf_counter() - start, time.process_time() - worked
        view = page.widget._view
        view.go_on(hits=int(MOST * rows) + 1)  # is it a word that counts?
        share = len(view.rows) / rows
        if 0 < share <= MOST:
            times.append((script, share, 1e3 * spent[0], 1e3 * spent[1]))
    wall, own = ([one[n] for one in times] for n in (2, 3))
    by_script = {
        f"search_{name}_p95_ms": p95([one[2] for one in times if one[0] == name])
        for name in SCRIPTS
    }
    return {
        "search_words": len(times),
        "search_median_ms": float(np.median(wall)),
        "search_p95_ms": p95(wall),
        "search_most_ms": max(wall),
        "search_p95_cpu_ms": p95(own),
        **by_script,
    }


def p95(values: list[float]) -> float:
    """The value that 95 % of them do not pass."""
    return float(np.quantile(values, 0.95)) if values else float("nan")


def chosen_words() -> list[tuple[str, str]]:
    """Words with their script, of each of SHARES, by how often Zipf's law makes them appear."""
    from made_pairs import LENGTHS
    from made_pairs import SHARES as PARTS

    maker, found = Maker(), []
    for script, part in zip(SCRIPTS, PARTS, strict=True):
        words = maker.words[script]
        total = float(np.sum(1 / (np.arange(len(words)) + 3.0)))
        for share in SHARES:
            per_word = share / part / sum(LENGTHS[script])
            rank = max(0, min(len(words) - WORDS_EACH, round(1 / (per_word * total) - 3)))
            found += [(script, word) for word in words[rank : rank + WORDS_EACH]]
    return found


def child_notebook(saved: str) -> dict:
    """How much a notebook grows by the cell that browses, saved with its widgets' state."""
    import nbformat
    from nbclient import NotebookClient

    sizes = []
    for cells in (CELLS[:1], CELLS):
        made = [nbformat.v4.new_code_cell(cell.format(path=saved)) for cell in cells]
        book = nbformat.v4.new_notebook(cells=made)
        NotebookClient(book, timeout=600, store_widget_state=True).execute()
        sizes.append(len(nbformat.writes(book).encode()))
    return {"notebook_kb": (sizes[1] - sizes[0]) / 1e3}


CHILDREN = {"import": child_import, "browse": child_browse, "notebook": child_notebook}


# --- here


def child(name: str, *given: str) -> tuple[dict, float]:
    """Run a step in a process of its own; its figures, and the most memory that it had. [GB]"""
    command = [sys.executable, __file__, "--child", name, *given]
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    most = [0.0]
    watch = threading.Thread(target=_watch, args=(process, most), daemon=True)
    watch.start()
    told, _ = process.communicate()
    watch.join()
    if process.returncode:
        raise SystemExit(f"{name}: the process ended with {process.returncode}")
    return json.loads(told.splitlines()[-1]), most[0]


def _watch(process: "subprocess.Popen[str]", most: list[float]) -> None:
    while process.poll() is None:
        most[0] = max(most[0], sum(map(_resident, _family(process.pid))) / 1e9)
        time.sleep(0.1)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _resident(pid: int) -> int:
    """Memory of a process, what it shares counted by halves and thirds. [bytes]"""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def measure(source: Path, folder: Path) -> dict:
    """All figures of a file of pairs."""
    saved = str(folder / "pairs.arrow")
    imported, import_peak = child("import", str(source), saved)
    browsed, browse_peak = child("browse", saved)
    notebook, _ = child("notebook", saved)
    sizes = {"bytes_a_pair": source.stat().st_size / imported["items"]}
    peaks = {"import_peak_gb": import_peak, "browse_peak_gb": browse_peak}
    figures = {**imported, **sizes, **browsed, **peaks, **notebook}
    return {name: round(value, 3) for name, value in figures.items()}


def table(figures: dict) -> str:
    """The figures in Markdown."""
    rows = [
        ("import JSONL", "import_seconds", "s"),
        ("the most memory meanwhile", "import_peak_gb", "GB"),
        ("open again", "open_seconds", "s"),
        ("first page of the browser", "first_page_seconds", "s"),
        ("search, first 100 hits, 95 % of the words within", "search_p95_ms", "ms"),
        ("the most memory while browsing, the search index included", "browse_peak_gb", "GB"),
        ("the saved notebook grows by", "notebook_kb", "kB"),
    ]
    lines = [
        f"| {figures['items']:,} pairs of {figures['bytes_a_pair']:,.0f} bytes "
        "| measured | promised |",
        "|---|---|---|",
        *(
            f"| {name} | {figures[key]:.3g} {unit} | < {LIMITS[key]} {unit} |"
            for name, key, unit in rows
        ),
    ]
    about = figures["about"]
    return "\n".join(
        [
            *lines,
            "",
            f"{figures['search_words']} words, each in at most 1 % of the rows, Latin, Chinese and "
            f"Japanese; the index takes {figures['index_mb']:.0f} MB and "
            f"{figures['index_seconds']:.0f} s in the background. "
            f"Machine: {about['machine']}, Python {about['python']}; commit "
            f"{about['commit']}, {about['date']}. Written by `tests/benchmarks/data.py`.",
        ]
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
    parser.add_argument("--rows", type=int, default=MILLION)
    parser.add_argument("--make", type=Path, metavar="FILE")
    parser.add_argument("--file", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs="+")
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(CHILDREN[asked.child[0]](*asked.child[1:])))
        return 0
    if asked.make:
        write(asked.make, asked.rows)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        source = asked.file or Path(folder) / "pairs.jsonl"
        if not asked.file:
            write(source, asked.rows)
        figures = {**measure(source, Path(folder)), "about": machine()}
    print(json.dumps(figures, indent=2), table(figures), sep="\n\n")
    if figures["items"] + figures["bad"] >= MILLION:
        record({"data": figures})
        tell("data", table(figures))
    found = failures(figures)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
