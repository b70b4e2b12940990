"""What a person does, in every host that can be had here: ``make test-hosts``.

JupyterLab 4 with the pinned ipykernel and with 6.31, Notebook 7, and the classic Notebook 6.5 with
Colab's own ipywidgets 7.7.1, ipykernel 6.17.1 and IPython 7.34 on Python 3.13: the nearest to Colab
that runs without it. Each is driven through the same script in Chromium. A table of hosts by
actions goes into RESULTS.md: passed, or what was seen instead. ``--only NAME`` drives one, and
writes nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from record import ROOT, machine, record, tell

sys.path.insert(0, str(ROOT / "tests" / "browser"))
import lab as machinery
import made_runs
from playwright.sync_api import Page, expect

from workbench.data.store.labels import LabelStore

LABELS = 20
SLOW = 60_000  # ms
ACTIONS = {
    "browse": "browse 15,000 pairs",
    "label": f"label {LABELS} by keys",
    "watch": "watch a run start and go on",
    "slider": "change a setting of it",
    "reload": "reload the page",
    "reopen": "run the cells again",
}


class Host(NamedTuple):
    """One host: how it is called, the Python that serves it, and the page it shows.

    Attributes:
        name: in the table.
        python: of the server.
        serve: the module and arguments that start it.
        page: the notebook's address below the server's.
        ready, run: JavaScript: whether the kernel is there; run every cell.
        kernel: another Python for the kernel; None for the server's.
    """

    name: str
    python: Path
    serve: tuple[str, ...]
    page: str
    ready: str
    run: str
    kernel: Path | None = None


def hosts(python313: str) -> list[Host]:
    """Every host that can be had here; environments are made where they are missing."""
    own = Path(sys.executable)
    ready, open_to_all = machinery.READY, "--IdentityProvider.token="
    jupyterlab = ("jupyterlab", open_to_all, "--LabApp.expose_app_in_browser=True")
    lab_page = "lab/tree/{name}?reset"
    modern = ("notebook", open_to_all, "--JupyterNotebookApp.expose_app_in_browser=True")
    classic = _printed(own, ROOT / ".ci" / "colab.py", python313)
    older = _printed(own, ROOT / ".ci" / "kernels.py", "6.31.0")
    seven = _printed(own, ROOT / ".ci" / "kernels.py", "notebook>=7,<8")
    return [
        Host("JupyterLab 4, ipykernel 7", own, jupyterlab, lab_page, ready, RUN),
        Host("JupyterLab 4, ipykernel 6.31", own, jupyterlab, lab_page, ready, RUN, older),
        Host("Notebook 7", seven, modern, "notebooks/{name}", ready, RUN),
        Host(
            "classic Notebook 6.5 on Colab's versions (Python 3.13)",
            classic,
            ("notebook", "--NotebookApp.token=", "--NotebookApp.password="),
            "notebooks/{name}",
            "() => window.Jupyter?.notebook?.kernel?.is_connected()",
            "() => { Jupyter.notebook.execute_all_cells(); }",
        ),
    ]


RUN = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"


def _printed(python: Path, *command: object) -> Path:
    """The path that a script prints."""
    asked = [str(python), *map(str, command)]
    return Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())


@contextmanager
def serving(host: Host, folder: Path) -> Iterator[str]:
    """Its server, on a folder of its own; the address."""
    port = machinery._free_port()
    address = f"http://127.0.0.1:{port}"
    shared = f"{folder / 'path'}:{Path(sys.prefix) / 'share' / 'jupyter'}"  # widgets' front ends
    extra = {"PYTHONPATH": str(ROOT), "JUPYTER_PATH": shared}
    environment = machinery._environment(folder, extra)
    for name, values in machinery.SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    if host.kernel is not None:
        machinery._take_kernel(folder / "path", str(host.kernel))
    command = [str(host.python), "-m", *host.serve, "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--ip=127.0.0.1", f"--notebook-dir={folder}"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/api/status", timeout=2).close()
                break
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError((folder / "server.log").read_text()[-2000:])
            time.sleep(0.2)
        yield address
    finally:
        machinery._end(server)


def cells(folder: Path) -> list[str]:
    """What the notebook does."""
    return [
        "import workbench as wb\nwb.browse('sample:pairs_train')",
        f"store = wb.LabelStore({str(folder / 'labels.sqlite')!r})\n"
        "wb.label('sample:unlabelled', store, annotator='ada')",
        f"wb.open_run({str(folder / 'mine')!r})",
    ]


def driven(host: Host, browser: Any, folder: Path) -> dict[str, str]:
    """One host through every action: "passed", or the first line of what was seen instead."""
    path = folder / "hosts.ipynb"
    code = [nbformat.v4.new_code_cell(cell) for cell in cells(folder)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), path)
    made_runs.create(folder / "mine", "ppo", steps=5000, kl_coef=0.05)
    outcomes: dict[str, str] = {}
    with serving(host, folder) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 2600})
        play = [sys.executable, made_runs.__file__, str(folder / "mine"), "5000", "0.2"]
        trainer = subprocess.Popen(play, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            opened(page, host, f"{address}/{host.page.format(name=path.name)}")
            for name, act in SCRIPT.items():
                try:
                    act(page, host, folder)
                    outcomes[name] = "passed"
                except Exception as error:
                    outcomes[name] = str(error).strip().splitlines()[0][:120]
                print(f"{host.name}: {name}: {outcomes[name]}", flush=True)
        finally:
            trainer.kill()
            trainer.wait()
            page.close()
    return outcomes


def opened(page: Page, host: Host, address: str) -> None:
    """The notebook in the page, and every cell run."""
    page.goto(address)
    page.wait_for_function(host.ready, timeout=2 * SLOW)
    page.wait_for_timeout(2000)  # extensions of the classic page come after its kernel
    page.evaluate(host.run)


def browse(page: Page, _host: Host, _folder: Path) -> None:
    """The table is there, and searching it finds fewer."""
    table = page.locator(".wbb").first
    expect(table.locator(".wbb-row").nth(3)).to_be_visible(timeout=2 * SLOW)
    table.locator("input[type=search], .wbb-search input").first.fill("lighthouse")
    expect(table).to_contain_text("of 15,000 pairs", timeout=SLOW)


def label(page: Page, _host: Host, folder: Path) -> None:
    """As many labels in the store as keys were pressed."""
    labeller = page.locator(".wbl").first
    expect(labeller).to_contain_text("labelled", timeout=2 * SLOW)
    labeller.locator(".wbl-question").click()
    for number in range(LABELS):
        page.keyboard.press("12tb"[number % 4])
        expect(labeller).to_contain_text(f"{number + 1} of 420 labelled", timeout=SLOW)
    in_store(folder)


def in_store(folder: Path) -> None:
    """Every label is on disk."""
    kinds = LabelStore(folder / "labels.sqlite").events()["kind"].tolist()
    assert kinds.count("label") == LABELS, f"{kinds.count('label')} labels in the store"


def watch(page: Page, _host: Host, _folder: Path) -> None:
    """The curves of a live run, which goes on."""
    panel = page.locator(".wbp").first
    expect(panel.locator(".wbp-state")).to_contain_text("running", timeout=2 * SLOW)
    panel.locator(".js-line").first.wait_for(state="attached", timeout=2 * SLOW)
    how = panel.locator(".wbp-how")
    before = how.inner_text(timeout=SLOW)
    expect(how).not_to_have_text(before, timeout=SLOW)


def slider(page: Page, _host: Host, folder: Path) -> None:
    """The run hears of it, and answers."""
    panel = page.locator(".wbp").first
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


def reload(page: Page, host: Host, folder: Path) -> None:
    """The page comes back with its notebook, and no label is lost."""
    page.reload()
    page.wait_for_function(host.ready, timeout=2 * SLOW)
    in_store(folder)


def reopen(page: Page, host: Host, _folder: Path) -> None:
    """The labeller goes on where it was, and the run's curves are there again."""
    page.wait_for_timeout(2000)
    page.evaluate(host.run)
    labelled = page.locator(".wbl").last
    expect(labelled).to_contain_text(f"{LABELS} of 420 labelled", timeout=2 * SLOW)
    page.locator(".wbp .js-line").last.wait_for(state="attached", timeout=2 * SLOW)


