"""Three kinds of small chart, and each as inline SVG: no script, no kernel.

A picture stays in a saved notebook and follows the page's text colour. Marks differ by place as
well as by colour. The same charts as Plotly figures: ``chart_figures.py``.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from workbench.widgets.kit.theme import OKABE_ITO

WIDTH, HEIGHT, ROW = 330, 210, 19  # [px] of a picture; of a line of dots
NAMES = 128  # [px] for the names beside dots
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 8, 34  # [px] around the plotting area
MOST = 24  # lines of dots in a picture; the figure and the frame have more
MARK, BAND, WRONG = OKABE_ITO["blue"], OKABE_ITO["sky"], OKABE_ITO["vermillion"]


class Dot(NamedTuple):
    """A named share with its interval."""

    name: str
    value: float
    low: float | None
    high: float | None


class Dots(NamedTuple):
    """Shares below each other; the dashed line stands at ``guide``, as ``under`` says."""

    title: str
    under: str
    rows: Sequence[Dot]
    guide: float


class Point(NamedTuple):
    """A measured value at ``x``, with its interval."""

    x: float
    y: float
    low: float | None
    high: float | None


class Plot(NamedTuple):
    """Points with intervals beside a line that they are compared with; rings: what was before."""

    title: str
    x_title: str
    y_title: str
    points: Sequence[Point]
    line: Sequence[tuple[float, float]]
    line_name: str
    log_x: bool = False
    rings: Sequence[Point] = ()
    ring_name: str = ""


class Column(NamedTuple):
    """A bar of a histogram: how many of each kind lie between two ends."""

    start: float
    end: float
    right: int
    wrong: int


class Columns(NamedTuple):
    """A histogram whose left half is wrong and whose right half is right."""

    title: str
    x_title: str
    columns: Sequence[Column]


Chart = Dots | Plot | Columns


def picture(chart: Chart) -> str:
    """Return a chart as a figure element with an inline SVG."""
    if isinstance(chart, Dots):
        drawn, height, told = _dots(chart)
    elif isinstance(chart, Plot):
        drawn, height, told = _plot(chart)
    else:
        drawn, height, told = _columns(chart)
    return (
        f"<figure style='margin:0;width:{WIDTH}px;max-width:100%'>"
        f"<figcaption style='margin-bottom:4px'>"
        f"<b>{escape(chart.title)}</b></figcaption><svg width='{WIDTH}' height='{height}'"
        f" viewBox='0 0 {WIDTH} {height}' role='img' style='max-width:100%'"
        f" aria-label='{escape(chart.title)}: {escape(told)}'>{drawn}</svg></figure>"
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='11'"
        f" fill='currentColor'{more}>{escape(words)}</text>"
    )


def _stroke(x: Sequence[float], y: Sequence[float], more: str) -> str:
    ends = f"x1='{x[0]:.1f}' x2='{x[1]:.1f}' y1='{y[0]:.1f}' y2='{y[1]:.1f}'"
    return f"<line {ends} {more}/>"


DASHED = "stroke='currentColor' stroke-opacity='.45' stroke-dasharray='4 3'"
AXIS = "stroke='currentColor' stroke-opacity='.3'"
INTERVAL = f"stroke='{BAND}' stroke-width='3' stroke-opacity='.75'"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _dots(chart: Dots) -> tuple[str, int, str]:
    rows = chart.rows[:MOST]
    least = min(row.value if row.low is None else row.low for row in rows)
    low = min(math.floor(least * 10) / 10, math.floor(chart.guide * 10) / 10)
    at = _scale(low, 1.0, NAMES + 8, WIDTH - 52)
    bottom = ROW * len(rows)
    drawn = [_stroke([at(chart.guide)] * 2, [0, bottom], DASHED)]
    for place, row in enumerate(rows):
        y = ROW * (place + 0.5)
        if row.low is not None and row.high is not None:
            drawn.append(_stroke([at(row.low), at(row.high)], [y, y], INTERVAL))
        short = row.name if len(row.name) <= 20 else f"{row.name[:18]}…"
        drawn.append(_circle(at(row.value), y, f"{row.name}: {row.value:.1%}"))
        drawn.append(_text(NAMES, y + 4, short, "end"))
        drawn.append(_text(WIDTH, y + 4, f"{row.value:.1%}", "end"))
    for value in (low, 1.0):
        drawn.append(_text(at(value), bottom + 13, f"{value:.0%}", "middle", " opacity='.7'"))
    told = "; ".join(f"{row.name} {row.value:.1%}" for row in rows)
    drawn.append(_text(WIDTH / 2, bottom + 30, chart.under))
    return "".join(drawn), bottom + 36, told


def _circle(x: float, y: float, told: str) -> str:
    return (
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{MARK}' stroke='currentColor'"
        f" stroke-opacity='.6'><title>{escape(told)}</title></circle>"
    )


def _ring(x: float, y: float, told: str) -> str:
    return (
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='none' stroke='{WRONG}'"
        f" stroke-width='1.5'><title>{escape(told)}</title></circle>"
    )


def _plot(chart: Plot) -> tuple[str, int, str]:
    def along(x: float) -> float:
        return math.log2(x) if chart.log_x else x

    points = chart.points
    alone = [(p.x, p.y) for p in chart.rings] + [*chart.line]
    xs = [along(x) for x in [*(p.x for p in points), *(x for x, _ in alone)]]
    tops = [p.y if p.high is None else p.high for p in points]
    lows = [p.y if p.low is None else p.low for p in points]
    ys = [*tops, *lows, *(y for _, y in alone)]
    steps = 10 if max(ys) - min(ys) > 0.2 else 50
    y_low = math.floor(min(ys) * steps) / steps
    y_high = min(1.0, math.ceil(max(ys) * steps) / steps)
    to_x = _scale(min(xs), max(xs), LEFT + 6, WIDTH - RIGHT - 6)
    to_y = _scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    ticks = sorted({p.x for p in points}) if chart.log_x else [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    drawn = [_frame(y_low, y_high, to_y, chart.y_title)]
    for tick in ticks:
        words = f"{tick:,.0f}" if chart.log_x else f"{tick:.0%}"
        drawn.append(_text(to_x(along(tick)), HEIGHT - BOTTOM + 14, words))
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, chart.x_title))
    way = " ".join(f"{to_x(along(x)):.1f},{to_y(y):.1f}" for x, y in chart.line)
    drawn.append(f"<polyline points='{way}' fill='none' {DASHED}/>")
    for ring in chart.rings:
        told = f"{chart.ring_name}, {_short(ring.x)}: {ring.y:.1%}"
        drawn.append(_ring(to_x(along(ring.x)), to_y(ring.y), told))
    for point in points:
        x = to_x(along(point.x))
        if point.low is not None and point.high is not None:
            drawn.append(_stroke([x, x], [to_y(point.low), to_y(point.high)], INTERVAL))
        drawn.append(_circle(x, to_y(point.y), f"{_short(point.x)}: {point.y:.1%}"))
    told = "; ".join(f"{_short(p.x)}: {p.y:.1%}" for p in points)
    rings = f"; the rings are {chart.ring_name}" if chart.rings else ""
    return "".join(drawn), HEIGHT, f"{told}; the dashed line is {chart.line_name}{rings}"


def _short(x: float) -> str:
    return f"{x:,.0f}" if x > 1 else f"{x:.1%}"


def _frame(low: float, high: float, to_y: Callable[[float], float], title: str) -> str:
    drawn = [
        _stroke([LEFT, LEFT], [TOP, HEIGHT - BOTTOM], AXIS),
        _stroke([LEFT, WIDTH - RIGHT], [HEIGHT - BOTTOM] * 2, AXIS),
    ]
    for value in (low, (low + high) / 2, high):
        drawn.append(_text(LEFT - 5, to_y(value) + 4, f"{value * 100:.3g}%", "end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f" transform='rotate(-90 10 {middle:.0f})'"
    return "".join(drawn) + _text(10, middle, title, "middle", turned)


def _columns(chart: Columns) -> tuple[str, int, str]:
    columns = chart.columns
    most = max(column.right + column.wrong for column in columns)
    to_x = _scale(columns[0].start, columns[-1].end, LEFT, WIDTH - RIGHT)
    to_y = _scale(0, most, HEIGHT - BOTTOM, TOP + 12)
    drawn: list[str] = []
    for column in columns:
        count = column.right + column.wrong
        x, y = to_x(column.start), to_y(count)
        colour, word = (WRONG, "wrong") if column.wrong else (MARK, "right")
        ends = f"{column.start:+.2f} to {column.end:+.2f}"
        drawn.append(
            f"<rect x='{x + 0.5:.1f}' y='{y:.1f}' width='{to_x(column.end) - x - 1:.1f}'"
            f" height='{HEIGHT - BOTTOM - y:.1f}' fill='{colour}' fill-opacity='.85'>"
            f"<title>{ends}: {count:,} {word}</title></rect>"
        )
    wrong = sum(column.wrong for column in columns)
    right = sum(column.right for column in columns)
    zero = to_x(0.0)
    drawn.append(_stroke([LEFT, WIDTH - RIGHT], [HEIGHT - BOTTOM] * 2, AXIS))
    drawn.append(_stroke([zero, zero], [TOP, HEIGHT - BOTTOM], DASHED))
    drawn.append(_text(zero - 5, TOP + 8, f"wrong {wrong:,}", "end"))
    drawn.append(_text(zero + 5, TOP + 8, f"right {right:,}", "start"))
    for value in (columns[0].start, 0.0, columns[-1].end):
        anchor = "middle" if value == 0 else "start" if value < 0 else "end"
        words = "0" if value == 0 else f"{value:+.1f}"
        drawn.append(_text(to_x(value), HEIGHT - BOTTOM + 14, words, anchor))
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, chart.x_title))
    return "".join(drawn), HEIGHT, f"{wrong:,} wrong, {right:,} right"
