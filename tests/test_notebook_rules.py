"""The notebooks are a lecture: mostly prose, short cells, nothing defined in them, no outputs."""

import ast
import re
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
    "07_your_own_model",
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
