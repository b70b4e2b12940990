import errno
import json
import os
import pickle
import shutil
import zlib

import pytest
import torch

import workbench.training.checkpoint as module
from workbench.errors import RunError
from workbench.training.checkpoint import (
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    replace_folder,
    save_checkpoint,
    set_unusable_aside,
)


def save(folder, step, *, keep=2, value=0.0):
    state = {"weights": [torch.full((3,), float(value or step))], "taken": step}
    return save_checkpoint(folder, step, state, lengths={"metrics.jsonl": 10 * step}, keep=keep)


def names(folder):
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = save(tmp_path, 5)
    assert path == tmp_path / "checkpoints" / "step-5"
    step, state = load_checkpoint(tmp_path)
    assert (step, state["taken"]) == (5, 5)
    assert torch.equal(state["weights"][0], torch.full((3,), 5.0))


def test_the_lengths_of_the_files_are_kept_beside_the_state(tmp_path):
    path = save(tmp_path, 5)
    kept = json.loads((path / "lengths.json").read_text())
    checksum = zlib.crc32((path / "state.pt").read_bytes())
    assert kept == {"step": 5, "state_crc32": checksum, "metrics.jsonl": 50}
    assert newest_checkpoint(tmp_path).lengths == {"metrics.jsonl": 50}


def test_the_newest_is_loaded_and_order_is_by_number(tmp_path):
    for step in (9, 10, 11):
        save(tmp_path, step, keep=9)
    assert [step for step, _ in checkpoints(tmp_path)] == [9, 10, 11]
    assert load_checkpoint(tmp_path)[0] == 11


def test_only_the_newest_stay(tmp_path):
    for step in (8, 9, 10, 11):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-10", "step-11"]


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert checkpoints(tmp_path) == []


def test_an_interrupted_checkpoint_leaves_none_half(tmp_path, monkeypatch):
    save(tmp_path, 3)

    def dies(state, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 4)
    monkeypatch.undo()
    assert [step for step, _ in checkpoints(tmp_path)] == [3]
    assert load_checkpoint(tmp_path)[0] == 3
    save(tmp_path, 4)  # what lies half beside does not disturb
    assert names(tmp_path) == ["step-3", "step-4"]


def test_a_checkpoint_that_dies_before_its_rename_is_absent(tmp_path, monkeypatch):
    def dies(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 1)
    assert checkpoints(tmp_path) == []


def test_an_older_one_that_dies_half_removed_is_none(tmp_path, monkeypatch):
    """Its lengths stay last in a folder whose state is gone: it must not look whole."""
    save(tmp_path, 1)
    real = module.shutil.rmtree

    def dies(path, **kwargs):
        if (path / "state.pt").exists():
            (path / "state.pt").unlink()
            raise KeyboardInterrupt
        real(path, **kwargs)

    monkeypatch.setattr(module.shutil, "rmtree", dies)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, keep=1)
    monkeypatch.undo()
    assert [step for step, _ in checkpoints(tmp_path)] == [2]
    save(tmp_path, 3, keep=1)
    assert names(tmp_path) == ["step-3"]


