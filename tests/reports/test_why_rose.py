import re

import pytest

from workbench.analysis.score_rise import BeforeAfter, RiseCause, SampledAnswer, ScoreRise
from workbench.reports.why_rose import WhyRose

PAIR = BeforeAfter(
    SampledAnswer(1, "<i>say</i>", "no", 0.0), SampledAnswer(9, "<i>say</i>", "<b>yes</b>", 1.5)
)


def found(told=0.9, **changed):
    causes = (
        RiseCause("opens with “<b>yes”", 0.9, 0.0, 0.75, True, (PAIR,)),
        RiseCause("length", -0.1, 8.25, 7.0, False, ()),
    )
    facts = {"first": 1, "last": 9, "total": 1.3, "causes": causes, "rest": 0.5}
    rise = ScoreRise(**{**facts, "answers": (8, 8), "seen": 24, "told": told, **changed})
    return WhyRose("mine", rise, "update")


def test_the_parts_are_told_with_what_moved():
    told = repr(found())
    assert told.splitlines()[0] == (
        "The mean reward score of mine moved by +1.30 from update 1 to 9, most of it by one "
        "feature: opens with “<b>yes”."
    )
    assert "of +1.30, opens with “<b>yes” +0.90, length −0.10, rest +0.50" in told
    assert "0% → 75% of the answers" in told and "length: 8.25 → 7" in told
    assert "“no” → “<b>yes</b>”" in told


def test_the_frame_adds_up_to_the_change():
    frame = found().frame
    assert list(frame["feature"]) == ["opens with “<b>yes”", "length", "rest"]
    assert frame["part"].sum() == pytest.approx(1.3)


def test_texts_stay_texts_on_the_page():
    html = found()._repr_html_()
    assert "<b>yes" not in html and "<i>" not in html and "&lt;b&gt;yes&lt;/b&gt;" in html
    widths = [int(width) for width in re.findall(r"width:(\d+)px;height:100%", html)]
    assert widths == [60, 7, 33]  # of 60 pixels each way: 0.9, 0.1 and 0.5 of 0.9
    assert "8 answers to 8" in html and "24 answers" in html


def test_a_weak_fit_is_warned_of():
    assert found().warning == ""
    assert "tell 20% of how the answers' scores differ" in found(told=0.2).warning


def test_nothing_named_is_all_rest():
    told = found(causes=(), rest=0.0, total=0.0, told=None)
    assert told.sentence == "The mean reward score of mine did not move from update 1 to 9."
    assert told.warning == "" and "rest" in told._repr_html_()
