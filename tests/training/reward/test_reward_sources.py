"""Where scores come from: models, ensembles, functions, mixes, each against what it is made of."""

import hashlib
import json
import math
import pickle
from pathlib import Path

import cloudpickle
import pytest
import torch

from workbench.errors import ModelError, RunError
from workbench.events import Finished
from workbench.models.encoding import Encoded
from workbench.training.ppo import ppo
from workbench.training.reward.reward_sources import FunctionReward, ModelReward

from ...models.tiny import EOS, user, word
from ..conftest import PROMPTS, make_adapter, metrics
from ..ppo.test_ppo import FIXED, settings, trainer

GIVEN = [user("a b"), user("c")]


def length(prompts, responses):
    return [len(text.split()) for text in responses]


def shipped(where, function, file="reward.pkl"):
    """A function in a run's folder, and what the config says of it."""
    (where.folder / file).write_bytes(cloudpickle.dumps(function))
    return {"function": {"function": function.__name__, "file": file, "source": None}}


@pytest.fixture(scope="session")
def other(tiny, tmp_path_factory):
    """Another reward model on the same base."""
    return str(make_adapter(tmp_path_factory.mktemp("other"), tiny, 17, reward=True))


def scores(made, rows=FIXED):
    return made.reward.scores(made.reward.read(rows, GIVEN), tokens=4096)


def test_one_model_is_its_own_scorer(tiny, reward, place):
    made = trainer(tiny, reward, place())
    found = scores(made)
    assert torch.equal(found.total, made.scorer.scores(FIXED, tokens=4096))
    assert found.parts == {}
    assert made.reward.name == Path(reward).name


@pytest.mark.parametrize("reduce", ["mean", "worst", "mean_minus_std"])
def test_an_ensemble_by_hand(tiny, reward, other, place, reduce):
    made = trainer(
        tiny, {"ensemble": [reward, other]}, place(), reward_reduce=reduce, reward_std_coef=0.5
    )
    one, two = (
        trainer(tiny, name, place()).scorer.scores(FIXED, tokens=4096) for name in (reward, other)
    )
    mean, gap = (one + two) / 2, (one - two).abs() / 2  # two members: the deviation is half the gap
    expected = {"mean": mean, "worst": torch.minimum(one, two), "mean_minus_std": mean - gap / 2}
    found = scores(made)
    torch.testing.assert_close(found.total, expected[reduce])
    torch.testing.assert_close(found.parts["ensemble_std"], gap)
    assert not torch.allclose(one, two)
    assert not any(p.requires_grad for p in made.roles.parameters("reward_1m"))


def test_a_run_of_several_members_is_an_ensemble_too(tiny, reward, place):
    made = trainer(tiny, reward, place(), reward_reduce="worst")
    made.scorer.member_scores = lambda rows, *, tokens: torch.tensor([[1.0, 5.0], [2.0, 4.0]])
    assert scores(made).total.tolist() == [1.0, 4.0]


def test_a_function_sees_messages_and_texts(tiny, place):
    seen = []

    def watch(prompts, responses):
        seen.append((prompts, responses))
        prompts[0][0]["content"] = "changed"
        return torch.tensor([1.0, 2.0])

    made = trainer(tiny, {"function": {"function": "x", "file": "f"}}, place_of(place, watch))
    made.reward.function = watch
    given = [user("a b"), user("c")]
    read = made.reward.read([Encoded([2], [word("a"), word("b"), EOS]), FIXED[1]], given)
    assert made.reward.scores(read, tokens=8).total.tolist() == [1.0, 2.0]
    (prompts, responses) = seen[0]
    assert responses[0] == "a b"
    assert prompts[1] == user("c")
    assert given == [user("a b"), user("c")]  # what a function does to them is not lasting


def place_of(place, function, name="run"):
    where = place(name)
    (where.folder / "f").write_bytes(cloudpickle.dumps(length))
    return where


