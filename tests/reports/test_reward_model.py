import json
import re

import pytest

from workbench.analysis.appraisal import appraise
from workbench.analysis.learning_curve import fit_line, rightness_by_item
from workbench.analysis.scored_items import ScoredItems
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair
from workbench.data.store.labels import LabelStore
from workbench.json_lines import dumps
from workbench.reports.learning_curve import LearningCurve
from workbench.reports.reward_model import RewardReport
from workbench.widgets.labeller.labeller import Labeller


def turn(role, text):
    return [{"role": role, "content": text}]


def made(count=40, wrong=5, sharpness=1.0):
    items, scores = [], []
    for n in range(count):
        label = {"kind": "choice", "winner": 0, "annotator": ["ada", "<i>bob</i>"][n % 2]}
        answers = [turn("assistant", "x" * (n % 7 + 1)), turn("assistant", "yyyy")]
        items.append(Pair.make(turn("user", f"p{n}"), answers, label=label, meta={"subset": "<u>"}))
        scores += [0.1 * (n + 1) * (-1 if n < wrong else 1), 0.0]
    found = appraise(ScoredItems(items), scores, sharpness=sharpness)
    return RewardReport(found, name="<b>rm</b>", trained_on=100)


@pytest.fixture(scope="module")
def report():
    return made()


def test_it_is_a_mapping_of_its_figures(report):
    assert report["accuracy"] == 35 / 40 and report["pairs"] == report["items"] == 40
    assert (report["low"], report["high"]) == (report["accuracy_low"], report["accuracy_high"])
    assert {"longer_wins", "ceiling", "ece", "brier", "pearson", "ties"} <= set(report)
    assert set(report.frames["figures"]["figure"]) <= set(report)


def test_in_a_terminal_each_figure_has_two_lines(report):
    lines = repr(report).splitlines()
    assert lines[0].startswith("<b>rm</b> agrees with 87.5% of 40 comparisons (")
    assert len(lines) == 1 + 2 * len(report.summary)
    assert lines[1].startswith("  ✓ accuracy") and "  ● trained on" in repr(report)
    assert list(report.summary) == ["figure", "value", "interval", "what it means", "state"]


def test_in_a_notebook_texts_are_texts_and_colours_the_pages(report):
    page = report._repr_html_()
    assert "<i>" not in page and "<u>" not in page and "<b>rm" not in page
    assert "&lt;i&gt;bob&lt;/i&gt;" in page and "<script" not in page
    assert page.count("<figure") == len(report.figures) == 5
    assert list(report.figures) == ["calibration", "margins", "length", "annotators", "subsets"]
    assert not re.search(r"color:\s*(?:black|white|#000|#fff)", page)
    assert "The 5 worst disagreements" in page
    worst = page.split("<details>")[1]
    asked = [pair.prompt[-1]["content"] for pair in report.worst][:3]
    assert [text in worst for text in asked] == [True] * 3 and "<p>and 2 more</p>" in worst
    assert worst.count("✓ preferred") == 3  # one of two answers each
    assert "It disagrees with no label" in made(wrong=0)._repr_html_()


def test_rings_show_the_calibration_before_the_sharpness(report):
    drawn = made(sharpness=2.0)
    assert "the rings are without sharpness (2.00)" in drawn._repr_html_()
    names = [trace.name for trace in drawn.figures["calibration"].data]
    assert names == ["perfect calibration", "without sharpness (2.00)", "measured"]
    before, now = (drawn.frames[name]["confidence"] for name in ("uncalibrated", "calibration"))
    assert list(drawn.figures["calibration"].data[1].x) == list(before)
    assert (before < now).all()
    assert "rings" not in report._repr_html_()


def test_figures_hold_the_frames(report):
    assert list(report.figures["annotators"].data[0].x) == list(
        report.frames["annotators"]["accuracy"]
    )
    gaps = " ".join(report.figures["length"].data[0].y)
    assert "−" in gaps and "-" not in gaps and "+0" not in gaps  # a real minus; 0 has no sign
    right = report.figures["margins"].data[1]
    assert right.name == "right" and sum(right.y) == 35


def test_the_worst_open_in_the_labeller_without_their_margin(report, tmp_path):
    heard = []
    with LabelStore(tmp_path / "s.sqlite") as store:
        widget = Labeller(LabelSession(report.worst, store, annotator="ada"))
        widget.send = lambda content, buffers=None: heard.append(dumps(content))
        widget._handle_custom_msg({"type": "ready"}, [])
        assert '"p4"' in heard[-1]  # the worst one is shown
        told = ("disagreement", '"margin"', '"winner"', "bob", "<u>")
        assert not [word for word in told if word in heard[-1]]
        widget.close()
        assert report.relabelled(store).ids() == list(report.frames["pairs"]["item"])


def test_what_is_saved_is_json_and_small(report):
    saved = json.loads(dumps(report.saved()))
    assert saved["figures"]["accuracy"] == 35 / 40 and saved["figures"]["ceiling"] is None
    assert len(saved["frames"]["calibration"]) == 10 and "pairs" not in saved["frames"]
    assert saved["summary"][0]["figure"] == "accuracy"


class Named:
    def __init__(self, name):
        self.name = name


@pytest.fixture(scope="module")
def curve():
    reports = [made(wrong=wrong) for wrong in (20, 10, 0)]
    right = rightness_by_item([report.frames["pairs"] for report in reports])
    runs = [Named(f"<b>{n}</b>") for n in (1, 2, 3)]
    return LearningCurve([100, 200, 400], reports, runs, fit_line([100, 200, 400], right))


def test_a_learning_curve_says_what_labels_are_worth(curve):
    assert list(curve.frame["accuracy"]) == [0.5, 0.75, 1.0]
    assert curve.sentence.startswith("500 more labels: about +29.2 points (")  # 25 log2(900/400)
    lines = repr(curve).splitlines()
    assert lines[0] == curve.sentence and "400 labels  100.0%" in lines[3]
    assert lines[-1] == curve.warning and "400 labels are few" in curve.warning


def test_a_learning_curve_in_a_notebook(curve):
    page = curve._repr_html_()
    assert page.count("<figure") == 1 and "&lt;b&gt;3&lt;/b&gt;" in page and "<b>3" not in page
    assert "same 40 held-out items" in page and "● 400 labels are few" in page
    line, points = curve.figures["accuracy"].data
    assert list(points.x) == [100, 200, 400] and line.x[-1] == pytest.approx(900)
    assert max(line.y) == 1.0  # no line goes past being always right
