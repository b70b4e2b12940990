"""A field of series: as a picture and as a figure it holds the same points."""

import re

import pytest

from workbench.reports.plotly_figures import figure
from workbench.reports.svg_charts import Point, Series, SeriesChart, picture, ticks

RUN = Series(
    "<b>run</b>",
    "#0072B2",
    "dot",
    [Point(0, 0.5, None, None), Point(2, 0.9, None, None)],
    line=[(0, 0.5), (1, 0.8), (2, 0.9)],
    dashed=True,
    fitted=True,
    labels=["update 1", "update 2"],
)
BEST = Series(
    "best", "#009E73", "diamond", [Point(1, 0.8, 0.7, 0.9)], line=[(1, 0.8)], labels=["best of 4"]
)
FIELD = SeriesChart("Gold", "√KL", "0 to 1", [RUN, BEST], [(1.5, "peak <2>")])


@pytest.mark.parametrize("mark", ["dot", "square", "diamond", "ring", "triangle", "box"])
def test_a_picture_follows_the_page_and_stays_inside(mark):
    drawn = picture(FIELD._replace(series=[RUN._replace(mark=mark), BEST]))
    assert "<b>run" not in drawn and "&lt;b&gt;run" in drawn and "peak &lt;2&gt;" in drawn
    assert not re.search(r"(?:color|fill|stroke)[:=]\s*'?(?:black|white|#000|#fff)", drawn)
    width, height = 430, 270
    for x in re.findall(r" (?:x|x1|x2|cx)='([-\d.]+)'", drawn):
        assert 0 <= float(x) <= width
    for y in re.findall(r" (?:y|y1|y2|cy)='([-\d.]+)'", drawn):
        assert 0 <= float(y) <= height


def test_a_picture_can_be_read_aloud():
    assert "aria-label='Gold: &lt;b&gt;run&lt;/b&gt; from 0.5 at 0 to 0.9 at 2; best" in picture(
        FIELD
    )


def test_places_are_to_scale():
    drawn = picture(FIELD)
    left, right = (float(x) for x in re.findall(r"<circle cx='([\d.]+)' cy='[\d.]+' r", drawn)[1:])
    guide = float(re.search(r"x1='([\d.]+)' x2='\1'[^>]*dasharray", drawn)[1])
    assert guide == pytest.approx(left + (right - left) * 0.75, abs=0.2)


def test_the_figure_holds_the_same_numbers():
    drawn = figure(FIELD, "here")
    fitted, run, _, best = drawn.data
    assert (fitted.mode, fitted.line.dash, run.mode) == ("lines", "dash", "markers")
    assert list(run.x) == [0, 2] and list(run.y) == [0.5, 0.9]
    assert list(best.error_y.array) == pytest.approx([0.1])
    assert run.error_y.array is None and list(best.text) == ["best of 4"]
    assert drawn.layout.annotations[0].text == "peak &lt;2&gt;"
    assert drawn.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_one_point_alone_is_drawn_too():
    alone = Series("one", "#0072B2", "ring", [Point(0, 0.0, None, None)])
    assert "<circle" in picture(SeriesChart("t", "x", "y", [alone]))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 2, [0, 0.5, 1.0, 1.5, 2.0]),
        (0.46, 0.93, [0.5, 0.6, 0.7, 0.8, 0.9]),
        (-1, 9, [0, 2, 4, 6, 8]),
        (0, 0, [0]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
