import numpy as np
import pytest
import torch

from workbench.errors import DataError
from workbench.models.encoding import Encoded
from workbench.models.roles import Roles
from workbench.settings import RewardSettings
from workbench.training.reward import influence
from workbench.training.reward.influence import Gradients, gradients, influences, pushes
from workbench.training.reward.reward import RewardTrainer
from workbench.training.reward.scorer import Scorer

from ...models.tiny import EOS, assistant, load, tiny_settings, user

ROWS = [
    {
        "prompt": user(f"say {w}"),
        "chosen": assistant(f"{w} good"),
        "rejected": assistant(f"bad {w}"),
    }
    for w in "abcdefgh"
]
SETTINGS = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}


def test_a_pair_pushes_what_its_gradient_points_to():
    """Margins of 0, so errors of 1/2; the targets add up to (4, -4).

    Second moments 1/2 and 2, on average 1.25, ten times which is added: 4 / 13 and -8 / 14.5.
    """
    learned = Gradients(np.array([[1, 0], [0, 2]], np.float32), np.zeros(2, np.float32))
    targets = Gradients(np.array([[3, 0], [1, -4]], np.float32), np.zeros(2, np.float32))
    assert pushes(learned, targets) == pytest.approx([0.35802, -0.64198], abs=1e-5)


def test_what_many_pairs_have_in_common_drowns_no_other():
    """99 pairs along one axis, one a little off it; the target lies as far off, and is its work."""
    learned = np.zeros((100, 100), np.float32)
    learned[:, :2] = [[4, 0.02]] * 99 + [[4, -1]]
    targets = np.zeros((2, 100), np.float32)
    targets[:, :2] = [[4, 1], [-3, 0.5]]
    found = pushes(Gradients(learned, np.zeros(100)), Gradients(targets, np.zeros(2)))
    assert found.argmin() == 99 and found[99] < 0 < found[:99].min()


def test_gradients_of_nothing_push_nothing():
    none = Gradients(np.zeros((2, 3), np.float32), np.zeros(2))
    assert list(pushes(none, none)) == [0, 0]


def test_a_pair_that_is_learned_pushes_little(monkeypatch):
    projected = np.array([[1, 0], [1, 0]], np.float32)
    found = pushes(
        Gradients(projected, np.array([5, -5], np.float32)), Gradients(projected, np.zeros(2))
    )
    assert found[1] / found[0] == pytest.approx(np.exp(5), rel=1e-4)


@pytest.fixture
def scorer(tiny, reward):
    return Scorer.attach(reward, Roles(load(tiny), tiny_settings()), tiny_settings())


def test_a_gradient_is_that_of_the_margin_by_head_and_last_layer(scorer, monkeypatch):
    """Projected to many more numbers than weights, its length is that of the gradient."""
    monkeypatch.setattr(influence, "WIDTH", 1 << 20)
    better, worse = Encoded([2, 5, 3], [6, 7, EOS]), Encoded([2, 5, 3], [8, EOS])
    (found,), (margin,) = gradients(scorer, [(better, worse)], lambda _: None)
    raw = scorer.scores([better, worse], tokens=4096) * 1.5
    assert margin == pytest.approx(float(raw[0] - raw[1]), abs=1e-4)
    weights = [scorer.head.weight] + [
        weight
        for name, weight in scorer.base.model.named_parameters()
        if "layers.1." in name and ".reward." in name
    ]
    for weight in weights:
        weight.requires_grad_()
    with scorer.roles.acting("reward"):
        states = [
            scorer.base.trunk(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1]
            for row in (better, worse)
        ]
    exact = torch.autograd.grad(scorer.head(states[0] - states[1]).sum(), weights)
    length = sum(float(slope.square().sum()) for slope in exact)
    assert float(np.square(found).sum()) == pytest.approx(length, rel=1e-2)


@pytest.fixture
def asked(reward, tmp_path):
    settings = RewardSettings(**SETTINGS, holdout=0.25)

    def ask(targets, **more):
        return influences(reward, ROWS, settings, targets, folder=tmp_path, **more)

    return ask


def test_training_pairs_are_told_and_their_gradients_kept(asked):
    targets = [{"prompt": user("say z"), "chosen": assistant("z"), "rejected": assistant("bad")}]
    first = asked(targets)
    assert len(first["rows"]) == len(first["pushes"]) == len(first["margins"]) == 6
    assert first["targets"] == 1
    told = []
    again = asked(targets, tell=lambda *words: told.append(words))
    assert again == first
    assert [total for _, total, _ in told[1:]] == [1]  # of what is asked alone


def test_an_answer_by_itself_is_asked_about(asked):
    found = asked([{"prompt": user("say z"), "chosen": assistant("z good")}])
    assert found["targets"] == 1 and any(found["pushes"])


def test_gradients_of_other_weights_are_made_anew(asked, tmp_path):
    targets = [{"prompt": user("say z"), "chosen": assistant("z good")}]
    asked(targets)
    file = tmp_path / "influence.npz"
    before = file.read_bytes()
    file.write_bytes(b"damaged")
    asked(targets)
    assert len(file.read_bytes()) == len(before)


def test_without_a_pair_there_is_nothing_to_explain(asked):
    with pytest.raises(DataError, match="there is no pair to explain"):
        asked([])


def test_labels_turned_round_are_those_blamed_for_what_is_true(tiny, place, tmp_path):
    """Of 40 pairs with a rule 4 are turned; clean pairs of other words ask who pushed them down."""

    def row(one, other):
        prompt = user(f"say {one} {other}")
        good, bad = assistant(f"{one} good"), assistant(f"bad {other}")
        return {"prompt": prompt, "chosen": good, "rejected": bad}

    rows = [row(one, other) for one in "abcdefgh" for other in "ijklm"]
    turned = {3, 11, 22, 38}
    for at in turned:
        rows[at]["chosen"], rows[at]["rejected"] = rows[at]["rejected"], rows[at]["chosen"]
    settings = RewardSettings(
        **SETTINGS, steps=20, batch_size=8, learning_rate=1e-2, holdout=0.0, evaluate_every=0
    )
    where = place()
    list(RewardTrainer(str(tiny), rows, settings, where).run())
    asked = [row(one, other) for one in "nop" for other in "qr"]
    found = influences(str(where.folder / "final"), rows, settings, asked, folder=tmp_path)
    order = sorted(range(len(rows)), key=found["pushes"].__getitem__)
    assert set(order[:4]) == turned
    assert all(found["pushes"][at] < 0 for at in turned)
