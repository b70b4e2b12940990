"""The hosts that ``hosts.py`` drives: how each is had, served and given its notebook."""

import json
import re
import subprocess
import sys
import tarfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
from record import ROOT

sys.path.insert(0, str(ROOT / "tests" / "browser"))
import lab as machinery
from playwright.sync_api import Page, Route


class Host(NamedTuple):
    """One host: how it is called, the Python that serves it, and the page it shows.

    Attributes:
        name: in the table.
        python: of the server.
        serve: the module and arguments that start it.
        page: the notebook's address below the server's.
        ready, run: JavaScript: whether the kernel is there; run every cell.
        kernel: another Python for the kernel; None for the server's.
        frames: "vscode" or "colab", where outputs are in frames.
    """

    name: str
    python: Path
    serve: tuple[str, ...]
    page: str
    ready: str
    run: str
    kernel: Path | None = None
    frames: str = ""

    @property
    def trains(self) -> bool:
        """Whether its kernel has a torch to start a run with."""
        return "3.13" not in self.name


def hosts(python313: str) -> list[Host]:
    """Every host that can be had here; environments are made where they are missing."""
    own = Path(sys.executable)
    ready = machinery.READY
    jupyterlab = ("jupyterlab", *JUPYTER, "--LabApp.expose_app_in_browser=True")
    lab_page = "lab/tree/{name}?reset"
    modern = ("notebook", *JUPYTER, "--JupyterNotebookApp.expose_app_in_browser=True")
    classic = _printed(own, ROOT / ".ci" / "colab.py", python313)
    older = _printed(own, ROOT / ".ci" / "kernels.py", "6.31.0")
    seven = _printed(own, ROOT / ".ci" / "kernels.py", "notebook>=7,<8")
    marimo = _printed(own, ROOT / ".ci" / "kernels.py", "marimo>=0.25,<0.26")
    frames = FRAMES.read_text(encoding="utf-8")
    return [
        Host("JupyterLab 4, ipykernel 7", own, jupyterlab, lab_page, ready, RUN),
        Host("JupyterLab 4, ipykernel 6.31", own, jupyterlab, lab_page, ready, RUN, older),
        Host("Notebook 7", seven, modern, "notebooks/{name}", ready, RUN),
        Host(
            "classic Notebook 6.5 on Colab's versions (Python 3.13)",
            classic,
            ("notebook", *JUPYTER[1:], "--NotebookApp.token=", "--NotebookApp.password="),
            "notebooks/{name}",
            "() => window.Jupyter?.notebook?.kernel?.is_connected()",
            "() => { Jupyter.notebook.execute_all_cells(); }",
        ),
        Host("marimo 0.25", marimo, MARIMO, "?file={name}", MARIMO_READY, MARIMO_RUN),
        Host("VS Code's widget manager", own, jupyterlab, "lab?reset", APP, frames, None, "vscode"),
        Host(
            "Colab, simulated (its versions, Python 3.13)",
            own,
            jupyterlab,
            "lab?reset",
            APP,
            frames,
            classic,
            "colab",
        ),
    ]


COLAB = """import sys, types
output = types.SimpleNamespace(enable_custom_widget_manager=lambda: None)
sys.modules["google.colab"] = types.SimpleNamespace(output=output)
"""  # what a kernel on Colab has; anywidget asks it for the manager
FRAMES = Path(__file__).with_name("host_frames.js")
RUN = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
APP = "() => window.jupyterapp?.serviceManager?.isReady"
JUPYTER = (
    *("--IdentityProvider.token=", "--no-browser", "--allow-root", "--port={port}"),
    *("--ip=127.0.0.1", "--notebook-dir={folder}"),
)
MARIMO = (
    *("marimo", "-y", "edit", "hosts.py", "--headless", "--no-token", "--skip-update-check"),
    "--port={port}",
)
MARIMO_READY = "() => document.querySelector('[data-testid=run-button]:not([disabled])')"
# no key of its own runs every cell; of the settings beside the notebook, this one
MARIMO_SETTINGS = '[keymap.overrides]\n"global.runAll" = "Ctrl-Shift-y"\n'
MARIMO_RUN = """() => document.dispatchEvent(new KeyboardEvent("keydown", {
    key: "Y", code: "KeyY", ctrlKey: true, shiftKey: true, bubbles: true }))"""
