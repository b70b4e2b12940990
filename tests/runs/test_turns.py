"""What several processes do at the same time: one does it, the others are told or attached."""

import multiprocessing
import os
import threading
import time

import pytest

from workbench.errors import ConfigError, RunError, WorkbenchError
from workbench.json_lines import write_json
from workbench.runs import process, turns
from workbench.runs.folder import RunFolder
from workbench.runs.identity import attach_or_create
from workbench.runs.run import Run
from workbench.runs.turns import in_turn

from .conftest import until

AT_ONCE, ROUNDS = 4, 10
LIVES = ["/bin/sh", "-c", 'echo $$ >> "$0/started"; exec sleep 0.4']
CONFIG = {"model": "m", "inputs": {}, "settings": {"steps": 1}}


def racing(work):
    """Do ``work(n)`` in four processes that begin together; what each returned, or its error."""
    context = multiprocessing.get_context("fork")
    begin, said = context.Barrier(AT_ONCE), context.Queue()

    def one(number):
        begin.wait()
        try:
            said.put(work(number))
        except WorkbenchError as error:
            said.put(error)
        said.close()
        said.join_thread()
        os._exit(0)

    racers = [context.Process(target=one, args=(n,)) for n in range(AT_ONCE)]
    for racer in racers:
        racer.start()
    answers = [said.get(timeout=30) for _ in racers]
    for racer in racers:
        racer.join()
    return answers


@pytest.mark.parametrize("name", ["same", None])
def test_of_several_that_name_the_same_run_one_makes_it_and_the_others_attach(tmp_path, name):
    for number in range(ROUNDS):
        root = tmp_path / str(number)
        made = racing(lambda _, root=root: attach_or_create(root, "sft", name, CONFIG, [{"n": 1}]))
        assert sorted(each.created for each in made) == [False] * (AT_ONCE - 1) + [True]
        assert len({str(each.folder.path) for each in made}) == 1
        assert len([path for path in root.iterdir() if path.is_dir()]) == 1  # nothing left aside


def test_who_wants_another_run_of_the_name_is_told_what_differs(tmp_path):
    def make(number):
        config = {**CONFIG, "settings": {"steps": number}}
        return attach_or_create(tmp_path, "sft", "name", config, [{"n": 1}]).created

    answers = racing(make)
    assert answers.count(True) == 1
    errors = [each for each in answers if each is not True]
    assert {type(each) for each in errors} == {ConfigError}
    assert all("it differs: settings.steps" in each.what for each in errors)


def test_several_that_start_over_at_once_leave_one_run_and_no_live_one_is_moved(tmp_path):
    for number in range(ROUNDS):
        root = tmp_path / str(number)
        old = attach_or_create(root, "sft", "name", CONFIG, [{}]).folder
        write_json(old.path / "status.json", {"state": "finished"})

        def again(_, root=root):
            return attach_or_create(root, "sft", "name", CONFIG, [{}], fresh=True).created

        answers = racing(again)
        assert answers.count(True) == 1
        assert all("is live and cannot" in each.what for each in answers if each is not True)
        assert {path.name for path in root.iterdir() if path.is_dir()} == {"name", "name~1"}


def resumed(folder):
    """Resume in four processes at once; the processes that were started, and the answers."""
    write_json(folder.path / "status.json", {"state": "stopped"})
    run = Run(folder, [*LIVES, str(folder.path)])
    answers = racing(lambda _: run.resume())
    until((folder.path / "started").exists)
    started = [int(pid) for pid in (folder.path / "started").read_text().split()]
    return started, answers


@pytest.mark.parametrize("device", [None, "cpu"])
def test_of_several_that_resume_a_run_one_starts_it(tmp_path, device):
    for number in range(ROUNDS // 2):
        folder = attach_or_create(tmp_path, "sft", f"r{number}", CONFIG, [{}]).folder
        if device is not None:
            dead = process.ProcessRecord(2**22 + 1, "1", process.machine(), 0.0, 0, device)
            dead.write(folder.path)
        started, answers = resumed(folder)
        assert len(started) == 1
        assert answers == [None] * AT_ONCE
        assert process.read_record(folder.path).pid == started[0]
        until(lambda pid=started[0]: process.start_time(pid) is None)


def test_threads_take_turns_as_processes_do_and_one_goes_right_in_again(tmp_path):
    inside, most = [], []

    def work():
        with in_turn(tmp_path / "lock"), in_turn(tmp_path / "lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_a_turn_that_never_comes_and_a_link_in_its_place_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    with in_turn(tmp_path / "lock"):
        told = []

        def other():
            try:
                with in_turn(tmp_path / "lock"):
                    pass
            except RunError as error:
                told.append(error.what)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another process has been at this" in told[0]
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    link = in_turn(tmp_path / "link")
    with pytest.raises(RunError, match="nothing can be started or named"), link:
        pass
    assert not (tmp_path / "victim").exists()


def test_a_finished_child_is_never_a_zombie(tmp_path):
    folder = RunFolder(tmp_path / "run").create("sft", CONFIG, [])
    run = Run(folder, ["/bin/true"]).start()
    pid = process.read_record(folder.path).pid
    until(lambda: not os.path.exists(f"/proc/{pid}"))  # nobody asked for its state
    assert "ended with exit code 0" in run.folder.status()["error"]
