"""One sentence on how a run stands, from made figures whose course is known."""

import math
import random

import made_runs
import pytest

from workbench.runs.alarms import alarms
from workbench.runs.verdict import trend_of, verdict

NAN = float("nan")


def said(kind, columns, state="running", **more):
    """The sentence of a run with these figures."""
    rung = [alarm.as_dict() for alarm in alarms(kind, columns)]
    status = {"state": state, "step": len(columns.get("step", ())), **more}
    return verdict(kind, columns, rung, status, name="mine", model="builtin:tiny-chat")


def ppo(score, kl, **more):
    return {
        "step": list(range(1, len(score) + 1)),
        "objective/scores": score,
        "objective/kl": kl,
        **more,
    }


def line(start, end, count):
    return [start + (end - start) * i / (count - 1) for i in range(count)]


def test_the_sentence_of_a_run_that_rises_while_the_watched_score_stands_still():
    watched = line(0.0, 0.6, 40) + [0.6] * 20
    columns = ppo(line(0.0, 1.4, 60), line(0.0, 2.5, 60), **{"heldout/scores": watched})
    found = said("ppo", columns)
    # means of five: the score from 0.047 to 1.353, KL 2.42; the watched score's means reach
    # 0.6 less 8 % of their way, 0.554, at the mean whose middle is update 38
    assert found.lead == "Reward score +1.3 for 2.4 nats"
    assert found.rest == (
        ", still rising; watched score 0.03 → 0.60, level since update 38. No alarm."
    )
    assert (found.basis, found.advice, found.tone) == ("means of 5 updates", "", "good")
    assert str(found) == f"{found.lead}{found.rest}"


def test_at_the_end_it_says_what_came_of_it_and_what_to_do_next():
    columns = ppo(line(0.0, 1.4, 30) + [1.4] * 30, line(0.0, 2.5, 60))
    found = said("ppo", columns, "finished")
    assert found.lead == "Reward score +1.3 for 2.4 nats" and found.rest.startswith(", level since")
    assert "No alarm" not in found.rest
    assert found.advice == (
        "Next: wb.compare('builtin:tiny-chat', 'mine', prompts=…) reads it blind; "
        "wb.next_round('mine', store) takes its answers to the labeller."
    )
    rising = said("ppo", ppo(line(0.0, 1.4, 60), line(0.0, 2.5, 60)), "finished")
    assert "rising to the end" in rising.rest and "more steps may bring more" in rising.advice


def test_what_rings_comes_first_with_what_to_do():
    columns = ppo([0.1] * 60, line(0.0, 15.0, 60))
    found = said("ppo", columns)
    assert found.lead == "KL runs ahead of the reward" and found.tone == "bad"
    assert found.rest == ": reward score 0.00 for 14.5 nats, level from the start."
    assert found.advice.startswith("What to do: Double kl_coef")


def test_the_worst_alarm_is_the_one_that_the_rules_name_first():
    figures = {"objective/entropy": [2.0] * 10 + [0.01] * 50, "policy/first_ratio": [1.1] * 60}
    found = said("ppo", ppo([0.1] * 60, [0.1] * 60, **figures))
    assert found.lead == "The first ratio is not 1"
    assert found.advice.endswith("Also: entropy collapses.")


def test_few_updates_say_no_more_than_they_know():
    found = said("ppo", ppo([0.0, 0.5, 1.0], [0.0, 0.1, 0.2]))
    assert found.rest == "; too early to say more."


@pytest.mark.parametrize(
    ("state", "lead"),
    [
        ("starting", "Still starting."),
        ("running", "The first update is under way."),
        ("stopped", "It ended before its first update."),
        ("failed", "It failed at update 0"),
    ],
)
def test_before_any_figure_it_says_what_is_waited_for(state, lead):
    assert said("ppo", {}, state, error="OutOfMemoryError: 2 GiB\nmore").lead == lead


def test_a_reward_model_is_told_by_its_held_out_pairs():
    accuracy = [NAN if i % 5 else 0.5 + 0.006 * i for i in range(1, 61)]
    columns = {
        "step": list(range(1, 61)),
        "pair_loss": line(0.69, 0.40, 60),
        "loss": line(1.0, 0.45, 60),
        "heldout/accuracy": accuracy,
        "heldout/pairs": [NAN if math.isnan(a) else 200.0 for a in accuracy],
        "heldout/longer_wins": [NAN if math.isnan(a) else 0.61 for a in accuracy],
    }
    found = said("reward", columns)
    assert found.lead == "Right on 86% of 200 held-out pairs"  # 0.5 + 0.006 x 60
    assert found.rest == (
        "; 53% when first measured; “the longer answer wins” is right on 61%; "
        "loss 0.41 nats (guessing is 0.69), still falling. No alarm."
    )
    assert found.tone == "good"
    columns["heldout/longer_wins"] = [NAN] * 59 + [0.9]
    assert said("reward", columns).tone == "warn"  # a rule without a model does better
    assert "wb.evaluate_reward('mine', pairs)" in said("reward", columns, "finished").advice


