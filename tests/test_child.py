"""The child process: what it does with a folder or a request. Real processes where it matters."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module

import pytest
import torch
from safetensors import SafetensorError

from workbench import child
from workbench.errors import ModelError, RunError
from workbench.runs import FolderWriter, Run, ask, attach_or_create, launcher, run_job, writer
from workbench.runs import run as run_module
from workbench.runs.devices import device_holder, release_device
from workbench.runs.jobs import REQUEST, read_json, write_json
from workbench.settings import KINDS

from .models.tiny import assistant, make_model, user
from .runs.conftest import until
from .training.conftest import bytes_of, make_adapter

FEW = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32, "warmup_steps": 0}

TEXTS = [{"prompt": user(f"say {w}"), "response": assistant(f"{w} {w}")} for w in "abcdefg"]
PROMPTS = [{"prompt": user(w)} for w in ("a b", "c", "d e f", "g h")]
TIMED = ("time", "memory/", "tokens_per_second", "pairs_per_second")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reward(tiny, tmp_path_factory):
    return str(make_adapter(tmp_path_factory.mktemp("reward"), tiny, 11, reward=True))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))
    yield
    release_device("cpu")


def make(tmp_path, name, kind, model, rows, inputs=None, **settings):
    full = KINDS[kind](**{**FEW, **settings}).to_dict()
    config = {"model": str(model), "inputs": inputs or {}, "settings": full}
    return attach_or_create(tmp_path / "runs", kind, name, config, rows).folder


def make_sft(tmp_path, tiny, name="run", **settings):
    few = {"steps": 4, "batch_size": 3, "learning_rate": 1e-2}
    return make(tmp_path, name, "sft", tiny, TEXTS, **{**few, **settings})


def make_ppo(tmp_path, tiny, reward, name="run", judge="none", **settings):
    few = {"steps": 4, "batch_size": 4, "response_length": 8, "watch_every": 2, "watch_prompts": 2}
    inputs = {"reward": reward, "judge": judge}
    return make(tmp_path, name, "ppo", tiny, PROMPTS, inputs, **{**few, **settings})


def train_here(folder):
    """Train in this process; the device is free again afterwards."""
    code = child.main([str(folder.path)])
    release_device("cpu")
    return code


def logged(folder):
    return [{k: v for k, v in row.items() if not k.startswith(TIMED)} for row in folder.metrics()]


def test_the_process_itself_refuses_a_run_that_was_made_elsewhere(tmp_path, tiny, monkeypatch):
    folder = make_sft(tmp_path, tiny)
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "another's"))
    assert train_here(folder) == 1
    assert "was made elsewhere" in folder.status()["error"]
    assert folder.metrics() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "dance"}, "kind and settings are none of ours"),
        ({"settings": {"no_such": 1}}, "no setting called no_such"),
        ({"inputs": None}, "inputs are none of ours"),
        ({"kind": "ppo", "settings": {}}, "inputs are none of ours"),
    ],
)
def test_a_config_that_says_nothing_of_training_is_told(tmp_path, tiny, changes, said):
    folder = make_sft(tmp_path, tiny)
    write_json(folder.path / "config.json", {**folder.config(), **changes})
    folder.trust()
    assert train_here(folder) == 1
    assert said in folder.status()["error"] and "fix:" in folder.status()["error"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"kind": ["sft"]}, "kind is ['sft']"), ({"settings": [1]}, "settings is [1]")],
)
def test_a_config_that_cannot_be_read_trains_nothing(tmp_path, tiny, capsys, changes, said):
    folder = make_sft(tmp_path, tiny)
    write_json(folder.path / "config.json", {**folder.config(), **changes})
    with pytest.raises(RunError) as told:
        folder.trust()
    assert "unreadable" in str(told.value) and said in str(told.value)
    with pytest.raises((RunError, SystemExit)):
        train_here(folder)
    assert folder.metrics() == []


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"{"), gzip.compress(b"[1]\n"), gzip.compress(b"\xff")],
    ids=["empty", "no gzip", "half a line", "a list", "no UTF-8"],  # gzip writes the second into it
)
def test_data_that_is_damaged_is_told(tmp_path, tiny, data):
    folder = make_sft(tmp_path, tiny)
    whole = (folder.path / "data.jsonl.gz").read_bytes()
    for content in (data, whole[: len(whole) // 2]):
        (folder.path / "data.jsonl.gz").write_bytes(content)
        code = train_here(folder)
        if content:  # an empty file is a gzip of nothing
            assert code == 1
            error = folder.status()["error"]
            assert "cannot be read" in error and "data.jsonl.gz" in error


def test_a_run_is_written_into_its_folder(tmp_path, tiny):
    folder = make_sft(tmp_path, tiny, checkpoint_every=2)
    assert train_here(folder) == 0
    status = folder.status()
    assert (status["state"], status["step"], status["total_steps"]) == ("finished", 4, 4)
    assert status["error"] is None
    assert [row["step"] for row in folder.metrics()] == [1, 2, 3, 4]
    assert {"loss", "perplexity", "time/step", "memory/peak_gb"} <= set(folder.metrics()[0])
    assert [c.step for c in folder.checkpoints()] == [2, 4]
    kinds = [row["kind"] for row in folder.events()]
    assert kinds == ["setup", "saved", "saved", "finished"]
    names = {p.name for p in folder.final.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names


def test_the_config_says_what_was_really_used(tmp_path, tiny):
    folder = make_sft(tmp_path, tiny, steps=1)
    before = folder.config()
    train_here(folder)
    config = folder.config()
    assert {k: config[k] for k in before} == before
    assert config["resolved"]["device"] == "cpu"
    assert config["resolved"]["dtype"] == "float32"
    assert config["resolved"]["quantization"] == "none"
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= set(config["hardware"]["versions"])
    assert config["hardware"]["cpu_cores"] == os.cpu_count()


def test_ppo_writes_samples_and_the_judge_it_was_given(tmp_path, tiny, reward):
    folder = make_ppo(tmp_path, tiny, reward, judge="gold", steps=3)
    assert train_here(folder) == 0
    samples = folder.samples()
    assert [row["step"] for row in samples] == [1, 1, 3, 3]
    assert set(samples[0]) >= {"step", "prompt", "response", "score", "kl", "gold"}
    assert all(0.0 <= row["objective/gold"] <= 1.0 for row in folder.metrics())
    assert all(row["objective/kl"] == 0.0 for row in folder.metrics()[:1])


def test_without_a_judge_no_gold_is_logged(tmp_path, tiny, reward):
    folder = make_ppo(tmp_path, tiny, reward, judge="none", steps=1)
    assert train_here(folder) == 0
    assert "objective/gold" not in folder.metrics()[0]
    assert "gold" not in folder.samples()[0]


def test_what_a_person_can_mend_ends_in_its_three_parts(tmp_path, tiny, capsys, monkeypatch):
    long = [{"prompt": user("a"), "response": assistant(" ".join("a" * 40))}]
    folder = make(tmp_path, "run", "sft", tiny, long, steps=1)
    assert train_here(folder) == 1
    told = capsys.readouterr().err
    assert "DataError: no example is left" in told
    assert "where:" in told and "fix:" in told
    assert "Traceback" not in told
    status = folder.status()
    assert status["state"] == "failed"
    assert "no example is left" in status["error"]
    monkeypatch.setattr(run_module, "LEAVING", 0.0)  # the process that failed is this one
    with pytest.raises(RunError, match="no example is left") as caught:
        Run(folder).wait(progress=False)
    assert "log.txt" in caught.value.where


def test_what_nobody_foresaw_keeps_its_traceback_in_the_log(tmp_path, tiny, capsys, monkeypatch):
    def breaks(*args):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(child, "_trainer", breaks)
    folder = make_sft(tmp_path, tiny)
    assert train_here(folder) == 1
    assert "Traceback" in capsys.readouterr().err
    assert folder.status()["state"] == "failed"
    assert "ZeroDivisionError: by zero" in folder.status()["error"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_said_and_what_was_saved_is_still_there(
    tmp_path, tiny, wrapped, monkeypatch
):
    """The disk is full as the final model is written; with room again the run ends as it would."""
    text = "No space left on device"
    full = SafetensorError(f"I/O error: {text}") if wrapped else OSError(errno.ENOSPC, text, "x")

    def save(*args, **named):
        raise full

    folder = make_sft(tmp_path, tiny, checkpoint_every=2)
    with monkeypatch.context() as patched:
        patched.setattr("workbench.models.roles.save_file", save)
        assert train_here(folder) == 1
    status = folder.status()
    assert (status["state"], status["step"]) == ("failed", 4)
    assert "the disk is full" in status["error"] and "make room" in status["error"]
    assert [c.step for c in folder.checkpoints()] == [2, 4] and not folder.final.exists()
    assert train_here(folder) == 0
    assert [row["step"] for row in folder.metrics()] == [1, 2, 3, 4]
    assert (folder.final / "adapter_model.safetensors").is_file()


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        child.main([str(tmp_path)])


def test_where_it_is_inside_its_steps_is_seen_from_outside(tmp_path, tiny, monkeypatch):
    """The phases come with an estimate, and leave nothing in the run's other files."""
    monkeypatch.setattr(writer, "PHASE_EVERY", 0.0)
    seen = []
    publish = writer.FolderWriter._publish

    def publish_and_look(self):
        publish(self)
        seen.append(self.folder.written_status())

    monkeypatch.setattr(writer.FolderWriter, "_publish", publish_and_look)
    folder = make_sft(tmp_path, tiny, watch_prompts=0)
    assert train_here(folder) == 0
    starting = [status for status in seen if status["state"] == "starting"]
    assert starting[-1]["update_seconds"] > 0
    assert "shape" in starting[-1]["update_seconds_from"]
    first = next(status for status in seen if status["state"] == "running")
    assert (first["step"], first["phase"], first["phase_done"]) == (0, "training", 0)
    assert first["total_steps"] == folder.status()["total_steps"]
    assert {row["kind"] for row in folder.events()} <= {"setup", "warning", "saved", "finished"}
    assert not any("phase" in name for row in folder.metrics() for name in row)


