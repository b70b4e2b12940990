"""Recorded widgets as one HTML file that works without a kernel and asks for nothing.

The file holds each widget's own JavaScript, what it would hear from its kernel, gzipped
(``recording.py``), and the installed plotly's JavaScript, as a run panel gets it.
"""

import base64
import gzip
import json
import os
from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path

from workbench.json_lines import clean
from workbench.reports.run_page import written
from workbench.reports.without_kernel.recording import Recording, record_panel
from workbench.runs import Run
from workbench.runs.folder import LIVE
from workbench.widgets.kit import theme
from workbench.widgets.kit.plotly_source import packed_plotly

_LOADING = "<div class='wb-loading'>Unpacking …</div>"


def share_run(run: Run, path: str | os.PathLike[str]) -> Path:
    """Write a run's panel as one file that works like the live one, but cannot steer.

    Raises:
        RunError: the file cannot be written there.
        ConfigError: plotly is not installed.
    """
    went_on = run.status in LIVE
    recording = record_panel(run)
    so_far = ", while the run went on" if went_on else ""
    fewer = ""
    if recording.missing:
        fewer = (
            f" The answers of {recording.missing:,} watched steps between the others are left out."
        )
    lead = (
        f"<p class='wb-page-text wb-muted'>Recorded {datetime.now():%Y-%m-%d %H:%M}{so_far}. "
        "The panel works as in a notebook, but no kernel stands behind it: nothing can be "
        f"steered or sent to a labeller from here. It opens offline.{fewer}</p>"
    )
    return write_recorded(path, run.name, lead + placed("panel"), {"panel": recording})


def placed(name: str) -> str:
    """The place of a recorded widget in a page's body."""
    return f"<div id='{name}' class='wb-recorded-place'>{_LOADING}</div>"


def write_recorded(
    path: str | os.PathLike[str],
    title: str,
    body: str,
    recordings: Mapping[str, Recording],
) -> Path:
    """Write a page with recorded widgets; an older one is replaced at once, never half.

    Args:
        path: where it goes; its folder is made where it is missing.
        title: the heading.
        body: HTML of our own, with a :func:`placed` for each recording.
        recordings: by the name of their places.

    Raises:
        RunError: the file cannot be written there.
        ConfigError: plotly is not installed.
    """
    return written(_page(title, body, recordings), path, what="page", verb="share")


def _page(title: str, body: str, recordings: Mapping[str, Recording]) -> str:
    packed = {name: {"state": r.state, "kernel": r.kernel} for name, r in recordings.items()}
    shared = theme.style()  # once, first: it must not come after what overrules it
    styles = [recording.style for recording in recordings.values()]
    own = dict.fromkeys([*styles, theme.style("reports/without_kernel/recorded_page.css")])
    style = "\n".join([shared, *(each.removeprefix(shared) for each in own)])
    scripts = [theme.module("reports/without_kernel/recorded_page.js")]
    scripts += [_shown(name, recording.script) for name, recording in recordings.items()]
    held = {
        "wb-recordings": _packed(json.dumps(clean(packed), allow_nan=False)),
        "wb-plotly": packed_plotly(),
    }
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main class='wb wb-recorded'><header><h1>{escape(title)}</h1>"
        "<button type='button' id='wb-theme' aria-label='light or dark'></button></header>"
        f"<noscript>This page needs JavaScript.</noscript>{body}</main>\n"
        + "".join(
            f"<script type='text/plain' id='{n}'>{text}</script>\n" for n, text in held.items()
        )
        + "".join(f"<script type='module'>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def _shown(name: str, script: str) -> str:
    """A widget's module as a script of the page: what it exports is shown in its place."""
    assert script.count("\nexport default ") == 1, "a widget's module has one export default"
    own = script.replace("\nexport default ", "\nconst ShownView = ", 1)
    return f"{own}\nworkbenchShow({json.dumps(name)}, ShownView);"


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")
