import math
import os
import signal
import subprocess
import sys
import time

import pytest

from workbench.errors import ConfigError, RunError
from workbench.events import Finished, Phase
from workbench.json_lines import append_line, write_json
from workbench.runs import catalogue, process, summary
from workbench.runs import run as run_module
from workbench.runs.catalogue import Runs, list_runs, open_run, wait_for
from workbench.runs.controls import ask
from workbench.runs.devices import device_holder
from workbench.runs.folder import RunFolder
from workbench.runs.identity import attach_or_create
from workbench.runs.run import Run
from workbench.runs.writer import FolderWriter

from .conftest import until


def _pid(run):
    return process.read_record(run.path).pid


def _kill(run):
    _kill_process(run)
    until(lambda: run.status == "failed")


def _kill_process(run):
    os.kill(_pid(run), signal.SIGKILL)


def test_a_run_from_start_to_finish(make_run, capsys):
    run = make_run(steps=4).start("cpu")
    assert run.status in ("starting", "running", "finished")
    assert run.wait(timeout=20) is run
    assert run.status == "finished"
    assert run.folder.written_status()["pid"] == _pid(run)
    assert run.metrics()["step"].tolist() == [1, 2, 3, 4]
    assert run.metrics()["bad"].isna().all()
    assert len(run.samples()) == 4
    assert run.events()["kind"].tolist() == ["finished"]
    assert "fake: finished  step 4 of 4" in capsys.readouterr().out
    assert repr(run) == "Run('fake', finished, step 4 of 4)"
    assert (run.kind, run.final) == ("fake", run.path / "final")


def test_who_waited_finds_the_process_gone_and_the_device_free(make_run):
    make_run("first", linger=0.5).start("cpu").wait(timeout=20, progress=False)
    assert device_holder("cpu") is None


def test_who_waits_no_longer_than_so_long_does_not_wait_for_the_process_either(make_run):
    run = make_run(linger=8.0).start("cpu")
    until(lambda: run.status == "finished")
    assert run.wait(timeout=0.1, progress=False) is run
    assert run.folder.process_alive()
    _kill_process(run)


def test_pause_set_resume_stop_are_acknowledged(make_run):
    run = make_run(steps=2000, delay=0.002, micro=5).start()
    run.pause(wait=True)
    assert run.status == "paused"
    at = len(run.folder.metrics())
    run.set(coef=7.0)
    run.save()
    time.sleep(0.2)  # long enough for twenty updates of a run that did not pause
    assert len(run.folder.metrics()) == at
    run.resume(wait=True)
    until(lambda: run.folder.checkpoints())
    run.stop(wait=True)
    assert run.status == "stopped"
    assert not run.folder.process_alive()
    rows = run.folder.events()
    done = {row["command"]: row["step"] for row in rows if row["kind"] == "done"}
    assert set(done) == {"pause", "resume", "set", "save", "stop"}
    coefs = {row["step"]: row["coef"] for row in run.folder.metrics()}
    assert (coefs[done["set"] - 1], coefs[done["set"]]) == (1.0, 7.0)


def test_a_crash_is_told_with_its_reason_and_the_logs_end(make_run):
    run = make_run(crash_at=2).start()
    with pytest.raises(RunError) as caught:
        run.wait(timeout=20, progress=False)
    assert "fake failed: the fake ran dry" in caught.value.what
    assert "fix:   refill it" in caught.value.what
    assert "ConfigError: the fake ran dry" in caught.value.where
    assert len(caught.value.where.splitlines()) <= 16


def test_a_killed_process_reads_as_failed_and_resumes_from_its_checkpoint(make_run):
    whole = make_run("whole", steps=12, checkpoint_every=4).start()
    whole.wait(timeout=20, progress=False)
    run = make_run("killed", steps=12, checkpoint_every=4, wedge_at=7).start()
    until(lambda: len(run.folder.metrics()) == 7)
    _kill(run)
    assert "was killed by SIGKILL" in run.folder.status()["error"]
    config = run.folder.config()  # the resumed one must not wedge again
    write_json(run.path / "config.json", {**config, "settings": whole.config["settings"]})
    run.resume(wait=True)
    run.wait(timeout=20, progress=False)
    assert [r["step"] for r in run.folder.metrics()] == list(range(1, 13))
    assert [c.step for c in run.folder.checkpoints()] == [4, 8, 12]


