"""The page's half of the widgets: there or not, and of the version that the kernel's needs."""

import json

import pytest

from workbench.machine import front_end

MANAGER = "@jupyter-widgets/jupyterlab-manager"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """An environment with these versions in the kernel and these halves for the page."""
    for name in ("COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)

    def make(kernel, halves):
        for name, version in halves.items():
            folder = tmp_path / "labextensions" / name
            folder.mkdir(parents=True)
            (folder / "package.json").write_text(json.dumps({"version": version}))
        monkeypatch.setattr(front_end, "installed_version", kernel.get)
        folders = [tmp_path / "labextensions"]
        monkeypatch.setattr(front_end, "extension_folders", lambda: folders)
        return front_end.front_end_findings()[0]

    return make


@pytest.mark.parametrize(
    ("kernel", "manager", "state"),
    [
        ("8.1.9", "5.0.15", "ok"),
        ("8.1.9", "3.1.1", "look"),  # ipywidgets 8 in the kernel, 7's half on the page
        ("7.7.1", "3.1.1", "ok"),
        ("7.7.1", "5.0.15", "look"),
    ],
)
def test_the_two_halves_fit_or_not(page, kernel, manager, state):
    versions = {"ipywidgets": kernel, "jupyterlab": "4.4"}
    one = page(versions, {MANAGER: manager, "anywidget": "0.9.21"})
    assert one.state == state
    assert (state == "ok") == (not one.fix)
    if state == "look":
        assert f"ipywidgets {kernel}" in one.found and manager in one.found


def test_a_page_of_another_environment_is_told(page):
    one = page({"ipywidgets": "8.1.9"}, {})
    assert one.state == "look" and "no JupyterLab in this environment" in one.found
    assert "where the page's server runs" in one.fix


def test_anywidget_s_half_is_missed(page):
    one = page({"ipywidgets": "8.1.9", "jupyterlab": "4.4"}, {MANAGER: "5.0.15"})
    assert one.state == "look" and "anywidget" in one.found


def test_a_damaged_half_counts_as_none(page, tmp_path):
    folder = tmp_path / "labextensions" / MANAGER
    folder.mkdir(parents=True)
    (folder / "package.json").write_text("{")
    assert page({"ipywidgets": "8.1.9", "jupyterlab": "4.4"}, {}).state == "look"


def test_colab_brings_its_own(page, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-20260819")
    one = page({"ipywidgets": "7.7.1"}, {MANAGER: "5.0.16"})
    assert one.state == "ok" and one.found.startswith("Colab brings its own")


def test_without_widgets_only_the_browser_is_looked_for(page):
    assert page({}, {}).name == "browser"


def test_an_environment_s_own_extensions_come_before_the_user_s(monkeypatch, tmp_path):
    monkeypatch.setattr(front_end.sys, "prefix", "/env")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", "/mine")
    first = [str(place) for place in front_end.extension_folders()][:3]
    wanted = [tmp_path / "labextensions", "/env/share/jupyter/labextensions", "/mine/labextensions"]
    assert first == list(map(str, wanted))