def test_a_run_is_trained_on_a_function_alone(tiny, place):
    where = place()
    spec = shipped(where, length)
    made = trainer(tiny, spec, where)
    assert made.scorer is None
    assert not made.value.head.weight.any()  # nothing to copy: it starts at 0
    events = list(made.run())
    assert isinstance(events[-1], Finished)
    for row in metrics(events):
        assert row["objective/scores"] > 0


def test_a_mix_is_the_weighted_sum_and_tells_its_parts(tiny, reward, place):
    where = place()
    parts = [
        {"weight": 2.0, "source": reward},
        {"weight": -0.5, "source": shipped(where, length)},
    ]
    made = trainer(tiny, {"mix": parts}, where)
    alone = trainer(tiny, reward, place("alone")).scorer.scores(FIXED, tokens=4096)
    counts = torch.tensor([2.0, 4.0])  # words, EOS is none
    found = scores(made)
    torch.testing.assert_close(found.total, 2 * alone - 0.5 * counts)
    assert torch.equal(found.parts["length"], counts)
    assert torch.equal(found.parts[Path(reward).name], alone)
    row = made.train_step().metrics
    assert row["reward/length"] > 0
    assert math.isfinite(row[f"reward/{Path(reward).name}"])


def test_the_value_starts_at_the_models_share_of_a_mix(tiny, reward, place):
    """Score 2 (raw - mean) / std: the deviation that the value divides by is half."""
    made = trainer(tiny, {"mix": [{"weight": 2.0, "source": reward}]}, place())
    assert (made.value.mean, made.value.std) == (0.25, 0.75)


def test_equal_names_in_a_mix_are_told_apart(tiny, place):
    where = place()
    spec = shipped(where, length)
    made = trainer(tiny, {"mix": [{"weight": 1.0, "source": spec}] * 2}, where)
    assert set(scores(made).parts) == {"length", "length-2"}


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda p, r: [1.0], "1 scores for 2 answers"),
        (lambda p, r: [1.0, math.nan], "nan for the answer"),
        (lambda p, r: [1.0, math.inf], "inf for the answer"),
        (lambda p, r: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda p, r: [1.0, None], "TypeError"),
    ],
)
def test_what_a_function_may_not_return(tiny, place, function, told):
    made = trainer(tiny, shipped(place(), length), place())
    source = FunctionReward("mine", function, made.encoder)
    with pytest.raises(RunError, match=told) as caught:
        source.scores(source.read(FIXED, GIVEN), tokens=8)
    assert "mine" in caught.value.where and caught.value.fix


def test_a_shipped_function_that_is_gone_says_so(tiny, place):
    spec = {"function": {"function": "f", "file": "absent.pkl"}}
    with pytest.raises(RunError, match="cannot be loaded") as caught:
        trainer(tiny, spec, place())
    assert caught.value.where == "f" and "install" in caught.value.fix


def test_a_shipped_function_is_loaded_only_where_its_hash_is_the_configs(tiny, place):
    where = place()
    spec = shipped(where, length)
    packed = (where.folder / "reward.pkl").read_bytes()
    spec["function"]["sha256"] = hashlib.sha256(packed).hexdigest()
    assert scores(trainer(tiny, spec, where)).total.tolist() == [2.0, 4.0]
    mark = where.folder / "ran"
    (where.folder / "reward.pkl").write_bytes(pickle.dumps(Marks(mark)))
    with pytest.raises(RunError, match="not the one that the run was made with") as caught:
        trainer(tiny, spec, where)
    assert spec["function"]["sha256"][:12] in caught.value.where
    for hash in ("", 0, [], "x"):
        spec["function"]["sha256"] = hash
        with pytest.raises(RunError, match="not the one"):
            trainer(tiny, spec, where)
    assert not mark.exists()


