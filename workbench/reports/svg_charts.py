"""Three kinds of chart, and each as inline SVG: no script, no kernel.

A picture stays in a saved notebook and follows the page's text colour. Marks differ by place or
shape as well as by colour. The same charts as Plotly figures: ``plotly_figures.py``.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

from workbench.widgets.kit.theme import OKABE_ITO, QUIET_INK

WIDTH, ROW = 330, 19  # [px] of a picture of rates; of a line of it
NAMES = 128  # [px] for the names beside rates
MOST_RATES = 40  # in a picture; the figure and the frame have more
MARK, BAND, WRONG = OKABE_ITO["blue"], OKABE_ITO["sky"], OKABE_ITO["vermillion"]
GREY = QUIET_INK
DASHED = "stroke='currentColor' stroke-opacity='.45' stroke-dasharray='4 3'"
AXIS = "stroke='currentColor' stroke-opacity='.3'"
GRID = "stroke='currentColor' stroke-opacity='.1'"
INTERVAL = f"stroke='{BAND}' stroke-width='3' stroke-opacity='.75'"

CORNERS = {
    "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
    "box": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
    "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
    "triangle": ((0, -4.5), (4.2, 3), (-4.2, 3)),
}
"""Marks with corners, from their middle [px]; box and diamond are empty."""

Scale = Callable[[float], float]  # from a value to its place in the picture [px]


class Rate(NamedTuple):
    """A named share, or another figure that is 1 at most, with its interval."""

    name: str
    value: float
    low: float | None
    high: float | None


class RateChart(NamedTuple):
    """Rates below each other.

    Attributes:
        under: what stands below them; may be empty.
        guide: where the dashed line stands.
        form: how a rate is written.
        least: where the axis starts, if no rate is lower.
    """

    title: str
    under: str
    rows: Sequence[Rate]
    guide: float
    form: str = ".1%"
    least: float = 1.0


class Point(NamedTuple):
    """A measured value at ``x``, with its interval."""

    x: float
    y: float
    low: float | None
    high: float | None


class HistogramBar(NamedTuple):
    """A bar of a histogram: how many of each kind lie between two ends."""

    start: float
    end: float
    right: int
    wrong: int


class Histogram(NamedTuple):
    """Counts of margins: what lies left of 0 is wrong, what lies right of it is right."""

    title: str
    x_title: str
    bars: Sequence[HistogramBar]


class Series(NamedTuple):
    """Marks at points, and a line that may go elsewhere.

    Attributes:
        mark: dot or ring, or one of :data:`CORNERS`.
        points: where the marks stand; empty for a line alone.
        line: corners of the line; empty for none.
        dashed: a line that was not measured.
        fitted: a line that was fitted to the points.
        labels: what each point is called when it is pointed at; empty for its place.
    """

    name: str
    colour: str
    mark: str
    points: Sequence[Point]
    line: Sequence[tuple[float, float]] = ()
    dashed: bool = False
    labels: Sequence[str] = ()
    fitted: bool = False


class SeriesChart(NamedTuple):
    """Several series over one another; a dashed line stands at each guide, with its words.

    Attributes:
        guides: where a line stands, and its words.
        x_form, y_form: how a value is written.
        log_x: x on a logarithmic axis, with a tick at each point.
    """

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    guides: Sequence[tuple[float, str]] = ()
    x_form: str = "g"
    y_form: str = "g"
    log_x: bool = False

    @property
    def alike(self) -> bool:
        """Whether both axes count shares: what agrees then lies at 45°."""
        return self.x_form.endswith("%") and self.y_form.endswith("%") and not self.log_x

    def labels_of(self, series: Series) -> list[str]:
        """Return what each point of a series is called."""
        return [*series.labels] or [f"{point.x:{self.x_form}}" for point in series.points]


StillChart = RateChart | Histogram | SeriesChart


def reference_line(name: str, corners: Sequence[tuple[float, float]]) -> Series:
    """Return a dashed line that measured points are compared with."""
    return Series(name, GREY, "", [], corners, dashed=True)


class _Area(NamedTuple):
    """A picture's size, and where in it values are drawn, in pixels."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


