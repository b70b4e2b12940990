"""A report as one HTML file that opens offline: curves, settings, samples before and after.

It needs neither a kernel nor torch. Curves are drawn by the installed plotly's JavaScript, which
is written into the file once; where plotly is not installed they stay the still pictures that
every report starts from.
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, RunError
from workbench.html_table import Html, table
from workbench.json_lines import replacing
from workbench.reports.run_facts import FACT_TABLE, run_facts
from workbench.runs import Run, RunFolder
from workbench.runs.verdict import Verdict
from workbench.widgets.kit import theme
from workbench.widgets.kit.plotly_source import plotly_js
from workbench.widgets.kit.texts import abridged, as_text
from workbench.widgets.run_panel.picture import still_charts
from workbench.widgets.run_panel.run_feed import RunFeed

MOST_SAMPLES = 60
"""Rows of the comparison that are written; the means are over all."""
LONGEST = 20_000
"""Characters of a prompt, an answer or a setting's value; it says how many there are beyond."""

FIGURE_WORDS = {
    "gold_sft": ("Gold score before (SFT)", "0 to 1; the judge that training never sees"),
    "gold_ppo": ("Gold score after (PPO)", "0 to 1"),
    "score_sft": ("Reward score before (SFT)", "deviations from the reward model's mean"),
    "score_ppo": ("Reward score after (PPO)", "deviations from the reward model's mean"),
    "kl": ("KL from the SFT model", "nats, summed over an answer"),
    "rm_accuracy": ("Reward model: held-out accuracy", "share of pairs"),
    "rm_ceiling": ("The noiseless judge on the same labels", "share of pairs; the ceiling"),
    "rm_longer_wins": ("Preferring the longer answer", "share of pairs; a baseline"),
    "prompts": ("Held-out prompts", "one answer each"),
    "pairs": ("Held-out pairs", ""),
    "seconds": ("Time", "s"),
    "seed": ("Seed", ""),
    "objective/scores": ("Reward score", "points; mean of the last ten updates"),
    "objective/gold": ("Gold score", "0 to 1; the same mean"),
    "objective/kl": ("KL to the reference", "nats, summed over an answer; the same mean"),
    "response/length": ("Answer length", "tokens; the same mean"),
    "heldout/accuracy": ("Held-out accuracy", "share of pairs; mean of the last ten evaluations"),
    "accuracy": ("Training accuracy", "share of pairs; mean of the last ten steps"),
    "loss": ("Training loss", "nats; mean of the last ten steps"),
    "perplexity": ("Perplexity", "tokens; mean of the last ten steps"),
}
KIND_WORDS = {
    "ppo": "PPO",
    "dpo": "DPO",
    "online_dpo": "Online DPO",
    "reward": "Reward model",
    "sft": "SFT",
}
ANSWER_SCORES = {"gold": "gold", "score": "reward score", "kl": "KL"}


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    runs: Sequence[Run | RunFolder | RunFeed | str | os.PathLike[str]] = (),
    summary: Mapping[str, Any] | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
    conclusion: Verdict | None = None,
    more: str = "",
) -> Path:
    """Write one self-contained HTML file; an older one is replaced at once, never half.

    Args:
        path: where it goes; its folder is made where it is missing.
        title: the heading.
        runs: whose curves and settings are shown, in this order; a feed is taken as it is.
        summary: figures by name.
        samples: ``{"prompt", "answers": [{"model", "text", "score", "gold", "kl"}, …]}``.
        conclusion: what it comes to, which stands above everything; None takes the last run's.
        more: HTML of our own that comes last.

    Returns:
        Where it was written.

    Raises:
        RunError: one of ``runs`` is not a run, or the file cannot be written there.
    """
    feeds = [_feed(run) for run in runs]
    body = [
        f"<h1>{escape(title)}</h1>",
        _conclusion(conclusion or feeds[-1].verdict(), feeds) if feeds else "",
        f"<p class='wb-muted'>Written {datetime.now():%Y-%m-%d %H:%M}; it opens offline.</p>",
        _summary(summary or {}),
        *(_run(feed, number) for number, feed in enumerate(feeds)),
        _samples(samples),
        more,
    ]
    return written(_page(title, "\n".join(body), feeds), path, what="report", verb="report")


