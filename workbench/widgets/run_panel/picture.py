"""A run as a still picture: what stays in a saved notebook, its HTML export and a plain report.

Drawn in Python as inline SVG, so that it needs no script, no Plotly and no kernel. It is composed
as the panel is: how the run stands, the two curves that decide beside the answers before and now,
then the figures that stay in sight. It follows the page's text colour, so that it reads in light
and dark.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from workbench.html_table import Html, table
from workbench.runs.verdict import MEANS_IN_ALL
from workbench.widgets.kit.theme import OKABE_ITO
from workbench.widgets.run_panel.curves import CurveChart, CurveLine, Guide, charts_for
from workbench.widgets.run_panel.run_feed import RunFeed

_POINTS = 160  # of one curve
WIDTH, HEIGHT = 250, 96
LARGE_WIDTH, LARGE_HEIGHT = 480, 150
PAD_X, PAD_Y = 4, 8
COLOURS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple", "orange"))
SAMPLES = 4
LONGEST = 400
"""Characters of a text in a still picture; a longer one ends in an ellipsis."""
QUIET = "opacity:.7"
ANSWER_FIGURES = (("score", "reward score"), ("gold", "gold"), ("kl", "log-ratio"))


class Drawn(NamedTuple):
    """A line as it is drawn.

    Attributes:
        place: which of the colours it has.
        mean: steps that it is smoothed over; 1 for none.
        share: on an axis of its own, from 0 to 1.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    place: int = -1
    mean: int = 1
    share: bool = False


class DrawingSize(NamedTuple):
    """Width and height of a drawing, in pixels."""

    width: int
    height: int


SMALL = DrawingSize(WIDTH, HEIGHT)
LARGE = DrawingSize(LARGE_WIDTH, LARGE_HEIGHT)


def run_picture(feed: RunFeed) -> str:
    """A run's state, curves and last answers as HTML, well under 100 kB."""
    status, verdict = feed.status(), feed.verdict()
    total = f" of {status['total']}" if status["total"] else ""
    facts = f"{feed.kind} · {status['state']} · step {status['step']}{total}"
    look = f"{QUIET};font-size:12px"
    basis = f" <small style='{look}'>{escape(verdict.basis)}</small>" if verdict.basis else ""
    parts = [
        f"<p style='margin:0'><b>{escape(feed.folder.name)}</b> "
        f"<span style='{QUIET}'>{escape(facts)}</span></p>"
        f"<p style='margin:2px 0 6px;font-size:18px;line-height:1.35'><b>{escape(verdict.lead)}</b>"
        f"{escape(verdict.rest)}{basis}</p>"
    ]
    if verdict.advice:
        parts.append(f"<p style='margin:0 0 8px'>{escape(verdict.advice)}</p>")
    if rise := feed.rise():
        parts.append(f"<p style='margin:0 0 8px'>{escape(rise['words'])}</p>")
    if status["state"] == "failed":
        parts.append(f"<pre style='white-space:pre-wrap'>{escape(status['error'])}</pre>")
    sides = [side for side in (deciding_charts(feed), _answers(feed.samples())) if side]
    parts.append(
        "<div style='display:flex;flex-wrap:wrap;gap:10px 24px'>"
        + "".join(
            f"<div style='flex:1 1 {LARGE_WIDTH}px;min-width:0'>{side}</div>" for side in sides
        )
        + "</div>"
    )
    hint = f"wb.open_run({feed.header()['address']!r}) shows it live"
    parts.append(
        f"<div style='display:flex;flex-wrap:wrap;align-items:flex-end;gap:10px 18px'>"
        f"{_charts(feed, lambda chart: chart.vital)}</div>"
        f"<p style='{QUIET};margin:6px 0 0'>A still picture; {escape(hint)}.</p>"
    )
    return f"<div style='font-size:13px'>{''.join(parts)}</div>"


def still_charts(feed: RunFeed) -> str:
    """The curves that a run is judged by, as small SVG figures."""
    return _charts(feed, lambda chart: chart.first)


def deciding_charts(feed: RunFeed) -> str:
    """The two curves that decide, large, with the start and what they are read against."""
    now = feed.guides()

    def guides(chart: CurveChart) -> list[Guide]:
        lively = now.get(chart.lines[0].metric, {}).get("guides", [])
        return [*chart.guides, *(Guide(*guide) for guide in lively)]

    return _charts(feed, lambda chart: chart.decides, LARGE, guides)


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average without the start's bias, as the panel draws it."""
    total, mass, means = 0.0, 0.0, list[float]()
    for value in values:
        total, mass = weight * total + (1 - weight) * value, weight * mass + 1 - weight
        means.append(total / mass)
    return means


def _charts(
    feed: RunFeed,
    wanted: Callable[[CurveChart], bool],
    size: DrawingSize = SMALL,
    guides: Callable[[CurveChart], Sequence[Guide]] = lambda chart: (),
) -> str:
    curves = feed.curves(_POINTS)
    return "".join(
        sparkline(
            chart.title,
            chart.unit,
            [_drawn(line, curves) for line in chart.lines],
            size=size,
            guides=guides(chart),
        )
        for chart in charts_for(feed.kind, feed.metrics)
        if wanted(chart)
    )


def _drawn(line: CurveLine, curves: dict[str, dict[str, list[float]]]) -> Drawn:
    curve = curves.get(line.metric, {"x": [], "y": []})
    return Drawn(line.label, curve["x"], curve["y"], line.place, line.mean, line.share)


