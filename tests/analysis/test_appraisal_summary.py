import pytest

from workbench.analysis.appraisal import Appraisal, appraise
from workbench.analysis.appraisal_summary import LOOK, OK, lines_of, points, title_of
from workbench.analysis.scored_items import ScoredItems

from ..data.made_items import item, ranks

GOOD = {
    **{"accuracy": 0.8, "accuracy_low": 0.78, "accuracy_high": 0.82},
    **{"longer_wins": 0.5, "longer_wins_low": 0.48, "longer_wins_high": 0.52},
    **{"over_longer": 0.3, "over_longer_low": 0.27, "over_longer_high": 0.33},
    **{"ceiling": 0.81, "ceiling_low": 0.79, "ceiling_high": 0.83},
    **{"under_ceiling": 0.01, "under_ceiling_low": -0.01, "under_ceiling_high": 0.03},
    **{"ece": 0.02, "ece_low": 0.0, "ece_high": 0.03, "ece_by_chance": 0.02},
    **{"confidence": 0.79, "overconfidence": -0.01, "sharpness": 1.0, "ece_uncalibrated": 0.02},
    **{"overconfidence_low": -0.03, "overconfidence_high": 0.01},
    **{"brier": 0.14, "brier_low": 0.13, "brier_high": 0.15},
    **{"loss": 0.4, "loss_low": 0.38, "loss_high": 0.42},
    **{"margin": 1.4, "margin_low": 1.3, "margin_high": 1.5},
    **{"pearson": 0.1, "pearson_low": 0.05, "pearson_high": 0.15, "spearman": 0.12},
    **{"prefers_longer": 0.52, "prefers_longer_low": 0.5, "prefers_longer_high": 0.54},
    **{"labels_prefer_longer": 0.51},
}
COUNTS = {"pairs": 2000, "items": 2000, "ties": 0, "unlabelled": 0, "too_long": 0}


def lines(trained_on=None, counts=COUNTS, **changed):
    found = appraise(ScoredItems([item("p", ["a", "b"])]), [1, 0])
    made = Appraisal({**GOOD, **changed}, counts, found.frames, found.worst, [], found.best_of)
    return {line.figure: line for line in lines_of(made, trained_on)}


def test_a_good_model_has_nothing_to_look_at():
    found = lines()
    assert {line.state for line in found.values()} <= {OK, ""}
    assert found["accuracy"][1:3] == ("80.0%", "78.0% to 82.0%")
    assert "1 point below it (-1.0 to +3.0)" in found["noiseless judge"].meaning
    assert "the model is 30 points above it (+27.0 to +33.0)" in found["longer wins"].meaning
    assert "left out" not in found and "trained on" not in found


@pytest.mark.parametrize(
    ("line", "changed", "words"),
    [
        ("accuracy", {"accuracy_low": 0.49}, "not surely better than a coin"),
        ("longer wins", {"over_longer_low": -0.01}, "learned little but length"),
        (
            "calibration error",
            {"ece": 0.09, "overconfidence": 0.08, "overconfidence_low": 0.05},
            "Over-confident: 79.0% sure on average, 80.0% right; train for fewer epochs",
        ),
        (
            "calibration error",
            {"ece": 0.09, "overconfidence": -0.08, "overconfidence_high": -0.05},
            "Too modest",
        ),
        ("Brier score", {"brier": 0.3}, "a coin's is 0.25"),
        ("loss", {"loss": 0.8}, "a coin's is 0.693"),
        ("score and length", {"pearson": 0.5, "pearson_low": 0.4}, "Longer answers score higher"),
        ("score and length", {"pearson": -0.5, "pearson_high": -0.4}, "Shorter answers"),
        (
            "prefers longer",
            {"prefers_longer": 0.6, "prefers_longer_low": 0.55, "prefers_longer_high": 0.65},
            "it makes more of length than people do",
        ),
    ],
)
def test_what_is_wrong_is_marked_and_said(line, changed, words):
    found = lines(**changed)[line]
    assert found.state == LOOK and words in found.meaning


def test_sharpness_is_told_where_there_is_one_with_the_error_without_it():
    assert "sharpness" not in lines()
    line = lines(sharpness=1.417, ece_uncalibrated=0.061)["sharpness"]
    assert line.value == "×1.42" and line.state == "" and "would be 0.061" in line.meaning


def test_few_pairs_cannot_prove_a_calibration_error():
    assert lines(ece=0.09, ece_by_chance=0.1)["calibration error"].state == OK


def test_what_was_left_out_is_counted_by_reason():
    counts = {**COUNTS, "ties": 3, "too_long": 1200}
    found = lines(counts=counts)["left out"]
    assert found.value == "1,203"
    assert (
        found.meaning == "3 items are ties; 1,200 comparisons have an answer that fills max_length"
    )


def test_few_training_pairs_are_a_warning():
    assert lines(trained_on=1999)["trained on"].state == LOOK
    assert "learning_curve" in lines(trained_on=1999)["trained on"].meaning
    assert lines(trained_on=2000)["trained on"].state == ""


def test_what_cannot_be_known_is_said():
    nan = float("nan")
    assert lines(pearson=nan)["score and length"].value == "undefined"
    assert "prefers longer" not in lines(prefers_longer=nan)
    assert "noiseless judge" not in lines(ceiling=nan)
    assert "interval not known" in lines(over_longer_low=nan)["longer wins"].meaning
    assert lines(ece_low=nan)["calibration error"].interval == "not known"


def test_many_answers_have_a_line_of_their_own():
    found = appraise(ScoredItems([item("m", ["a", "b", "c"], ranks(1, 2, 3))]), [2, 1, 0])
    line = next(line for line in lines_of(found) if line.figure == "best of 3")
    assert line.value == "100.0%" and "chance is 33%" in line.meaning
    assert title_of(found).startswith("agrees with 100.0% of 3 comparisons")


def test_points():
    assert [points(x) for x in (0.031, -0.01, 0.3)] == ["3.1 points", "1 point", "30 points"]
