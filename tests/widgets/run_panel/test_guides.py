from workbench.widgets.run_panel.guides import guides_now


def ppo(kl, score, **more):
    return {"step": range(1, len(kl) + 1), "objective/kl": kl, "objective/scores": score, **more}


def test_what_kl_costs_and_where_it_would_cost_all_that_was_gained():
    columns = ppo([0.0] * 5 + [3.0] * 5, [0.0] * 5 + [1.0] * 5, kl_coef=[0.1] * 9 + [0.2])
    (found,) = guides_now("ppo", columns, {}).values()
    assert found["note"] == "at 0.2 a nat it costs 0.60 points"  # 0.2 x 3
    assert found["guides"] == [[5.0, "5 nats would cost all that was gained"]]  # 1 / 0.2


def test_the_price_is_the_setting_where_the_run_does_not_tell_it():
    columns = ppo([0.0] * 5 + [3.0] * 5, [0.0] * 10)
    found = guides_now("ppo", columns, {"kl_coef": 0.5})["objective/kl"]
    assert found == {"guides": [], "note": "at 0.5 a nat it costs 1.50 points"}  # nothing gained


def test_a_free_policy_and_a_held_one():
    columns = ppo([1.0] * 5, [0.0] * 5)
    assert (
        "nothing holds it" in guides_now("ppo", columns, {"kl_coef": 0.0})["objective/kl"]["note"]
    )
    adaptive = {"kl_coef": 0.1, "kl_control": "adaptive", "adaptive_kl_target": 6.0}
    ((value, words),) = guides_now("ppo", columns, adaptive)["objective/kl"]["guides"]
    assert value == 6.0 and words.startswith("6 nats")


def test_a_reward_model_should_beat_the_longer_answer():
    columns = {"step": [1, 2], "heldout/longer_wins": [float("nan"), 0.61]}
    found = guides_now("reward", columns, {})
    assert found["heldout/accuracy"]["guides"] == [[0.61, "61%: the longer answer wins"]]
    assert guides_now("sft", {"step": [1]}, {}) == {}
