import os
import signal
import subprocess
import sys

import pytest

from workbench.errors import RunError
from workbench.json_lines import write_json
from workbench.runs import devices, turns
from workbench.runs.devices import (
    HANDED_OVER,
    device_holder,
    hold_device,
    live_holder,
    release_device,
    take_device,
)
from workbench.runs.identity import attach_or_create


@pytest.fixture(autouse=True)
def _nothing_held():
    yield
    for device in list(devices._held):
        release_device(device)


@pytest.fixture
def other(places):
    return attach_or_create(places / "runs", "fake", "other", {}, [{}]).folder


def test_a_free_device_has_no_holder_and_a_held_one_names_it(folder):
    assert device_holder("cuda:0") is None
    hold_device("cuda:0", folder)
    assert device_holder("cuda:0") == {
        "run": "plain",
        "pid": os.getpid(),
        "folder": str(folder.path),
    }
    assert device_holder("cpu") is None
    hold_device("cuda:0", folder)  # again is no fault
    release_device("cuda:0")
    assert device_holder("cuda:0") is None


def test_a_second_run_is_refused_and_the_first_named(folder, other, monkeypatch):
    monkeypatch.setattr(devices, "PROBE", 0.05)
    hold_device("cpu", folder)
    with pytest.raises(RunError) as caught:
        take_device("cpu", other)
    assert "cpu is busy: the run plain" in caught.value.what
    assert f"wb.open_run('{folder.path}').wait()" in caught.value.fix
    assert ".stop()" in caught.value.fix


def test_a_holder_that_has_said_its_last_word_is_waited_for(folder, other, monkeypatch):
    write_json(folder.path / "status.json", {"state": "finished"})
    lock = take_device("cpu", folder)
    waits = []

    def ends_after_a_while(seconds):
        waits.append(seconds)
        if len(waits) == 100:  # two seconds: longer than a live run is waited for
            os.close(lock)

    monkeypatch.setattr(turns.time, "sleep", ends_after_a_while)
    monkeypatch.setattr(devices, "PROBE", 0.0)
    os.close(take_device("cpu", other))
    assert len(waits) == 100


def test_who_holds_a_device_for_good_is_told_once_a_leaving_one_is_gone(folder, monkeypatch):
    lock = take_device("cpu", folder)
    assert live_holder("cpu")["run"] == "plain"  # at once: it has not said its last word
    write_json(folder.path / "status.json", {"state": "stopped"})
    waits = []
    monkeypatch.setattr(
        turns.time,
        "sleep",
        lambda s: waits.append(s) or (len(waits) == 100 and os.close(lock)),
    )
    assert live_holder("cpu") is None and len(waits) == 100


def test_a_lock_goes_with_its_process(folder, other):
    code = (
        "import sys; from workbench.runs import RunFolder, hold_device\n"
        "hold_device('cpu', RunFolder(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout.readline() == b"held\n"
        assert device_holder("cpu")["pid"] == child.pid
        child.send_signal(signal.SIGKILL)
    hold_device("cpu", other)
    assert device_holder("cpu")["run"] == "other"


def test_a_handed_over_lock_is_taken_over(folder, monkeypatch):
    lock = take_device("cpu", folder)
    monkeypatch.setenv(HANDED_OVER, f"{lock}:cpu")
    hold_device("cpu", folder)
    assert devices._held == {"cpu": lock}
    assert HANDED_OVER not in os.environ
    release_device("cpu")
    assert device_holder("cpu") is None


def test_a_lock_for_another_device_is_given_back(folder, monkeypatch):
    lock = take_device("cuda:0", folder)
    monkeypatch.setenv(HANDED_OVER, f"{lock}:cuda:0")
    hold_device("cpu", folder)
    assert device_holder("cuda:0") is None
    assert device_holder("cpu")["run"] == "plain"


def test_a_number_that_is_no_lock_of_ours_is_left_alone(folder, tmp_path, monkeypatch):
    with (tmp_path / "precious").open("w") as file:
        monkeypatch.setenv(HANDED_OVER, f"{file.fileno()}:cpu")
        hold_device("cpu", folder)
        file.write("still open")
    monkeypatch.setenv(HANDED_OVER, "999:cpu")
    hold_device("cpu", folder)
    assert device_holder("cpu")["run"] == "plain"


def test_a_damaged_lock_file_still_locks(folder, other, monkeypatch):
    monkeypatch.setattr(devices, "PROBE", 0.0)
    hold_device("cpu", folder)
    (devices.lock_dir() / "cpu.lock").write_text("{")
    with pytest.raises(RunError, match="another run"):
        take_device("cpu", other)


def test_a_link_in_the_place_of_a_lock_is_refused_and_what_it_names_untouched(folder, tmp_path):
    (tmp_path / "precious").write_text("keep me")
    (devices.lock_dir() / "cpu.lock").symlink_to(tmp_path / "precious")
    for attempt in (take_device, hold_device):
        with pytest.raises(RunError, match=r"cpu\.lock is no plain file"):
            attempt("cpu", folder)
    assert (tmp_path / "precious").read_text() == "keep me"


@pytest.mark.parametrize(
    "note",
    [
        b"{}",
        b"[]",
        b"null",
        b"[" * 50_000,
        b'{"run": [1], "pid": "x", "folder": {"a": 1}}',
        b'{"folder": "/nowhere"}',
        b"\xff\xfe\x00",
    ],
)
def test_a_holder_that_says_nothing_of_use_is_another_run(folder, other, monkeypatch, note):
    monkeypatch.setattr(devices, "PROBE", 0.0)
    hold_device("cpu", folder)
    (devices.lock_dir() / "cpu.lock").write_bytes(note)
    with pytest.raises(RunError, match="cpu is busy: the run another run"):
        take_device("cpu", other)
    assert set(device_holder("cpu")) == {"run", "pid", "folder"}


def test_a_number_handed_over_that_is_none_is_no_fault(folder, monkeypatch):
    monkeypatch.setenv(HANDED_OVER, "-1x:cpu")
    hold_device("cpu", folder)
    assert device_holder("cpu")["run"] == "plain"
