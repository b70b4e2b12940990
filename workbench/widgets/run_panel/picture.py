"""A run as a still picture: what stays in a saved notebook, its HTML export and a plain report.

Drawn in Python as inline SVG, so that it needs no script, no Plotly and no kernel. It follows the
page's text colour, so that it reads in light and dark.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from workbench.html_table import table
from workbench.widgets.kit.theme import OKABE_ITO
from workbench.widgets.run_panel.curves import CurveLine, charts_for
from workbench.widgets.run_panel.run_feed import RunFeed

_POINTS = 160  # of one curve
WIDTH, HEIGHT = 250, 96
PAD_X, PAD_Y = 4, 8
COLOURS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple", "orange"))
SAMPLES = 4
LONGEST = 400  # characters of an answer

Drawn = tuple[str, list[float], list[float]]  # a line's label, its xs and ys


def run_picture(feed: RunFeed) -> str:
    """A run's state, curves and last answers as HTML, well under 100 kB."""
    status = feed.status()
    total = f" of {status['total']}" if status["total"] else ""
    facts = f"{feed.kind} · {status['state']} · step {status['step']}{total}"
    parts = [
        f"<p style='margin:0 0 6px'><b>{escape(feed.folder.name)}</b> "
        f"<span style='opacity:.7'>{escape(facts)}</span></p>"
    ]
    if status["state"] == "failed":
        parts.append(f"<pre style='white-space:pre-wrap'>{escape(status['error'])}</pre>")
    parts.append(
        f"<div style='display:flex;flex-wrap:wrap;align-items:flex-end;gap:10px 18px'>"
        f"{still_charts(feed)}</div>"
    )
    parts.append(_answers(feed.samples()))
    hint = f"wb.open_run({feed.header()['address']!r}) shows it live"
    parts.append(f"<p style='opacity:.7;margin:6px 0 0'>A still picture; {escape(hint)}.</p>")
    return f"<div style='font-size:13px'>{''.join(parts)}</div>"


def still_charts(feed: RunFeed) -> str:
    """The curves that a run is judged by, as small SVG figures."""
    curves = feed.curves(_POINTS)
    charts = [chart for chart in charts_for(feed.kind, feed.metrics) if chart.first]
    return "".join(
        sparkline(chart.title, chart.unit, [_drawn(line, curves) for line in chart.lines])
        for chart in charts
    )


def _drawn(line: CurveLine, curves: dict[str, dict[str, list[float]]]) -> Drawn:
    curve = curves.get(line.metric, {"x": [], "y": []})
    return line.label, curve["x"], curve["y"]


def sparkline(title: str, unit: str, lines: Sequence[Drawn]) -> str:
    """One small chart with its last values in words: ``lines`` are (label, xs, ys)."""
    xs = [x for _, line, _ in lines for x in line]
    ys = [y for _, _, line in lines for y in line]
    if not xs:
        return ""
    to_x = _scale(min(xs), max(xs), PAD_X, WIDTH - PAD_X)
    to_y = _scale(min(ys), max(ys), HEIGHT - PAD_Y, PAD_Y)
    paths, last = [], []
    for i, (label, x, y) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        points = " ".join(f"{to_x(a):.1f},{to_y(b):.1f}" for a, b in zip(x, y, strict=True))
        dash = " stroke-dasharray='5 3'" if i else ""
        paths.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.8'{dash}/>"
        )
        if y:
            name = f"{label} " if len(lines) > 1 else ""
            last.append(f"<span style='color:{colour}'>{escape(name)}</span>{y[-1]:.3g}")
    unit_text = f" <span style='opacity:.7'>{escape(unit)}</span>" if unit else ""
    bounds = f"{min(ys):.3g} to {max(ys):.3g}, steps {min(xs):g} to {max(xs):g}"
    return (
        f"<figure class='still' style='margin:0;width:{WIDTH}px'>"
        f"<figcaption><b>{escape(title)}</b> {', '.join(last)}{unit_text}</figcaption>"
        f"<svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{escape(title)}: {escape(bounds)}'>"
        f"<rect x='0.5' y='0.5' width='{WIDTH - 1}' height='{HEIGHT - 1}' fill='none' "
        f"stroke='currentColor' stroke-opacity='.25'/>{''.join(paths)}</svg>"
        f"<div style='opacity:.7;font-size:11px'>{escape(bounds)}</div></figure>"
    )


def _scale(low: float, high: float, start: float, end: float) -> Any:
    """A linear map of [low, high] to [start, end]; a flat curve lies in the middle."""
    if high == low:
        return lambda _value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _answers(samples: dict[str, Any]) -> str:
    if not samples["rows"]:
        return ""
    shown = samples["rows"][:SAMPLES]
    names = [n for n in ("score", "gold", "kl") if any(row[n] is not None for row in shown)]
    texts = ["style='text-align:left;vertical-align:top;white-space:pre-wrap;max-width:420px'"] * 2
    rows = (
        [
            *(row[text][:LONGEST] for text in ("prompt", "response")),
            *(_number(row[name]) for name in names),
        ]
        for row in shown
    )
    answers = table(rows, [*texts, *[""] * len(names)], heads=("prompt", "answer", *names))
    return f"<p style='margin:6px 0 2px'>Answers at step {samples['step']}</p>{answers}"


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "–"
