"""Several runs beside each other: curves in the same charts, settings, answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.json_lines import dumps
from workbench.widgets.run_panel.curves import CurveChart, CurveLine, charts_for
from workbench.widgets.run_panel.run_feed import RunFeed

_POINTS = 300  # of one curve of one run
FACTS = ("kind", "model", "data", "inputs", "resolved", "hardware")


def names_of(feeds: Sequence[RunFeed]) -> list[str]:
    """What to call each run: its folder's name, and the group's where two are called the same."""
    names = [feed.folder.name for feed in feeds]
    return [
        name if names.count(name) == 1 else f"{feed.folder.path.parent.name}/{name}"
        for name, feed in zip(names, feeds, strict=True)
    ]


def shared_charts(feeds: Sequence[RunFeed]) -> list[dict[str, Any]]:
    """One chart a metric, one line a run; a line keeps its place where a run has no such metric.

    The metric of a line is called ``"<number of the run>:<metric>"``, as in :func:`run_curves`.
    """
    names = names_of(feeds)
    charts: dict[str, CurveChart] = {}
    for feed in feeds:
        for chart in charts_for(feed.kind, feed.metrics):
            for line in chart.lines:
                title = chart.title if len(chart.lines) == 1 else f"{chart.title}: {line.label}"
                lines = tuple(CurveLine(f"{i}:{line.metric}", name) for i, name in enumerate(names))
                known = charts.get(line.metric)
                first = chart.first or (known is not None and known.first)
                charts[line.metric] = CurveChart(title, chart.unit, chart.help, lines, first)
    ordered = sorted(charts.values(), key=lambda chart: not chart.first)
    return [chart.as_dict() for chart in ordered]


def run_curves(feed: RunFeed, number: int) -> dict[str, Any]:
    """A run's curves under the names that :func:`shared_charts` gave them."""
    return {f"{number}:{name}": curve for name, curve in feed.curves(_POINTS).items()}


def settings_beside(feeds: Sequence[RunFeed]) -> list[dict[str, Any]]:
    """One row a setting or fact: ``{"name", "values", "same"}``; those that differ come first.

    A setting that was changed while a run went on reads "start → now".
    """
    settings = [_settings(feed) for feed in feeds]
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for run in settings for name in run):
        values = [run.get(name, "–") for run in settings]
        rows.append({"name": name, "values": values, "same": len(set(values)) == 1})
    return sorted(rows, key=lambda row: row["same"])


def _settings(feed: RunFeed) -> dict[str, str]:
    """A run's facts and settings by name, as they are shown."""
    config, changed = feed.folder.config(), dict[str, Any]()
    for change in feed.changes():
        changed[change["name"]] = change["value"]
    settings: dict[str, str] = {}
    for fact in FACTS:
        value = config.get(fact)
        if isinstance(value, dict):
            settings |= {f"{fact}.{key}": _value(inner) for key, inner in value.items()}
        elif value is not None:
            settings[fact] = _value(value)
    for name, value in (config.get("settings") or {}).items():
        now = f" → {_value(changed[name])}" if name in changed else ""
        settings[name] = _value(value) + now
    return settings


def _value(value: Any) -> str:
    if isinstance(value, str):
        return str(Path(value).name) if value.startswith("/") else value[:200]
    return dumps(value)[:200]


def answers_beside(feeds: Sequence[RunFeed], step: int | None = None) -> dict[str, Any]:
    """The watched answers of several runs to the same prompts.

    Args:
        feeds: the runs.
        step: each run's newest answers up to this step; None takes the newest there are.

    Returns:
        ``{"step", "most", "steps", "rows"}``: ``most`` is the last step that any run has answers
        of, ``steps`` those that are shown; a row has ``prompt`` and, for each run, its answer or
        None. Prompts that more runs share come first.
    """
    tables: list[dict[str, Any]] = []
    most = max((feed.sample_steps()[-1] for feed in feeds if feed.sample_steps()), default=0)
    for feed in feeds:
        steps = feed.sample_steps()
        before = [i for i, at in enumerate(steps) if step is None or at <= step]
        tables.append(feed.samples(before[-1]) if before else {"step": None, "rows": []})
    rows: dict[str, list[dict[str, Any] | None]] = {}
    for number, table in enumerate(tables):
        for row in table["rows"]:
            cells = rows.setdefault(row["prompt"], [None] * len(feeds))
            answer = {name: row[name] for name in ("response", "score", "kl", "gold")}
            cells[number] = cells[number] or answer
    ordered = sorted(rows.items(), key=lambda item: item[1].count(None))
    shown = [{"prompt": prompt, "answers": cells} for prompt, cells in ordered]
    at = most if step is None else min(step, most)
    return {"step": at, "most": most, "steps": [one["step"] for one in tables], "rows": shown}
