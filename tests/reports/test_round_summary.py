from workbench.reports.round_summary import conclusion_of

LABELS = {"round": 2, "pairs": 64, "labelled": 48, "old_agrees": 0.5, "heldout_accuracy": 0.8125}


def test_a_round_comes_to_what_its_policy_gained_and_what_was_labelled():
    turn = {"gold_before": 0.5, "gold": 0.72, "score_before": -0.1, "score": 1.0, "kl": 2.1}
    told = conclusion_of({**LABELS, **turn})
    assert told.lead == "The policy's gold score rose from 0.500 to 0.720 at 2.10 nats."
    assert told.rest == (
        " 48 labels of 64 pairs; the new reward model is right on 81% of held-out pairs; the one "
        "before had 50% of the new labels right."
    )
    assert (told.tone, told.basis) == ("good", "means of the last ten updates")


def test_without_a_gold_judge_the_reward_score_speaks_and_a_fall_warns():
    told = conclusion_of({**LABELS, "score_before": 0.25, "score": -0.1})
    assert told.lead == "The policy's reward score fell from +0.25 to −0.10."
    assert told.tone == "warn"


def test_of_a_round_that_goes_on_it_says_how_far_it_is():
    told = conclusion_of({"round": 1, "pairs": 64, "labelled": 3})
    assert (told.lead, told.rest) == ("3 labels of 64 pairs", ".") and told.advice
