"""The libraries: what is missing, old, broken or deadly is told, each by itself."""

import json

import pytest

from workbench.machine import libraries
from workbench.machine.libraries import Needed, Probed, library_findings, probe, read_probe

TORCH, BITS = Needed("torch", "2.6", ""), Needed("bitsandbytes", "0.48", "")
WIDGETS, MARKDOWN = Needed("ipywidgets", "7.7.1", "notebook"), Needed("nh3", "0.2", "notebook")
WELL = Probed({}, "", "")


@pytest.fixture
def here(monkeypatch):
    """What is installed, as the test says."""
    versions = {}
    monkeypatch.setattr(libraries, "installed_version", versions.get)
    return versions


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a module of this text before all others, also in the probe's process."""

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        rest = libraries.os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{libraries.project_folder()}:{rest}")
        monkeypatch.chdir(tmp_path.parent)

    return write


def states(findings):
    return {one.name: one.state for one in findings}


def test_what_is_asked_for_is_read_from_the_checkout():
    asked = {one.name: one for one in libraries.needed()}
    assert asked["torch"] == ("torch", "2.6", "")
    assert asked["markdown-it-py"].module == "markdown_it"
    assert (asked["jupyterlab"].extra, asked["anywidget"].extra) == ("lab", "notebook")
    assert "pytest" not in asked and "rlhf-workbench" not in asked


def test_what_is_asked_for_is_read_from_an_installed_copy(monkeypatch):
    lines = [
        "torch>=2.6",
        "anywidget>=0.9.13; extra == 'notebook'",
        'rlhf-workbench[notebook]; extra == "lab"',
        'pytest>=8.3; extra == "dev"',
    ]
    monkeypatch.setattr(libraries, "project_folder", lambda: None)
    monkeypatch.setattr(libraries.metadata, "requires", lambda name: lines)
    assert libraries.needed() == [("torch", "2.6", ""), ("anywidget", "0.9.13", "notebook")]


def test_all_is_well(here):
    here.update(torch="2.13.0+cpu", bitsandbytes="0.48")
    (one,) = library_findings([TORCH, BITS], WELL)
    assert one.state == "ok" and one.found.startswith("2 of the core are fine: torch 2.13.0+cpu")


def test_what_is_missing_is_fatal_only_where_it_cannot_be_done_without(here):
    found = library_findings([TORCH, BITS, WIDGETS, MARKDOWN], WELL)
    assert states(found) == {
        "torch": "failed",
        "bitsandbytes": "look",
        "extra 'notebook'": "look",
        "libraries": "ok",
    }
    texts = {one.name: one for one in found}
    assert "pip install 'torch>=2.6'" in texts["torch"].fix
    assert "unquantised" in texts["bitsandbytes"].found
    assert "ipywidgets, nh3" in texts["extra 'notebook'"].found


@pytest.mark.parametrize(
    ("version", "state"),
    [("2.5.9", "failed"), ("2.6", "ok"), ("2.6.0+cu124", "ok"), ("2.10.1", "ok"), ("3rc1", "ok")],
)
def test_versions_are_compared_as_numbers(here, version, state):
    here.update(torch=version)
    assert library_findings([TORCH], WELL)[0].state == state


def test_a_library_that_is_here_and_cannot_be_imported_is_told_with_its_reason(here):
    here.update(torch="2.13", bitsandbytes="0.50")
    row = {"what": "import torch", "error": "OSError: libcudart.so.13: cannot open"}
    found = library_findings([TORCH, BITS], Probed({"import torch": row}, "", ""))
    assert states(found) == {"torch": "failed", "libraries": "ok"}
    assert "libcudart.so.13" in found[0].found and "--force-reinstall" in found[0].fix


def test_a_file_of_the_same_name_in_the_folder_is_the_cause(here, tmp_path, monkeypatch):
    here.update(torch="2.13")
    (tmp_path / "torch.py").touch()
    monkeypatch.chdir(tmp_path)
    row = {"what": "import torch", "error": "AttributeError: module 'torch' has no attribute 'nn'"}
    (bad, _) = library_findings([TORCH], Probed({"import torch": row}, "", ""))
    assert bad.fix == f"rename {tmp_path / 'torch.py'}, or start Python in another folder"


def test_what_the_probe_says_is_read_among_a_library_s_chatter():
    lines = [
        json.dumps({"begun": "import torch"}),
        "a library says hello",
        "3",
        json.dumps({"what": "import torch", "file": "x"}),
        json.dumps({"begun": "device"}),
    ]
    probed = read_probe("\n".join(lines), "was ended by SIGSEGV")
    assert probed.died_at == "device" and set(probed.found) == {"import torch"}
    found = library_findings([], probed)
    assert (
        found[-1].state == "failed" and "using the device was ended by SIGSEGV" in found[-1].found
    )


def test_a_library_that_kills_its_process_is_named(here, stand_in):
    here.update(torch="2.13")
    stand_in("torch", "import os; os.kill(os.getpid(), 9)")
    probed = probe(["torch"])
    assert (probed.died_at, probed.how) == ("import torch", "was ended by SIGKILL")
    (bad, _) = library_findings([TORCH], probed)
    assert bad.state == "failed" and "a process that imported it was ended by SIGKILL" in bad.found


def test_a_library_that_never_comes_back_is_given_up(stand_in):
    stand_in("torch", "import time; time.sleep(600)")
    probed = probe(["torch"], patience=5.0)
    assert probed.how == "took longer than 5 seconds"


def test_a_broken_library_hides_none_that_comes_after_it(stand_in):
    stand_in("torch", "raise SystemExit('broken on purpose')")
    found = probe(["json", "torch"]).found
    assert found["import torch"]["error"] == "SystemExit: broken on purpose"
    assert "error" not in found["import json"] and "device" not in found


def test_a_card_that_torch_has_no_code_for_is_an_error_of_the_device(stand_in):
    text = """
        class version: cuda, hip = "12.8", None
        class cuda:
            is_available = staticmethod(lambda: True)
            mem_get_info = staticmethod(lambda: (1, 2))
        def ones(*_, **__): raise RuntimeError("no kernel image is available")
        __version__ = "2.13.0"
    """
    stand_in("torch", "\n".join(line[8:] for line in text.splitlines()))
    row = probe(["torch"]).found["device"]
    assert row["error"] == "RuntimeError: no kernel image is available"
