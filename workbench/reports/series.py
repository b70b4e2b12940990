"""A field of points and lines over one another, as inline SVG and as a Plotly figure.

Series differ by the shape of their marks as well as by colour. The other charts: ``charts.py``.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from workbench.reports.svg_charts import AXIS, DASHED, Point

WIDTH, HEIGHT = 430, 270  # [px]
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 38  # [px] around the plotting area
TICKS = 5
PLOTLY = {"dot": "circle", "square": "square", "diamond": "diamond-open", "ring": "circle-open"}


class Series(NamedTuple):
    """Marks at points, and a line that may go elsewhere.

    Attributes:
        mark: dot, square, diamond or ring.
        points: where the marks stand.
        line: corners of the line; empty for none.
        dashed: a line that was fitted, not measured.
        said: what a point is called when it is pointed at, a text a point; empty for its place.
    """

    name: str
    colour: str
    mark: str
    points: Sequence[Point]
    line: Sequence[tuple[float, float]] = ()
    dashed: bool = False
    said: Sequence[str] = ()


class Field(NamedTuple):
    """Several series in one plotting area; a dashed line stands at each guide, with its words."""

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    guides: Sequence[tuple[float, str]] = ()


def ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Return round numbers from ``low`` to ``high``, at most one more than ``most``."""
    span = (high - low) or 1.0
    rough = span / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def picture(field: Field) -> str:
    """Return a field as a figure element with an inline SVG."""
    xs, ys = _extent(field)
    to_x = _scale(xs, LEFT, WIDTH - RIGHT)
    to_y = _scale(ys, HEIGHT - BOTTOM, TOP)
    drawn = [_axes(field, xs, ys, to_x, to_y)]
    for x, words in field.guides:
        drawn.append(_guide(to_x(x), words))
    for series in field.series:
        drawn.append(_series(series, to_x, to_y))
    told = "; ".join(_told(series) for series in field.series if series.points)
    legend = " ".join(
        f"<span style='white-space:nowrap;margin-right:8px'><svg width='12' height='12'"
        f" style='vertical-align:-1px'>{_mark(series, 6, 6)}</svg> {escape(series.name)}</span>"
        for series in field.series
    )
    return (
        f"<figure style='margin:0;width:{WIDTH}px;max-width:100%'><figcaption"
        f" style='margin-bottom:4px'><b>{escape(field.title)}</b><br>{legend}</figcaption>"
        f"<svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'"
        f" style='max-width:100%' aria-label='{escape(field.title)}: {escape(told)}'>"
        f"{''.join(drawn)}</svg></figure>"
    )


def draw(drawn: Any, field: Field) -> None:
    """Draw a field into an empty Plotly figure that has its title and its layout."""
    for series in field.series:
        if series.line:
            drawn.add_scatter(
                x=[x for x, _ in series.line],
                y=[y for _, y in series.line],
                mode="lines",
                line={
                    "color": series.colour,
                    "width": 1.6,
                    "dash": "dash" if series.dashed else "solid",
                },
                name=f"{series.name}, fitted" if series.dashed else series.name,
                showlegend=series.dashed,
                hoverinfo="skip",
            )
        drawn.add_scatter(
            x=[p.x for p in series.points],
            y=[p.y for p in series.points],
            mode="markers",
            marker={"color": series.colour, "size": 8, "symbol": PLOTLY[series.mark]},
            error_y=_bars(series),
            name=series.name,
            text=[*series.said] or [f"√KL {p.x:.2f}" for p in series.points],
            hovertemplate="%{text}: <b>%{y:.3f}</b><extra></extra>",
        )
    for x, words in field.guides:
        drawn.add_vline(
            x=x, line={"color": "#888888", "dash": "dot", "width": 1}, annotation_text=escape(words)
        )
    drawn.update_xaxes(title=field.x_title).update_yaxes(title=field.y_title)
    drawn.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.22})


def _bars(series: Series) -> dict[str, object] | None:
    if all(p.low is None or p.high is None for p in series.points):
        return None
    return {
        "type": "data",
        "array": [0.0 if p.high is None else p.high - p.y for p in series.points],
        "arrayminus": [0.0 if p.low is None else p.y - p.low for p in series.points],
        "color": series.colour,
        "thickness": 1,
    }


