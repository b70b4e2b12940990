"""The worker: one process for what is interactive, which goes when it is in the way."""

import os
import subprocess
import sys
import threading
import time

import pytest

from workbench.errors import ModelError, RunError
from workbench.json_lines import write_json
from workbench.runs import process, worker
from workbench.runs.devices import lock_dir

SERVES = """
import os, sys, time
from workbench.errors import ModelError
from workbench.runs import worker
def echo(request, tell, stopped):
    print("noise that belongs in the log")
    tell({"half": request["n"] / 2})
    return {"n": request["n"], "pid": os.getpid()}
def slow(request, tell, stopped):
    tell({"begun": True})
    while not stopped():
        time.sleep(0.005)
    return {"stopped": True}
def bad(request, tell, stopped):
    raise ModelError("no such model", where="here", fix="give another")
def worse(request, tell, stopped):
    raise ZeroDivisionError("by nothing")
def gone(request, tell, stopped):
    print("the last words", flush=True)
    os._exit(3)
jobs = {"echo": echo, "slow": slow, "bad": bad, "worse": worse, "gone": gone}
sys.exit(worker.serve(jobs, idle=float(sys.argv[1])))
"""


@pytest.fixture
def one(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))
    made = worker.Worker([sys.executable, "-c", SERVES, "60"])
    yield made
    made.close()


def ends(made, seconds=10.0):
    deadline = time.monotonic() + seconds
    while made.pid is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return made.pid is None


def test_it_answers_with_one_process_and_tells_what_happens_meanwhile(one):
    assert one.pid is None  # it starts with the first question
    told = []
    first = one.ask("echo", {"n": 4}, told.append)
    second = one.ask("echo", {"n": 5})
    assert told == [{"half": 2.0}] and second["n"] == 5
    assert first["pid"] == second["pid"] == one.pid


def test_errors_come_over_as_they_were_raised_and_the_worker_lives_on(one):
    with pytest.raises(ModelError, match="no such model") as raised:
        one.ask("bad", {})
    assert raised.value.fix == "give another"
    with pytest.raises(RunError, match="ZeroDivisionError: by nothing"):
        one.ask("worse", {})
    assert one.ask("echo", {"n": 1})["n"] == 1


def test_what_goes_on_can_be_stopped_from_another_thread(one):
    one.stop()  # nothing goes on: nothing happens
    found = one.ask("slow", {}, lambda event: threading.Timer(0.01, one.stop).start())
    assert found == {"stopped": True}


def test_a_worker_that_dies_is_told_with_its_last_words_and_starts_anew(one):
    with pytest.raises(RunError, match="ended before it had answered") as raised:
        one.ask("gone", {})
    assert "the last words" in str(raised.value)
    assert one.ask("echo", {"n": 1})["n"] == 1


def test_it_ends_when_idle_and_when_nobody_can_ask_any_more(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))
    short = worker.Worker([sys.executable, "-c", SERVES, "0.05"])
    short.ask("echo", {"n": 1})
    assert ends(short)
    assert short.ask("echo", {"n": 2})["n"] == 2  # and is there again when it is asked
    short.close()
    orphan = worker.Worker([sys.executable, "-c", SERVES, "60"])
    orphan.ask("echo", {"n": 1})
    orphan._child.stdin.close()  # as when the kernel is gone
    assert ends(orphan)
    orphan.close()


def test_release_ends_every_worker_also_of_another_kernel(one):
    one.ask("echo", {"n": 1})
    assert len(list(lock_dir().glob("worker-*.json"))) == 1
    worker.release()  # it is not this process's shared one
    assert ends(one)
    assert list(lock_dir().glob("worker-*.json")) == []
    worker.release()  # nothing is left: nothing happens


@pytest.fixture
def bystander(tmp_path):
    """A process that is no worker; how it ended is asked at the end of a test."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, start_new_session=True)
    yield child
    child.kill()
    child.communicate()


def test_a_process_that_is_no_worker_is_never_ended(one, bystander):
    started = process.start_time(bystander.pid)
    for note in (
        {"pid": bystander.pid, "started": started},
        {"pid": bystander.pid, "started": None},
        {"pid": bystander.pid, "started": started, "command": [worker.SIGN]},
    ):
        write_json(lock_dir() / "worker-1.json", note)
        worker.release()
        assert not list(lock_dir().glob("worker-*.json"))
        assert bystander.poll() is None
    one.ask("echo", {"n": 1})  # a worker, but the note was of another that had its number
    write_json(lock_dir() / f"worker-{one.pid}.json", {"pid": one.pid, "started": "1"})
    worker.release()
    assert one.pid is not None


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 50_000,
        b"\xff",
        b'{"pid": "x", "started": 1}',
        b'{"pid": -1, "started": "1"}',
        b'{"pid": 1, "started": "1"}',
        b'{"pid": true, "started": "1"}',
        b'{"pid": 1e400, "started": "1"}',
        b'{"pid": 99999999999999999999, "started": "1"}',
    ],
)
def test_a_note_that_names_no_process_is_no_fault(one, note):
    (lock_dir() / "worker-7.json").write_bytes(note)
    worker.release()
    assert not (lock_dir() / "worker-7.json").exists()


def test_a_folder_or_a_link_in_the_place_of_a_note_is_no_fault(one, tmp_path):
    (tmp_path / "precious").write_text("keep me")
    (lock_dir() / "worker-8.json").mkdir()
    (lock_dir() / "worker-9.json").symlink_to(tmp_path / "precious")
    os.mkfifo(lock_dir() / "worker-10.json")
    worker.release()
    assert (tmp_path / "precious").read_text() == "keep me"


def test_a_run_that_starts_ends_it(one, tmp_path, monkeypatch):
    from workbench.runs import RunFolder, launcher

    one.ask("echo", {"n": 1})
    folder = RunFolder(tmp_path / "run").create("sft", {"settings": {}}, [])
    launcher.start(folder, [sys.executable, "-c", "pass"])
    assert ends(one)
