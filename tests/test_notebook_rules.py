"""The notebooks are a lecture: mostly prose, short cells, nothing defined in them, no outputs."""

import ast
import os
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LECTURE = [
    "00_start_here",
    "01_pretraining_and_sft",
    "02_preference_data",
    "03_reward_model",
    "04_ppo",
    "05_compare",
    "06_iterate",
    "07_dpo_and_the_frontier",
    "08_your_own_model",
]
CELLS, LINES, PROSE = 12, 3, range(60, 91)
BELONGS_IN_THE_PACKAGE = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.For, ast.AsyncFor, ast.While, ast.Try),
)
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def python_lines(cell):
    """The non-blank lines of a code cell, its magics taken out."""
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return lines, [line for line in lines if not line.lstrip().startswith(("%", "!"))]


def test_the_lecture_is_complete_and_in_order():
    assert [path.stem for path in NOTEBOOKS] == LECTURE


@EACH
def test_a_notebook_is_valid_and_begins_with_words(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"


@EACH
def test_code_cells_are_few_and_short(path):
    code = cells(path, "code")
    assert len(code) <= CELLS, "move code to workbench/"
    for cell in code:
        lines, _ = python_lines(cell)
        assert 1 <= len(lines) <= LINES, f"move code to workbench/:\n{cell.source}"


@EACH
def test_nothing_is_defined_and_nothing_loops_in_a_notebook(path):
    for cell in cells(path, "code"):
        _, lines = python_lines(cell)
        for node in ast.walk(ast.parse("\n".join(lines))):
            kept_out = isinstance(node, BELONGS_IN_THE_PACKAGE)
            assert not kept_out, f"move this to workbench/:\n{cell.source}"


@EACH
def test_prose_outweighs_code(path):
    words = sum(len(re.findall(r"[\w’'-]+", cell.source)) for cell in cells(path, "markdown"))
    per_cell = round(words / len(cells(path, "code")))
    assert per_cell in PROSE, f"{per_cell} words of prose per code cell"


@EACH
def test_no_output_is_kept(path):
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None, "run make fmt"


@EACH
def test_links_and_pictures_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        for link in re.findall(r"\]\(([^)\s#]+)", cell.source):
            assert re.match(r"[a-z]+:", link) or (FOLDER / link).exists(), link


# ------------------------------------------------------------------ the first cell of 08


@pytest.fixture
def bare_machine(tmp_path):
    """Run what the first cell hands to a shell, on folders of ours, with a stand-in for pip."""
    cell = cells(FOLDER / "08_your_own_model.ipynb", "code")[0].source
    (shell,) = [line.removeprefix("!") for line in cell.splitlines() if line.startswith("!")]
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    pip.chmod(0o755)

    def run(*files):
        for name in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        here = re.sub(r"/(content|kaggle)\b", rf"{tmp_path}/\1", shell)
        env = {**os.environ, "PATH": f"{pip.parent}:{os.environ['PATH']}"}
        said = subprocess.run(["sh", "-c", here], env=env, capture_output=True, text=True)
        assert said.stdout == said.stderr == ""
        asked = tmp_path / "asked"
        return asked.read_text().replace(f"{tmp_path}", "").strip() if asked.exists() else None

    return run


WHEEL = "rlhf_workbench-0.2.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("files", "installed"),
    [
        ([f"content/{WHEEL}"], f"/content/{WHEEL}"),
        ([f"content/drive/MyDrive/{WHEEL}"], f"/content/drive/MyDrive/{WHEEL}"),
        (["content/rlhf-workbench/pyproject.toml"], "/content/rlhf-workbench"),
        (
            ["content/drive/MyDrive/rlhf-workbench/pyproject.toml"],
            "/content/drive/MyDrive/rlhf-workbench",
        ),
        ([f"kaggle/input/mine/{WHEEL}"], f"/kaggle/input/mine/{WHEEL}"),
        ([f"kaggle/input/rlhf-workbench/{WHEEL}"], f"/kaggle/input/rlhf-workbench/{WHEEL}"),
        (["kaggle/input/rlhf-workbench/pyproject.toml"], "/kaggle/input/rlhf-workbench"),
    ],
)
def test_the_first_cell_installs_the_wheel_or_the_folder_that_it_finds(
    bare_machine, files, installed
):
    assert bare_machine(*files) == f"install {installed}[notebook]"


def test_the_first_cell_does_nothing_elsewhere(bare_machine):
    assert bare_machine("home/me/rlhf-workbench/pyproject.toml", "content/sample_data/x") is None


def test_drive_is_mounted_only_when_asked():
    source = cells(FOLDER / "08_your_own_model.ipynb", "code")[0].source
    assert source.startswith("ON_DRIVE = False ")
    (line,) = [line for line in source.splitlines() if ".mount(" in line]
    assert line.startswith("ON_DRIVE and ")