def _extent(field: Field) -> tuple[tuple[float, float], tuple[float, float]]:
    points = [p for series in field.series for p in series.points]
    lines = [corner for series in field.series for corner in series.line]
    xs = [p.x for p in points] + [x for x, _ in lines]
    ys = [p.y for p in points] + [y for _, y in lines]
    ys += [y for p in points for y in (p.low, p.high) if y is not None]
    pad = (max(ys) - min(ys)) * 0.04 or 0.5
    right = max(xs)
    return (min(0.0, min(xs)), right + (right * 0.03 or 1.0)), (min(ys) - pad, max(ys) + pad)


def _scale(ends: tuple[float, float], start: float, end: float) -> Callable[[float], float]:
    low, high = ends
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _axes(
    field: Field,
    xs: tuple[float, float],
    ys: tuple[float, float],
    to_x: Callable[[float], float],
    to_y: Callable[[float], float],
) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    drawn = [
        _line((LEFT, LEFT), (TOP, bottom), AXIS),
        _line((LEFT, right), (bottom, bottom), AXIS),
    ]
    drawn += [_text(to_x(x), bottom + 14, _figure(x)) for x in ticks(*xs)]
    for y in ticks(*ys):
        drawn.append(_text(LEFT - 5, to_y(y) + 4, _figure(y), "end"))
        drawn.append(
            f"<line x1='{LEFT}' x2='{right}' y1='{to_y(y):.1f}' y2='{to_y(y):.1f}' {_GRID}/>"
        )
    middle = (TOP + bottom) / 2
    drawn.append(_text((LEFT + right) / 2, HEIGHT - 6, field.x_title))
    turned = f" transform='rotate(-90 11 {middle:.0f})'"
    return "".join(drawn) + _text(11, middle, field.y_title, "middle", turned)


def _figure(value: float) -> str:
    return f"{value:g}".replace("-", "−")


_GRID = "stroke='currentColor' stroke-opacity='.1'"


def _line(x: tuple[float, float], y: tuple[float, float], more: str) -> str:
    ends = f"x1='{x[0]:.1f}' x2='{x[1]:.1f}' y1='{y[0]:.1f}' y2='{y[1]:.1f}'"
    return f"<line {ends} {more}/>"


def _text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='11'"
        f" fill='currentColor'{more}>{escape(words)}</text>"
    )


def _guide(x: float, words: str) -> str:
    left = x > (LEFT + WIDTH) / 2
    anchor, at = ("end", x - 4) if left else ("start", x + 4)
    line = _line((x, x), (TOP, HEIGHT - BOTTOM), DASHED)
    return line + _text(at, HEIGHT - BOTTOM - 6, words, anchor)


def _series(series: Series, to_x: Callable[[float], float], to_y: Callable[[float], float]) -> str:
    drawn: list[str] = []
    if series.line:
        way = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in series.line)
        dash = " stroke-dasharray='5 3'" if series.dashed else ""
        drawn.append(
            f"<polyline points='{way}' fill='none' {_ink('stroke', series.colour)}"
            f" stroke-width='1.8'{dash}/>"
        )
    for point in series.points:
        x = to_x(point.x)
        if point.low is not None and point.high is not None:
            ends = (
                f"x1='{x:.1f}' x2='{x:.1f}' y1='{to_y(point.low):.1f}' y2='{to_y(point.high):.1f}'"
            )
            drawn.append(f"<line {ends} {_ink('stroke', series.colour)} stroke-opacity='.6'/>")
        drawn.append(_mark(series, x, to_y(point.y)))
    return "".join(drawn)


def _ink(part: str, colour: str) -> str:
    """A colour drawn towards the page's text: lighter on dark pages, darker on light ones."""
    return f"{part}='{colour}' style='{part}:color-mix(in srgb, {colour} 72%, currentColor)'"


def _mark(series: Series, x: float, y: float) -> str:
    full = f"{_ink('fill', series.colour)} fill-opacity='.85'"
    empty = f"fill='none' {_ink('stroke', series.colour)} stroke-width='1.6'"
    if series.mark == "square":
        return f"<rect x='{x - 3:.1f}' y='{y - 3:.1f}' width='6' height='6' {full}/>"
    if series.mark == "diamond":
        corners = ((x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y))
        way = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        return f"<polygon points='{way}' {empty}/>"
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.2' {full if series.mark == 'dot' else empty}/>"


def _told(series: Series) -> str:
    first, last = series.points[0], series.points[-1]
    return f"{series.name} from {first.y:.3g} at {first.x:.2g} to {last.y:.3g} at {last.x:.2g}"