def written(page: str, path: str | os.PathLike[str], *, what: str, verb: str) -> Path:
    """Write a page where a verb was asked to; the old one stays until the new one is whole.

    Raises:
        RunError: it cannot be written there.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise RunError(
            f"the {what} cannot be written: {error.strerror or error}",
            where=str(target),
            fix=f"say where it may go: wb.{verb}(run, path)",
        ) from error
    return target


def _feed(run: Run | RunFolder | RunFeed | str | os.PathLike[str]) -> RunFeed:
    if isinstance(run, RunFeed):
        return run
    folder = run.folder if isinstance(run, Run) else run
    feed = RunFeed(folder if isinstance(folder, RunFolder) else RunFolder(folder))
    feed.refresh()
    return feed


def _page(title: str, body: str, feeds: Sequence[RunFeed]) -> str:
    """The whole file: style, text with still pictures, and the scripts that bring them to life."""
    curves = [
        {"kind": f.kind, "charts": f.charts(), "curves": f.curves(), "changes": f.changes()}
        for f in feeds
    ]
    scripts: list[str] = []
    try:
        scripts.append(f"<script>{plotly_js()}</script>" if feeds else "")
    except ConfigError:
        curves = []
    data = json.dumps(curves).replace("<", "\\u003c")
    scripts.append(f"<script type='application/json' id='wb-data'>{data}</script>")
    module = theme.module("reports/run_page.js")
    scripts.append(f"<script type='module'>{module}</script>")
    style = theme.style("widgets/run_panel/panel.css", "reports/run_page.css")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main class='wb wb-report'>{body}</main>\n{''.join(scripts)}</body></html>\n"
    )


def _conclusion(verdict: Verdict, feeds: Sequence[RunFeed]) -> str:
    """One or two sentences, what to do next, and what rings."""
    ringing = [alarm for feed in feeds for alarm in feed.alarms() if alarm["until"] is None]
    alarms = "".join(
        f"<li><b>{escape(alarm['title'])}</b> {escape(alarm['text'])} {escape(alarm['fix'])}</li>"
        for alarm in ringing
    )
    basis = f" <small class='wb-muted'>{escape(verdict.basis)}</small>" if verdict.basis else ""
    advice = f"<p class='wb-next'>{escape(verdict.advice)}</p>" if verdict.advice else ""
    return (
        f"<div class='wb-conclusion {escape(verdict.tone)}'><p><b>{escape(verdict.lead)}</b>"
        f"{escape(verdict.rest)}{basis}</p>{advice}"
        f"{f'<ul>{alarms}</ul>' if alarms else ''}</div>"
    )


def _summary(summary: Mapping[str, Any]) -> str:
    if not summary:
        return ""
    rows: list[tuple[str, str, str]] = []
    for name, value in summary.items():
        words, unit = FIGURE_WORDS.get(name, (name.replace("_", " "), ""))
        rows.append((words, _value(value), unit))
    figures = table(
        rows, ("", "class='wb-num'", "class='wb-muted'"), row_head=0, attributes=FACT_TABLE
    )
    return f"<section><h2>In figures</h2>{figures}</section>"


def _run(feed: RunFeed, number: int) -> str:
    status = feed.status()
    header = feed.header()
    kind = KIND_WORDS.get(feed.kind, feed.kind)
    steps = f"{status['step']} of {status['total'] or '?'} steps"
    facts = [header["model"], status["state"], steps]
    if status["seconds"]:
        facts.append(f"{status['seconds']:.0f} s")
    failed = f"<pre>{escape(status['error'])}</pre>" if "error" in status else ""
    rise = feed.rise()
    why = f"<p>{escape(rise['words'])}</p>" if rise else ""
    events = "".join(map(_event, feed.events()))
    events = f"<details><summary>Events</summary><ul>{events}</ul></details>" if events else ""
    return (
        f"<section><h2>{escape(kind)}: {escape(header['name'])}</h2>"
        f"<p class='wb-muted'>{escape(' · '.join(facts))}</p>{failed}{why}"
        f"<div class='wbp-grid' data-run='{number}'>{still_charts(feed)}</div>"
        f"{run_facts(feed.folder)}{_settings(feed)}{events}</section>"
    )


def _event(event: Mapping[str, Any]) -> str:
    step = "" if event["step"] is None else f"<span class='wb-muted'>step {event['step']}</span> "
    return f"<li>{step}{escape(event['kind'])}: {escape(event['text'])}</li>"


def _settings(feed: RunFeed) -> str:
    settings = feed.config.get("settings") or {}
    names = [Html(f"<code>{escape(str(name))}</code>") for name in settings]
    rows = zip(names, map(_value, settings.values()), strict=True)
    figures = table(rows, row_head=0, attributes=FACT_TABLE)
    return f"<details><summary>Settings ({len(settings)})</summary>{figures}</details>"


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    if not samples:
        return ""
    labels = [str(answer.get("model", "")) for answer in samples[0]["answers"]]
    shown = [samples[i * len(samples) // MOST_SAMPLES] for i in range(MOST_SAMPLES)]
    shown = list(samples) if len(samples) <= MOST_SAMPLES else shown
    some = f"{len(shown)} of {len(samples)} prompts" if len(shown) < len(samples) else "All prompts"
    answers = table(
        map(_sample_row, shown),
        ("class='wb-muted'", *[""] * len(labels)),
        heads=["Prompt", *labels],
        attributes="class='answers'",
    )
    return (
        f"<section><h2>Answers before and after</h2><p class='wb-muted'>{some}. "
        "<button type='button' id='wb-diff' hidden aria-pressed='false'>Mark changed words</button>"
        f"</p><div class='scroll'>{answers}</div></section>"
    )


def _sample_row(row: Mapping[str, Any]) -> list[str]:
    prompt = abridged(as_text(row.get("prompt")), LONGEST)
    cells: list[str] = [Html(f"<div class='wb-text'>{escape(prompt)}</div>")]
    for answer in row["answers"]:
        figures = ", ".join(
            f"{words} {answer[name]:.2f}"
            for name, words in ANSWER_SCORES.items()
            if isinstance(answer.get(name), int | float)
        )
        words = abridged(as_text(answer.get("text")), LONGEST)
        text = f"<div class='wb-text answer'>{escape(words)}</div>"
        cells.append(Html(f"{text}<small class='wb-muted wb-num'>{figures}</small>"))
    return cells


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return abridged(text, LONGEST)