class Marks:
    """A pickle that leaves a mark where it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("name", ["../reward.pkl", "/tmp/reward.pkl", "a/b.pkl", "", None, ["f"]])
def test_a_shipped_function_lies_in_the_runs_own_folder(tiny, place, name):
    where = place()
    (where.folder.parent / "reward.pkl").write_bytes(cloudpickle.dumps(length))
    with pytest.raises(RunError, match="named by their plain names"):
        trainer(tiny, {"function": {"function": "f", "file": name}}, where)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        [],
        None,
        3,
        {"function": "os:system"},
        {"function": {"function": 3}},
        {"ensemble": []},
        {"ensemble": "name"},
        {"ensemble": [3]},
        {"mix": []},
        {"mix": {"a": 1}},
        {"mix": [{"weight": "x", "source": "a"}]},
        {"mix": [{"weight": math.nan, "source": "a"}]},
        {"mix": [{"weight": True, "source": "a"}]},
        {"mix": [{"weight": 1.0}]},
        {"mix": [{"weight": 1.0, "source": {"mix": []}}]},
    ],
)
def test_a_reward_that_is_none_says_so(tiny, place, spec):
    with pytest.raises(RunError, match="none that can be built"):
        trainer(tiny, spec, place())


def test_an_imported_function_and_one_that_has_changed_since(tiny, place, tmp_path):
    module = tmp_path / "my_rewards_of_this_test.py"
    source = "def brief(prompts, responses):\n    return [-len(r) for r in responses]\n"
    module.write_text(source)
    spec = {"function": "my_rewards_of_this_test:brief", "source": source, "path": str(tmp_path)}
    made = trainer(tiny, {"function": spec}, place())
    assert made.reward.name == "brief"
    assert scores(made).total.tolist() == [-3.0, -7.0]  # "b c", "g h i j" in letters
    assert made.notices == []
    old = {**spec, "source": "def brief(): pass"}
    made = trainer(tiny, {"function": old}, place())
    assert made.notices == [
        "the reward function my_rewards_of_this_test:brief has changed since the run was made"
    ]


def test_an_object_of_a_module_is_known_again_by_its_class(tiny, place, tmp_path):
    module = tmp_path / "my_reward_object_of_this_test.py"
    source = "class Brief:\n    def __call__(self, _, texts):\n        return [1] * len(texts)\n"
    module.write_text(f"{source}\n\nbrief = Brief()\n")
    spec = {"function": "my_reward_object_of_this_test:brief", "path": str(tmp_path)}
    assert trainer(tiny, {"function": {**spec, "source": source}}, place()).notices == []


def test_a_policy_among_the_models_is_refused(tiny, reward, tuned, place):
    with pytest.raises(ModelError, match="not a reward model"):
        trainer(tiny, {"ensemble": [reward, tuned]}, place())


def test_resumed_with_a_function_is_as_never_stopped(tiny, reward, place):
    from ..conftest import bytes_of, forget_after

    def spec_in(where):
        parts = [
            {"weight": 1.0, "source": reward},
            {"weight": 0.1, "source": shipped(where, length)},
        ]
        return json.loads(json.dumps({"mix": parts}))

    given = settings(steps=3, checkpoint_every=1)
    straight, broken = place("straight"), place("broken")
    rows = metrics(
        list(ppo.PPOTrainer(str(tiny), spec_in(straight), PROMPTS, given, straight).run())
    )
    list(ppo.PPOTrainer(str(tiny), spec_in(broken), PROMPTS, given, broken).run())
    forget_after(broken.folder, 2)
    again = metrics(list(ppo.PPOTrainer(str(tiny), spec_in(broken), PROMPTS, given, broken).run()))
    assert again == rows[2:]
    assert bytes_of(broken.folder) == bytes_of(straight.folder)


def test_a_model_source_reads_each_model_in_its_own_ids(tiny, reward, place):
    made = trainer(tiny, reward, place())
    assert isinstance(made.reward, ModelReward)
    assert made.reward.read(FIXED, GIVEN) == [(row,) for row in FIXED]