@pytest.mark.parametrize("dies_at", [1, 2])
def test_one_that_is_replaced_is_there_at_every_moment(tmp_path, monkeypatch, dies_at):
    """Dead before the old one is put aside, or between that and the new one: the old one counts."""
    save(tmp_path, 3, value=1.0)
    real, moves = module.os.replace, []

    def dies(source, target):
        moves.append(target)
        if len(moves) == dies_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(module.os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 3, value=2.0)
    monkeypatch.undo()
    step, state = load_checkpoint(tmp_path)
    assert step == 3 and float(state["weights"][0][0]) == 1.0
    save(tmp_path, 3, value=3.0)
    assert names(tmp_path) == ["step-3"]
    assert float(load_checkpoint(tmp_path)[1]["weights"][0][0]) == 3.0


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")],
)
def test_a_disk_that_is_full_says_so_and_leaves_the_one_before(tmp_path, monkeypatch, error):
    save(tmp_path, 3)

    def full(state, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(module.torch, "save", full)
    with pytest.raises(RunError, match="the checkpoint cannot be written") as caught:
        save(tmp_path, 4)
    assert "the disk is full" in str(caught.value)
    assert caught.value.where.endswith("step-4") and "make room" in caught.value.fix
    assert names(tmp_path) == ["step-3"]


def test_the_same_step_again_replaces_it(tmp_path):
    save(tmp_path, 3, value=1.0)
    save(tmp_path, 3, value=2.0)
    assert torch.equal(load_checkpoint(tmp_path)[1]["weights"][0], torch.full((3,), 2.0))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_says_which_folder_to_delete(tmp_path, content):
    save(tmp_path, 3)
    path = save(tmp_path, 4)
    (path / "state.pt").write_bytes(content)
    with pytest.raises(RunError, match="cannot be read") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.where == str(path)
    assert "delete that folder" in caught.value.fix


class Runs:
    """A pickle that runs code where it is loaded."""

    def __reduce__(self):
        return (print, ("ran",))


def cut(path):
    whole = (path / "state.pt").read_bytes()
    (path / "state.pt").write_bytes(whole[: len(whole) // 2])


def no_state(path):
    (path / "state.pt").unlink()


def pipe(path):
    no_state(path)
    os.mkfifo(path / "state.pt")


def one_bit(path):
    data = bytearray((path / "state.pt").read_bytes())
    data[data.index(torch.full((3,), 4.0).numpy().tobytes()) + 2] ^= 1
    (path / "state.pt").write_bytes(data)


def no_lengths(path):
    (path / "lengths.json").unlink()


def lengths(text):
    return lambda path: (path / "lengths.json").write_bytes(text)


def state(value):
    return lambda path: torch.save(value, path / "state.pt")


SPOILS = [
    cut,
    no_state,
    pipe,
    state(Runs()),
    state([1, 2]),
    state(None),
    lambda path: (path / "state.pt").write_bytes(pickle.dumps(Runs())),
    no_lengths,
    lengths(b""),
    lengths(b"{"),
    lengths(b"[]"),
    lengths(b"\xff\x00"),
    lengths(b"[" * 100_000),
    lengths(b'{"step": 3}'),
    lengths(b'{"step": "4"}'),
    lengths(b'{"metrics.jsonl": "x"}'),
    lengths(b'{"metrics.jsonl": -1}'),
    lengths(b'{"metrics.jsonl": NaN}'),
    lengths(b'{"metrics.jsonl": 1.5}'),
    lengths(b'{"metrics.jsonl": true}'),
]


@pytest.mark.parametrize("summed", [True, False])  # checkpoints had no checksum once
@pytest.mark.parametrize("spoil", SPOILS)
def test_any_oddity_of_the_newest_leads_to_the_one_before(tmp_path, capsys, spoil, summed):
    save(tmp_path, 3)
    path = save(tmp_path, 4)
    if not summed:
        (path / "lengths.json").write_text('{"step": 4}')
    spoil(path)
    with pytest.raises(RunError, match="the checkpoint cannot be read") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.where == str(path) and "delete that folder" in caught.value.fix
    (told,) = set_unusable_aside(tmp_path)
    assert told.startswith("step-4: the checkpoint cannot be read (")
    assert "checkpoints/unusable-1-step-4 now" in told and "of step 3" in told
    assert capsys.readouterr().out == ""
    assert load_checkpoint(tmp_path)[0] == 3
    assert names(tmp_path) == ["step-3", "unusable-1-step-4"]
    assert set_unusable_aside(tmp_path) == []


def test_one_bit_that_is_another_is_noticed(tmp_path):
    save(tmp_path, 3)
    one_bit(save(tmp_path, 4))
    with pytest.raises(RunError, match="not as it was written"):
        load_checkpoint(tmp_path)
    assert len(set_unusable_aside(tmp_path)) == 1


def test_of_several_damaged_ones_each_is_told_and_kept(tmp_path):
    for step in (3, 4, 5):
        save(tmp_path, step, keep=9)
    for step in (4, 5):
        cut(tmp_path / "checkpoints" / f"step-{step}")
    (tmp_path / "checkpoints" / "step-abc").mkdir()
    (tmp_path / "checkpoints" / "unusable-1-step-5").mkdir()
    told = set_unusable_aside(tmp_path)
    assert [line.partition(":")[0] for line in told] == ["step-abc", "step-5", "step-4"]
    aside = ["unusable-1-step-4", "unusable-1-step-5", "unusable-1-step-abc", "unusable-2-step-5"]
    assert names(tmp_path) == ["step-3", *aside]


def test_the_last_checkpoint_is_never_put_aside(tmp_path):
    """The run would start over: that is for a person to say."""
    cut(save(tmp_path, 3))
    with pytest.raises(RunError, match="cannot be read") as caught:
        set_unusable_aside(tmp_path)
    assert "or starts over where there is none" in caught.value.fix
    assert names(tmp_path) == ["step-3"]


@pytest.mark.parametrize("name", ["step-abc", "step-", "step--1", "step-04", "step-1e3", "step-²"])
def test_a_folder_that_is_none_is_told_and_does_not_disturb_the_next_save(tmp_path, name):
    save(tmp_path, 3)
    odd = tmp_path / "checkpoints" / name
    shutil.copytree(tmp_path / "checkpoints" / "step-3", odd)
    assert [step for step, _ in checkpoints(tmp_path)] == [3]
    with pytest.raises(RunError, match="its name tells no step") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.where == str(odd) and "delete that folder" in caught.value.fix
    save(tmp_path, 4)  # of a run that was on its way
    shutil.rmtree(odd)
    assert load_checkpoint(tmp_path)[0] == 4


def test_a_file_in_the_place_of_a_checkpoint_is_told(tmp_path):
    save(tmp_path, 3)
    (tmp_path / "checkpoints" / "step-9").write_text("")
    with pytest.raises(RunError, match="it is no folder"):
        load_checkpoint(tmp_path)


def test_replace_folder_puts_the_new_in_the_place_of_the_old(tmp_path):
    target = tmp_path / "final"
    for content in ("one", "two"):
        replace_folder(target, lambda folder, c=content: (folder / c).write_text(c))
        assert [p.name for p in target.iterdir()] == [content]
    assert [p.name for p in tmp_path.iterdir()] == ["final"]


def test_replace_folder_keeps_the_old_where_writing_fails(tmp_path):
    target = tmp_path / "final"
    replace_folder(target, lambda folder: (folder / "one").write_text("1"))

    def fails(folder):
        (folder / "half").write_text("")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_folder(target, fails)
    assert [p.name for p in target.iterdir()] == ["one"]
    replace_folder(target, lambda folder: (folder / "two").write_text("2"))
    assert [p.name for p in target.iterdir()] == ["two"]