def test_the_device_is_held_while_it_trains(tmp_path, tiny, monkeypatch):
    seen = []
    real = child._trainer
    monkeypatch.setattr(child, "_trainer", lambda *a: seen.append(device_holder("cpu")) or real(*a))
    folder = make_sft(tmp_path, tiny, steps=1)
    train_here(folder)
    assert [holder["run"] for holder in seen] == ["run"]
    assert seen[0]["pid"] == os.getpid()


def test_killed_as_the_system_does_it_and_resumed_is_as_never_killed(tmp_path, tiny, reward):
    """A real process, SIGKILL, and a second one: the run folder reads as if nothing had been."""

    def create(name):
        return make_ppo(tmp_path, tiny, reward, name, steps=40, checkpoint_every=2)

    killed = create("killed")
    pid = launcher.start(killed)
    until(lambda: len(killed.checkpoints()) == 2, seconds=60)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not killed.process_alive())
    assert killed.status()["state"] == "failed"
    done = len(killed.metrics())
    saved = killed.checkpoints()[-1].step
    assert 0 < saved <= done < killed.status()["total_steps"]
    stop_after = saved + 3
    _run_until(killed, stop_after)
    straight = create("straight")
    _run_until(straight, stop_after)
    assert logged(killed)[:stop_after] == logged(straight)[:stop_after]
    assert len(killed.metrics()) == stop_after == killed.status()["step"]
    assert killed.samples() == straight.samples()
    assert bytes_of(killed.final) == bytes_of(straight.final)


