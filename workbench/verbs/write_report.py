"""A run or a round as one HTML file, to keep and to send."""

from pathlib import Path
from typing import Any

from workbench.runs import Run
from workbench.verbs.round_summary import FIGURE_WORDS
from workbench.verbs.rounds import Round, last_mean
from workbench.verbs.train import open_run

LAST = {  # what a run has come to, by kind: means over its last ten steps
    "ppo": ("objective/scores", "objective/gold", "objective/kl", "response/length"),
    "reward": ("heldout/accuracy", "accuracy", "loss"),
    "sft": ("loss", "perplexity"),
}


def report(run: "Run | Round | str", path: str | Path | None = None) -> Path:
    """Write a run or a round as one self-contained HTML file, and return where.

    It opens without a network or a kernel: curves, settings, data, evaluations, answers. Of a round
    it holds both runs, what the round came to, and some of the pairs that were labelled.

    Args:
        run: a run, its name, or a round.
        path: where it goes; None: ``report.html`` in the run's or the round's folder.
    """
    if isinstance(run, Round):
        return _of_round(run, path)
    from workbench.reports.run_facts import first_and_last_answers
    from workbench.reports.run_page import write_report

    opened = run if isinstance(run, Run) else open_run(run)
    summary: dict[str, Any] = {"run": opened.name, "kind": opened.kind, "state": opened.status}
    rows = opened.folder.metrics()
    for key in LAST.get(opened.kind, ()):
        if (mean := last_mean(rows, key, 10)) is not None:
            summary[key] = mean
    return write_report(
        Path(path) if path is not None else opened.path / "report.html",
        title=opened.name,
        runs=[opened.folder],
        summary=summary,
        samples=first_and_last_answers(opened.folder),
    )


def _of_round(turn: Round, path: str | Path | None) -> Path:
    from workbench.reports.run_facts import answers_between, labelled
    from workbench.reports.run_page import write_report

    drawn = set(turn.pairs.ids())
    pairs = [pair for pair in turn.store.pairs() if pair.id in drawn]
    before = turn.before("policy")
    runs = [run for run in (turn.reward, turn.policy) if run is not None]
    after = turn.policy or before
    return write_report(
        Path(path) if path is not None else turn.path / "report.html",
        title=f"Round {turn.number}: {turn.path.name}",
        runs=[run.folder for run in runs] or [before.folder],
        summary={FIGURE_WORDS.get(name, name): value for name, value in turn.figures().items()},
        samples=answers_between(before.folder, after.folder),
        more=labelled(pairs),
    )
