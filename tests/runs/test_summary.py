import json
import os
import signal
import subprocess
import sys

import pytest

from workbench.events import Finished, Progress
from workbench.json_lines import append_line, write_json
from workbench.runs import summary, writer
from workbench.runs.catalogue import list_runs
from workbench.runs.folder import RunFolder
from workbench.runs.summary import SUMMARY, Summary, catch_up, read_summary
from workbench.runs.writer import FolderWriter

from .conftest import until


def steps(write, first, last, **metrics):
    for step in range(first, last + 1):
        write(Progress(step, last, {"loss": float(step), **metrics}))


def folded(folder):
    """The summary of all rows, read from the first one on."""
    whole = Summary()
    whole.read_on(folder.path / "metrics.jsonl")
    return whole.as_dict()


def test_figures_are_means_of_ten_and_the_best_ten_in_a_row():
    new = Summary()
    for step in range(1, 13):
        row = {"step": step, "time": 100.0 + 2 * step, "objective/scores": float(step)}
        new.add({**row, "objective/kl": None, "heldout/loss": 1.0 / step if step < 5 else 1.0})
    figures = new.figures
    assert (figures["score"].mean, figures["score"].best) == (7.5, 7.5)  # (3 + … + 12) / 10
    assert figures["kl"].mean is None and figures["kl"].best is None
    assert (figures["heldout_loss"].best, figures["heldout_loss"].best_step) == (0.25, 4)
    assert new.duration == 24.0  # twelve steps of 2 s


def test_a_pause_and_a_clock_that_jumps_are_no_work():
    new = Summary()
    for step, now in enumerate((0.0, 1.0, 2.0, 2.0 + 30 * 86400, 3.0, 4.0), 1):
        new.add({"step": step, "time": now})
    assert new.duration == 5.0  # 1 + 1 + (1 for the pause), then back by a month, then 1; 5 steps


def test_the_writer_keeps_what_a_reader_would_find(folder):
    with FolderWriter(folder) as write:
        steps(write, 1, 30, **{"heldout/loss": float("nan"), "objective/kl": 0.5})
        write(Finished(30, False))
    kept = json.loads((folder.path / SUMMARY).read_text())
    assert kept == folded(folder) and kept["rows"] == 30
    assert kept["length"] == (folder.path / "metrics.jsonl").stat().st_size


def test_a_table_of_runs_reads_a_finished_run_s_summary_alone(folder, places, monkeypatch):
    with FolderWriter(folder) as write:
        steps(write, 1, 30)
        write(Finished(30, False))
    monkeypatch.setattr(summary, "metric_rows", lambda lines: pytest.fail(f"read {len(lines)}"))
    (row,) = list_runs().to_dict("records")
    assert row["loss"] == sum(range(21, 31)) / 10


KILLED = """
import sys, time
from workbench.events import Progress
from workbench.runs import FolderWriter, RunFolder, writer
writer.SUMMARY_EVERY = 0.0
writer.HEARTBEAT = 0.01
with FolderWriter(RunFolder(sys.argv[1])) as write:
    for step in range(1, 10**6):
        write(Progress(step, 10**6, {"loss": 1.0 / step}))
"""


def test_after_a_kill_what_the_summary_lacks_is_read(folder):
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(folder.path)])
        until(lambda: read_summary(folder.path).rows > 50)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        behind = read_summary(folder.path)
        catch_up(behind, folder.path, keep=True)
        assert behind.as_dict() | {"check": 0} == folded(folder) | {"check": 0}
        (folder.path / SUMMARY).unlink()


def test_a_summary_of_another_file_or_of_no_sense_is_made_anew(folder):
    metrics = folder.path / "metrics.jsonl"
    with FolderWriter(folder) as write:
        steps(write, 1, 30)
        write(Finished(30, False))
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(reversed(lines)) + "\n" + lines[0] + "\n")  # as long and longer
    (row,) = list_runs().to_dict("records")
    assert row["loss"] == (1 + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9) / 10
    for nonsense in ('{"length": 10, "figures": {"loss": [1]}}', "[", "", '{"rows": "x"}'):
        (folder.path / SUMMARY).write_text(nonsense)
        assert read_summary(folder.path).as_dict() == Summary().as_dict()


def test_a_cut_file_is_summed_up_again(folder):
    with FolderWriter(folder) as write:
        steps(write, 1, 5)
        lengths = write.lengths()
        steps(write, 6, 9)
        write.truncate_to(lengths, step=5)
        steps(write, 6, 7)
        write(Finished(7, False))
    kept = json.loads((folder.path / SUMMARY).read_text())
    assert kept["rows"] == 7 and kept == folded(folder)


def test_who_reads_a_long_run_without_one_keeps_it_and_a_folder_that_is_read_only_stays(
    folder, monkeypatch
):
    for step in range(1, 2000):
        append_line(folder.path / "metrics.jsonl", {"step": step, "loss": 1.0, "x": "y" * 40})
    write_json(folder.path / "status.json", {"state": "finished", "step": 1999})

    def refuses(path, value):
        raise PermissionError(13, "read-only")

    with monkeypatch.context() as within:
        within.setattr(summary, "write_json", refuses)
        assert list_runs()["loss"].tolist() == [1.0]
    assert not (folder.path / SUMMARY).exists()
    catch_up(Summary(), folder.path, keep=True)
    assert read_summary(folder.path).rows == 1999


def test_a_summary_that_cannot_be_written_ends_no_run(folder, monkeypatch):
    def full(self, place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Summary, "keep", full)
    monkeypatch.setattr(writer, "SUMMARY_EVERY", 0.0)
    with FolderWriter(folder) as write:
        steps(write, 1, 3)
        write(Finished(3, False))
    assert RunFolder(folder.path).status()["state"] == "finished"
