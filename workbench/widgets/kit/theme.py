"""One look for every widget: colours, type and spacing, and how its files become one module.

Colours come from the host (JupyterLab, VS Code, Colab) through CSS variables with fallbacks, so
light and dark follow the host. The accents are Okabe and Ito's, which stay apart for colour-blind
readers; no widget says anything by colour alone.
"""

import posixpath
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2]

OKABE_ITO: dict[str, str] = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermillion": "#D55E00",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
    "yellow": "#F0E442",
    "black": "#000000",
}
"""Colours for lines and marks, in the order a plot should take them."""

SHARED = "widgets/kit/shared.css"

QUIET_INK = "#757b82"
"""Of words and lines where a page's colours are not known: read on white and on black."""

GRID_INK = "rgba(117,123,130,.16)"
"""Of a chart's quietest lines, on either."""

PLOT_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
"""The type of a chart outside a widget, as shared.css has it inside."""

_LINK = re.compile(
    r'^(?:import|export)\s[^;(=]*?from\s+"(?P<name>\.\.?/[^"]+)";\n', re.MULTILINE | re.DOTALL
)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)


def module(*names: str) -> str:
    """Join JavaScript files, named from the package's folder, into the module that anywidget loads.

    A notebook has no address to import a second file from. The files are plain ES modules that
    import each other by relative paths, so an editor and a test can read them one by one. Here
    each file that is needed comes once, before the files that import it, and the imports and
    exports of names go; the widget's own file stands last, with its ``export default``. All files
    of a module share one scope, so no two may declare the same name.
    """
    sources: dict[str, str] = {}
    for name in names:
        _gather(name, sources, ())
    return "\n".join(_EXPORT.sub("", _LINK.sub("", source)) for source in sources.values())


def style(*names: str) -> str:
    """Join the shared style and CSS files, named from the package's folder."""
    return "\n".join((PACKAGE / name).read_text(encoding="utf-8") for name in (SHARED, *names))


def _gather(name: str, sources: dict[str, str], importers: tuple[str, ...]) -> None:
    """Add a file to ``sources``, after the files that it imports."""
    if name in sources or name in importers:  # the latter: a circle, which one scope allows
        return
    source = (PACKAGE / name).read_text(encoding="utf-8")
    for link in _LINK.finditer(source):
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), link["name"]))
        _gather(beside, sources, (*importers, name))
    sources[name] = source
