"""Where things are kept: what cannot be written, has no room or is forgotten is told."""

from collections import namedtuple
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.machine import places

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def ordinary(tmp_path, monkeypatch):
    for name in ("COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("runs", "locks", "state"):
        monkeypatch.setenv(f"WORKBENCH_{name.upper()}", str(tmp_path / name))


def look():
    return {one.name: one for one in places.place_findings()}


def test_an_ordinary_machine_is_fine():
    found = look()
    assert {one.state for name, one in found.items() if name != "disk"} == {"ok"}
    assert set(found) >= {"runs", "disk", "temporary files", "locks and keys", "sample data"}


def test_a_folder_that_cannot_be_written_fails_also_for_root(monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", "/proc/nowhere/runs")
    one = look()["runs"]
    assert one.state == "failed" and "/proc/nowhere/runs cannot be written" in one.found
    assert "WORKBENCH_RUNS" in one.fix


def test_a_user_without_a_home_is_told(monkeypatch):
    def no_home():
        raise RuntimeError("no home")

    monkeypatch.setattr(places, "runs_root", no_home)
    assert look()["runs"].state == "failed"


@pytest.mark.parametrize(("free", "state"), [(10**8, "failed"), (10**9, "look"), (10**10, "ok")])
def test_room_on_the_disk(monkeypatch, free, state):
    monkeypatch.setattr(places.shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    found = look()
    assert found["disk"].state == state
    assert found["disk"].found == f"{free / 1e9:.1f} GB are free there"
    assert found["temporary files"].state == ("failed" if free < 2 * 10**8 else "ok")


def test_a_lock_folder_that_is_not_ours_fails_in_its_own_words(monkeypatch):
    def theirs():
        raise RunError("the folder belongs to another user", where="/x", fix="remove it")

    monkeypatch.setattr(places.private_folder, "runtime_folder", theirs)
    one = look()["locks and keys"]
    assert (one.state, one.fix) == ("failed", "remove it")
    assert "/x" in one.found


def test_a_disk_without_locks_fails(monkeypatch):
    def refuse(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(places.fcntl, "flock", refuse)
    one = look()["locks and keys"]
    assert one.state == "failed" and "Operation not supported" in one.found


def test_keys_that_lie_in_the_temporary_folder_will_be_lost(monkeypatch):
    monkeypatch.delenv("WORKBENCH_STATE")
    lost = Path(places.tempfile.gettempdir()) / "workbench-0"
    monkeypatch.setattr(places.private_folder, "state_folder", lambda: lost)
    one = look()["locks and keys"]
    assert one.state == "look" and "WORKBENCH_STATE" in one.fix


def test_a_live_run_is_named(monkeypatch):
    holder = {"run": "ppo-7", "pid": 3, "folder": "/x"}
    monkeypatch.setattr(
        places.devices, "device_holder", lambda name: holder if name == "cuda" else None
    )
    assert look()["live run"].found == "ppo-7 holds cuda: another run there has to wait"


def test_samples_that_are_missing_are_named(monkeypatch, tmp_path):
    (tmp_path / "manifest.json").touch()
    monkeypatch.setattr(places, "sample_dir", lambda: tmp_path)
    one = look()["sample data"]
    assert one.state == "failed"
    assert one.found.startswith("pairs_train.jsonl, tiny-chat/model.safetensors missing in")


def test_two_copies_are_told_of(monkeypatch):
    monkeypatch.setattr(places, "project_folder", lambda: None)
    monkeypatch.setattr(places, "installed_version", lambda name: "0.0.1")
    one = look()["workbench"]
    assert one.state == "look" and "pip knows 0.0.1" in one.found


@pytest.mark.parametrize(
    ("sign", "host", "kept"),
    [
        ("COLAB_RELEASE_TAG", "Colab", "/content/drive/MyDrive/runs"),
        ("KAGGLE_KERNEL_RUN_TYPE", "Kaggle", "/kaggle/working/runs"),
    ],
)
def test_a_machine_that_is_taken_away_forgets_its_runs(monkeypatch, tmp_path, sign, host, kept):
    monkeypatch.setenv(sign, "1")
    (forgotten,) = places._forgotten(tmp_path)
    assert forgotten.state == "look" and forgotten.found.startswith(f"{host} forgets")
    assert places._forgotten(Path(kept)) == []
