"""The reference of every public name, from the docstrings: ``make api`` writes build/api.

One page has what ``import workbench as wb`` gives; the settings, errors, events and the
mathematics have pages of their own. Nothing is fetched, and the pages open without a network.
"""

import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pdoc.doc
import pdoc.render

import workbench
from workbench import algos

ALGOS = tuple(f"workbench.algos.{room.name}" for room in pkgutil.iter_modules(algos.__path__))
PAGES = ("workbench.settings", "workbench.errors", "workbench.events", *ALGOS)


def public() -> ModuleType:
    """The public names as a module without submodules, some of which have a verb's name."""
    others = "\n".join(f"- `{name}`" for name in PAGES)
    page = ModuleType("workbench", f"{workbench.__doc__}\nPages of their own:\n\n{others}\n")
    for name in workbench.__all__:
        setattr(page, name, getattr(workbench, name))
    page.__dict__["__all__"] = list(workbench.__all__)
    return page


def modules() -> dict[str, pdoc.doc.Module]:
    """What there is a page for, by name."""
    pages = [public(), *map(importlib.import_module, PAGES)]
    return {page.__name__: pdoc.doc.Module(page) for page in pages}


def write(folder: Path) -> None:
    """Write the reference into a folder."""
    pdoc.render.configure(docformat="google", footer_text=f"workbench {workbench.__version__}")
    pages = modules()
    for name, page in pages.items():
        path = folder / f"{name.replace('.', '/')}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pdoc.render.html_module(page, pages), encoding="utf-8")
    (folder / "index.html").write_text(pdoc.render.html_index(pages), encoding="utf-8")
    (folder / "search.js").write_text(pdoc.render.search_index(pages), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