def test_a_resumed_run_replays_later_settings_at_their_updates(make_run):
    run = make_run(steps=40, checkpoint_every=5, delay=0.02).start()
    until(lambda: len(run.folder.metrics()) >= 6)
    run.set(coef=9.0)
    until(lambda: any(row["coef"] == 9.0 for row in run.folder.metrics()))
    _kill(run)
    before = {row["step"]: row["coef"] for row in run.folder.metrics()}
    changed = min(step for step, coef in before.items() if coef == 9.0)
    run.resume()
    run.wait(timeout=20, progress=False)
    after = {row["step"]: row["coef"] for row in run.folder.metrics()}
    assert after == {step: 1.0 if step < changed else 9.0 for step in range(1, 41)}


def test_a_process_that_dies_before_its_first_word_reads_as_failed(make_run):
    run = make_run(exit=5).start()
    with pytest.raises(RunError) as caught:
        run.wait(timeout=20, progress=False)
    assert "ended with exit code 5" in caught.value.what
    assert "no room to be born" in caught.value.where


def test_an_interrupt_ends_the_waiting_and_not_the_run(make_run, command):
    run = make_run(steps=500, delay=0.02).start()
    code = (
        "import sys; from workbench.runs import Run, RunFolder\n"
        "run = Run(RunFolder(sys.argv[1])); print('waiting', flush=True); run.wait()"
    )
    waiter = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with waiter:
        until(lambda: run.status == "running")
        while "running" not in (line := waiter.stdout.readline()):
            assert line
        waiter.send_signal(signal.SIGINT)
        told, error = waiter.communicate(timeout=20)
    assert "fake goes on; .wait() waits again, .stop() ends it" in told
    assert "KeyboardInterrupt" in error
    at = len(run.folder.metrics())
    until(lambda: len(run.folder.metrics()) > at + 2)
    assert run.status == "running"


def test_waiting_too_long_says_that_the_run_goes_on(make_run):
    run = make_run(steps=500, delay=0.02).start()
    with pytest.raises(RunError, match=r"still \w+ after 0.1 s"):
        run.wait(timeout=0.1, progress=False)
    assert run.status in ("starting", "running")


def test_a_run_without_a_process_cannot_be_asked(make_run):
    run = make_run().start()
    run.wait(timeout=20, progress=False)
    for ask_it in (run.pause, run.stop, run.save, lambda: run.set(coef=1)):
        with pytest.raises(RunError, match=r"has no process that could \w+: it is finished"):
            ask_it()
    with pytest.raises(RunError, match="nothing to resume"):
        run.resume()
    assert run.folder.tail("control.jsonl").rows == []


def test_a_run_that_does_not_react_is_told_of(make_run, monkeypatch):
    run = make_run(steps=5, wedge_at=1).start()
    until(lambda: run.status == "running")
    monkeypatch.setattr(run_module, "ANSWER", 0.1)
    with pytest.raises(RunError, match=r"did not pause within 0.1 s"):
        run.pause(wait=True)


def test_settings_are_checked_before_they_are_asked_for(places):
    config = {"model": "m", "settings": {}}
    folder, _ = attach_or_create(places / "runs", "ppo", "p", config, [{}])
    run = Run(folder)
    with pytest.raises(ConfigError, match="seed cannot be changed while a run goes on"):
        run.set(seed=1)
    with pytest.raises(ConfigError, match="no setting was given"):
        run.set()
    with pytest.raises(ConfigError, match="kl_coef is out of range"):
        run.set(kl_coef=-1.0)
    run.set(kl_coef=1)
    assert folder.tail("control.jsonl").rows[0]["values"] == {"kl_coef": 1.0}


