"""Plotly's own JavaScript, from the installed plotly package: nothing is vendored or downloaded."""

import base64
import gzip
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import ConfigError

_BUNDLE = "plotly.min.js"
_WRAPPED = re.compile(
    r'\A(/\*.*?\*/\s*)\(\s*function\(root, factory\) \{.{,400}?\(\) => \{\s*("use strict";.*'
    r"window\.Plotly = Plotly;)\s*return Plotly;\s*\}\)\);?\s*\Z",
    re.DOTALL,
)


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
            fix='pip install "plotly>=5.24.1" (it comes with the extra "notebook")',
        )
    return path


def plotly_js() -> str:
    """The bundle as text, about 5 MB: a script, or a module, that sets ``window.Plotly``.

    A browser reads what stands within a function twice, and at the moment that it is called. So
    the function around the whole of it is left out, where it has the shape that is known.
    """
    source = plotly_file().read_text(encoding="utf-8")
    wrapped = _WRAPPED.match(source)
    return f"{wrapped[1]}{wrapped[2]}\n" if wrapped else source


@cache
def packed_plotly() -> str:
    """The bundle gzipped and in base 64, about 2 MB: what crosses to the page, once a page."""
    packed = gzip.compress(plotly_js().encode(), 4, mtime=0)  # 6: twice as long for 4 % less
    return base64.b64encode(packed).decode("ascii")