def test_a_fine_tuned_model_is_told_by_its_loss():
    found = said("sft", {"step": list(range(1, 61)), "loss": line(4.0, 1.0, 60)})
    assert found.lead == "Loss 1.10 nats a token"
    assert found.rest == (
        ", from 3.90, still falling; as if choosing among 3.0 tokens. No alarm."  # exp(1.10)
    )


def test_the_sentence_of_a_dpo_run():
    sparse = [0.0] + [NAN] * 28 + [1.5]
    held = [NAN] * 9 + [0.6] + [NAN] * 19 + [0.75]
    columns = {
        "step": list(range(1, 31)),
        "rewards/margins": line(0.0, 2.9, 30),
        "objective/kl": sparse,
        "objective/gold": [0.5] + [NAN] * 28 + [0.7],
        "heldout/accuracy": held,
        "heldout/pairs": [NAN] * 29 + [80.0],
    }
    found = said("dpo", columns)
    # the last five margins are 2.5 to 2.9
    assert found.lead == "Right on 75% of 80 held-out pairs for 1.5 nats"
    assert found.rest == "; margin 2.70, still rising; gold score 0.50 → 0.70. No alarm."
    assert found.tone == "good" and found.basis.endswith("means of 5 steps")
    done = said("dpo", columns, "finished")
    assert "wb.compare('builtin:tiny-chat', 'mine', prompts=…)" in done.advice
    alone = said("dpo", {"step": columns["step"], "rewards/margins": columns["rewards/margins"]})
    assert alone.lead.startswith("Right on") and alone.tone == "quiet"


def test_an_online_dpo_run_is_told_like_ppo_and_sent_to_no_round():
    score = {"step": [float(n) for n in range(1, 31)], "objective/scores": [1.0] * 30}
    done = said("online_dpo", score, "finished")
    assert (
        done.lead.startswith("Reward score") and "wb.sample_pairs('mine', prompts)" in done.advice
    )
    assert "wb.next_round" in said("ppo", score, "finished").advice


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "online_dpo", "ppo", "of another kind"])
def test_any_run_with_any_figures_has_a_sentence(kind):
    for columns in ({"step": [1.0]}, {"step": [1.0, 2.0], "odd": [NAN, 1.0]}):
        found = said(kind, columns)
        assert found.lead and str(found).endswith(".")


def test_a_long_run_is_told_in_longer_means():
    rng = random.Random(0)
    noise = [rng.random() for _ in range(5_000)]
    found = said("ppo", ppo(noise, line(0.0, 1.0, 5_000)))
    assert found.basis == "means of 200 updates"  # a 25th
    assert found.rest == ", level from the start. No alarm."


def test_noise_alone_is_no_movement():
    moved = 0
    for seed in range(60):
        rng = random.Random(seed)
        found = trend_of(range(60), [rng.gauss(0, 0.1) for _ in range(60)])
        moved += found.way != "level" or found.since is not None
    assert moved <= 6


@pytest.mark.parametrize(
    ("values", "way", "since"),
    [
        (line(0, 1, 50), "rising", None),
        (line(1, 0, 50), "falling", None),
        ([0.5] * 50, "level", None),
        (line(0, 1, 25) + line(1, 0, 25), "falling", 24),  # the means' peak is at 24 and 25
        (line(0, 1, 20) + [1.0] * 30, "level", 18),
    ],
)
def test_the_course_of_a_curve(values, way, since):
    found = trend_of(range(50), values)
    assert (found.way, found.since) == (way, since)


def test_a_course_has_its_start_and_its_end_and_gaps_are_left_out():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, NAN, 7.0, 8.0, 9.0, 10.0, 11.0]
    found = trend_of(range(11), values)
    assert (found.start, found.now) == (3.0, 9.0)
    assert trend_of([1, 2], [NAN, NAN]) is None


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("healthy", "Reward score +1.2 for 2.3 nats"),
        ("over-optimised", "The watched score falls while the reward score rises"),
        ("collapsed", "Entropy collapses"),
        ("racing", "KL runs ahead of the reward"),
        ("value-blind", "The value model does not explain the returns"),
        ("starting", "Still starting."),
    ],
)
def test_six_runs_are_told_apart_by_their_first_words(tmp_path, name, lead):
    from workbench.widgets.run_panel.run_feed import RunFeed

    feed = RunFeed(made_runs.character(tmp_path / name, name))
    feed.refresh()
    assert feed.verdict().lead == lead


def test_a_run_that_waits_for_a_person_says_so_first():
    asks = {"phase": "waiting for labels"}
    found = said("online_dpo", {"step": []}, **asks)
    assert str(found) == "It waits for labels. wb.label(run) shows what it asks."
    columns = {"step": [1, 2], "objective/kl": [0.0, 0.5], "rewards/margins": [0.0, 0.1]}
    after = said("online_dpo", columns, **asks)
    assert after.lead == found.lead and after.rest.startswith(found.rest) and after.tone == "warn"
    assert "waits" not in said("online_dpo", columns, "stopped", **asks).lead
