import errno
import os
import subprocess
import sys
import time

import pytest

from workbench.errors import ConfigError, RunError
from workbench.events import Finished, Notice, Phase, Progress, Saved
from workbench.runs import process, writer
from workbench.runs.folder import RunFolder
from workbench.runs.writer import FolderWriter

from .conftest import until


def test_each_event_goes_to_its_file(folder):
    with FolderWriter(folder) as write:
        write(Progress(1, 2, {"loss": 0.5, "kl": float("nan")}, ({"prompt": "p", "score": 1.0},)))
        write(Notice(1, "alarm", "KL is high", {"kl": 9.0}))
        write(Saved(1, "checkpoints/step-1"))
        assert folder.status()["state"] == "running"
        write(Finished(2, False))
    (row,) = folder.metrics()
    assert time.time() - row.pop("time") < 60
    assert row == {"step": 1, "loss": 0.5, "kl": None}
    assert folder.samples() == [{"step": 1, "prompt": "p", "score": 1.0}]
    told = [{k: v for k, v in event.items() if k != "time"} for event in folder.events()]
    assert told == [
        {"step": 1, "kind": "alarm", "message": "KL is high", "data": {"kl": 9.0}},
        {"step": 1, "kind": "saved", "path": "checkpoints/step-1"},
        {"step": 2, "kind": "finished", "stopped": False},
    ]
    status = folder.status()
    heartbeat = status.pop("heartbeat")
    assert time.time() - heartbeat < 60
    assert status == {
        "state": "finished",
        "step": 2,
        "total_steps": 2,
        "pid": os.getpid(),
        "error": None,
    }


def test_a_step_with_token_records_is_a_step(folder):
    """Records have no step of their own; the row of figures does."""
    tokens = ({"tokens": ["a"], "score": 1.0}, {"tokens": ["b"], "score": 2.0})
    with FolderWriter(folder) as write:
        write(Progress(3, 4, {"loss": 0.5}, tokens=tokens))
        write(Finished(3, False))
    assert [row["step"] for row in folder.metrics()] == [3]
    assert (folder.status()["state"], folder.status()["step"]) == ("finished", 3)


def test_stopping_is_not_finishing(folder):
    with FolderWriter(folder) as write:
        write(Finished(1, True))
    assert folder.status()["state"] == "stopped"


def test_an_unknown_event_is_refused(folder):
    write = FolderWriter(folder)
    with pytest.raises(RunError, match="event of class dict"):
        write({})
    write.close()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no tokens"), "ValueError: no tokens"),
        (MemoryError(), "MemoryError"),
        (KeyboardInterrupt(), "it was interrupted"),
        (ConfigError("bad", fix="mend"), "bad\n  fix:   mend"),
    ],
)
def test_leaving_by_an_exception_fails_the_run_with_its_words(folder, error, told):
    with pytest.raises(type(error)), FolderWriter(folder):
        raise error
    assert folder.written_status()["state"] == "failed"
    assert folder.written_status()["error"] == told


def test_leaving_before_the_end_fails_the_run(folder):
    with FolderWriter(folder) as write:
        write(Progress(1, 2, {}))
    assert "ended before its last step" in folder.status()["error"]


def test_the_heart_beats_while_nothing_happens_and_survives_a_full_disk(folder, monkeypatch):
    monkeypatch.setattr(writer, "HEARTBEAT", 0.01)
    publish, broken = FolderWriter._publish, [True]

    def sometimes(self):
        if broken and time.monotonic() > ready:
            broken.clear()
            raise OSError("no space left")
        publish(self)

    ready = time.monotonic() + 3600
    with FolderWriter(folder) as write:
        monkeypatch.setattr(FolderWriter, "_publish", sometimes)
        ready = 0.0
        until(lambda: not broken)
        before = folder.status()["heartbeat"]
        until(lambda: folder.status()["heartbeat"] > before)
        write(Finished(0, False))


def test_a_second_writer_is_refused_while_the_first_lives(folder):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with other:
        process.new_record(folder.path, other.pid).write(folder.path)
        with pytest.raises(RunError, match="another process is at work"):
            FolderWriter(folder)


def test_resume_cuts_to_the_checkpoint_and_keeps_later_settings(folder):
    with FolderWriter(folder) as write:
        write(Progress(1, 9, {"loss": 1.0}, ({"prompt": "a"},)))
        write.record(id="early", kind="done", command="set", values={"coef": 2.0}, step=1)
        lengths = write.lengths()
        write(Progress(2, 9, {"loss": 0.9}, ({"prompt": "b"},)))
        write.record(id="late", kind="done", command="set", values={"coef": 3.0}, step=2)
        write.record(id="hush", kind="done", command="pause", step=2)
        write(Finished(2, True))
    with FolderWriter(folder) as write:
        write.truncate_to(lengths, step=1)
        assert folder.status()["step"] == 1
        write(Progress(2, 9, {"loss": 0.8}))
        write(Finished(2, True))
    assert [(row["step"], row["loss"]) for row in folder.metrics()] == [(1, 1.0), (2, 0.8)]
    assert [row["prompt"] for row in folder.samples()] == ["a"]
    assert [row["id"] for row in folder.events() if "id" in row] == ["early", "late"]


