"""Ensembles: several reward adapters on one base, in one run."""

import json
import math

import pytest
import torch

from workbench.models.roles import Roles
from workbench.models.source import member_folder, resolve
from workbench.settings import RewardSettings
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.reward import members, reward
from workbench.training.reward.scorer import Scorer

from ...models.tiny import load, tiny_settings
from ..conftest import PROMPTS, Steering, bytes_of, metrics
from .test_reward import ROWS
from .test_scorer import ROWS as ANSWERS


def settings(**changes):
    few = {"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "holdout": 0.25, "members": 3}
    return tiny_settings(RewardSettings, **{**few, **changes})


def train(tiny, where, **changes):
    return metrics(list(reward.RewardTrainer(str(tiny), ROWS, settings(**changes), where).run()))


@pytest.fixture(scope="module")
def ensemble(tiny, tmp_path_factory):
    """A trained ensemble of three: its ``final/``, and what it logged."""
    where = reward.Place(tmp_path_factory.mktemp("ensemble"))
    logged = train(tiny, where)
    return where.folder / "final", logged


def test_member_m_is_the_run_with_seed_plus_m(tiny, ensemble, place):
    final, logged = ensemble
    alone = []
    for index in range(3):
        where = place(str(index))
        alone.append(train(tiny, where, members=1, seed=index))
        assert bytes_of(where.folder / "final") == bytes_of(final / member_folder(index))
        own = json.loads((where.folder / "final" / "reward.json").read_text())
        assert json.loads((final / member_folder(index) / "reward.json").read_text()) == own
    assert len(bytes_of(final)) == 3 == len(set(bytes_of(final).values()))
    for step, row in enumerate(logged):
        for name, value in row.items():
            mean = sum(run[step][name] for run in alone) / 3
            assert value == pytest.approx(mean, rel=1e-6, abs=1e-9), name


def test_what_the_ensembles_own_file_says(ensemble):
    final, _ = ensemble
    told = json.loads((final / "reward.json").read_text())
    own = [json.loads((final / member_folder(i) / "reward.json").read_text()) for i in range(3)]
    assert (told["members"], told["mean"]) == (3, 0.0)
    assert told["std"] == pytest.approx(sum(row["std"] for row in own) / 3)
    assert (told["training_pairs"], told["heldout_pairs"]) == (12, 4)


def test_an_ensemble_is_resolved_with_its_members_and_each_by_itself(tiny, ensemble):
    final, _ = ensemble
    source = resolve(str(final))
    folders = tuple(final / member_folder(i) for i in range(3))
    assert (source.base, source.members, source.adapter) == (str(tiny), folders, folders[0])
    assert source.is_reward and source.judges == folders
    assert source.reward_stats().mean == 0.0
    assert resolve(str(folders[1])).judges == folders[1:2]


def test_scores_of_the_members_and_their_mean(tiny, ensemble):
    final, _ = ensemble
    roles = Roles(load(tiny), tiny_settings())
    scorer = Scorer.attach(str(final), roles, tiny_settings())
    found = scorer.member_scores(ANSWERS, tokens=4096)
    assert found.shape == (3, 3)
    for index in range(3):
        alone = Roles(load(tiny), tiny_settings())
        member = Scorer.attach(str(final / member_folder(index)), alone, tiny_settings())
        assert torch.equal(found[index], member.scores(ANSWERS, tokens=4096))
    torch.testing.assert_close(scorer.scores(ANSWERS, tokens=4096), found.mean(0))
    assert len({tuple(row.tolist()) for row in found}) == 3
    assert torch.equal(scorer.head.weight, roles.heads["reward"].weight)
    by_member = evaluate(str(final), PROMPTS[:2], ["a b", "good"], tiny_settings())
    assert [len(own) for own in by_member] == [2, 2, 2]


def test_an_ensemble_goes_on_from_its_members(tiny, ensemble, place):
    """Without a learning rate nothing moves: each member is found again as it was."""
    final, _ = ensemble
    where = place()
    changes = settings(steps=1, learning_rate=0.0, members=3)
    list(reward.RewardTrainer(str(final), ROWS, changes, where).run())
    assert bytes_of(where.folder / "final") == bytes_of(final)


def test_a_stop_among_the_members_undoes_the_step(tiny, place):
    """Two micro-batches a member: the stop comes in the second member's part of step 3."""
    changes = {"micro_batch_tokens": 16, "checkpoint_every": 1, "members": 2}
    straight, broken = place("straight"), place("broken")
    expected = train(tiny, straight, **changes)
    counted = Steering()
    train(tiny, place("counted", counted), **{**changes, "steps": 2})
    each = counted.safe_points // 4  # steps times members
    stop = Steering(stop_at=counted.safe_points + each + 1)
    assert train(tiny, place("broken", stop), **changes) == expected[:2]
    assert train(tiny, broken, **changes) == expected[2:]
    assert bytes_of(broken.folder) == bytes_of(straight.folder)


def test_the_learning_rate_is_live_for_all(tiny, place):
    where = place(controls=Steering(changes={2: {"learning_rate": 0.25}}))
    found = train(tiny, where, schedule="constant")
    assert [row["learning_rate"] for row in found] == pytest.approx([1e-2, 0.25, 0.25, 0.25])


def test_sharpness_is_told_from_the_pairs_kept_aside(tiny, place, monkeypatch):
    trainer = reward.RewardTrainer(str(tiny), ROWS, settings(members=1), place())
    (member,) = trainer.members
    assert member.sharpness() == 1.0  # too few of them
    monkeypatch.setattr(members, "SURE", 1)
    gaps = torch.tensor([2.0, 2.0, 2.0, -2.0])
    monkeypatch.setattr(member, "_judged_aside", lambda: members.Judged(gaps, torch.zeros(4)))
    assert member.sharpness() == pytest.approx(math.log(3) / 2)
