import io
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from workbench import progress
from workbench.errors import ConfigError, RunError
from workbench.runs.jobs import error_from, run_job, serve_job
from workbench.runs.process import start_time

from .conftest import until


@pytest.fixture
def job_command(command):
    return [*command, "--job"]


def test_a_job_returns_its_result_and_reports_on_the_way(job_command):
    told = []
    result = run_job("add", {"numbers": [1, 2]}, on_progress=told.append, command=job_command)
    assert result == {"sum": 3, "nan": None}
    assert [(row["done"], row["total"], row["text"]) for row in told] == [
        (1, 3, "adding"),
        (2, 3, "adding"),
        (3, 3, "adding"),
    ]


def test_an_error_comes_back_as_itself(job_command):
    with pytest.raises(ConfigError) as caught:
        run_job("refuse", {}, command=job_command)
    error = caught.value
    assert (error.what, error.where, error.fix) == ("no such model", "jobs", "give another")


def test_an_error_of_an_unknown_class_is_a_run_error():
    error = error_from({"class": "annotations", "what": "w"})
    assert type(error) is RunError
    assert type(error_from({"class": "Exception", "what": "w"})) is RunError


def test_a_crash_is_told_with_the_logs_end(job_command):
    with pytest.raises(RunError) as caught:
        run_job("crash", {}, command=job_command)
    assert "ended without a result (exit code 1)" in caught.value.what
    assert "ZeroDivisionError: by accident" in caught.value.where


def _gone(mark):
    return start_time(int(mark.read_text())) is None


def test_a_job_that_takes_too_long_is_ended(job_command, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(RunError, match="took longer than 1 s"):
        run_job("sleep", {"mark": str(mark)}, timeout=1.0, command=job_command)
    until(lambda: not mark.exists() or _gone(mark))


def test_an_interrupt_ends_the_job(job_command, tmp_path):
    mark = tmp_path / "mark"

    def interrupt():
        until(lambda: mark.exists() and mark.read_text())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_job("sleep", {"mark": str(mark)}, command=job_command)
    thread.join()
    assert _gone(mark)


class Kernel(io.StringIO):
    """Stands for a notebook's output."""


Kernel.__module__ = "ipykernel.iostream"


def test_a_slow_job_names_its_model_what_it_does_how_far_it_is_and_how_long(
    job_command, tmp_path, monkeypatch
):
    """The job goes on when its last word is on the line, so that each must come there."""
    monkeypatch.setattr(progress, "QUIET", 0.01)
    notebook, mark = Kernel(), tmp_path / "mark"
    monkeypatch.setattr(sys, "stdout", notebook)

    def watch():
        until(lambda: "\rtiny-chat, mine: starting its process, " in notebook.getvalue())
        for done in (1, 3):
            until(lambda: f"answers, {done} of 4, " in notebook.getvalue())  # noqa: B023
            mark.with_suffix(f".{done}").touch()

    thread = threading.Thread(target=watch)
    thread.start()
    request = {"models": ["builtin:tiny-chat", "/runs/mine"], "tells": [1, 3], "total": 4}
    run_job("slow", {**request, "mark": str(mark)}, command=job_command)
    thread.join()
    assert re.search(r"answers, 3 of 4, about \d", notebook.getvalue())
    assert notebook.getvalue().endswith(" \r")  # nothing of it stays


def test_a_job_ends_when_the_one_who_asked_is_gone(job_command, tmp_path):
    mark = tmp_path / "mark"
    code = (
        "import sys; from workbench.runs import run_job\n"
        "run_job('sleep', {'mark': sys.argv[1]}, command=sys.argv[2:])"
    )
    asker = subprocess.Popen([sys.executable, "-c", code, str(mark), *job_command])
    with asker:
        until(lambda: mark.exists() and mark.read_text())
        asker.kill()
    until(lambda: _gone(mark))


def test_what_is_no_request_says_so(tmp_path):
    with pytest.raises(RunError, match="not a job's request"):
        serve_job(tmp_path / "none.json", lambda kind, values, tell: {})