_SMALL = _Area(WIDTH, 210, 54, WIDTH - 14, 8, 210 - 34)
_LARGE = _Area(430, 270, 52, 430 - 14, 10, 270 - 38)
_SQUARE = _Area(334, 316, 52, 334 - 14, 10, 316 - 38)  # 268 both ways


class _Drawing(NamedTuple):
    """What is drawn, its size, what a screen reader says of it, and what the marks mean."""

    elements: Iterable[str]
    width: int
    height: int
    words: str
    legend: str = ""


def picture(chart: StillChart) -> str:
    """Return a chart as a figure element with an inline SVG."""
    if isinstance(chart, RateChart):
        drawing = _rates(chart)
    elif isinstance(chart, Histogram):
        drawing = _histogram(chart)
    else:
        drawing = _overlaid(chart)
    width, height = drawing.width, drawing.height
    return (
        f"<figure style='margin:0;width:{width}px;max-width:100%'>"
        f"<figcaption style='margin-bottom:4px'><b>{escape(chart.title)}</b>{drawing.legend}"
        f"</figcaption><svg width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
        f" role='img' style='max-width:100%' aria-label='{escape(chart.title)}:"
        f" {escape(drawing.words)}'>{''.join(drawing.elements)}</svg></figure>"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, at most one more than ``most``."""
    span = (high - low) or 1.0
    rough = span / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


# --- elements ------------------------------------------------------------------------------------


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='11'"
        f" fill='currentColor'{more}>{escape(words)}</text>"
    )


def _stroke(x: Sequence[float], y: Sequence[float], more: str) -> str:
    ends = f"x1='{x[0]:.1f}' x2='{x[1]:.1f}' y1='{y[0]:.1f}' y2='{y[1]:.1f}'"
    return f"<line {ends} {more}/>"


_FULL = f"r='4' fill='{MARK}' stroke='currentColor' stroke-opacity='.6'"


def _ink(part: str, colour: str) -> str:
    """A colour drawn towards the page's text: lighter on dark pages, darker on light ones."""
    return f"{part}='{colour}' style='{part}:color-mix(in srgb, {colour} 72%, currentColor)'"


def _mark(series: Series, x: float, y: float, words: str = "") -> str:
    full = f"{_ink('fill', series.colour)} fill-opacity='.85'"
    empty = f"fill='none' {_ink('stroke', series.colour)} stroke-width='1.6'"
    title = f"<title>{escape(words)}</title>" if words else ""
    if (corners := CORNERS.get(series.mark)) is not None:
        way = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in corners)
        look = empty if series.mark in ("diamond", "box") else full
        return f"<polygon points='{way}' {look}>{title}</polygon>"
    if not series.points:
        return _stroke([x - 6, x + 6], [y, y], f"{empty} stroke-dasharray='5 3'")
    look = full if series.mark == "dot" else empty
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.2' {look}>{title}</circle>"


def _axes(area: _Area, x_title: str, y_title: str) -> list[str]:
    """Both axes and their titles."""
    middle = (area.top + area.bottom) / 2
    turned = f" transform='rotate(-90 10 {middle:.0f})'"
    return [
        _stroke([area.left, area.left], [area.top, area.bottom], AXIS),
        _stroke([area.left, area.right], [area.bottom, area.bottom], AXIS),
        _text((area.left + area.right) / 2, area.height - 4, x_title),
        _text(10, middle, y_title, "middle", turned),
    ]


# --- the three kinds -----------------------------------------------------------------------------