PACKAGES = {  # npm's: where each file of them is served
    "@vscode/jupyter-ipywidgets8@1.0.9": {"dist/ipywidgets.js": "vscode-ipywidgets8.js"},
    "@jupyter-widgets/html-manager@1.0.15": {"dist/libembed-amd.js": "libembed-amd.js"},
    "requirejs@2.3.8": {"require.js": "require.js"},
}
FRAME = "<!doctype html><body><script src='/host-files/require.js'></script></body>"


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
    extra = {"PYTHONPATH": str(ROOT), "JUPYTER_PATH": shared, "WORKBENCH_RUNS": str(folder)}
    extra["WORKBENCH_LOCKS"] = str(folder / "locks")  # whatever else computes on this machine
    environment = machinery._environment(folder, extra)
    for name, values in machinery.SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    if host.kernel is not None:
        machinery._take_kernel(folder / "path", str(host.kernel))
    (folder / ".marimo.toml").write_text(MARIMO_SETTINGS)
    arguments = [one.format(port=port, folder=folder) for one in host.serve]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [str(host.python), "-m", *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError):
                urllib.request.urlopen(address, timeout=2).close()
                break
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError((folder / "server.log").read_text()[-2000:])
            time.sleep(0.2)
        yield address
    finally:
        machinery._end(server)


def cells(host: Host, folder: Path) -> list[str]:
    """What the notebook does."""
    before = COLAB if host.frames == "colab" else ""
    start = "few = wb.load_pairs('sample:pairs_heldout')[:64]\n" + (
        "wb.train_reward('builtin:tiny-chat', few, name='started')"
    )
    return [
        f"{before}import workbench as wb\nwb.browse('sample:pairs_train')",
        f"store = wb.LabelStore({str(folder / 'labels.sqlite')!r})\n"
        "wb.label('sample:unlabelled', store, annotator='ada')",
        f"wb.open_run({str(folder / 'mine')!r})",
        *([start] if host.trains else []),
    ]


def written(host: Host, folder: Path) -> Path:
    """The notebook, as the host reads it."""
    if host.serve is MARIMO:
        path = folder / "hosts.py"
        bodies = [textwrap.indent(cell, "    ") for cell in cells(host, folder)]
        functions = [f"@app.cell\ndef _():\n{body}\n    return\n" for body in bodies]
        path.write_text("\n\n".join(["import marimo\n\napp = marimo.App()\n", *functions]))
        return path
    path = folder / "hosts.ipynb"
    code = [nbformat.v4.new_code_cell(cell) for cell in cells(host, folder)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), path)
    return path


def packages(folder: Path) -> dict[str, Path]:
    """What a page with frames asks for, by its name there: of npm's packages, one copy."""
    served = {}
    folder.mkdir(parents=True, exist_ok=True)
    for package, files in PACKAGES.items():
        ask = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
        name = re.sub("^@", "", package).replace("/", "-").replace("@", "-")
        archive = folder / f"{name}.tgz"
        if not archive.exists():
            subprocess.run(ask, cwd=folder, check=True, capture_output=True)
        with tarfile.open(archive) as packed:
            for file, wanted in files.items():
                served[wanted] = folder / wanted
                served[wanted].write_bytes(packed.extractfile(f"package/{file}").read())
    return served


def serve_frames(page: Page, host: Host) -> None:
    """Give the page what its frames ask for: the managers, and anywidget from the environment."""
    served = packages(ROOT / ".venv-npm")
    extensions = (host.kernel or host.python).parents[1] / "share" / "jupyter" / "nbextensions"

    def answer(route: Route) -> None:
        name = route.request.url.split("/host-files/")[1]
        if name == "frame.html":
            route.fulfill(body=FRAME, content_type="text/html")
            return
        file = served.get(name) or extensions / name.removeprefix("nbextensions/")
        route.fulfill(body=file.read_bytes(), content_type="text/javascript")

    page.route("**/host-files/**", answer)