def test_another_view_of_the_same_folder_sees_and_steers(make_run):
    run = make_run(steps=2000, delay=0.01).start()
    until(lambda: run.status == "running")
    other = open_run("fake")
    assert other.path == open_run(str(run.path)).path == run.path
    other.stop(wait=True)
    assert run.status == "stopped"


def test_the_list_of_runs_tells_what_each_has_reached(folder, make_run):
    for step in range(1, 13):
        row = {"step": step, "objective/scores": float(step), "objective/kl": 0.5, "loss": None}
        append_line(folder.path / "metrics.jsonl", row)
    write_json(folder.path / "status.json", {"state": "finished", "step": 12, "total_steps": 12})
    table = list_runs()
    assert table.columns.tolist() == [
        "name",
        "kind",
        "state",
        "step",
        "total",
        "now",
        "seconds",
        "score",
        "gold",
        "kl",
        "loss",
        "accuracy",
        "heldout_loss",
        "heldout_accuracy",
        "best",
        "best_of",
        "best_step",
        "note",
        "tags",
        "model",
        "data",
        "started",
        "path",
    ]
    (row,) = table.to_dict("records")
    assert (row["name"], row["state"], row["step"], row["model"]) == ("plain", "finished", 12, "m")
    assert (row["score"], row["kl"]) == (7.5, 0.5)  # (3 + … + 12) / 10
    assert math.isnan(row["loss"] or math.nan)
    assert (row["best"], row["best_of"]) == (None, "")  # what a plain run is judged by is not known


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("/runs/mine", "mine"),
        ({"function": {"function": "brief", "file": "reward.pkl"}}, "function brief"),
        ({"ensemble": ["/a", "/b"]}, "ensemble of 2"),
        ({"mix": [{"weight": 1.0, "source": "/a"}]}, "mix of 1"),
    ],
)
def test_what_a_policy_is_paid_by_is_told_in_a_few_words(folder, reward, words):
    config = folder.config()
    changed = {"kind": "ppo", "data": {"rows": 1200}, "inputs": {"reward": reward}}
    write_json(folder.path / "config.json", {**config, **changed})
    assert list_runs()["data"].tolist() == [f"1,200 prompts, paid by {words}"]


def test_no_runs_make_an_empty_table_with_the_same_columns(places):
    assert len(list_runs(places / "none")) == 0
    assert "score" in list_runs(places / "none").columns


def test_the_best_figures_are_those_that_a_kind_is_judged_by(places):
    def best(name, kind, rows):
        folder = RunFolder(places / name).create(kind, {}, [])
        for row in rows:
            append_line(folder.path / "metrics.jsonl", row)
        (row,) = list_runs(places).query(f"name == '{name}'").to_dict("records")
        return row["best_of"], row["best"], row["best_step"]

    scores = [{"step": i, "objective/scores": i if i <= 15 else 0} for i in range(1, 31)]
    assert best("p", "ppo", scores) == ("reward score", 10.5, 15)  # (6 + … + 15) / 10
    heldout = [{"step": 5, "heldout/accuracy": 0.7}, {"step": 10, "heldout/accuracy": 0.6}]
    assert best("r", "reward", heldout) == ("held-out accuracy", 0.7, 5)
    losses = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    assert best("s", "sft", losses) == ("loss", 1.5, 2)
    assert best("none", "ppo", [])[0] == ""


def test_of_a_run_that_has_grown_only_what_is_new_is_read(places, monkeypatch):
    folder = RunFolder(places / "p").create("sft", {}, [])
    read = []
    rows_of = summary.metric_rows
    monkeypatch.setattr(summary, "metric_rows", lambda lines: read.extend(lines) or rows_of(lines))

    def best():
        return list_runs(places)["best"][0]

    def write(state, **row):
        write_json(folder.path / "status.json", {"state": state, "step": 1, "total_steps": 2})
        append_line(folder.path / "metrics.jsonl", row)

    write("finished", step=1, loss=2.0)
    assert (best(), best(), len(read)) == (2.0, 2.0, 1)
    write("finished", step=2, loss=1.0)
    assert (best(), len(read)) == (1.5, 2)
    monkeypatch.setattr(RunFolder, "_why_dead", lambda *_: None)
    write("running", step=3, loss=0.0)
    assert (best(), len(read)) == (1.0, 3)
    (folder.path / "metrics.jsonl").write_text("")  # as when a run is started over
    append_line(folder.path / "metrics.jsonl", {"step": 1, "loss": 9.0})
    assert (best(), len(read)) == (9.0, 4)


