"""Plotly's own JavaScript, from the installed plotly package: nothing is vendored or downloaded."""

import base64
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import ConfigError

_BUNDLE = "plotly.min.js"


def plotly_file() -> Path:
    """Where the installed plotly package keeps its minified bundle.

    Raises:
        ConfigError: plotly is not installed, or a version without the bundle is.
    """
    spec = find_spec("plotly")
    path = Path(spec.origin).parent / "package_data" / _BUNDLE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ConfigError(
            "plotly is not installed, and curves are drawn with its JavaScript",
            where="the environment of this kernel",
            fix='pip install "plotly>=6" (it comes with the extra "notebook")',
        )
    return path


def plotly_js() -> str:
    """The bundle as text, about 5 MB."""
    return plotly_file().read_text(encoding="utf-8")


@cache
def packed_plotly() -> str:
    """The bundle gzipped and in base 64, about 2 MB: what crosses to the page, once a page."""
    source = plotly_file().read_bytes()
    packed = gzip.compress(source, 4, mtime=0)  # level 6 takes twice as long for 4 % less
    return base64.b64encode(packed).decode("ascii")
