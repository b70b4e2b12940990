"""The charts of ``charts.py`` and ``series.py`` as Plotly figures, each drawn when asked for."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError
from workbench.reports.series import Field, draw
from workbench.reports.svg_charts import BAND, MARK, WRONG, Chart, Columns, Dot, Dots, Plot, Point

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

GREY = "#888888"  # of words and lines in a figure: it can be read on white and on black


class Figures(Mapping[str, Any]):
    """Plotly figures by name, each drawn when it is first asked for.

    Args:
        charts: by name; only those that have something to show.
        where: whose figures they are, for the message where there is none of a name.
    """

    def __init__(self, charts: Mapping[str, Chart | Field], where: str) -> None:
        self._charts, self._where = dict(charts), where
        self._drawn: dict[str, Figure] = {}

    def __getitem__(self, name: str) -> "Figure":
        if name not in self._charts:
            raise ConfigError(
                f"there is no figure {name!r}",
                where=self._where,
                fix=f"there are: {', '.join(self)}",
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


def figure(chart: Chart | Field, where: str) -> "Figure":
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
    axis = {"color": GREY, "gridcolor": "rgba(136,136,136,.25)", "zeroline": False}
    layout = {
        "title": {"text": escape(chart.title), "font": {"size": 14}},
        "height": 380,
        "margin": {"l": 10, "r": 20, "t": 50, "b": 40},
        "font": {"color": GREY, "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "xaxis": dict(axis),
        "yaxis": {**axis, "automargin": True},
    }
    drawn = go.Figure(layout=layout)
    if isinstance(chart, Dots):
        _draw_dots(drawn, chart)
    elif isinstance(chart, Plot):
        _draw_plot(drawn, chart)
    elif isinstance(chart, Field):
        draw(drawn, chart)
    else:
        _draw_columns(drawn, chart)
    return drawn


def _marker() -> dict[str, object]:
    return {"color": MARK, "size": 9, "line": {"color": GREY, "width": 1}}


def _bars(values: Sequence[Dot | Point], of: Sequence[float]) -> dict[str, object]:
    above = [0.0 if v.high is None else v.high - y for v, y in zip(values, of, strict=True)]
    below = [0.0 if v.low is None else y - v.low for v, y in zip(values, of, strict=True)]
    return {"type": "data", "array": above, "arrayminus": below, "color": BAND}


def _draw_dots(drawn: Any, chart: Dots) -> None:
    values = [row.value for row in chart.rows]
    drawn.add_scatter(
        x=values,
        y=[f"{n}. {row.name}" for n, row in enumerate(chart.rows, 1)],  # apart from each other
        mode="markers",
        marker=_marker(),
        error_x=_bars(chart.rows, values),
        hovertemplate="%{y}: <b>%{x:.1%}</b><extra></extra>",
    )
    drawn.add_vline(x=chart.guide, line={"color": GREY, "dash": "dash", "width": 1})
    drawn.update_layout(height=110 + 26 * len(chart.rows))
    drawn.update_xaxes(tickformat=".0%").update_yaxes(autorange="reversed")


def _draw_plot(drawn: Any, chart: Plot) -> None:
    values = [point.y for point in chart.points]
    drawn.add_scatter(
        x=[x for x, _ in chart.line],
        y=[y for _, y in chart.line],
        mode="lines",
        line={"color": GREY, "dash": "dash", "width": 1.5},
        name=chart.line_name,
        hoverinfo="skip",
    )
    if chart.rings:
        drawn.add_scatter(
            x=[ring.x for ring in chart.rings],
            y=[ring.y for ring in chart.rings],
            mode="markers",
            marker={"color": WRONG, "size": 9, "symbol": "circle-open"},
            name=chart.ring_name,
            hovertemplate="%{x}: <b>%{y:.1%}</b><extra></extra>",
        )
    drawn.add_scatter(
        x=[point.x for point in chart.points],
        y=values,
        mode="markers",
        marker=_marker(),
        error_y=_bars(chart.points, values),
        name="measured",
        hovertemplate="%{x}: <b>%{y:.1%}</b><extra></extra>",
    )
    drawn.update_xaxes(title=chart.x_title, type="log" if chart.log_x else "linear")
    drawn.update_yaxes(title=chart.y_title, tickformat=".0%")
    drawn.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.08})
    if not chart.log_x:
        drawn.update_xaxes(tickformat=".0%")


def _draw_columns(drawn: Any, chart: Columns) -> None:
    middles = [(column.start + column.end) / 2 for column in chart.columns]
    widths = [column.end - column.start for column in chart.columns]
    for name, colour in (("wrong", WRONG), ("right", MARK)):
        counts = [getattr(column, name) for column in chart.columns]
        drawn.add_bar(x=middles, y=counts, width=widths, name=name, marker={"color": colour})
    drawn.add_vline(x=0, line={"color": GREY, "dash": "dash", "width": 1})
    drawn.update_layout(barmode="stack", showlegend=True, legend={"orientation": "h", "y": 1.08})
    drawn.update_xaxes(title=chart.x_title).update_yaxes(title="comparisons")
