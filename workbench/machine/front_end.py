"""The page: which Jupyter shows the widgets, and whether its half of them fits the kernel's."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.machine.findings import MachineFact
from workbench.machine.libraries import installed_version, version_numbers
from workbench.machine.places import hosted

MANAGERS = {7: 3, 8: 5}
"""ipywidgets' major version -> that of its half in JupyterLab, the package jupyterlab-manager."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox")


def front_end_findings() -> list[MachineFact]:
    """Whether widgets will show, as far as a kernel can tell."""
    widgets = installed_version("ipywidgets")
    if widgets is None:
        return [_browser()]  # said by the libraries
    if host := hosted():
        words = f"{host} brings its own; ipywidgets {widgets} in the kernel"
        return [MachineFact("notebook page", "ok", words)]
    lab = installed_version("jupyterlab")
    manager = _half("@jupyter-widgets/jupyterlab-manager")
    fitting = MANAGERS.get(next(iter(version_numbers(widgets)), 8), 5)
    page = f"JupyterLab {lab}" if lab else "no JupyterLab in this environment"
    if manager is None:
        words = (
            f"{page}; ipywidgets {widgets}, and its half for the page is not in this environment"
        )
        fix = (
            "install jupyterlab_widgets and anywidget where the page's server runs (the same "
            "environment is simplest: pip install 'rlhf-workbench[lab]'), then start it anew"
        )
        return [MachineFact("notebook page", "look", words, fix), _browser()]
    place, version = manager
    if version_numbers(version)[:1] != (fitting,):
        words = (
            f"{page}; ipywidgets {widgets} needs jupyterlab-manager {fitting}, and the page would "
            f"take {version} (from {place})"
        )
        wanted = "3" if fitting == 5 else "1.1"
        fix = (
            f"{sys.executable} -m pip install --upgrade ipywidgets 'jupyterlab_widgets~={wanted}.0'"
            f"; or remove {place}; then start the page's server anew"
        )
        return [MachineFact("notebook page", "look", words, fix), _browser()]
    missing = _half("anywidget") is None
    if missing:
        words = f"{page}; anywidget's half for the page is not in this environment"
        fix = "install anywidget where the page's server runs, then start it anew"
        return [MachineFact("notebook page", "look", words, fix), _browser()]
    return [
        MachineFact("notebook page", "ok", f"{page}; ipywidgets {widgets} and its half fit"),
        _browser(),
    ]


def _half(name: str) -> tuple[Path, str] | None:
    """Where a server of this environment would find an extension, and its version."""
    for folder in extension_folders():
        file = folder / name / "package.json"
        try:
            package: Any = json.loads(file.read_text(encoding="utf-8"))
            return file.parent, str(package["version"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def extension_folders() -> Sequence[Path]:
    """Where JupyterLab looks for extensions, first found first.

    In a virtual environment its own come before the user's.
    """
    named = [Path(part) for part in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if part]
    data = os.environ.get("JUPYTER_DATA_DIR")
    try:
        home = Path.home()
    except RuntimeError:
        home = Path("/nonexistent")
    user = Path(data) if data else home / ".local" / "share" / "jupyter"
    if sys.platform == "darwin" and not data:
        user = home / "Library" / "Jupyter"
    own = Path(sys.prefix) / "share" / "jupyter"
    between = [own, user] if sys.prefix != sys.base_prefix else [user, own]
    system = [Path("/usr/local/share/jupyter"), Path("/usr/share/jupyter")]
    return [place / "labextensions" for place in (*named, *between, *system)]


def _browser() -> MachineFact:
    """Which browser of this machine can open reports."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    return MachineFact("browser", "ok", browser or "none on this machine: open pages where you sit")