def _rates(chart: RateChart) -> _Drawing:
    rows = chart.rows[:MOST_RATES]
    lows = [row.value if row.low is None else row.low for row in rows]
    low = min(chart.least, *(math.floor(value * 10) / 10 for value in (*lows, chart.guide)))
    at = _scale(low, 1.0, NAMES + 8, WIDTH - 52)
    bottom = ROW * len(rows)
    ticks = [low + (1.0 - low) * part / 4 for part in range(5)]
    drawn = [_stroke([at(tick)] * 2, [0, bottom], GRID) for tick in ticks]
    drawn.append(_stroke([at(low), at(1.0)], [bottom] * 2, AXIS))
    drawn.append(_stroke([at(chart.guide)] * 2, [0, bottom], DASHED))
    for place, row in enumerate(rows):
        y, value = ROW * (place + 0.5), f"{row.value:{chart.form}}"
        if row.low is not None and row.high is not None:
            drawn.append(_stroke([at(row.low), at(row.high)], [y, y], INTERVAL))
        short = row.name if len(row.name) <= 20 else f"{row.name[:18]}…"
        title = f"<title>{escape(f'{row.name}: {value}')}</title>"
        drawn.append(f"<circle cx='{at(row.value):.1f}' cy='{y:.1f}' {_FULL}>{title}</circle>")
        drawn.append(_text(NAMES, y + 4, short, "end"))
        drawn.append(_text(WIDTH, y + 4, value, "end"))
    form = ".0%" if chart.form.endswith("%") else chart.form
    for value in (ticks[0], ticks[2], ticks[4]):
        drawn.append(_text(at(value), bottom + 13, f"{value:{form}}", "middle", " opacity='.7'"))
    if chart.under:
        drawn.append(_text(WIDTH / 2, bottom + 30, chart.under))
    words = "; ".join(f"{row.name} {row.value:{chart.form}}" for row in rows)
    return _Drawing(drawn, WIDTH, bottom + (36 if chart.under else 19), words)


def _histogram(chart: Histogram) -> _Drawing:
    area, bars = _SMALL, chart.bars
    most = max(bar.right + bar.wrong for bar in bars)
    to_x = _scale(bars[0].start, bars[-1].end, area.left, area.right)
    to_y = _scale(0, most, area.bottom, area.top + 12)
    drawn: list[str] = []
    for bar in bars:
        count = bar.right + bar.wrong
        x, y = to_x(bar.start), to_y(count)
        colour, word = (WRONG, "wrong") if bar.wrong else (MARK, "right")
        drawn.append(
            f"<rect x='{x + 0.5:.1f}' y='{y:.1f}' width='{to_x(bar.end) - x - 1:.1f}'"
            f" height='{area.bottom - y:.1f}' fill='{colour}' fill-opacity='.85'>"
            f"<title>{bar.start:+.2f} to {bar.end:+.2f}: {count:,} {word}</title></rect>"
        )
    wrong, right = (sum(getattr(bar, kind) for bar in bars) for kind in ("wrong", "right"))
    zero = to_x(0.0)
    drawn.append(_stroke([area.left, area.right], [area.bottom] * 2, AXIS))
    drawn.append(_stroke([zero, zero], [area.top, area.bottom], DASHED))
    drawn.append(_text(zero - 5, area.top + 8, f"wrong {wrong:,}", "end"))
    drawn.append(_text(zero + 5, area.top + 8, f"right {right:,}", "start"))
    for value in (bars[0].start, 0.0, bars[-1].end):
        anchor = "middle" if value == 0 else "start" if value < 0 else "end"
        words = "0" if value == 0 else f"{value:+.1f}"
        drawn.append(_text(to_x(value), area.bottom + 14, words, anchor))
    drawn.append(_text((area.left + area.right) / 2, area.height - 4, chart.x_title))
    return _Drawing(drawn, area.width, area.height, f"{wrong:,} wrong, {right:,} right")