def test_runs_are_a_view_in_a_notebook_and_a_frame_for_programs(folder, monkeypatch):
    runs = Runs()
    assert list(runs["name"]) == ["plain"] and len(runs) == 1 and next(iter(runs)) == "name"
    assert runs.frame.equals(runs.query("name == 'plain'")) and runs.shape[0] == 1
    assert "plain" in repr(runs) and "<table" in runs._repr_html_()
    with pytest.raises(AttributeError):
        runs.nothing_like_this  # noqa: B018

    def broken(root):
        raise AttributeError("within")

    with monkeypatch.context() as inside:
        inside.setattr(catalogue, "list_runs", broken)
        with pytest.raises(AttributeError, match="within"):
            runs.frame  # noqa: B018
    monkeypatch.setattr(Runs, "view_factory", None)
    with pytest.raises(NotImplementedError):  # IPython then takes the HTML
        runs._ipython_display_()
    shown = []

    class View:
        def _ipython_display_(self):
            shown.append(len(runs))

    assert runs._display_().equals(runs.frame)
    monkeypatch.setattr(Runs, "view_factory", lambda runs: View())
    runs._ipython_display_()
    assert shown == [1]
    assert isinstance(runs._display_(), View)


def test_an_input_is_waited_for_but_not_a_paused_one(make_run, monkeypatch):
    run = make_run(steps=500, delay=0.02).start()
    run.pause(wait=True)
    with pytest.raises(RunError, match="is paused, and what comes next needs its result"):
        wait_for(run)
    ask(run.folder, "stop")
    monkeypatch.setattr(run_module, "run_progress", lambda name, wanted: _Mute())
    until(lambda: run.status != "paused")
    assert wait_for(run).status == "stopped"
    assert catalogue.Run is Run


class _Mute:
    def update(self, status, row):
        pass

    def close(self):
        pass


def test_a_notebook_shows_the_panel_that_was_registered(folder, monkeypatch):
    run = Run(folder)
    monkeypatch.setattr(Run, "panel_factory", None)
    with pytest.raises(NotImplementedError):  # IPython then takes the repr
        run._ipython_display_()
    assert repr(run).startswith("Run('plain'")
    shown = []

    class Panel:
        def _ipython_display_(self):
            shown.append(run.name)

    assert run._display_() == repr(run)
    monkeypatch.setattr(Run, "panel_factory", lambda run: Panel())
    run._ipython_display_()
    assert shown == ["plain"]
    assert isinstance(run._display_(), Panel)  # marimo shows what it is given


def test_a_run_says_where_it_is_inside_its_first_step(folder):
    with FolderWriter(folder) as write:
        write.estimate(90.0, "its shape")
        assert list_runs()["now"].tolist() == ["about 1 min 30 s a step, by its shape"]
        write.phase(Phase(1, 3, "training", 2, 8, "examples"))
        assert list_runs()["now"].tolist() == ["step 1: training 2 of 8 examples"]
        words = "running, step 0 of 3, step 1: training 2 of 8 examples"
        assert repr(Run(folder)) == f"Run('plain', {words})"
        write(Finished(3, False))
    assert list_runs()["now"].tolist() == [""]
    assert repr(Run(folder)) == "Run('plain', finished, step 3 of 3)"


def test_a_thousand_views_of_a_run_hold_no_file_open(make_run):
    run = make_run().start()
    run.wait(timeout=20, progress=False)
    open_before = len(os.listdir("/proc/self/fd"))
    views = [open_run(run.path) for _ in range(1000)]
    assert {view.status for view in views} == {"finished"}
    assert len(os.listdir("/proc/self/fd")) == open_before
