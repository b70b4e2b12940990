"""Imports: quick, one way, and each room without what it does not need."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "workbench"
SCREEN = ("IPython", "ipywidgets", "anywidget", "plotly", "jupyterlab")

# what a room may import beside the standard library and ourselves
ALLOWED = {
    "errors.py": set(),
    "settings.py": set(),
    "world": set(),
    "algos": {"torch"},
}


def modules(*rooms: str) -> list[str]:
    """The dotted names of every module in these rooms."""
    files = [f for room in rooms for f in sorted((PACKAGE / room).rglob("*.py"))]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def python(code: str) -> str:
    """What a fresh interpreter prints for this code."""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


# ------------------------------------------------------------------ quick


def test_import_workbench_takes_under_half_a_second_and_loads_nothing_heavy():
    """Half a second of this process's own work, whatever else the machine is doing."""
    code = (
        "import sys, time; start = time.process_time(); import workbench; "
        "print(time.process_time() - start); "
        "print(*{'torch', 'transformers', 'pandas', 'plotly'} & set(sys.modules))"
    )
    seconds, *heavy = min((python(code).split() for _ in range(3)), key=lambda said: float(said[0]))
    assert float(seconds) < 0.5
    assert heavy == []


def test_every_public_name_is_there_when_asked_for():
    code = "import workbench as wb; print([n for n in wb.__all__ if getattr(wb, n, None) is None])"
    assert python(code) == "[]"


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        __import__("workbench").nothing  # noqa: B018


@pytest.mark.parametrize("rooms", [("data", "runs", "world"), ("widgets",)], ids=" and ".join)
def test_torch_stays_unloaded_by_what_only_reads_and_shows(rooms):
    heavy = "{'torch', 'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)"
    names = [*modules(*rooms), "workbench.verbs", "workbench.cli"]
    assert python(f"import sys; import {', '.join(names)}; print(*{heavy})") == ""


def test_training_runs_where_there_is_no_screen():
    names = [*modules("training", "models", "algos", "runs", "data", "world"), "workbench.child"]
    names += ["workbench.verbs", "workbench.cli"]
    block = f"import sys; sys.modules.update(dict.fromkeys({SCREEN!r}))"  # None: import fails
    assert python(f"{block}\nimport {', '.join(names)}\nprint('loaded')") == "loaded"


@pytest.mark.parametrize("room", ALLOWED)
def test_the_lowest_rooms_stand_on_the_standard_library(room):
    path = PACKAGE / room
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        foreign = imported(file) - sys.stdlib_module_names - {"workbench"}
        assert foreign <= ALLOWED[room], file


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    from_them = {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
    return {name.split(".")[0] for name in plain | from_them}


# ------------------------------------------------------------------ one way


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=wide)


def test_imports_run_one_way():
    said = lint(ROOT)
    assert said.returncode == 0, said.stdout


# the file that is made to break the rule, the line added to it, and the arrow that must be reported
BREAKS = {
    "errors": ("import workbench.settings", "workbench.errors -> workbench.settings"),
    "world.judge": ("import workbench.data.pairs", "workbench.world.judge -> workbench.data.pairs"),
    "algos.kl": ("import transformers", "workbench.algos.kl -> transformers"),
    "data.pairs": ("import torch", "workbench.data.pairs -> torch"),
    "runs.folder": ("import workbench.data.pairs", "workbench.runs.folder -> workbench.data.pairs"),
    "models.base": ("import workbench.runs.run", "workbench.models.base -> workbench.runs.run"),
    "training.ppo.ppo": ("import workbench.runs", "workbench.training.ppo.ppo -> workbench.runs"),
    "training.sft": ("import plotly", "workbench.training.sft -> plotly"),
    "widgets.run_panel.panel": ("import torch", "workbench.widgets.run_panel.panel -> torch"),
    "widgets.browser.browser": (
        "import workbench.models.base",
        "workbench.widgets.browser.browser -> workbench.models.base",
    ),
    "verbs.load_data": ("import workbench.cli", "workbench.verbs.load_data -> workbench.cli"),
    "analysis.quality": ("import workbench.runs", "workbench.analysis.quality -> workbench.runs"),
    "data.messages": (
        "import workbench.analysis.bias",
        "workbench.data.messages -> workbench.analysis.bias",
    ),
    "stray": ("", "- workbench.stray"),
}


def test_an_arrow_against_the_way_is_reported(tmp_path):
    ours = shutil.ignore_patterns("__pycache__", "*.js", "*.css")
    shutil.copytree(PACKAGE, tmp_path / "workbench", ignore=ours)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, (line, _) in BREAKS.items():
        file = tmp_path / "workbench" / (module.replace(".", "/") + ".py")
        with file.open("a", encoding="utf-8") as text:
            text.write(f"\n{line}\n")
    said = lint(tmp_path)
    assert said.returncode == 1
    missed = [arrow for _, arrow in BREAKS.values() if arrow not in said.stdout]
    assert missed == []


def test_no_submodule_hides_a_verb():
    code = "import workbench as wb, workbench.runs, workbench.reports; print(wb.runs, wb.report)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("<function runs") and "<function report" in told.stdout


def test_a_mistyped_verb_is_told_the_nearest_one():
    code = "import workbench as wb; wb.load_pair"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "has no attribute 'load_pair'. Did you mean: 'load_pairs'?" in told.stderr


def test_no_module_of_the_verbs_is_called_as_a_verb():
    stems = {file.stem for file in (PACKAGE / "verbs").glob("*.py")}
    assert len(stems) > 10 and stems & set(workbench.__all__) == set()
