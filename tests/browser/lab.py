"""A real JupyterLab and a real Chromium, driven: for the browser tests and the screenshots.

    with start_lab(folder) as lab, start_browser(find_chromium()) as browser:
        with Notebook(lab, browser, "mine") as notebook:
            page = notebook("import workbench as wb", "desk = wb.label(pairs, store); desk")
            page.keyboard.press("1")
            kernel_eval(page, "len(store.events())")

Nothing sleeps a fixed time: it waits for the page (Playwright's ``expect``) or asks the kernel.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import nbformat
from playwright.sync_api import Browser, sync_playwright

PROJECT = Path(__file__).parents[2]
STARTING = 60.0  # seconds that JupyterLab may take to answer
CHROMIUM_FLAGS = (
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SETTINGS = {
    # no "Select kernel" dialog; every cell stays in the page
    "notebook-extension/tracker": {"autoStartDefaultKernel": True, "windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

READY = """() => {
    const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
    const kernel = session?.session?.kernel;
    return session?.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
# A cell has its number when it is done; after an error the others never get theirs.
OVER = """() => {
    const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells];
    const code = cells.filter((cell) => cell.type === 'code' && cell.sharedModel.source.trim());
    const errors = code.flatMap((cell) => cell.outputs.toJSON())
        .filter((output) => output.output_type === 'error')
        .map((output) => `${output.ename}: ${output.evalue}`);
    const done = errors.length > 0 || code.every((cell) => cell.executionCount !== null);
    return done ? { errors } : null;
}"""
ASK = """async (code) => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const future = kernel.requestExecute({ code, store_history: false });
    let answer = '', error = null;
    future.onIOPub = (message) => {
        if (message.header.msg_type === 'stream') answer += message.content.text;
        if (message.header.msg_type === 'error') error = message.content.evalue;
    };
    await future.done;
    return { answer, error };
}"""
RUN_ALL = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
RESTART = """() =>
    window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"""
SHUT_DOWN = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.shutdown()"


class NoChromium(RuntimeError):  # noqa: N818
    """There is no browser; the text says what to do."""


def find_chromium() -> str:
    """Ask .ci/chromium.py for a browser's path."""
    found = subprocess.run(
        [sys.executable, PROJECT / ".ci" / "chromium.py"], capture_output=True, text=True
    )
    if found.returncode:
        raise NoChromium(found.stderr.strip())
    return found.stdout.strip()


@dataclass(frozen=True)
class Lab:
    """A JupyterLab server: where it answers, the folder that it shows, its log."""

    url: str
    root: Path
    log: Path


@contextmanager
def start_lab(folder: Path, **environment: str) -> Iterator[Lab]:
    """Start JupyterLab with settings, data and notebooks of its own under ``folder``.

    Args:
        folder: an empty folder, or that of a JupyterLab which has ended: as after a restart.
        environment: what the kernels should find in their environment.
    """
    root = folder / "notebooks"
    root.mkdir(parents=True, exist_ok=True)
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    if python := os.environ.get("WORKBENCH_KERNEL"):
        _take_kernel(folder / "path", python)
    lab = Lab(f"http://127.0.0.1:{_free_port()}", root, folder / "lab.log")
    with lab.log.open("wb") as log:
        server = subprocess.Popen(
            _command(lab),
            cwd=root,
            env=_environment(folder, environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(lab, server)
        yield lab
    finally:
        _end(server)


def _take_kernel(path: Path, python: str) -> None:
    """Let "Python 3" be another interpreter, with another ipykernel (``make test-kernels``)."""
    spec = path / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))


def _command(lab: Lab) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={lab.url.rpartition(':')[2]}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={lab.root}",
        "--IdentityProvider.token=",
        "--LabApp.news_url=",
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp
        "--LabApp.extension_manager=readonly",
    ]


def _environment(folder: Path, extra: dict[str, str]) -> dict[str, str]:
    """Ours without proxies (they break 127.0.0.1), with every Jupyter folder under ``folder``."""
    kept = {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
    return {
        **kept,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_PATH": str(folder / "path"),  # before the environment's own kernel
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(PROJECT),
        **extra,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(lab: Lab, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{lab.url}/api/status", timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{lab.log.read_text(errors='replace')[-3000:]}")


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its kernels, which share its process group."""
    for how, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(patience)
            return


@contextmanager
def start_browser(chromium: str) -> Iterator[Browser]:
    """Start a Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        try:
            yield browser
        finally:
            browser.close()


class Notebook:
    """One notebook in a browser page of its own; calling it runs cells and gives the page.

    The page is Playwright's, with two lists beside: ``page.problems``, the errors that it threw or
    wrote to its console, and ``page.outside``, the addresses that it asked for beyond the server.
    """

    def __init__(self, lab: Lab, browser: Browser, name: str, **context: Any) -> None:
        self.lab, self.path = lab, lab.root / f"{name}.ipynb"
        size = {"viewport": {"width": 1300, "height": 1000}}
        self.context = browser.new_context(**{**size, **context})
        self.page: Any = self.context.new_page()
        self.page.problems, self.page.outside = [], []
        self.page.on("pageerror", lambda error: self.page.problems.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.page.problems.append(message.text)

    def _request(self, request: Any) -> None:
        if request.url.startswith("http") and not request.url.startswith(self.lab.url):
            self.page.outside.append(request.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            with suppress(Exception):  # a page that never loaded has no kernel to end
                self.page.evaluate(SHUT_DOWN)
        finally:
            self.context.close()

    def __call__(self, *cells: str, fails: str = "", timeout: float = 60_000) -> Any:
        """Write these code cells, open the notebook, run it to its end, and return the page.

        Args:
            cells: Python, one string a cell.
            fails: the error, as ``Name: message``, in which it should end; empty for none.
            timeout: how long the page may take to load, and the cells to run. [ms]
        """
        code = [nbformat.v4.new_code_cell(cell.strip("\n")) for cell in cells]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), self.path)
        return self._run_all(fails, timeout)

    def file(self, source: Path, *, timeout: float = 60_000) -> Any:
        """The same for a copy of a notebook that exists."""
        self.path.write_bytes(source.read_bytes())
        return self._run_all("", timeout)

    def again(self, timeout: float = 60_000) -> Any:
        """Open the notebook as it was saved, without running it, in this browser page."""
        self.page.goto(f"{self.lab.url}/lab/tree/{self.path.name}?reset")
        self.page.wait_for_function(READY, timeout=timeout)
        return self.page

    def restart_kernel(self) -> None:
        """Restart the kernel, as the button does."""
        self.page.evaluate(RESTART)
        self.page.wait_for_function(READY)

    def _run_all(self, fails: str, timeout: float) -> Any:
        self.page.goto(f"{self.lab.url}/lab/tree/{self.path.name}?reset")
        self.page.wait_for_function(READY, timeout=timeout)
        self.page.evaluate(RUN_ALL)  # not awaited: its promise never settles behind a dialog
        over = self.page.wait_for_function(OVER, timeout=timeout).json_value()
        assert over["errors"] == ([fails] if fails else [])
        return self.page


def kernel_eval(page: Any, expression: str) -> Any:
    """The value of a Python expression in the kernel of the page's notebook; plain JSON only."""
    told = page.evaluate(ASK, f"import json as _json; print(_json.dumps({expression}))")
    assert told["error"] is None, told["error"]
    return json.loads(told["answer"])
