import json
import subprocess
import sys

import pytest

from workbench.errors import ConfigError, RunError
from workbench.json_lines import write_json
from workbench.runs import RunFolder, housekeeping, keep_evaluation
from workbench.runs.catalogue import list_runs, open_run
from workbench.runs.housekeeping import (
    ASIDE,
    LONGEST_NOTE,
    NOTE,
    RunNote,
    deleted_runs,
    read_note,
)

DELETE = """
import os, sys
from workbench.runs import open_run
open_run(sys.argv[1]).delete()
assert not os.path.exists(sys.argv[1])
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def run(make_run):
    run = make_run("one")
    write_json(run.path / "status.json", {"state": "finished", "step": 3})
    return run


def test_a_deleted_run_is_in_no_table_and_comes_back(run, places):
    (run.path / "log.txt").write_text("as it was")
    run.delete()
    assert len(list_runs()) == 0 and not run.path.exists()
    assert [one.path for one in deleted_runs(places)] == [run.path]
    with pytest.raises(RunError, match="there is no run called one"):
        open_run("one")
    run.restore()
    assert list_runs()["name"].tolist() == ["one"] and deleted_runs(places) == []
    assert (open_run("one").path / "log.txt").read_text() == "as it was"
    assert not list(run.path.parent.glob(f"{ASIDE}*"))


def test_what_cannot_be_had_back_says_so(run, make_run):
    with pytest.raises(RunError, match="one was not deleted here"):
        run.restore()
    run.delete()
    other = make_run("one")
    with pytest.raises(RunError, match="another run called one"):
        run.restore()
    assert other.path.exists()


def test_a_live_run_is_not_deleted(make_run):
    run = make_run(steps=500, delay=0.02).start()
    with pytest.raises(RunError, match="is live and cannot be deleted"):
        run.delete()
    run.stop(wait=True)
    run.delete()


def test_a_deletion_is_for_good_once_its_process_has_ended_however(run, make_run):
    for end in ("ends", "killed"):
        subprocess.run([sys.executable, "-c", DELETE, str(run.path), end], check=end == "ends")
        left = [path.name for path in run.path.parent.glob(f"{ASIDE}*")]
        assert len(left) == (end == "killed")
        run = make_run("one")
        write_json(run.path / "status.json", {"state": "finished", "step": 3})
    run.delete()  # takes away what the killed one left
    assert len(list(run.path.parent.glob(f"{ASIDE}*"))) == 1


def test_a_note_and_tags_are_kept_in_the_folder_and_stand_in_the_table(make_run):
    run = make_run()
    assert (run.note, run.tags) == ("", ())
    assert run.describe(" the first that kept its length ", "ppo, short ,,ppo") is run
    assert read_note(run.path) == RunNote("the first that kept its length", ("ppo", "short"))
    (row,) = list_runs().to_dict("records")
    assert (row["note"], row["tags"]) == ("the first that kept its length", "ppo, short")
    run.describe(tags=["best"])
    assert (run.note, run.tags) == ("the first that kept its length", ("best",))
    run.describe(note="")
    (row,) = list_runs().to_dict("records")
    assert (row["note"], row["tags"]) == ("", "best")


def test_what_is_too_long_is_refused_and_what_is_no_note_is_none(make_run, monkeypatch):
    run = make_run()
    numbers = [str(number) for number in range(21)]
    for many in ({"note": "x" * (LONGEST_NOTE + 1)}, {"tags": "t" * 41}, {"tags": numbers}):
        with pytest.raises(ConfigError, match="too long"):
            run.describe(**many)
    for nonsense in ("[", '{"note": 3, "tags": "a"}', '{"tags": [1, null]}'):
        (run.path / NOTE).write_text(nonsense)
        assert read_note(run.path) == RunNote()

    def refuses(path, value):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(housekeeping, "write_json", refuses)
    with pytest.raises(RunError, match="cannot be written: Permission denied"):
        run.describe("x")


def test_one_evaluation_for_each_set_of_data(tmp_path):
    folder = RunFolder(tmp_path)
    keep_evaluation(folder, "aa", {"accuracy": 0.5})
    keep_evaluation(folder, "bb", {"accuracy": float("nan")})
    path = keep_evaluation(folder, "aa", {"accuracy": 0.6})
    assert path == tmp_path / "evaluation.json"
    kept = json.loads(path.read_text())
    assert kept == {"bb": {"accuracy": None}, "aa": {"accuracy": 0.6}}
    assert list(kept) == ["bb", "aa"]  # the latest last