def _cut_in_half(path):
    whole = (path / "state.pt").read_bytes()
    (path / "state.pt").write_bytes(whole[: len(whole) // 2])


def _of_another_model(path):
    """A sound file in which a weight is of another shape."""
    state = torch.load(path / "state.pt", weights_only=True)
    state["weights"][0] = torch.zeros(2, 2)
    torch.save(state, path / "state.pt")
    lengths = json.loads((path / "lengths.json").read_text())
    lengths.pop("state_crc32")
    (path / "lengths.json").write_text(json.dumps(lengths))


@pytest.mark.parametrize("spoil", [_cut_in_half, _of_another_model])
def test_resumed_from_an_older_checkpoint_is_as_never_stopped(tmp_path, tiny, spoil):
    """The newest is damaged: the run goes on from the one before, says so, and ends the same."""
    few = {"steps": 8, "checkpoint_every": 2, "keep_checkpoints": 3}
    straight, damaged = (make_sft(tmp_path, tiny, name, **few) for name in ("straight", "damaged"))
    assert train_here(straight) == 0

    def dies():
        raise KeyboardInterrupt

    with _after(damaged, {7: dies}), pytest.raises(KeyboardInterrupt):
        train_here(damaged)
    release_device("cpu")
    assert [c.step for c in damaged.checkpoints()] == [2, 4, 6]
    for step in (6, 4):
        spoil(damaged.path / "checkpoints" / f"step-{step}")
    assert train_here(damaged) == 0
    assert logged(damaged) == logged(straight)
    assert damaged.samples() == straight.samples()
    assert bytes_of(damaged.final) == bytes_of(straight.final)
    told = [row for row in damaged.events() if "cannot be read" in str(row.get("message"))]
    assert [row["message"].partition(":")[0] for row in told] == ["step-6", "step-4"]
    assert [(row["kind"], row["step"]) for row in told] == [("warning", 2)] * 2
    assert "goes on from the checkpoint before, of step 2" in told[1]["message"]
    assert (damaged.path / "checkpoints" / "unusable-1-step-6" / "state.pt").is_file()


def _run_until(folder, step):
    """Train in this process, asked to stop once this step is written."""
    with _after(folder, {step: lambda: ask(folder, "stop")}):
        assert train_here(folder) == 0
    assert folder.status()["state"] == "stopped"


@contextmanager
def _after(folder, deeds):
    """Within the block each deed is done once its step is written."""
    real = FolderWriter.__call__

    def call(self, event):
        real(self, event)
        if type(event).__name__ == "Progress" and event.step in deeds:
            deeds[event.step]()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderWriter, "__call__", call)
        yield


def test_live_settings_are_changed_again_at_the_same_steps(tmp_path, tiny):
    """Changed at 3, checkpoint at 4, changed at 6, dead at 7: from 4 on, only 6 is replayed."""

    def create(name):
        few = {"steps": 9, "checkpoint_every": 4, "schedule": "constant"}
        return make_sft(tmp_path, tiny, name, **few)

    def asking(folder):
        return {
            2: lambda: ask(folder, "set", learning_rate=0.25),
            5: lambda: ask(folder, "set", learning_rate=0.125),
        }

    def dies():
        raise KeyboardInterrupt

    straight, dead = create("straight"), create("dead")
    with _after(straight, asking(straight)):
        assert train_here(straight) == 0
    with _after(dead, {**asking(dead), 7: dies}), pytest.raises(KeyboardInterrupt):
        train_here(dead)
    release_device("cpu")
    assert dead.status()["state"] == "failed"
    assert train_here(dead) == 0
    rates = [row["learning_rate"] for row in dead.metrics()]
    assert rates == [0.01] * 2 + [0.25] * 3 + [0.125] * 4
    assert logged(dead) == logged(straight)
    for folder in (straight, dead):
        changed = [row["step"] for row in folder.events() if row["kind"] == "changed"]
        assert changed == [3, 6]
    assert bytes_of(dead.final) == bytes_of(straight.final)


# --- jobs ----------------------------------------------------------------------------------------


def do_job(tmp_path, kind, **values):
    file = tmp_path / REQUEST
    write_json(file, {"kind": kind, "request": values, "parent": os.getppid()})
    code = child.main(["--job", str(file)])
    return code, read_json(tmp_path / "result.json"), read_json(tmp_path / "error.json")


def test_a_job_scores_answers(tmp_path, reward):
    code, result, error = do_job(
        tmp_path,
        "scores",
        reward=reward,
        prompts=[user("a"), user("b")],
        responses=["a b", "c"],
        settings=KINDS["ppo"](**FEW).to_dict(),
    )
    assert (code, error) == (0, None)
    (scores,) = result["scores"]  # one member
    assert [type(score) for score in scores] == [float, float]


def test_a_job_samples_answers_and_tells_how_far_it_is(tmp_path, tiny):
    code, result, error = do_job(
        tmp_path,
        "answers",
        models=[str(tiny)],
        prompts=[user("a"), user("b")],
        responses=2,
        with_kl=True,
        settings=KINDS["ppo"](**FEW, response_length=8).to_dict(),
    )
    assert (code, error) == (0, None)
    (model,) = result["answers"]
    assert [len(rows) for rows in model] == [2, 2]
    assert set(model[0][0]) == {"text", "ended", "tokens", "kl"}
    progress = (tmp_path / "progress.jsonl").read_text().splitlines()
    assert json.loads(progress[-1])["done"] == json.loads(progress[-1])["total"] == 2


def test_a_job_leaves_an_error_that_can_be_mended(tmp_path, tiny):
    code, result, error = do_job(
        tmp_path,
        "scores",
        reward=str(tiny),
        prompts=[user("a")],
        responses=["b"],
        settings=KINDS["ppo"](**FEW).to_dict(),
    )
    assert (code, result) == (1, None)
    assert error["class"] == "ModelError"
    assert error["where"] == str(tiny) and error["fix"]


def test_a_job_that_does_not_exist_lists_those_that_do(tmp_path):
    code, _, error = do_job(tmp_path, "dances")
    assert code == 1
    assert error["class"] == "ConfigError"
    assert {"answers", "scores"} <= set(error["fix"].removeprefix("choose one of ").split(", "))


@pytest.mark.parametrize("kind", child.JOBS)
def test_every_job_has_its_function(kind):
    module, _, name = child.JOBS[kind][0].partition(":")
    assert callable(getattr(import_module(module), name))


def test_an_error_in_the_jobs_process_is_raised_here_as_itself(tiny):
    """A real process: the same class, the same three parts."""
    request = {"reward": str(tiny), "prompts": [user("a")], "responses": ["b"]}
    with pytest.raises(ModelError, match="not a reward model") as caught:
        run_job("scores", {**request, "settings": KINDS["ppo"](**FEW).to_dict()})
    assert caught.value.where == str(tiny)


def test_the_module_is_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "workbench.child", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "this folder holds no run" in done.stderr
