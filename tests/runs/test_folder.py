import gzip
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from workbench.errors import ConfigError, RunError
from workbench.json_lines import write_json
from workbench.runs import process
from workbench.runs.folder import DataDigest, RunFolder


def test_a_created_folder_holds_what_repeats_the_run(tmp_path):
    folder = RunFolder(tmp_path / "one").create("sft", {"settings": {"seed": 3}}, [{"a": "é"}, {}])
    config = folder.config()
    assert (config["kind"], config["name"], config["settings"]) == ("sft", "one", {"seed": 3})
    assert config["data"]["rows"] == 2
    lines = '{"a":"é"}\n{}\n'.encode()
    assert config["data"]["sha256"] == hashlib.sha256(lines).hexdigest()
    assert gzip.decompress((folder.path / "data.jsonl.gz").read_bytes()) == lines
    assert list(folder.data_rows()) == [{"a": "é"}, {}]
    assert (folder.metrics(), folder.samples(), folder.events()) == ([], [], [])


def test_data_files_are_the_same_bytes_for_the_same_rows(tmp_path):
    rows = [{"n": n} for n in range(100)]
    one = RunFolder(tmp_path / "one").create("sft", {}, rows)
    two = RunFolder(tmp_path / "two").create("sft", {}, rows)
    assert (one.path / "data.jsonl.gz").read_bytes() == (two.path / "data.jsonl.gz").read_bytes()


def test_a_taken_name_is_refused_and_the_folder_left_alone(folder):
    with pytest.raises(ConfigError, match="of this name already"):
        RunFolder(folder.path).create("sft", {}, [])
    assert folder.config()["kind"] == "fake"


def test_a_name_that_is_taken_meanwhile_is_refused(folder, tmp_path):
    aside = tmp_path / "aside"
    aside.mkdir()
    with pytest.raises(ConfigError, match="of this name already"):
        folder.adopt(aside, "sft", {}, DataDigest("0", 0))
    assert folder.config()["kind"] == "fake"


def test_rows_that_break_leave_no_folder_behind(tmp_path):
    def rows():
        yield {"n": 1}
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        RunFolder(tmp_path / "one").create("sft", {}, rows())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_run_says_so(tmp_path):
    assert not RunFolder(tmp_path).exists
    with pytest.raises(RunError, match="holds no run"):
        RunFolder(tmp_path).config()


def test_a_models_config_is_no_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert not RunFolder(tmp_path).exists


def test_the_running_process_may_add_facts_but_not_change_the_run(folder):
    folder.add_to_config(hardware={"cpu": 2})
    assert folder.config()["hardware"] == {"cpu": 2}
    with pytest.raises(RunError, match="settings cannot be changed"):
        folder.add_to_config(settings={})
    assert folder.config()["settings"] == {"coef": 1.0}


def test_only_complete_checkpoints_count_newest_last(folder):
    for name in ("step-10", "step-9", ".step-11.tmp", "step-x"):
        (folder.path / "checkpoints" / name).mkdir()
    assert [c.step for c in folder.checkpoints()] == [9, 10]
    assert folder.checkpoints()[-1].path == folder.path / "checkpoints" / "step-10"


def test_tail_reads_on_from_its_offset(folder):
    path = folder.path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st')
    rows, offset = folder.tail("metrics.jsonl")
    assert (rows, offset) == ([{"step": 1}], 12)
    with path.open("ab") as file:
        file.write(b'ep": 2}\n')
    assert folder.tail("metrics.jsonl", offset) == ([{"step": 2}], 24)


def test_the_logs_tail_is_its_last_lines(folder):
    assert folder.log_tail() == []
    (folder.path / "log.txt").write_text("\n".join(map(str, range(100))) + "\rlast\n")
    assert folder.log_tail(2) == ["99", "last"]
    (folder.path / "log.txt").unlink()
    assert folder.log_tail() == []


def _write(folder, state, **status):
    write_json(folder.path / "status.json", {"state": state, "step": 4, **status})


def _record(folder, **changes):
    record = replace(process.new_record(folder.path, os.getpid()), **changes)
    record.write(folder.path)


def test_a_new_folder_is_starting_and_reads_as_failed_when_nobody_starts_it(folder):
    assert folder.status()["state"] == "starting"
    _write(folder, "starting", heartbeat=time.time() - 60)
    assert folder.status()["error"] == "its process was never started"
    assert folder.status()["state"] == "failed"


