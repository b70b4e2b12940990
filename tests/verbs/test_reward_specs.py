"""What a person gives as a reward, and what the run's config says of it."""

import functools
import hashlib
import json
import sys
import threading

import cloudpickle
import pytest

import workbench as wb
from workbench import cli
from workbench.errors import ConfigError, ModelError, RunError
from workbench.runs import Run
from workbench.verbs import reward_specs
from workbench.verbs.reward_specs import ship_reward

from ..models.tiny import make_model, user
from ..training.conftest import make_adapter

FEW = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
SHORT = {"response_length": 6, "steps": 1, "batch_size": 4, "watch_every": 0}
WORTH = {"good": 1.0}


def kind(prompts, responses):
    return [WORTH.get(text, 0.0) for text in responses]


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


@pytest.fixture
def still(monkeypatch):
    monkeypatch.setattr(Run, "start", lambda run, device=None: run)


def test_a_model_is_written_by_its_name(reward):
    assert ship_reward(reward) == (reward, {})


def test_a_function_is_shipped_and_its_source_and_what_it_uses_kept(still):
    spec, files = ship_reward(kind)
    told = spec["function"]
    assert (told["function"], told["file"]) == ("kind", "reward.pkl")
    assert told["source"].startswith("def kind(prompts, responses):")
    assert told["captured"] == {"WORTH": {"good": 1.0}}
    assert told["sha256"] == hashlib.sha256(files["reward.pkl"]).hexdigest()
    assert cloudpickle.loads(files["reward.pkl"])(None, ["good", "x"]) == [1.0, 0.0]


def test_a_shipped_function_stands_alone(tmp_path):
    """What lies beside a notebook cannot be imported where the run's process starts."""
    import subprocess

    _, files = ship_reward(kind)
    (tmp_path / "f.pkl").write_bytes(files["reward.pkl"])
    code = "import cloudpickle; print(cloudpickle.load(open('f.pkl', 'rb'))(0, ['good']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[1.0]\n"


def test_other_callables(still):
    class Judge:
        def __init__(self, worth):
            self.worth = worth

        def __call__(self, prompts, responses):
            return [self.worth] * len(responses)

    for given, name in (
        (Judge(2.0), "Judge"),
        (functools.partial(kind), "partial"),
        (Judge(3.0).__call__, "__call__"),
        (lambda p, r: [0.0] * len(r), "<lambda>"),
    ):
        spec, files = ship_reward(given)
        assert spec["function"]["function"].endswith(name)
        assert len(cloudpickle.loads(files["reward.pkl"])([], ["a", "b"])) == 2
    assert ship_reward(Judge(2.0)).spec["function"]["captured"] == {"worth": 2.0}


def test_what_is_used_tells_two_functions_apart_and_is_the_same_twice():
    def made(limit):
        allowed = {"x", "y", limit}
        return lambda prompts, responses: [float(r in allowed) for r in responses]

    one, same, other = (ship_reward(made(n)).spec for n in ("a", "a", "b"))
    assert one == same != other


def test_a_mix_and_an_ensemble(reward):
    spec, files = ship_reward({reward: 1, kind: 0.5})
    assert spec["mix"][0] == {"weight": 1.0, "source": reward}
    assert spec["mix"][1]["weight"] == 0.5
    assert list(files) == ["reward.pkl"]
    spec, files = ship_reward([(1.0, kind), (-1.0, kind), (0.5, [reward, reward])])
    assert [part["source"]["function"]["file"] for part in spec["mix"][:2]] == list(files)
    assert spec["mix"][2]["source"] == {"ensemble": [reward, reward]}
    assert ship_reward([reward, reward]).spec == {"ensemble": [reward, reward]}
    json.dumps(spec)


