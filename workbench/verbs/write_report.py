"""A run or a round as one HTML file, to keep and to send."""

from pathlib import Path
from typing import Any

from workbench.progress import working
from workbench.reports.round_summary import ROUND_WORDS, conclusion_of
from workbench.runs import Run
from workbench.shown_results import WrittenPath
from workbench.verbs.rounds import Round
from workbench.verbs.train import open_run

LAST = {  # what a run has come to, by kind: means over its last ten steps
    "ppo": ("objective/scores", "objective/gold", "objective/kl", "response/length"),
    "dpo": ("heldout/accuracy", "rewards/margins", "objective/kl", "objective/gold"),
    "online_dpo": ("objective/scores", "objective/gold", "objective/kl", "rewards/margins"),
    "reward": ("heldout/accuracy", "accuracy", "loss"),
    "sft": ("loss", "perplexity"),
}


@working("report")
def report(run: "Run | Round | str", path: str | Path | None = None) -> WrittenPath:
    """Write a run or a round as one self-contained HTML file, and return where.

    It opens without a network or a kernel: curves, settings, data, evaluations, answers. Of a round
    it holds both runs, what the round came to, and some of the pairs that were labelled.

    Args:
        run: a run, its name, or a round.
        path: where it goes; None: ``report.html`` in the run's or the round's folder.
    """
    if isinstance(run, Round):
        return _of_round(run, path)
    from workbench.reports.run_facts import answers_between
    from workbench.reports.run_page import write_report
    from workbench.widgets.run_panel.run_feed import RunFeed

    opened = run if isinstance(run, Run) else open_run(run)
    summary: dict[str, Any] = {"run": opened.name, "kind": opened.kind, "state": opened.status}
    feed = RunFeed(opened.folder)
    feed.refresh()
    for key in LAST.get(opened.kind, ()):
        if (mean := feed.recent_mean(key)) is not None:
            summary[key] = mean
    written = write_report(
        Path(path) if path is not None else opened.path / "report.html",
        title=opened.name,
        runs=[feed],
        summary=summary,
        samples=answers_between(feed, feed),
    )
    return WrittenPath(written)


@working("share")
def share(run: "Run | str", out: str | Path | None = None) -> WrittenPath:
    """Write a run's panel as one HTML file that works like the live one, and return where.

    Curves, alarms and the answers of every watched step are in it, by keys and mouse. It opens
    without a network or a kernel, so nothing can be steered or labelled from there. A live run is
    shown as far as it has come.

    Args:
        run: a run, its folder or its name.
        out: where it goes; None: ``panel.html`` in the run's folder.

    Raises:
        RunError: there is no such run, or the file cannot be written there.
        ConfigError: plotly is not installed.
    """
    from workbench.reports.without_kernel.recorded_page import share_run

    opened = run if isinstance(run, Run) else open_run(run)
    return WrittenPath(share_run(opened, opened.path / "panel.html" if out is None else out))


def _of_round(turn: Round, path: str | Path | None) -> WrittenPath:
    from workbench.reports.run_facts import answers_between, labelled
    from workbench.reports.run_page import write_report
    from workbench.widgets.run_panel.run_feed import RunFeed

    drawn = set(turn.pairs.ids())
    pairs = [pair for pair in turn.store.pairs() if pair.id in drawn]
    before = turn.before("policy")
    feeds = {run.path: RunFeed(run.folder) for run in (before, turn.reward, turn.policy) if run}
    for feed in feeds.values():
        feed.refresh()
    runs = [feeds[run.path] for run in (turn.reward, turn.policy) if run is not None]
    first, last = feeds[before.path], feeds[(turn.policy or before).path]
    written = write_report(
        Path(path) if path is not None else turn.path / "report.html",
        title=f"Round {turn.number}: {turn.path.name}",
        runs=runs or [first],
        summary={ROUND_WORDS.get(name, name): value for name, value in turn.figures().items()},
        samples=answers_between(first, last),
        conclusion=conclusion_of(turn.figures()) if runs else None,
        more=labelled(pairs),
    )
    return WrittenPath(written)
