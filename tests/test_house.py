"""The house: no circle of imports, no crowded folder, one meaning for one name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "workbench"
MOST = 22  # files beside each other

# a file of another room, or another kind, on the same subject: numbers and page, thing and script
SAME_SUBJECT = {
    "alarms",
    "best_of_n",
    "blind_comparison",
    "controls",
    "frontier",
    "learning_curve",
    "overoptimisation",
    "preflight",
    "quality",
}
# every trainer has its generator of this name, every program its entry
IN_EACH = {"main", "steps"}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    trees: dict[str, ast.Module] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = ast.parse(file.read_text(encoding="utf-8"))
    return trees


MODULES = modules()


def imports_of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of every import from the package, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, "") if inner in MODULES else (node.module, alias.name)


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """What is left when files that import nothing of what is left are taken away."""
    left = dict(arrows)
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_each_score_has_one_name():
    """The reward score, the watched score, the gold score: no learned ones, no true ones."""
    words = re.compile(r"\b(?:learned|true)\s+scores?\b", re.IGNORECASE)
    kinds = ("workbench/**/*.py", "workbench/**/*.js", "notebooks/*.ipynb", "README.md")
    files = [path for kind in kinds for path in ROOT.glob(kind)]
    assert len(files) > 200
    assert [path for path in files if words.search(path.read_text(encoding="utf-8"))] == []


def test_no_circle_of_imports():
    # the package's __init__ imports all that is public
    arrows = {
        name: {module for module, _ in imports_of(tree)} - {name, "workbench"}
        for name, tree in MODULES.items()
        if name != "workbench"
    }
    assert len(arrows) > 200
    assert circles(arrows) == []


def test_a_circle_would_be_found():
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}
    assert circles(arrows) == ["a", "b", "c", "d"]


def test_no_folder_is_crowded():
    beside: dict[str, int] = defaultdict(int)
    for file in PACKAGE.rglob("*"):
        if file.suffix in (".py", ".js", ".css"):
            beside[file.parent.relative_to(ROOT).as_posix()] += 1
    assert {folder: files for folder, files in beside.items() if files > MOST} == {}


def test_a_file_name_stands_once():
    folders: dict[str, set[Path]] = defaultdict(set)
    for file in PACKAGE.rglob("*"):
        if file.suffix in (".py", ".js", ".css") and file.stem not in ("__init__", "__main__"):
            folders[file.stem].add(file.parent)
    twice = {stem for stem, places in folders.items() if len(places) > 1}
    assert twice - SAME_SUBJECT == set()


def definitions() -> dict[str, set[str]]:
    """Where each public name is defined at the top of a module."""
    places: dict[str, set[str]] = defaultdict(set)
    for module, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                places[node.name].add(module)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        places[target.id].add(module)
    return {name: modules for name, modules in places.items() if not name.startswith("_")}


def test_a_public_name_means_one_thing():
    """Classes and functions always; constants and type aliases where another file imports them."""
    shared = {name for tree in MODULES.values() for _, name in imports_of(tree)}
    called = {
        node.name
        for tree in MODULES.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    places = definitions()
    # a verb has the name of what it calls in its room
    verbs = {name for name, modules in places.items() if any("verbs" in m for m in modules)}
    twice = {
        name: sorted(modules)
        for name, modules in places.items()
        if len(modules) > 1
        and name in shared | called
        and name not in IN_EACH
        and not (name in verbs and len(modules) == 2)
    }
    assert twice == {}
