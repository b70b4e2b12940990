"""The quality of preference data as a report to read: a table, small pictures, Plotly figures."""

from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.analysis.quality import LOOK, OK, UNKNOWN, Findings
from workbench.errors import ConfigError
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

MARKS = {
    OK: ("✓", "fine", OKABE_ITO["green"]),
    LOOK: ("●", "look", OKABE_ITO["vermillion"]),
    UNKNOWN: ("○", "not known", "currentColor"),
}
GREY = "#888888"  # of words and lines in a figure: it can be read on white and on black
WIDTH, ROW = 300, 20  # [px] of a small picture, and of a line of it

Line = tuple[str, float, float | None, float | None]  # name, rate, its interval


class Quality:
    """What was found out about preference data: ``summary``, ``frames`` and ``figures``.

    ``summary`` has a row a check: what was found, and what to do about it. ``frames`` has the rows
    behind: duplicates, leaks, problems, length, features, sides, agreement, steadiness.
    ``figures`` has a Plotly figure of those that are rates, drawn when it is asked for.
    """

    def __init__(self, findings: Findings) -> None:
        self.title = findings.title
        self.summary: DataFrame = findings.summary
        self.frames: dict[str, DataFrame] = findings.frames
        self.figures = Figures(self.frames)

    def __repr__(self) -> str:
        lines = [self.title]
        for check, finding, advice, state in self._rows():
            lines.append(f"  {MARKS[state][0]} {check}: {finding}")
            if state != OK and advice != "nothing":
                lines.append(f"      {advice}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left = "text-align:left;vertical-align:top;padding:4px 10px 4px 0;white-space:normal"
        rows = ""
        for check, finding, advice, state in self._rows():
            mark, word, colour = MARKS[state]
            rows += (
                f"<tr><td style='{left};white-space:nowrap'><b aria-hidden='true'"
                f" style='color:{colour}'>{mark}</b> {word}</td>"
                f"<th scope='row' style='{left};white-space:nowrap'>{escape(check)}</th>"
                f"<td style='{left}'>{escape(finding)}</td>"
                f"<td style='{left};opacity:.8'>{escape(advice) if state != OK else ''}</td></tr>"
            )
        heads = "".join(
            f"<th scope='col' style='{left}'>{name}</th>"
            for name in ("state", "check", "finding", "what to do")
        )
        pictures = "".join(
            picture(title, lines) for title, lines in map(self._lines, RATES) if lines
        )
        return (
            f"<div style='font-size:13px;max-width:1000px'><p style='margin:0 0 6px'>"
            f"<b>{escape(self.title)}</b></p><table style='border-collapse:collapse'>"
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            f"<div style='display:flex;flex-wrap:wrap;gap:14px 28px;margin-top:12px'>{pictures}"
            f"</div><p style='opacity:.7;margin:8px 0 0'>Rows behind it: <code>.frames</code>"
            f" ({', '.join(self.frames)}); drawn large: <code>.figures</code>"
            f" ({', '.join(self.figures) or 'none'}).</p></div>"
        )

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for row in self.summary.itertuples(index=False):
            check, finding, advice, state = map(str, row)
            yield check, finding, advice, state

    def _lines(self, name: str) -> tuple[str, list[Line]]:
        return RATES[name][0], rate_lines(self.frames[name], name)


class Figures(Mapping[str, Any]):
    """Plotly figures by name, each drawn when it is first asked for."""

    def __init__(self, frames: "dict[str, DataFrame]") -> None:
        self._lines = {name: rate_lines(frames[name], name) for name in RATES}
        self._drawn: dict[str, Figure] = {}

    def __getitem__(self, name: str) -> "Figure":
        if not self._lines.get(name):
            raise ConfigError(
                f"there is no figure {name!r}",
                where="quality.figures",
                fix=f"there are: {', '.join(self) or 'none, for want of labels'}",
            )
        if name not in self._drawn:
            self._drawn[name] = draw(RATES[name], self._lines[name])
        return self._drawn[name]

    def __contains__(self, name: object) -> bool:
        return bool(self._lines.get(str(name)))

    def __iter__(self) -> Iterator[str]:
        return (name for name, lines in self._lines.items() if lines)

    def __len__(self) -> int:
        return sum(map(bool, self._lines.values()))


def _gap(row: Any) -> str:
    if row.gap_from == row.gap_to:
        return f"{row.gap_from:,}"
    return f"{row.gap_from:,} to {row.gap_to:,}"


# frame -> title, what a line of it is called, the column of its value, and where the guide stands
RATES: dict[str, tuple[str, Callable[[Any], str], str, float]] = {
    "length": ("Longer wins, by characters longer", _gap, "rate", 0.5),
    "features": ("Wins, of the answer that has it alone", lambda row: row.feature, "rate", 0.5),
    "sides": ("Takes the left side", lambda row: row.annotator, "rate", 0.5),
    "agreement": (
        "Agreement, by items labelled twice or more",
        lambda row: row.measure if row.measure != "Cohen's kappa" else f"Cohen: {row.between}",
        "value",
        0.0,
    ),
    "steadiness": (
        "Passes repeats and gold items",
        lambda row: f"{row.test}: {row.annotator}",
        "rate",
        1.0,
    ),
}
_LONGEST = 40  # lines of a picture: more are in the frame


def rate_lines(frame: "DataFrame", name: str) -> list[Line]:
    """Return the lines to draw of one of the frames: those that are defined."""
    _, naming, column, _ = RATES[name]
    lines: list[Line] = []
    rows: Any = frame.itertuples(index=False)
    for row in rows:
        value = getattr(row, column)
        if value is not None and value == value:
            low, high = (None if end is None or end != end else end for end in (row.low, row.high))
            lines.append((naming(row), float(value), low, high))
    return lines[:_LONGEST]


def picture(title: str, lines: list[Line]) -> str:
    """Return rates and their intervals as a small inline SVG, which needs no script."""
    guide = next(guide for name, _, _, guide in RATES.values() if name == title)
    least = min([0.0, *(line[1] if line[2] is None else line[2] for line in lines)])
    names = 160  # [px] for the names of the lines

    def at(value: float) -> float:
        return names + 8 + (value - least) / (1 - least) * (WIDTH - 60)

    drawn = [
        f"<line x1='{at(guide):.1f}' x2='{at(guide):.1f}' y1='0' y2='{ROW * len(lines)}'"
        " stroke='currentColor' stroke-opacity='.4' stroke-dasharray='3 3'/>"
    ]
    for place, (name, value, low, high) in enumerate(lines):
        y = ROW * place + ROW / 2
        short = name if len(name) <= 25 else name[:24] + "…"
        if low is not None and high is not None:
            drawn.append(
                f"<line x1='{at(low):.1f}' x2='{at(high):.1f}' y1='{y}' y2='{y}'"
                f" stroke='{OKABE_ITO['sky']}' stroke-width='3' stroke-opacity='.7'/>"
            )
        drawn.append(
            f"<circle cx='{at(value):.1f}' cy='{y}' r='4' fill='{OKABE_ITO['blue']}'"
            " stroke='currentColor' stroke-opacity='.5'/>"
            f"<text x='{names}' y='{y + 4}' text-anchor='end' font-size='11'"
            f" fill='currentColor'><title>{escape(name)}</title>{escape(short)}</text>"
            f"<text x='{names + WIDTH}' y='{y + 4}' text-anchor='end' font-size='11'"
            f" fill='currentColor'>{value:{'.2f' if guide == 0 else '.0%'}}</text>"
        )
    width, height = names + WIDTH + 4, ROW * len(lines)
    return (
        f"<figure style='margin:0'><figcaption style='margin-bottom:4px'><b>{escape(title)}</b>"
        f"</figcaption><svg width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
        f" role='img' aria-label='{escape(title)}'>{''.join(drawn)}</svg></figure>"
    )


def draw(kind: tuple[str, Any, str, float], lines: list[Line]) -> "Figure":
    """Return rates with their intervals as a Plotly figure, readable on a light and a dark page."""
    try:
        import plotly.graph_objects as go
    except ModuleNotFoundError as error:
        raise ConfigError(
            "figures need plotly, which is not installed",
            where="quality.figures",
            fix="pip install 'rlhf-workbench[notebook]'; summary and frames are there without it",
        ) from error
    title, _, _, guide = kind
    names = [escape(line[0]) for line in lines]  # Plotly reads tags
    if len(set(names)) < len(names):  # Plotly would draw lines of one name on top of each other
        names = [f"{place}. {name}" for place, name in enumerate(names, start=1)]
    values = [line[1] for line in lines]
    above = [0.0 if high is None else high - value for _, value, _, high in lines]
    below = [0.0 if low is None else value - low for _, value, low, _ in lines]
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=names,
            mode="markers",
            marker={"color": OKABE_ITO["blue"], "size": 9, "line": {"color": GREY, "width": 1}},
            error_x={"array": above, "arrayminus": below, "color": OKABE_ITO["sky"]},
            hovertemplate="%{y}: <b>%{x:.3~g}</b><extra></extra>",
        )
    )
    axis = {"color": GREY, "gridcolor": "rgba(136,136,136,.25)", "zeroline": False}
    figure.add_vline(x=guide, line={"color": GREY, "dash": "dash", "width": 1})
    figure.update_layout(
        title={"text": escape(title), "font": {"size": 14}},
        height=110 + 26 * len(lines),
        margin={"l": 10, "r": 20, "t": 50, "b": 30},
        font={"color": GREY, "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        xaxis={**axis, "tickformat": ".2f" if guide == 0 else ".0%"},
        yaxis={**axis, "autorange": "reversed", "automargin": True},
    )
    return figure
