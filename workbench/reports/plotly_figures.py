"""The charts of ``svg_charts.py`` as Plotly figures, each drawn when it is first asked for."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError
from workbench.reports.svg_charts import (
    BAND,
    GREY,
    MARK,
    WRONG,
    Histogram,
    Point,
    Rate,
    RateChart,
    SeriesChart,
    StillChart,
)
from workbench.widgets.kit.theme import GRID_INK, PLOT_FONT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SYMBOLS = {
    "dot": "circle",
    "square": "square",
    "ring": "circle-open",
    "triangle": "triangle-up",
    "box": "square-open",
    "diamond": "diamond-open",
}
MARKER = {"color": MARK, "size": 9, "line": {"color": GREY, "width": 1}}
GUIDE = {"color": GREY, "dash": "dash", "width": 1}


class PlotlyFigures(Mapping[str, Any]):
    """Plotly figures by name, each drawn when it is first asked for.

    Args:
        charts: by name; only those that have something to show.
        where: whose figures they are, for the message where there is none of a name.
    """

    def __init__(self, charts: Mapping[str, StillChart], where: str) -> None:
        self._charts, self._where = dict(charts), where
        self._drawn: dict[str, Figure] = {}

    def __getitem__(self, name: str) -> "Figure":
        if name not in self._charts:
            raise ConfigError(
                f"there is no figure {name!r}",
                where=self._where,
                fix=f"there are: {', '.join(self) or 'none'}",
            )
        if name not in self._drawn:
            self._drawn[name] = figure(self._charts[name], self._where)
        return self._drawn[name]

    def __contains__(self, name: object) -> bool:
        return name in self._charts

    def __iter__(self) -> Iterator[str]:
        return iter(self._charts)

    def __len__(self) -> int:
        return len(self._charts)


def figure(chart: StillChart, where: str) -> "Figure":
    """Return a chart as a Plotly figure, readable on a light and on a dark page.

    Args:
        chart: what to draw.
        where: what was asked for it, for the message where plotly is not installed.

    Raises:
        ConfigError: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ModuleNotFoundError as error:
        raise ConfigError(
            "figures need plotly, which is not installed",
            where=where,
            fix="pip install 'rlhf-workbench[notebook]'; summary and frames are there without it",
        ) from error
    axis = {"color": GREY, "gridcolor": GRID_INK, "linecolor": GRID_INK, "zeroline": False}
    title = {
        "text": f"<b>{escape(chart.title)}</b>",
        "x": 0,
        "xref": "container",
        "xanchor": "left",
    }
    layout = {  # as the run panel draws: a strong title, quiet lines, no grid across the steps
        "title": {**title, "font": {"size": 15}, "pad": {"l": 10}},  # Plotly reads tags
        "height": 380,
        "margin": {"l": 10, "r": 20, "t": 46, "b": 40},
        "font": {"color": GREY, "size": 12, "family": PLOT_FONT},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "xaxis": {**axis, "showgrid": False},
        "yaxis": {**axis, "automargin": True},
    }
    drawn = go.Figure(layout=layout)
    if isinstance(chart, RateChart):
        _draw_rates(drawn, chart)
    elif isinstance(chart, SeriesChart):
        _draw_series(drawn, chart)
    else:
        _draw_histogram(drawn, chart)
    return drawn


def _bars(values: Iterable[Rate | Point], **more: Any) -> dict[str, Any]:
    """The intervals of values, as far as they reach beyond them."""
    ends = [(value, low, high) for _, value, low, high in values]
    above = [0.0 if high is None else high - value for value, _, high in ends]
    below = [0.0 if low is None else value - low for value, low, _ in ends]
    return {"type": "data", "array": above, "arrayminus": below, **more}


def _draw_rates(drawn: Any, chart: RateChart) -> None:
    names = [escape(row.name) for row in chart.rows]
    if len(set(names)) < len(names):  # Plotly would draw lines of one name on top of each other
        names = [f"{place}. {name}" for place, name in enumerate(names, start=1)]
    shares = chart.form.endswith("%")
    drawn.add_scatter(
        x=[row.value for row in chart.rows],
        y=names,
        mode="markers",
        marker=MARKER,
        error_x=_bars(chart.rows, color=BAND),
        hovertemplate=f"%{{y}}: <b>%{{x:{'.1%' if shares else '.3~g'}}}</b><extra></extra>",
    )
    drawn.add_vline(x=chart.guide, line=GUIDE)
    drawn.update_layout(height=110 + 26 * len(chart.rows))
    drawn.update_xaxes(tickformat=".0%" if shares else chart.form)
    drawn.update_yaxes(autorange="reversed", type="category")  # a name may look like a number


def _draw_histogram(drawn: Any, chart: Histogram) -> None:
    middles = [(bar.start + bar.end) / 2 for bar in chart.bars]
    widths = [bar.end - bar.start for bar in chart.bars]
    for name, colour in (("wrong", WRONG), ("right", MARK)):
        counts = [getattr(bar, name) for bar in chart.bars]
        drawn.add_bar(x=middles, y=counts, width=widths, name=name, marker={"color": colour})
    drawn.add_vline(x=0, line=GUIDE)
    drawn.update_layout(barmode="stack", showlegend=True, legend={"orientation": "h", "y": 1.08})
    drawn.update_xaxes(title=chart.x_title).update_yaxes(title="comparisons")


def _draw_series(drawn: Any, chart: SeriesChart) -> None:
    shares = chart.y_form.endswith("%")
    for series in chart.series:
        points, colour, dashed = series.points, series.colour, series.dashed
        if series.line:
            drawn.add_scatter(
                x=[x for x, _ in series.line],
                y=[y for _, y in series.line],
                mode="lines",
                line={"color": colour, "width": 1.6, "dash": "dash" if dashed else "solid"},
                name=f"{series.name}, fitted" if points and series.fitted else series.name,
                showlegend=series.fitted or not points,
                hoverinfo="skip",
            )
        if not points:
            continue
        known = any(p.low is not None and p.high is not None for p in points)
        drawn.add_scatter(
            x=[p.x for p in points],
            y=[p.y for p in points],
            mode="markers",
            marker={"color": colour, "size": 8, "symbol": SYMBOLS[series.mark]},
            error_y=_bars(points, color=colour, thickness=1) if known else None,
            name=series.name,
            text=chart.labels_of(series),
            hovertemplate=f"%{{text}}: <b>%{{y:{'.1%' if shares else '.3f'}}}</b><extra></extra>",
        )
    for x, words in chart.guides:
        line = {**GUIDE, "dash": "dot"}
        drawn.add_vline(x=x, line=line, annotation_text=escape(words))
    x_form = ".0%" if chart.x_form.endswith("%") else None
    drawn.update_xaxes(title=chart.x_title, type="log" if chart.log_x else None, tickformat=x_form)
    drawn.update_yaxes(title=chart.y_title, tickformat=".0%" if shares else None)
    if chart.alike:
        drawn.update_yaxes(scaleanchor="x", scaleratio=1, constrain="domain")
        drawn.update_xaxes(constrain="domain")
        drawn.update_layout(height=480)
    drawn.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.22})
