"""The report on the optimum: its numbers, and when it says that all is well."""

import pytest

from workbench.reports.analytic_check import AnalyticCheck

COLUMNS = ("text", "reward", "reference", "optimum", "policy", "seen")
ROWS = [
    dict(zip(COLUMNS, row, strict=True))
    for row in (
        ("yes <end>", 1.0, 0.5, 0.9, 0.8, None),
        ("no <end>", -1.0, 0.5, 0.1, 0.2, None),
    )
]


def check(method="ppo", **changes):
    found = {"worth": [0.0, 0.5, 0.96], "best": 1.0, "kl": 0.3, "reported": 0.31, "error": 0.01}
    return AnalyticCheck({**found, "answers": ROWS[::-1], **changes}, method)


def test_the_share_is_of_what_can_be_gained():
    assert check().share == pytest.approx(0.96) and check().passed
    assert check(worth=[0.5, 0.9]).share == pytest.approx(0.8)


@pytest.mark.parametrize("changes", [{"worth": [0.0, 0.94]}, {"reported": 0.35}])
def test_too_little_gained_or_a_wrong_kl_is_no_pass(changes):
    assert not check(**changes).passed and check(**changes).sentence.startswith("✗")


def test_it_is_told_in_words_a_table_and_pictures():
    found = check()
    assert "✓ PPO gained 96.0%" in repr(found) and "0.310 ± 0.010 as reported" in repr(found)
    assert found.frame["text"].tolist() == ["yes <end>", "no <end>"]  # what the optimum likes
    page = found._repr_html_()
    assert "yes &lt;end&gt;" in page and "<end>" not in page and "90.0%" in page
    assert list(found.figures) == ["gain", "probabilities"]
    assert list(found.figures["gain"].data[1].y) == [0.0, 0.5, 0.96]


def test_each_method_has_its_name_and_what_it_is_held_to():
    assert check("online_dpo", worth=[0.0, 0.92]).passed
    assert not check("rloo", worth=[0.0, 0.92]).passed
    assert check("rloo").sentence.startswith("✓ RLOO gained 96.0%")


def test_dpos_shortfall_is_explained_by_its_pairs():
    rows = [{**ROWS[0], "seen": 150}, {**ROWS[1], "policy": 0.05, "seen": 50}]
    found = check("dpo", worth=[0.0, 0.6], answers=rows)
    page = found._repr_html_()
    assert found.passed and "✓ DPO gained 60.0%" in page
    assert "100 pairs of the reference&#x27;s own answers: 1 of the 2 answers" in page
    assert "theirs is 33% of the probability that it lacks" in page  # 0.05 of 0.1 + 0.05