def test_a_function_by_its_name_is_imported_from_where_one_stands(tmp_path, monkeypatch):
    text = "def brief(prompts, responses):\n    return [-len(r) for r in responses]\n"
    (tmp_path / "named_rewards_here.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    spec, files = ship_reward("named_rewards_here:brief")
    assert files == {}
    assert spec == {
        "function": {
            "function": "named_rewards_here:brief",
            "source": text,
            "path": str(tmp_path),
        }
    }
    assert str(tmp_path) not in sys.path


def test_an_installed_function_needs_no_path():
    assert set(ship_reward("operator:add").spec["function"]) == {"function", "source"}


@pytest.mark.parametrize(
    ("given", "what", "fix"),
    [
        (3.5, "a float cannot be a reward", "train_reward"),
        ({}, "a mix of no rewards", "weight"),
        ([], "a mix of no rewards", "weight"),
        ([kind], "an ensemble is a list of reward models", "weight, source"),
        ({kind: "much"}, "a weight is a number, and this is a str", "weight"),
        ([(1.0, {kind: 1.0})], "a mix cannot hold another mix", "flat"),
        ("no_such_module:f", "cannot be imported", "module:name"),
        ("json:no_such_name", "cannot be imported", "module:name"),
        ("json:__name__", "this is a str, and no function", "prompts, responses"),
        (lambda prompts: [], "a reward function takes", "one number for each"),
    ],
)
def test_what_cannot_be_a_reward_says_what_can(given, what, fix):
    with pytest.raises(ConfigError, match=what) as caught:
        ship_reward(given)
    assert caught.value.where
    assert fix in caught.value.fix


def test_what_cannot_be_shipped_is_named():
    lock = threading.Lock()

    def guarded(prompts, responses):
        with lock:
            return [0.0] * len(responses)

    with pytest.raises(ConfigError, match="cannot be shipped") as caught:
        ship_reward(guarded)
    assert "it uses lock" in caught.value.where
    assert "inside the function" in caught.value.fix


def test_what_is_too_large_to_ship_is_refused(monkeypatch):
    monkeypatch.setattr(reward_specs, "LARGEST", 1000)
    ballast = "x" * 2000

    def heavy(prompts, responses):
        return [float(len(ballast))] * len(responses)

    with pytest.raises(ConfigError, match="carries") as caught:
        ship_reward(heavy)
    assert "ballast" in caught.value.where


def test_a_policy_is_no_reward_model(tiny):
    with pytest.raises(ModelError, match="not a reward model"):
        ship_reward({str(tiny): 1.0})


def test_the_run_with_another_function_is_another_run(tiny, still):
    one = wb.train_ppo(tiny, kind, ["a"], name="run", **FEW, **SHORT)
    assert (one.path / "reward.pkl").is_file()
    wb.train_ppo(tiny, kind, ["a"], name="run", **FEW, **SHORT)  # the same attaches
    with pytest.raises(ConfigError, match=r"inputs.reward.function.source"):
        wb.train_ppo(tiny, lambda p, r: [0.0], ["a"], name="run", **FEW, **SHORT)


def test_a_function_that_is_packed_in_another_way_is_the_same_run(tiny, still, monkeypatch):
    one = wb.train_ppo(tiny, kind, ["a"], name="run", **FEW, **SHORT)
    monkeypatch.setattr(reward_specs, "_packed", lambda *_: b"other bytes")
    assert wb.train_ppo(tiny, kind, ["a"], name="run", **FEW, **SHORT).path == one.path


def test_trust_takes_a_run_that_was_made_elsewhere_as_ones_own(tiny, still, monkeypatch, tmp_path):
    one = wb.train_ppo(tiny, kind, ["a"], name="run", **FEW, **SHORT)
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "another's"))
    again = wb.train_ppo(tiny, kind, ["a"], name="run", **FEW, **SHORT)
    with pytest.raises(RunError, match="made elsewhere"):
        again.folder.check_made_here()
    wb.train_ppo(tiny, kind, ["a"], name="run", trust=True, **FEW, **SHORT)
    one.folder.check_made_here()


def test_a_function_of_the_notebook_trains_a_policy(tiny, reward):
    """In a real process: shipped, loaded, paid, logged by name."""

    def brevity(prompts, responses):
        return [-float(len(text)) for text in responses]

    mix = [(1.0, reward), (0.1, brevity)]
    run = wb.train_ppo(tiny, mix, [user("a"), user("b c")], name="notebook", **FEW, **SHORT)
    run.wait(timeout=120, progress=False)
    assert run.status == "finished"
    (name,) = (column for column in run.metrics() if column.endswith("brevity"))
    assert run.metrics()[name][0] <= 0
    assert run.config["inputs"]["reward"]["mix"][1]["source"]["function"]["file"] == "reward.pkl"


def test_the_command_line_takes_a_function_and_a_preset(tiny, still, tmp_path, monkeypatch):
    (tmp_path / "cli_rewards.py").write_text("def f(prompts, responses):\n    return [0.0]\n")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Run, "wait", lambda run, **_: run)
    monkeypatch.setattr(Run, "status", "finished")
    given = ["--model", str(tiny), "--reward", "cli_rewards:f", "--data", "prompts.jsonl"]
    more = ["--out", "out", "--preset", "t4-0.5b", "--set", "epochs=3", "device=cpu"]
    assert cli.main(["ppo", *given, *more]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["inputs"]["reward"]["function"]["function"] == "cli_rewards:f"
    assert config["inputs"]["reward"]["function"]["path"] == str(tmp_path)
    assert (config["settings"]["epochs"], config["settings"]["response_length"]) == (3, 128)