def sparkline(
    title: str,
    unit: str,
    lines: Sequence[Drawn],
    *,
    size: DrawingSize = SMALL,
    guides: Sequence[Guide] = (),
) -> str:
    """One chart with its last values in words.

    Args:
        title: what it shows.
        unit: of its values.
        lines: its curves.
        size: of the drawing.
        guides: levels to read the curves against; one that would flatten them is left out.
    """
    xs = [x for line in lines for x in line.x]
    own = [y for line in lines if not line.share for y in line.y]
    ys = own or [y for line in lines for y in line.y]
    if not xs:
        return ""
    low, high = min(ys), max(ys)
    span = high - low
    levels = [g for g in guides if low - 0.6 * span <= g.value <= high + 0.6 * span]
    low, high = min([low, *(g.value for g in levels)]), max([high, *(g.value for g in levels)])
    to_x = _scale(min(xs), max(xs), PAD_X, size.width - PAD_X)
    to_y = _scale(low, high, size.height - PAD_Y, PAD_Y)
    to_share = _scale(0.0, 1.0, size.height - PAD_Y, PAD_Y) if own else to_y
    paths, last = [_level(g, to_y(g.value), size) for g in levels], []
    for i, line in enumerate(lines):
        place = line.place if line.place >= 0 else i
        colour = COLOURS[place % len(COLOURS)]
        up = to_share if line.share else to_y
        weight = 1 - 2 / (max(line.mean, len(line.y) / MEANS_IN_ALL) + 1) if line.mean > 1 else 0.0

        def stroke(ys: Sequence[float], more: str, line: Drawn = line, up: Any = up) -> str:
            points = " ".join(f"{to_x(a):.1f},{up(b):.1f}" for a, b in zip(line.x, ys, strict=True))
            return f"<polyline points='{points}' fill='none' {more}/>"

        dash = " stroke-dasharray='5 3'" if place else ""
        if weight and len(line.y) > 2:
            paths.append(stroke(line.y, f"stroke='{colour}' stroke-opacity='.3'"))
        drawn = smoothed(line.y, weight)
        paths.append(stroke(drawn, f"stroke='{colour}' stroke-width='1.8'{dash}"))
        if line.y:
            name = f"{line.label} " if len(lines) > 1 else ""
            newest = line.y[
                -(max(line.mean, len(line.y) // MEANS_IN_ALL) if line.mean > 1 else 1) :
            ]
            figure = f"{sum(newest) / len(newest):.3g}"
            last.append(f"<span style='color:{colour}'>{escape(name)}</span>{figure}")
    unit_text = f" <span style='{QUIET}'>{escape(unit)}</span>" if unit else ""
    bounds = f"{min(ys):.3g} to {max(ys):.3g}, steps {min(xs):g} to {max(xs):g}"
    return (
        f"<figure class='still' style='margin:0;max-width:{size.width}px'>"
        f"<figcaption><b>{escape(title)}</b> {', '.join(last)}{unit_text}</figcaption>"
        f"<svg width='{size.width}' height='{size.height}' style='max-width:100%' "
        f"viewBox='0 0 {size.width} {size.height}' role='img' "
        f"aria-label='{escape(title)}: {escape(bounds)}'>"
        f"<rect x='0.5' y='0.5' width='{size.width - 1}' height='{size.height - 1}' fill='none' "
        f"stroke='currentColor' stroke-opacity='.25'/>{''.join(paths)}</svg>"
        f"<div style='{QUIET};font-size:11px'>{escape(bounds)}</div></figure>"
    )


def _level(guide: Guide, y: float, size: DrawingSize) -> str:
    """A guide as a thin line, its words above its right end."""
    return (
        f"<line x1='{PAD_X}' x2='{size.width - PAD_X}' y1='{y:.1f}' y2='{y:.1f}' "
        f"stroke='{OKABE_ITO['vermillion']}' stroke-opacity='.6'/>"
        f"<text x='{size.width - PAD_X}' y='{y - 3:.1f}' text-anchor='end' font-size='10' "
        f"fill='currentColor' fill-opacity='.7'>{escape(guide.words)}</text>"
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A linear map of [low, high] to [start, end]; a flat curve lies in the middle."""
    if high == low:
        return lambda _value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _answers(samples: dict[str, Any]) -> str:
    """The first few watched answers, before and now; of a reward run, its held-out pairs."""
    shown = samples["rows"][:SAMPLES]
    if not shown:
        return ""
    if shown[0].get("pair"):
        heads, rows = ("prompt", "chosen", "rejected"), [_pair_cells(row) for row in shown]
        title = f"Held-out pairs at step {samples['step']}"
    else:
        heads, rows = ("prompt", "before", "now"), [_answer_cells(row) for row in shown]
        title = f"Answers at step {samples['step']}"
    look = "text-align:left;vertical-align:top;white-space:pre-wrap;max-width:220px"
    cell = f"style='{look};font-size:13px'"
    answers = table(rows, [cell] * 3, heads=heads)
    return f"<p style='margin:0 0 2px'><b>{title}</b></p>{answers}"


def _answer_cells(row: dict[str, Any]) -> list[str]:
    before = _short(row["first"]["response"]) if row["first"] else "–"
    figures = " · ".join(
        f"{words} {_number(row[name])}" for name, words in ANSWER_FIGURES if row[name] is not None
    )
    return [_short(row["prompt"]), before, _with_small(_short(row["response"]), figures)]


def _pair_cells(row: dict[str, Any]) -> list[str]:
    sides = zip(("chosen", "rejected"), row["pair"]["scores"], strict=True)
    return [
        _short(row["prompt"]),
        *(_with_small(_short(row["pair"][side]), f"score {_number(s)}") for side, s in sides),
    ]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _with_small(text: str, figures: str) -> Html:
    return Html(f"{escape(text)}<br><small style='{QUIET}'>{escape(figures)}</small>")


def _number(value: Any) -> str:
    return f"{value:.2f}".replace("-", "−") if isinstance(value, int | float) else "–"