def _overlaid(chart: SeriesChart) -> _Drawing:
    def along(x: float) -> float:
        return math.log2(x) if chart.log_x else x

    area = _SQUARE if chart.alike else _LARGE
    points = [point for series in chart.series for point in series.points]
    corners = [corner for series in chart.series for corner in series.line]
    xs = [along(x) for x in (*(p.x for p in points), *(x for x, _ in corners))]
    ys = [y for p in points for y in (p.y, p.low, p.high) if y is not None]
    ys += [y for _, y in corners]
    pad = (max(ys) - min(ys)) * 0.04 or 0.5
    x_pad = (max(xs) - min(xs)) * 0.03 or 1.0
    x_ends = min(xs) - x_pad, max(xs) + x_pad
    y_ends = min(ys) - pad, max(ys) + pad
    if chart.alike:
        x_ends = y_ends = min(*x_ends, *y_ends), max(*x_ends, *y_ends)
    scale = _scale(*x_ends, area.left, area.right)
    to_y = _scale(*y_ends, area.bottom, area.top)

    def to_x(x: float) -> float:
        return scale(along(x))

    drawn = _axes(area, chart.x_title, chart.y_title)
    for x in sorted({p.x for p in points}) if chart.log_x else ticks(*x_ends):
        drawn.append(_text(to_x(x), area.bottom + 14, _number(x, chart.x_form)))
    for y in ticks(*y_ends):
        drawn.append(_text(area.left - 5, to_y(y) + 4, _number(y, chart.y_form), "end"))
        drawn.append(_stroke([area.left, area.right], [to_y(y)] * 2, GRID))
    for value, words in chart.guides:
        x = to_x(value)
        anchor, at = ("end", x - 4) if x > (area.left + area.width) / 2 else ("start", x + 4)
        drawn.append(_stroke([x, x], [area.top, area.bottom], DASHED))
        drawn.append(_text(at, area.bottom - 6, words, anchor))
    for series in chart.series:
        drawn += _series(chart, series, to_x, to_y)
    legend = " ".join(
        f"<span style='white-space:nowrap;margin-right:8px'><svg width='12' height='12'"
        f" style='vertical-align:-1px'>{_mark(series, 6, 6)}</svg> {escape(series.name)}</span>"
        for series in chart.series
    )
    words = "; ".join(_spoken(chart, series) for series in chart.series)
    return _Drawing(drawn, area.width, area.height, words, f"<br>{legend}")


def _number(value: float, form: str) -> str:
    if form.endswith("%"):
        return f"{value * 100:.3g}%"
    return f"{value:{form}}".replace("-", "−")


def _series(chart: SeriesChart, series: Series, to_x: Scale, to_y: Scale) -> list[str]:
    drawn: list[str] = []
    stroke = _ink("stroke", series.colour)
    if series.line:
        dash = " stroke-dasharray='5 3'" if series.dashed else ""
        way = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in series.line)
        drawn.append(f"<polyline points='{way}' fill='none' {stroke} stroke-width='1.8'{dash}/>")
    for label, point in zip(chart.labels_of(series), series.points, strict=True):
        x = to_x(point.x)
        if point.low is not None and point.high is not None:
            ends = [to_y(point.low), to_y(point.high)]
            drawn.append(_stroke([x, x], ends, f"{stroke} stroke-width='1.6' stroke-opacity='.6'"))
        words = f"{series.name}, {label}: {_value(point.y, chart.y_form)}"
        drawn.append(_mark(series, x, to_y(point.y), words))
    return drawn


def _value(value: float, form: str) -> str:
    return f"{value:{form}}" if form.endswith("%") else f"{value:.3g}"


def _spoken(chart: SeriesChart, series: Series) -> str:
    """What a screen reader says of a series: few shares one by one, of others where it leads."""
    points = series.points
    if not points:
        return f"the dashed line is {series.name}"
    if series.mark == "ring" and chart.y_form.endswith("%"):
        return f"the rings are {series.name}"
    if chart.y_form.endswith("%"):
        labels = chart.labels_of(series)
        return "; ".join(
            f"{label}: {point.y:{chart.y_form}}"
            for label, point in zip(labels, points, strict=True)
        )
    first, last = points[0], points[-1]
    return f"{series.name} from {first.y:.3g} at {first.x:.2g} to {last.y:.3g} at {last.x:.2g}"