def test_lengths_are_those_of_the_files(folder):
    with FolderWriter(folder) as write:
        write(Progress(1, 9, {"loss": 1.0}, tokens=({"tokens": ["a"]},)))
        files = ("metrics.jsonl", "samples.jsonl", "tokens.jsonl", "events.jsonl", "control.jsonl")
        assert write.lengths() == {name: (folder.path / name).stat().st_size for name in files}
        assert folder.tokens() == [{"step": 1, "tokens": ["a"]}]
        write(Finished(1, False))


def test_starting_over_empties_the_files(folder):
    with FolderWriter(folder) as write:
        write(Progress(1, 9, {"loss": 1.0}))
        write.truncate_to({})
        write(Finished(0, True))
    assert folder.metrics() == []


def test_a_history_that_is_too_short_is_told(folder):
    with FolderWriter(folder) as write:
        write.truncate_to({"metrics.jsonl": 100}, step=5)
        write(Finished(5, True))
    warnings = [row["message"] for row in folder.events() if row["kind"] == "warning"]
    assert warnings == [
        "metrics.jsonl is shorter than at the checkpoint: rows before step 5 are lost"
    ]


def test_a_writer_goes_on_after_a_half_written_line(folder):
    path = folder.path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"ste')
    with FolderWriter(folder) as write:
        write(Progress(2, 2, {}))
        write(Finished(2, False))
    assert [row["step"] for row in RunFolder(folder.path).metrics()] == [1, 2]


def test_a_full_disk_is_told_in_the_status_and_leaves_no_half_line(folder, monkeypatch):
    """/dev/full refuses every byte; the status is written over in its place."""
    (folder.path / "metrics.jsonl").unlink()
    (folder.path / "metrics.jsonl").symlink_to("/dev/full")

    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    def trains():
        with FolderWriter(folder) as write:
            write(Notice(0, "setup", "loaded", {}))
            monkeypatch.setattr(writer, "write_json", full)
            write(Progress(1, 2, {"loss": 0.5}))

    with pytest.raises(RunError, match=r"metrics\.jsonl cannot be written: the disk is full"):
        trains()
    status = folder.status()
    assert status["state"] == "failed"
    assert "the disk is full" in status["error"] and "make room" in status["error"]
    assert [row["kind"] for row in folder.events()] == ["setup"]


def test_a_line_that_fits_by_half_only_is_taken_back(folder, monkeypatch):
    write = FolderWriter(folder)
    write(Progress(1, 3, {"loss": 0.5}))

    class Half:
        """A file on a disk with room for ten bytes more."""

        def __init__(self, file):
            self.file, self.room = file, 10

        def fileno(self):
            return self.file.fileno()

        def close(self):
            self.file.close()

        def write(self, block):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = self.file.write(block[: self.room])
            self.room -= done
            return done

    monkeypatch.setitem(write._files, "metrics.jsonl", Half(write._files["metrics.jsonl"]))
    with pytest.raises(RunError, match="the disk is full"):
        write(Progress(2, 3, {"loss": 0.25}))
    monkeypatch.undo()
    write.close()
    assert (folder.path / "metrics.jsonl").read_bytes().endswith(b"}\n")
    assert [row["step"] for row in folder.metrics()] == [1]


def test_another_fault_of_the_status_file_is_not_hidden(folder, monkeypatch):
    write = FolderWriter(folder)

    def broken(path, value):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(writer, "write_json", broken)
    with pytest.raises(OSError, match="Input/output"):
        write.set_state("running")
    monkeypatch.undo()
    write.close()


def test_a_phase_makes_a_starting_run_a_running_one_in_status_alone(folder):
    with FolderWriter(folder) as write:
        assert folder.status()["state"] == "starting"
        write.phase(Phase(1, 7, "generating", 0, 64, "tokens"))
        status = folder.status()
        assert (status["state"], status["step"], status["total_steps"]) == ("running", 0, 7)
        known = [status[name] for name in ("phase", "phase_done", "phase_total", "phase_unit")]
        assert known == ["generating", 0, 64, "tokens"]
        write(Progress(1, 7, {"loss": 0.5}))
        write.set_state("running")
        assert "phase" not in folder.status()
        write.phase(Phase(2, 7, "scoring"))
        write(Finished(7, False))
    assert "phase" not in folder.status()
    assert len(folder.metrics()) == 1
    assert [row["kind"] for row in folder.events()] == ["finished"]


def test_phases_are_written_twice_a_second_at_most(folder, monkeypatch):
    monkeypatch.setattr(writer, "HEARTBEAT", 60.0)
    with FolderWriter(folder) as write:
        write.phase(Phase(1, 7, "generating", 0, 64, "tokens"))
        write.phase(Phase(1, 7, "generating", 8, 64, "tokens"))
        assert folder.status()["phase_done"] == 0
        monkeypatch.setattr(writer, "PHASE_EVERY", 0.0)
        write.phase(Phase(1, 7, "generating", 16, 64, "tokens"))
        assert folder.status()["phase_done"] == 16
        write(Finished(1, False))


def test_an_estimate_is_there_before_the_first_phase(folder):
    with FolderWriter(folder) as write:
        write.estimate(41.5, "its shape")
        status = folder.status()
        assert (status["state"], status["update_seconds"]) == ("starting", 41.5)
        assert (status["update_seconds_from"], status["step_word"]) == ("its shape", "step")
        write(Finished(1, False))