def test_a_launch_that_never_came_to_a_process_reads_as_failed(folder):
    _record(folder, pid=None, launched=time.time())
    assert folder.status()["state"] == "starting"
    _record(folder, pid=None, launched=time.time() - 60)
    assert folder.status()["error"] == "its process could not be started"


@pytest.mark.parametrize("state", ["starting", "running", "paused"])
def test_a_live_state_stands_while_its_process_lives(folder, state):
    _record(folder)
    _write(folder, state)
    assert folder.status()["state"] == state
    assert folder.process_alive()


def test_a_reused_process_number_is_not_mistaken_for_the_run(folder):
    _record(folder, started="long ago")
    _write(folder, "running")
    assert folder.status()["state"] == "failed"
    assert folder.status()["step"] == 4
    assert "is gone" in folder.status()["error"]


def test_an_ended_state_is_believed_without_a_process(folder):
    _record(folder, started="long ago")
    _write(folder, "finished")
    assert folder.status()["state"] == "finished"


def test_a_run_on_another_machine_lives_by_its_heartbeat(folder):
    _record(folder, machine="elsewhere", launched=time.time() - 3600)
    _write(folder, "running", heartbeat=time.time() - 5)
    assert folder.status()["state"] == "running"
    assert not folder.process_alive()
    _write(folder, "running", heartbeat=time.time() - 90)
    assert "no sign of life for 90 s" in folder.status()["error"]


def test_a_heartbeat_that_is_dated_ahead_counts_once_it_goes_on(folder, monkeypatch):
    month = 30 * 86400
    _record(folder, machine="elsewhere", launched=time.time() - 3600)
    _write(folder, "running", heartbeat=time.time() + month)
    assert "dated 30 days ahead" in folder.status()["error"]
    _write(folder, "running", heartbeat=time.time() + month + 1)
    assert folder.status()["state"] == "running"  # its clock is off, and it lives
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert folder.status()["state"] == "failed"


def test_a_clock_set_back_ends_no_remote_run_and_a_silent_one_ends_by_our_own(folder, monkeypatch):
    _record(folder, machine="elsewhere", launched=time.time())
    _write(folder, "running", heartbeat=time.time() + 120)  # a clock two minutes ahead
    assert folder.status()["state"] == "running"
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert folder.status()["state"] == "failed"


def test_what_was_launched_in_the_future_was_not_launched(folder):
    _record(folder, pid=None, launched=time.time() + 30 * 86400)
    _write(folder, "starting")
    assert folder.status()["error"] == "its process could not be started"


def test_last_words_that_come_while_we_look_are_heard(folder, monkeypatch):
    _record(folder)
    _write(folder, "running")

    def dies_while_we_look(pid, started):
        _write(folder, "finished")
        return False

    monkeypatch.setattr(process, "alive", dies_while_we_look)
    assert folder.status()["state"] == "finished"


def test_a_zombie_is_not_alive_and_its_end_is_told(tmp_path):
    child = process.spawn(
        [sys.executable, "-c", "raise SystemExit(3)"], log=tmp_path / "log", env=dict(os.environ)
    )
    started = process.start_time(child.pid)
    deadline = time.monotonic() + 20
    while process.alive(child.pid, started):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.how_it_ended(child.pid) == f"its process ({child.pid}) ended with exit code 3"
    assert process.start_time(child.pid) is None


def test_without_proc_ps_tells_the_start(monkeypatch):
    told = {"1": "Ss  Mon Nov  2 10:00:00 2026\n", "2": "Z   Mon Nov  2 10:00:00 2026\n", "3": ""}

    def ps(command, **_):
        return subprocess.CompletedProcess(command, 0, told[command[-1]])

    monkeypatch.setattr(subprocess, "run", ps)
    monkeypatch.setattr(process, "_PROC", process.Path("/nowhere"))
    assert process.start_time(1) == "Mon Nov  2 10:00:00 2026"
    assert process.start_time(2) is None
    assert process.start_time(3) is None


def test_a_damaged_process_record_counts_as_none(folder):
    write_json(folder.path / process.RECORD, {"pid": 1})
    assert process.read_record(folder.path) is None
