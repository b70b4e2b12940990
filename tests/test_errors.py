import errno
import json
import os
import pickle
import sqlite3

import pytest
import torch

from workbench import errors
from workbench.errors import (
    ConfigError,
    DataError,
    DiskFullError,
    ModelError,
    RunError,
    WorkbenchError,
    disk_watched,
)

KINDS = {
    WorkbenchError: Exception,
    DataError: ValueError,
    ConfigError: ValueError,
    ModelError: ValueError,
    RunError: RuntimeError,
}


def test_an_error_says_what_where_and_how_to_mend_it():
    error = DataError("the file is empty", where="pairs.csv", fix="export it again")
    assert str(error) == (
        "the file is empty\n"
        "  where: pairs.csv\n"
        "  fix:   export it again"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "no GPU"),
        ({"where": "PPO settings"}, "no GPU\n  where: PPO settings"),
        ({"fix": "device='cpu'"}, "no GPU\n  fix:   device='cpu'"),
    ],
)
def test_a_part_that_is_not_given_leaves_no_line(parts, text):
    assert str(ConfigError("no GPU", **parts)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_a_trip_between_processes_with_all_its_parts(kind):
    error = kind("what", where="where", fix="fix")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.fix) == ("what", "where", "fix")
    assert str(copy) == str(error)


@pytest.mark.parametrize(("kind", "built_in"), KINDS.items())
def test_every_kind_is_caught_as_ours_and_as_the_built_in_it_refines(kind, built_in):
    with pytest.raises(WorkbenchError):
        raise kind("what")
    with pytest.raises(built_in):
        raise kind("what")


def test_a_notebook_shows_the_three_parts_and_no_frames():
    error = RunError("the run failed", where="runs/demo", fix="read log.txt")
    assert error._render_traceback_() == [
        "RunError: the run failed\n  where: runs/demo\n  fix:   read log.txt"
    ]


def test_the_first_line_of_what_an_error_says():
    assert errors.first_line(ValueError("  one\ntwo")) == "one"
    assert errors.first_line(ValueError()) == "ValueError"


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 320 vs 216"),
    RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
    sqlite3.OperationalError("database or disk is full"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:30])
def test_a_full_disk_is_called_a_full_disk_whoever_says_so(error, tmp_path):
    with pytest.raises(DiskFullError, match="the disk is full") as caught, disk_watched(tmp_path):
        raise error
    assert caught.value.where == str(tmp_path) and "make room" in caught.value.fix
    assert isinstance(caught.value, OSError) and caught.value.errno == errno.ENOSPC
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.errno) == (str(caught.value), errno.ENOSPC)


def test_a_full_disk_behind_another_error_is_seen_and_no_other_is_taken_for_one(tmp_path):
    wrapped = ValueError("wrapped")
    wrapped.__cause__ = OSError(errno.ENOSPC, "no room")
    assert errors.is_disk_full(wrapped)
    circle = ValueError("round")
    circle.__cause__ = circle
    for error in (None, ValueError("x"), PermissionError(errno.EACCES, "no"), circle):
        assert not errors.is_disk_full(error)
    with pytest.raises(PermissionError), disk_watched(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    told = RunError("metrics.jsonl cannot be written: the disk is full")
    with pytest.raises(RunError), disk_watched(tmp_path):
        raise told


def test_a_disk_that_is_really_full_is_called_so_by_all_that_is_written(small_disk):
    """512 kB of it: a checkpoint, a run's data, a row, a page."""
    from workbench.json_lines import append_line, write_json
    from workbench.runs.identity import attach_or_create
    from workbench.training.checkpoint import save_checkpoint

    weights = {"weights": [torch.zeros(2**18)]}
    with pytest.raises(RunError, match="cannot be written: the disk is full"):
        save_checkpoint(small_disk.path, 1, weights, lengths={}, keep=1)
    noise = [{"text": os.urandom(600_000).hex()}]
    with pytest.raises(DiskFullError):
        attach_or_create(small_disk.path / "runs", "sft", "run", {}, noise)
    assert list((small_disk.path / "runs").iterdir()) == []
    write_json(small_disk.path / "old.json", {"kept": True})
    with pytest.raises(DiskFullError) as caught:
        write_json(small_disk.path / "old.json", noise[0])
    assert caught.value.where == str(small_disk.path / "old.json")
    assert json.loads((small_disk.path / "old.json").read_text()) == {"kept": True}
    (small_disk.path / "fills").write_bytes(b"")
    with pytest.raises(OSError, match=r"\[Errno 28\]"), (small_disk.path / "fills").open("ab") as f:
        f.write(os.urandom(600_000))
    with pytest.raises(DiskFullError):
        [append_line(small_disk.path / "rows.jsonl", {"n": "x" * 4096}) for _ in range(10)]
