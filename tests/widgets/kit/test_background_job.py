import threading

import pytest

from workbench.widgets.kit.background_job import BackgroundJob


def test_a_job_runs_once_however_often_it_is_asked_for():
    ran = []

    def steps():
        ran.append(1)
        yield 0.5
        yield 1.0

    job = BackgroundJob(steps)
    assert not job.is_done and job.fraction == 0
    job.start()
    job.start()
    job.wait()
    job.run()
    assert ran == [1] and job.is_done and job.fraction == 1


def test_who_waits_for_a_job_that_runs_gets_its_end():
    go = threading.Event()

    def steps():
        yield 0.25
        assert go.wait(10)

    job = BackgroundJob(steps)
    job.start()
    threading.Timer(0.05, go.set).start()
    job.wait()
    assert job.is_done and job.fraction == 0.25


def test_what_went_wrong_is_raised_to_whoever_needs_the_work():
    def steps():
        yield 0.5
        raise ValueError("broken row")

    job = BackgroundJob(steps)
    job.run()
    assert not job.is_done
    for _ in range(2):
        with pytest.raises(ValueError, match="broken row"):
            job.wait()
