"""The view of over-optimisation says what the numbers say, and no more."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import ConfigError
from workbench.reports.best_of_n import BestOfN
from workbench.reports.overoptimisation import Overoptimisation

D = np.linspace(0.0, 4.0, 60)
NOISE = np.random.default_rng(0).normal(0, 0.02, len(D))


def run(gold=None, heldout=None, d=D, **more):
    """A run's metrics whose reward score only rises."""
    columns = {"step": range(1, len(d) + 1), "objective/kl": d**2, "objective/scores": d}
    if gold is not None:
        columns["objective/gold"] = gold
    if heldout is not None:
        columns["heldout/scores"] = heldout
    return pd.DataFrame({**columns, **more})


def fooled(d=D):
    """0.5 + d (0.3 - 0.3 log d): the top is at d = 1, which is 1 nat, and is worth 0.8."""
    return 0.5 + d * (0.3 - 0.3 * np.log(np.where(d > 0, d, 1.0))) + NOISE[: len(d)]


@pytest.fixture(scope="module")
def best():
    rng = np.random.default_rng(0)
    rows = [
        [{"text": "a", "score": float(s), "gold": min(1.0, 0.5 + 0.1 * s)} for s in scores]
        for scores in rng.normal(size=(30, 16))
    ]
    return BestOfN(["p"] * 30, rows, [1, 2, 4, 8, 16], name="tiny-chat")


def test_a_run_that_went_too_far_is_told_so():
    found = Overoptimisation(run(gold=fooled()), "far")
    assert found.sentence == (
        "The gold score peaks at 1.0 nats (95 % interval 1.0 to 1.2), at about 0.80. "
        "In the end, at 14.9 nats, it is 0.09."
    )
    fits = found.frames["fits"].set_index("measure")
    assert bool(fits.loc["gold", "found"]) and not bool(fits.loc["score", "found"])
    assert fits.loc["gold", "low"] < 1.0 < fits.loc["gold", "high"]
    assert fits.loc["gold", ["alpha", "beta"]].tolist() == pytest.approx([0.3, 0.3], abs=0.03)
    assert found.figures["gold"].layout.annotations[0].text.startswith("peak, 1.0 nats")
    assert "peak, 1.0 nats" in found._repr_html_()


def test_a_run_that_still_rises_has_no_peak_yet():
    found = Overoptimisation(run(gold=0.5 + 0.1 * D + NOISE), "near")
    assert found.sentence.startswith("No peak yet: the gold score has not turned down")
    assert "peak," not in found._repr_html_()


def test_without_gold_the_heldout_score_judges():
    found = Overoptimisation(run(heldout=fooled()), "mine")
    assert found.sentence.startswith("The watched score peaks at 1.0 nats")
    assert list(found.figures) == ["scores"] and found.judged == "heldout"


def test_the_learned_score_alone_cannot_tell():
    found = Overoptimisation(run(), "blind")
    assert "give train_ppo a heldout_reward" in found.sentence and found.judged is None


def test_a_short_run_is_shown_without_a_curve():
    found = Overoptimisation(run(gold=fooled(D[:4]), d=D[:4]), "short")
    assert found.sentence.startswith("Too few updates for a curve of the gold score.")
    assert len(found.frames["fits"]) == 0 and "<circle" in found._repr_html_()


def test_best_of_n_stands_on_the_same_axes(best):
    found = Overoptimisation(run(gold=fooled()), "far", best)
    gold = found.figures["gold"]
    names = [trace.name for trace in gold.data]
    assert names[-1] == "best of n, gold score" and "PPO, gold score" in names
    assert list(gold.data[-1].y) == pytest.approx(best.frame["gold"].tolist())
    fits = found.frames["fits"]
    assert fits["of"].tolist() == ["far", "far", "best of n", "best of n"]
    # the largest n that the run has come past: 16, at 1.84 nats
    assert "At 1.84 nats the run's curve is at 0.7" in repr(found)
    assert f"best of 16 at {best.frame['gold'].iloc[-1]:.2f}" in repr(found)


def test_a_run_that_did_not_come_so_far_is_not_compared(best):
    near = np.linspace(0.0, 0.3, 20)  # best of 2 may cost 0.19 nats, the root is 0.44
    found = Overoptimisation(run(gold=fooled(near), d=near), "near", best)
    assert "has not come as far as the first step of best-of-n" in repr(found)


def test_updates_without_a_number_are_left_out():
    gold = fooled()
    gold[3] = np.nan
    found = Overoptimisation(run(gold=gold), "gap")
    assert found.frames["updates"]["step"].tolist() == [n for n in range(1, 61) if n != 4]


@pytest.mark.parametrize("metrics", [pd.DataFrame(), pd.DataFrame({"step": [1], "loss": [0.5]})])
def test_other_runs_have_nothing_to_show(metrics):
    with pytest.raises(ConfigError, match="there is no update of PPO"):
        Overoptimisation(metrics, "reward")
