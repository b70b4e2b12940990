"""Each alarm rings on a made series that has its fault, and none rings on a real, healthy run."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from workbench.runs import Run, RunFolder
from workbench.runs.alarms import RULES, WatchedFigures, alarms, luck_of, watched_figures

HEALTHY = json.loads((Path(__file__).parent / "healthy_ppo.json").read_text())
N = 50
STEPS = np.arange(1, N + 1)
RAMP = (STEPS - 1) / (N - 1)


def columns(**changed):
    """The healthy run's columns, some of them replaced."""
    named = {name.replace("__", "/"): list(values) for name, values in changed.items()}
    return {**HEALTHY["columns"], **named}


def figures(*answers):
    return watched_figures([{"response": answer} for answer in answers])


def rung(kind="ppo", watched=None, **changed):
    return {alarm.name: alarm for alarm in alarms(kind, columns(**changed), watched)}


def test_a_healthy_real_run_rings_nothing():
    assert len(HEALTHY["columns"]["step"]) == N
    watched = {int(step): WatchedFigures(share, 0.0) for step, share in HEALTHY["repeats"].items()}
    assert alarms("ppo", HEALTHY["columns"], watched) == []


FAULTS = {
    # 0.3 nats an update without any gain: the mean has risen by 3 nats in 10 updates at row 14
    "kl": ({"objective__kl": 0.3 * STEPS, "objective__scores": 0 * RAMP}, 15),
    # 1 nat until update 20, then 0.2: the mean of 5 is 0.2 at 24, 0.36 at 23 (under 0.25 only then)
    "entropy": ({"objective__entropy": np.where(STEPS <= 20, 1.0, 0.2)}, 25),
    # 0.4 from update 11 on: of five, 4 make 0.32
    "clip": ({"policy__clipfrac": np.where(STEPS > 10, 0.4, 0.0)}, 14),
    "value": ({"value__explained_variance": 0.05 + 0 * RAMP}, 21),
    # 20 tokens, then 40 from update 11 on: of five, 3 make 32 > 30
    "length": ({"response__length": np.where(STEPS > 10, 40.0, 20.0)}, 13),
    # 0.9 until 20, then 0.7: 3 of ten make a fall of 0.06
    "gold": (
        {"objective__gold": np.where(STEPS > 20, 0.7, 0.9), "objective__scores": RAMP},
        23,
    ),
    # 0.3, then 0.6 from update 11 on: five of them are over 0.3 + 0.25, four make 0.54
    "shared": ({"response__shared": np.where(STEPS > 10, 0.6, 0.3)}, 15),
    # 1.5, then 2.1 from update 11 on: of five, 3 make 1.86 > 1.2 * 1.5, and 2 make 1.74
    "odd": ({"response__ref_perplexity": np.where(STEPS > 10, 2.1, 1.5)}, 13),
    # 0.8, then 0.1 from update 11 on: the mean of 5 is 0.1 at 15, 0.24 at 14 (under 0.16 only then)
    "apart": ({"objective__scores_std": np.where(STEPS > 10, 1.0, 0.8)}, 13),  # 0.8 + 0.04 each
    "spread": ({"objective__scores_std": np.where(STEPS > 10, 0.1, 0.8)}, 15),
    "ratio": ({"policy__first_ratio": np.where(STEPS >= 7, 1.002, 1.0)}, 7),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_alarm_rings_on_its_fault_from_the_step_that_its_threshold_says(name):
    changed, since = FAULTS[name]
    found = rung(**changed)
    assert set(found) == {name}
    assert (found[name].since, found[name].until) == (since, None)
    assert found[name].text.endswith(".") and found[name].fix


def test_a_held_out_reward_model_stands_before_the_judge_and_its_own_curve_shows_it():
    # 1.0 until 20, then 0.5: 6 of ten make a fall of 0.3, 5 one of 0.25, which is not above it
    found = rung(heldout__scores=np.where(STEPS > 20, 0.5, 1.0), objective__scores=RAMP)
    assert (found["gold"].since, found["gold"].metric) == (26, "heldout/scores")


def test_the_answers_ring_when_they_repeat_themselves():
    shares = {1: 0.0, 6: 0.21, 11: 0.5, 16: 0.1}
    found = rung(watched={step: WatchedFigures(share, 0.0) for step, share in shares.items()})
    assert set(found) == {"repetition"}
    assert (found["repetition"].since, found["repetition"].until) == (6, 11)
    assert found["repetition"].text.startswith("50%")


def test_a_reward_model_rings_when_its_held_out_loss_rises_again():
    loss = [0.69, math.nan, 0.40, math.nan, 0.41, math.nan, 0.43]
    found = alarms("reward", {"step": [1, 2, 3, 4, 5, 6, 7], "heldout/loss": loss})
    assert [(one.name, one.since) for one in found] == [("overfit", 7)]
    assert "0.43" in found[0].text and "0.4" in found[0].text
    assert alarms("reward", {"step": [1, 2], "heldout/loss": [0.7, 0.5]}) == []


def test_a_reward_model_rings_where_it_does_not_start_at_ln_2():
    found = alarms("reward", {"step": [1, 2], "first_loss": [5.68, math.nan]})
    assert [(one.name, one.since, one.metric) for one in found] == [("first_loss", 1, "first_loss")]
    assert "5.680" in found[0].text
    assert alarms("reward", {"step": [1], "first_loss": [math.log(2) + 0.019]}) == []


def test_a_reward_model_rings_while_a_coin_would_do_as_well():
    """16 of 24 is luck in 7.6 % of all tries, 17 of 24 in 3.2 %; the first row is too early."""
    columns = {
        "step": [1, 2, 3],
        "heldout/accuracy": [0.5, 16 / 24, 17 / 24],
        "heldout/pairs": [24.0, 24.0, 24.0],
        "pairs_seen": [399.0, 400.0, 800.0],
    }
    (found,) = alarms("reward", columns)
    assert (found.name, found.since, found.until) == ("coin", 2, 2)
    assert "After 400 pairs" in found.text and "66.7%" in found.text and "8%" in found.text


def test_the_chance_that_it_is_luck():
    assert luck_of(0.5, 2) == 0.75 and luck_of(1.0, 3) == 1 / 8
    assert luck_of(0.25, 2) == 0.75  # half a pair right is none: a whole one is needed for more
    # 1,050 of 2,000 is 49.5 pairs above the mean, or 2.2137 deviations: 0.01342 of a normal curve
    exact, close = luck_of(0.525, 2000), luck_of(0.525, 2002)
    assert exact == pytest.approx(0.01342, abs=2e-5) and close == pytest.approx(exact, abs=1e-3)
    assert luck_of(0.9, 100_000) == 0.0


def test_a_reward_model_rings_when_its_loss_spikes():
    """0.4, then five steps at 0.9: of five, 3 make 0.7 > 0.693; one noisy step rings nothing."""
    loss = [0.4] * 10 + [0.9] * 5 + [0.4] * 5
    (found,) = alarms("reward", {"step": list(range(1, 21)), "loss": loss})
    assert (found.name, found.since, found.until) == ("spike", 13, 17)
    quiet = [0.69] * 5 + [0.4] * 5 + [1.8] + [0.4] * 5
    assert alarms("reward", {"step": list(range(1, 17)), "loss": quiet}) == []


DPO_FAULTS = {
    # 0.6 nats a step at beta 0.1: the mean of five is under -5 nats at row 11
    "displaced": (
        {
            "rewards/chosen": -0.06 * STEPS,
            "rewards/rejected": -0.1 * STEPS,
            "beta": 0.1 + 0 * RAMP,
        },
        11,
    ),
    # 0.5 points a step: the mean of five is 5.5 at step 13, but risen is known from row 14
    "margin": ({"rewards/margins": 0.5 * STEPS}, 15),
    # 20 tokens at first, 31 from step 8 on
    "longer": ({"response/length": np.where(STEPS >= 8, 31.0, 20.0)}, 8),
    "overfit": ({"heldout/loss": np.where(STEPS >= 9, 0.6, 0.5)}, 9),
}


@pytest.mark.parametrize("name", DPO_FAULTS)
def test_a_dpo_run_rings_on_its_own_faults(name):
    changed, since = DPO_FAULTS[name]
    series = {metric: list(values) for metric, values in changed.items()}
    found = alarms("dpo", {"step": list(STEPS), **series})
    assert [(one.name, one.since, one.until) for one in found] == [(name, since, None)]


def test_chosen_answers_that_fall_alone_or_little_ring_nothing():
    beta = [0.1] * N
    rising = {"rewards/chosen": list(-0.06 * STEPS), "rewards/rejected": list(0.1 * STEPS)}
    assert alarms("dpo", {"step": list(STEPS), "beta": beta, **rising}) == []
    little = {"rewards/chosen": [-0.4] * N, "rewards/rejected": [-2.0] * N}  # 4 nats
    assert alarms("dpo", {"step": list(STEPS), "beta": beta, **little}) == []


def test_chosen_answers_that_stay_unlikely_ring_once():
    low = -0.9 + 0.05 * (-1.0) ** STEPS  # 9 nats, give or take half a nat
    rows = {"rewards/chosen": list(low), "rewards/rejected": [-2.0] * N, "beta": [0.1] * N}
    (alarm,) = alarms("dpo", {"step": list(STEPS), **rows})
    assert (alarm.name, alarm.until) == ("displaced", None)


def test_an_alarm_that_is_over_says_until_when_and_stands_after_those_that_ring():
    clipped = np.where((STEPS > 5) & (STEPS <= 15), 0.4, 0.0)
    entropy = np.where(STEPS <= 20, 1.0, 0.1)
    found = alarms("ppo", columns(policy__clipfrac=clipped, objective__entropy=entropy))
    assert [one.name for one in found] == ["entropy", "clip"]
    assert (found[1].since, found[1].until) == (9, 16)


def test_short_runs_missing_metrics_and_gaps_ring_nothing():
    assert alarms("ppo", {}) == []
    assert alarms("ppo", {name: values[:3] for name, values in HEALTHY["columns"].items()}) == []
    gaps = {name: [math.nan] * 9 for name in HEALTHY["columns"]} | {"step": list(range(9))}
    assert alarms("ppo", gaps) == []


def test_kinds_have_their_own_rules():
    assert rung("sft", policy__clipfrac=0.9 + 0 * RAMP) == {}


@pytest.mark.parametrize("kind", ["ppo", "online_dpo", "dpo", "sft"])
def test_the_answers_ring_when_they_are_all_the_same(kind):
    """The metric counts where it is logged, else the watched answers."""
    watched = {
        1: WatchedFigures(0.0, 0.2),
        6: WatchedFigures(0.0, 0.51),
        11: WatchedFigures(0.0, 0.8),
    }
    (found,) = alarms(kind, {"step": [1, 6, 11]}, watched)
    assert (found.name, found.since, found.until) == ("shared", 6, None)
    assert found.text.startswith("80%") and found.text.endswith("it was 20%.")
    logged = {"step": [1, 6, 11], "response/shared": [0.2, 0.3, 0.3]}
    assert alarms(kind, logged, watched) == []


def test_one_update_of_like_answers_rings_nothing():
    """The mean of five counts: 0.2 of each, then 0.7 of each; four make 0.6, three 0.5."""
    for last, since in ((3, None), (4, 9)):
        logged = {"step": list(range(1, 6 + last)), "response/shared": [0.2] * 5 + [0.7] * last}
        assert [alarm.since for alarm in alarms("ppo", logged)] == ([since] if since else [])


def test_answers_that_score_by_their_length_ring():
    """Of 1 to 4 words: scores in that order correlate by 1, in others by 0.8 and by -0.8.

    Of four answers 2.1 standard errors are tanh(2.1) = 0.9704, of twelve tanh(0.7) = 0.604.
    """

    def look(*scores):
        said = ["a", "a b", "a b c", "a b c d"] * 3
        rows = [{"response": r, "score": s} for r, s in zip(said, scores, strict=False)]
        return watched_figures(rows)

    assert look(1, 2, 3, 4)[2:] == (pytest.approx(1), 4)
    assert look(1, 3, 2, 4).length_pays == pytest.approx(0.8)
    assert np.isnan(look(2, 2, 2, 2).length_pays) and np.isnan(look(1, 2, 3).length_pays)
    assert np.isnan(look(1, 2, 3, None).length_pays)
    most, less = look(*[1, 2, 3, 4] * 3), look(*[1, 3, 2, 4] * 3)
    found = rung(watched={1: most, 6: less, 11: look(*[4, 2, 3, 1] * 3)})
    assert list(found) == ["long"]  # means 1, 0.9 and 0.33; of one look nothing is said
    assert (found["long"].since, found["long"].until) == (6, 6)
    assert found["long"].text.endswith("a correlation of 0.90.") and "2 looks" in found["long"].text
    assert list(rung(watched={1: look(1, 2, 3, 4), 6: look(1, 2, 3, 4)})) == ["long"]
    assert rung(watched={1: look(1, 2, 3, 4), 6: look(1, 3, 2, 4)}) == {}


def test_what_all_answers_share_from_the_start_rings_nothing():
    watched = {1: WatchedFigures(0.0, 0.6), 6: WatchedFigures(0.0, 0.84)}
    assert alarms("sft", {}, watched) == []


def test_a_policy_that_came_to_say_one_thing_rings():
    """What a real run's watched answers came to, at updates 1, 11 and 16."""
    said = {
        1: ["That is a hard one, and it depends", "Keep an eye out for changes", "Call her again"],
        11: ["I don't know.", "I don't know what I am doing", "Is there a reason to ask me that?"],
        16: ["I don't know.", "I'm not sure. I don't know.", "I don't know."],
    }
    (found,) = alarms("ppo", {}, {step: figures(*texts) for step, texts in said.items()})
    assert (found.name, found.since) == ("shared", 16)


def test_repetition_counts_runs_of_four_words():
    def repeated(*answers):
        return figures(*answers).repetition

    assert repeated("a b c d e f") == 0.0
    assert repeated("no no no no no no no no") == 1 - 1 / 5  # five runs, all the same
    assert repeated("a b c d a b c d") == 1 - 4 / 5
    assert repeated("", "a b") == 0.0 and repeated() == 0.0
    assert repeated("海が青い" * 5) == 1 - 4 / 17  # characters: 17 runs, 4 different
    assert repeated("a b c d a b c d", "a b c d e f") == pytest.approx(0.1)


def test_shared_phrases_are_in_a_quarter_of_the_other_answers():
    """Of nine answers two others must have a phrase; within one it counts once."""
    others = [f"{n} {n} {n}" for n in range(6)]
    assert figures(*others, "a b c", "a b c", "a b c d").shared == pytest.approx(2.5 / 9)
    assert figures(*others, "a b c", "a b c a b c", "x").shared == 0.0
    assert figures("a b c", "a b c").shared == 1.0  # one other is all there is
    assert figures("a b c").shared == 0.0 and figures("", "").shared == 0.0


def test_a_run_says_its_alarms_as_a_table(tmp_path):
    run = Run(RunFolder(tmp_path / "mine").create("ppo", {}, []))
    assert len(run.alarms()) == 0 and "fix" in run.alarms().columns
    rows = [{"step": s, "policy/first_ratio": 1.0 + 0.01 * s, "x": None} for s in (1, 2)]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {"step": 2, "response": "no no no no no no no no"}
    (run.path / "samples.jsonl").write_text(json.dumps(said) + "\n")
    assert list(run.alarms()["name"]) == ["repetition", "ratio"]


def test_the_page_of_metrics_has_the_table_of_alarms():
    page = (Path(__file__).parents[2] / "workbench" / "METRICS.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"| {rule.title} | {rule.when} | {rule.fix} |" in page
    assert len(RULES) == 20
