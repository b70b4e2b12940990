"""Pictures hold what they are given, as text; figures hold the same numbers."""

import re
import sys

import pytest

from workbench.errors import ConfigError
from workbench.reports.plotly_figures import PlotlyFigures, figure
from workbench.reports.svg_charts import (
    Histogram,
    HistogramBar,
    Point,
    Rate,
    RateChart,
    Series,
    SeriesChart,
    picture,
    reference_line,
)

DOTS = RateChart(
    "<b>Dots</b>", "under", [Rate("<i>a</i>", 0.5, 0.4, 0.6), Rate("b" * 30, 1.0, None, None)], 0.5
)
PLOT = SeriesChart(
    "Plot",
    "x",
    "y",
    [
        reference_line("line", [(100, 0.6), (400, 0.8)]),
        Series(
            "measured", "#0072B2", "dot", [Point(100, 0.6, 0.5, 0.7), Point(400, 0.8, None, None)]
        ),
    ],
    x_form=",.0f",
    y_form=".1%",
    log_x=True,
)
CURVE = SeriesChart(
    "Curve",
    "x",
    "y",
    [
        Series("measured", "#0072B2", "dot", [Point(0.75, 0.7, 0.6, 0.8)]),
        reference_line("line", [(0.5, 0.5), (1.0, 1.0)]),
    ],
    x_form=".1%",
    y_form=".1%",
)
COLUMNS = Histogram(
    "Columns",
    "x",
    [HistogramBar(-2, -1, 0, 3), HistogramBar(-1, 0, 0, 1), HistogramBar(0, 1, 6, 0)],
)
ALL = [DOTS, PLOT, CURVE, COLUMNS]


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.title)
def test_a_picture_follows_the_page_and_stays_inside(chart):
    drawn = picture(chart)
    assert "<i>" not in drawn and "<b>Dots" not in drawn
    assert not re.search(r"(?:color|fill|stroke)[:=]\s*'?(?:black|white|#000|#fff)", drawn)
    width, height = map(float, re.search(r"viewBox='0 0 (\d+) (\d+)'", drawn).groups())
    for x in re.findall(r" (?:x|x1|x2|cx)='([-\d.]+)'", drawn):
        assert 0 <= float(x) <= width
    for y in re.findall(r" (?:y|y1|y2|cy)='([-\d.]+)'", drawn):
        assert 0 <= float(y) <= height


def test_a_picture_can_be_read_aloud():
    assert "aria-label='Columns: 4 wrong, 6 right'" in picture(COLUMNS)
    assert "&lt;i&gt;a&lt;/i&gt; 50.0%" in picture(DOTS)
    assert "75.0%: 70.0%; the dashed line is line" in picture(CURVE)


def test_places_are_to_scale():
    """On a log axis 100, 200 and 400 stand at equal distances; a bar of 3 is half one of 6."""
    points = [Point(x, 0.5, None, None) for x in (100, 200, 400)]
    three = SeriesChart("p", "x", "y", [Series("three", "#0072B2", "dot", points)], log_x=True)
    a, b, c = (float(x) for x in re.findall(r"<circle cx='([\d.]+)'", picture(three))[1:])
    assert b - a == pytest.approx(c - b, abs=0.2) and b > a
    heights = [float(h) for h in re.findall(r"<rect [^>]*height='([\d.]+)'", picture(COLUMNS))]
    assert heights[0] == pytest.approx(heights[2] / 2, abs=0.1)


def test_figures_hold_the_same_numbers():
    dots, plot, columns = (figure(chart, "here") for chart in (DOTS, PLOT, COLUMNS))
    assert (
        list(dots.data[0].x) == [0.5, 1.0]
        and dots.layout.title.text == "<b>&lt;b&gt;Dots&lt;/b&gt;</b>"
    )
    assert list(dots.data[0].error_x.array) == pytest.approx([0.1, 0.0])
    assert list(plot.data[1].error_y.arrayminus) == pytest.approx([0.1, 0.0])
    assert plot.layout.xaxis.type == "log" and figure(CURVE, "x").layout.xaxis.tickformat == ".0%"
    assert [list(bar.y) for bar in columns.data] == [[3, 1, 0], [0, 0, 6]]


def test_figures_are_drawn_once_and_listed():
    figures = PlotlyFigures({"plot": PLOT, "dots": DOTS}, "report.figures")
    assert list(figures) == ["plot", "dots"] and len(figures) == 2 and "plot" in figures
    assert figures["plot"] is figures["plot"] and "other" not in figures
    with pytest.raises(ConfigError, match="there is no figure 'other'") as caught:
        figures["other"]
    assert "plot, dots" in caught.value.fix and "report.figures" in caught.value.where


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ConfigError, match="figures need plotly") as caught:
        figure(DOTS, "here")
    assert "rlhf-workbench[notebook]" in caught.value.fix


def test_axes_that_are_alike_are_as_long_so_that_what_agrees_lies_at_45_degrees():
    agree = reference_line("as sure as right", [(0.5, 0.5), (1.0, 1.0)])
    points = Series("measured", "#000", "dot", [Point(0.6, 0.9, None, None)])
    chart = SeriesChart("Sure", "sure", "right", [agree, points], x_form=".1%", y_form=".1%")
    dashed = re.search(r"<polyline points='([^']+)'[^>]*dasharray", picture(chart))
    (x0, y0), (x1, y1) = (map(float, corner.split(",")) for corner in dashed[1].split())
    assert x1 - x0 == pytest.approx(y0 - y1, abs=0.2)
    assert figure(chart, "here").layout.yaxis.scaleanchor == "x"
    assert figure(chart._replace(x_form=".2f"), "here").layout.yaxis.scaleanchor is None


def test_rates_stand_over_a_scale_with_its_ends_and_its_middle():
    svg = picture(DOTS)
    assert re.findall(r"opacity='.7'>([^<]+)<", svg) == ["40%", "70%", "100%"]
    assert svg.count("stroke-opacity='.1'") == 5  # a line at each quarter
