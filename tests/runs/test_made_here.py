import json
import os
import pickle
import shutil
import sys

import pytest

from workbench.errors import RunError
from workbench.json_lines import write_json
from workbench.runs import launcher
from workbench.runs.folder import RunFolder
from workbench.runs.made_here import SEAL, functions, is_made_here
from workbench.runs.run import Run

CODE = b"what a function is packed as"
SPEC = {"function": "score", "file": "reward.pkl", "sha256": "0" * 64, "source": "def score"}


@pytest.fixture(autouse=True)
def _own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "state"))


def make(path, reward="model", files=(("reward.pkl", CODE),)):
    """A run as a verb makes it: the files are there before the folder is complete."""
    from workbench.runs.identity import attach_or_create

    config = {"model": "m", "inputs": {"reward": reward}, "settings": {"steps": 1}}
    made = attach_or_create(path.parent, "ppo", path.name, config, [{}], files=dict(files))
    return made.folder


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "runs" / "mine", {"function": dict(SPEC)})


def as_a_stranger(folder, monkeypatch, tmp_path):
    """The same folder, for somebody with another key."""
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "another's"))
    return folder


def ours(folder):
    return is_made_here(folder.path, folder.config())


def test_a_run_that_was_made_here_goes_on_also_moved_copied_and_renamed(run, tmp_path):
    assert ours(run)
    run.check_made_here()
    run.path.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    for name in ("moved", "copy"):
        assert ours(RunFolder(tmp_path / name))
    folder = RunFolder(tmp_path / "copy")
    folder.add_to_config(hardware={"cpu": "x"})  # what its own process adds
    write_json(folder.path / "config.json", {**folder.config(), "settings": {"steps": 9}})
    assert ours(folder)


def test_one_that_was_sent_is_refused_says_what_it_would_run_and_may_be_trusted(
    run, tmp_path, monkeypatch
):
    as_a_stranger(run, monkeypatch, tmp_path)
    write_json(run.path / "status.json", {"state": "stopped"})
    with pytest.raises(RunError, match=r"made elsewhere.* its author's code") as caught:
        Run(run).resume()
    assert "it unpickles reward.pkl (score, sha256 " in caught.value.where
    assert "which is not what its config.json tells" in caught.value.where
    assert "resume(trust=True)" in caught.value.fix and "--trust" in caught.value.fix
    assert not (run.path / ".process.json").exists()
    run.trust()
    assert ours(run)


@pytest.mark.parametrize("trusted", [False, True])
def test_resume_starts_a_foreign_run_only_with_trust(run, tmp_path, monkeypatch, trusted):
    as_a_stranger(run, monkeypatch, tmp_path)
    started = []
    monkeypatch.setattr(launcher.process, "spawn", lambda command, **_: started.append(command))
    monkeypatch.setattr(launcher, "_spawn", lambda *_: started.append(1) or os.getpid())
    write_json(run.path / "status.json", {"state": "stopped"})
    try:
        Run(run).resume(trust=trusted)
    except RunError:
        assert not trusted
    assert bool(started) == trusted


def swap(run):
    (run.path / "reward.pkl").write_bytes(b"other code")


def link(run):
    (run.path / "elsewhere").write_bytes(CODE)
    (run.path / "reward.pkl").unlink()
    (run.path / "reward.pkl").symlink_to(run.path / "elsewhere")


def change(**values):
    def apply(run):
        config = run.config()
        config["inputs"]["reward"]["function"].update(values)
        write_json(run.path / "config.json", config)

    return apply


def whole(reward, **more):
    def apply(run):
        write_json(run.path / "config.json", {**run.config(), "inputs": {"reward": reward}, **more})

    return apply


def unsealed(run):
    (run.path / SEAL).unlink()


def sealed_as(value):
    return lambda run: (run.path / SEAL).write_text(json.dumps(value))


@pytest.mark.parametrize(
    "alter",
    [
        swap,
        link,
        unsealed,
        lambda run: (run.path / "reward.pkl").unlink(),
        change(file="../reward.pkl"),
        change(file="/etc/passwd"),
        change(file=["reward.pkl"]),
        change(sha256=None),
        change(path="/tmp"),
        whole({"function": {"function": "os:system"}}),
        whole({"function": {"function": "evil:run", "path": "/tmp", "file": "reward.pkl"}}),
        whole({"mix": [{"weight": 1, "source": {"function": dict(SPEC)}}]}),
        whole("another model"),
        whole({"function": dict(SPEC)}, model="another"),
        sealed_as({"seal": "0" * 64}),
        sealed_as({"seal": 3}),
        sealed_as({"seal": "é"}),
        sealed_as([]),
        lambda run: (run.path / SEAL).write_bytes(b"\xff{" * 999),
    ],
)
def test_one_that_was_changed_since_is_refused(run, alter):
    alter(run)
    assert not ours(run)
    with pytest.raises(RunError, match="made elsewhere"):
        launcher.start(run, [sys.executable, "-c", "pass"])


def test_the_seal_of_one_run_is_none_of_another(run, tmp_path):
    other = make(tmp_path / "runs" / "other", {"function": {**SPEC, "function": "other"}})
    shutil.copy(run.path / SEAL, other.path / SEAL)
    assert not ours(other)


def test_every_function_is_found_wherever_it_stands():
    spec = {"function": {"function": "f", "file": "a.pkl", "sha256": "1"}}
    by_name = {"function": {"function": "m:g", "path": "/p"}}
    mix = {"mix": [{"weight": 1, "source": spec}, {"weight": 2, "source": by_name}]}
    assert [code.name for code in functions({"reward": mix})] == ["f", "m:g"]
    assert [code.file for code in functions({"reward": mix})] == ["a.pkl", None]
    deep = spec
    for _ in range(300):
        deep = {"mix": [deep]}
    assert [code.name for code in functions(deep)] == ["something nested too deeply"]
    assert list(functions({"reward": "name", "judge": None, "n": 3})) == []
    assert [c.name for c in functions({"function": {}})] == ["?"]


def test_two_processes_make_one_key(tmp_path, monkeypatch):
    import subprocess

    code = "from workbench.runs import made_here; print(made_here._key().hex())"
    asked = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    keys = {child.communicate()[0].strip() for child in asked}
    assert len(keys) == 1 and len(keys.pop()) == 64
    assert (tmp_path / "state" / "key").stat().st_mode & 0o777 == 0o600


class Marks:
    """A pickle that leaves a mark where it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_a_run_of_anothers_can_be_opened_reported_and_listed_and_nothing_of_it_runs(
    tmp_path, monkeypatch
):
    import workbench as wb

    mark = tmp_path / "ran"
    spec = {"function": {**SPEC, "path": str(tmp_path)}}
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    run = make(tmp_path / "runs" / "sent", spec, [("reward.pkl", pickle.dumps(Marks(mark)))])
    write_json(run.path / "status.json", {"state": "stopped", "step": 1, "total_steps": 3})
    as_a_stranger(run, monkeypatch, tmp_path)
    opened = wb.open_run(run.path)
    repr(opened), opened.metrics(), opened.events(), opened.alarms(), opened.config
    assert len(wb.runs()) == 1
    opened_page = wb.report(opened)
    assert opened_page
    for go_on in (opened.resume, opened.start):
        with pytest.raises(RunError, match="made elsewhere"):
            go_on()
    assert not mark.exists()