SCRIPT: dict[str, Callable[[Page, Host, Path], None]] = {
    "browse": browse,
    "label": label,
    "watch": watch,
    "slider": slider,
    "reload": reload,
    "reopen": reopen,
}


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    about = results["about"]
    lines = ["| " + " | ".join(["host", *ACTIONS.values()]) + " |", "|---" * 7 + "|"]
    for name, outcomes in results["hosts"].items():
        lines.append("| " + " | ".join([name, *(outcomes.get(a, "") for a in ACTIONS)]) + " |")
    return "\n".join(
        [
            *lines,
            "",
            "Colab itself, VS Code and marimo: not tried here. A run that trains was not started "
            "on Python 3.13: no CPU build of torch can be had for it on this machine. Machine: "
            f"{about['machine']}; commit {about['commit']}, {about['date']}. Written by "
            "`tests/benchmarks/hosts.py`.",
        ]
    )


def main() -> int:
    """Drive them; 1 where something did not pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="a part of one host's name")
    parser.add_argument("--python313", default="python3.13")
    options = parser.parse_args()
    results: dict[str, Any] = {"about": machine(), "hosts": {}}
    with machinery.start_browser(machinery.find_chromium()) as browser:
        for host in hosts(options.python313):
            if options.only not in host.name:
                continue
            with tempfile.TemporaryDirectory(prefix="workbench-host-") as folder:
                results["hosts"][host.name] = driven(host, browser, Path(folder))
    if not options.only:
        record({"hosts": results})
        tell("hosts", table(results))
    print(table(results))
    done = [o for outcomes in results["hosts"].values() for o in outcomes.values()]
    return int(any(outcome != "passed" for outcome in done))


if __name__ == "__main__":
    sys.exit(main())
