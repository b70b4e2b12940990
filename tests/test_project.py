"""What the checkout promises around the code: environments, packaging, documents, commands."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import workbench

ROOT = Path(__file__).parents[1]
NAME = "rlhf-workbench"


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in pinned}


def requirements(pyproject):
    """Every direct dependency but the project's own extras."""
    extras = pyproject["optional-dependencies"].values()
    lines = [*pyproject["dependencies"], *(line for extra in extras for line in extra)]
    return [r for r in map(Requirement, lines) if canonicalize_name(r.name) != NAME]


# ------------------------------------------------------------------ environments


def test_the_conda_environment_has_python_and_pip_and_the_rest_from_pyproject(conda, pyproject):
    *packages, through_pip = conda["dependencies"]
    assert packages == [f"python{pyproject['requires-python']}", "pip"]
    assert through_pip == {
        "pip": ["--constraint constraints.txt", "--prefer-binary", "--editable .[lab]"]
    }
    assert conda["name"] == pyproject["name"] == NAME
    assert conda["channels"] == ["conda-forge"]


def test_each_extra_holds_the_one_before(pyproject):
    extras = pyproject["optional-dependencies"]
    assert list(extras) == ["notebook", "lab", "dev"]
    assert f"{NAME}[notebook]" in extras["lab"] and f"{NAME}[lab]" in extras["dev"]


def test_the_screen_is_an_extra_and_never_in_the_core(pyproject):
    screen = {"ipywidgets", "anywidget", "plotly", "jupyterlab", "ipython", "playwright"}
    core = {canonicalize_name(Requirement(line).name) for line in pyproject["dependencies"]}
    assert not core & screen


def test_every_dependency_is_pinned_to_a_version_its_own_bound_allows(pyproject, pins):
    for needed in requirements(pyproject):
        pin = pins[canonicalize_name(needed.name)]
        (version,) = pin.specifier
        assert version.operator == "==", pin
        assert needed.specifier.contains(version.version, prereleases=True), (needed, pin)


def test_pins_name_no_build_so_that_they_serve_machines_with_and_without_a_gpu(pins):
    assert str(pins["torch"].specifier) == "==2.13.0"
    for pin in pins.values():
        assert "+" not in str(pin.specifier) and pin.url is None, pin


def test_this_python_is_one_that_the_package_claims(pyproject):
    assert SpecifierSet(pyproject["requires-python"]).contains(sys.version.split()[0])


def test_the_package_and_its_metadata_agree_on_the_version(pyproject):
    assert workbench.__version__ == pyproject["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {pyproject['version']} " in changes


# ------------------------------------------------------------------ the wheel


def test_the_wheel_carries_code_scripts_styles_and_sample_data_but_not_what_makes_them(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for source in (ROOT / "workbench").rglob("*"):
        if source.suffix in {".py", ".js", ".css", ".html"}:
            assert source.relative_to(ROOT).as_posix() in names
    assert "workbench/py.typed" in names
    sample = {name.removeprefix("workbench/_sample_data/") for name in names if "_sample" in name}
    assert {"texts.jsonl", "manifest.json", "tiny-chat/model.safetensors"} <= sample
    assert not [name for name in sample if name.endswith(".py")]
    tops = {name.split("/")[0] for name in names}
    assert tops == {"workbench", f"rlhf_workbench-{workbench.__version__}.dist-info"}


# ------------------------------------------------------------------ Colab's versions


def test_what_colab_ships_is_new_enough_for_us(pyproject):
    """Or installing would replace parts that Colab's page is made for."""
    lines = (ROOT / ".ci" / "colab-pins.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    asked = [*pyproject["dependencies"], *pyproject["optional-dependencies"]["notebook"]]
    met = [one for one in map(Requirement, asked) if canonicalize_name(one.name) in pins]
    assert len(met) >= 15
    for one in met:
        version = pins[canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} is not met by {version}"


# ------------------------------------------------------------------ documents and commands


DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    "notebooks/README.md",
    "tests/benchmarks/RESULTS.md",
    "workbench/README.md",
    "workbench/DECISIONS.md",
    "workbench/METRICS.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_inside_the_project_lead_somewhere(name):
    document = ROOT / name
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if not re.match(r"[a-z]+:", link):
            path, _, place = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), f"{name}: {link}"
            assert not place or place in headings(target), f"{name}: {link}"


def headings(document):
    """The places in a page that a link can name, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_that_documents_name_exist(name):
    named = re.findall(r"\bmake ([a-z-]+)`", (ROOT / name).read_text(encoding="utf-8"))
    assert set(named) <= TARGETS


def test_the_design_s_targets_exist():
    assert {"setup", "fmt", "check", "test", "soak", "demo", "lab", "screenshots"} <= TARGETS


def test_the_workflow_runs_what_ci_runs_on_the_oldest_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] == 90
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (python,) = [step["with"]["python-version"] for step in job["steps"] if "with" in step]
    assert python == "3.11"


def test_who_reports_a_model_is_asked_for_the_table_of_verify():
    forms = {path.stem: path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}
    asked = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in forms.items()}
    assert set(asked) == {"bug", "config", "model"}
    table = next(part for part in asked["model"]["body"] if part.get("id") == "table")
    assert "workbench verify" in table["attributes"]["label"]
    assert table["validations"]["required"] is True


def test_what_git_ignores_is_the_runs_folder_of_the_project_and_not_the_room():
    ask = ["git", "check-ignore", "--no-index", "runs/demo", "workbench/runs/run.py"]
    said = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.split() == ["runs/demo"]


def test_the_examples_name_every_format_that_is_read():
    from workbench.data.reading.readers import FORMATS

    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    listed = text.split("formats that are read, by name: ")[1].split(". Besides")[0]
    names = sorted({fmt.name for fmt in FORMATS if not fmt.asks})
    assert re.findall(r"`([^`]+)`", listed) == names
    assert f"The {len(names)} formats" in text
    assert f"any of {len(names)} formats" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short_and_its_figures_are_measured_ones():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    block = text.split("<!-- figures:begin -->")[1].split("<!-- figures:end -->")[0]
    _, _, *rows = block.strip().splitlines()
    results = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- ([\w-]+):begin -->(.*?)<!-- \1:end -->", results, re.S)
    measured = [set(re.findall(r"\d[\d,]*(?:\.\d+)?", table)) for _, table in tables]
    figures = [set(re.findall(r"\*\*(.+?)\*\*", row)) for row in rows]
    assert len(figures) == 4 and all(figures)
    for row in figures:
        assert any(row <= table for table in measured), f"no table of RESULTS.md has all of {row}"


# ------------------------------------------------------------------ metrics


GROUPS = "objective|policy|value|response|heldout|score|returns|advantages|memory"


def test_every_metric_that_training_writes_has_its_formula_and_none_is_only_on_paper():
    page = (ROOT / "workbench" / "METRICS.md").read_text(encoding="utf-8").split("## Alarms")[0]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    told = {name for row in rows for name in re.findall(rf"`((?:{GROUPS})/\w+)`", row)}
    code = [
        path.read_text(encoding="utf-8") for path in (ROOT / "workbench/training").rglob("*.py")
    ]
    written = {name for text in code for name in re.findall(rf'"((?:{GROUPS})/\w+)"', text)}
    assert told == written
