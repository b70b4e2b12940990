"""A recorded answer under the microscope; a reward run's pairs on the curve of its loss."""

import gzip
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.progress import working
from workbench.runs import Run
from workbench.runs.folder import LIVE, TOKENS
from workbench.verbs.train import open_run

if TYPE_CHECKING:
    from workbench.widgets.explorer.explorer import LossExplorer
    from workbench.widgets.microscope.microscope import Microscope

RECORDED = "microscope.jsonl.gz"
"""Of the embedded model's PPO run, in the sample data."""


@working("microscope")
def microscope(run: Run | str | Path | None = None) -> "Microscope":
    """Take one answer of one update apart, token by token, and move its settings by hand.

    Of a PPO run: log-ratio and KL charge, the score at the end, value, surprise, advantage, ratio
    and clipped objective; sliders for beta, gamma, lambda, epsilon and the score compute it all
    again. Of a fine-tuning run: what the model expected at each token, and the mask. Reads back
    as ``microscope.frame``.

    Args:
        run: a run of ``train_ppo`` or ``train_sft``, live or not, by itself, its name or its
            folder; None for updates of the embedded model that were recorded once.

    Raises:
        RunError: there is no such run.
        DataError: it recorded no answers.
    """
    if isinstance(run, str | Path):
        run = open_run(run)
    from workbench.algos.one_answer import take_apart
    from workbench.widgets.microscope.microscope import Microscope

    def compute(record: dict[str, Any], **settings: float) -> dict[str, Any]:
        return take_apart(recorded(record), **settings)._asdict()

    if run is None:
        from workbench.world.sample_files import sample_dir

        with gzip.open(sample_dir() / RECORDED, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return Microscope(lambda: rows, compute, name="PPO on builtin:tiny-chat", kind="ppo")
    if run.kind not in ("ppo", "sft"):
        raise DataError(
            f"the microscope looks at PPO and fine-tuning runs, and {run.name} is a {run.kind} run",
            where=str(run.path),
            fix="wb.loss_explorer(run) takes a reward run's comparisons in the hand",
        )
    follower, rows = run.folder.follow(TOKENS), list[dict[str, Any]]()

    def as_it_grows() -> list[dict[str, Any]]:
        fresh = follower.read()
        if fresh.reset:  # the run was resumed from a checkpoint
            rows.clear()
        rows.extend(fresh.rows)
        return rows

    explain = _explainer(run)
    return Microscope(as_it_grows, compute, name=run.name, kind=run.kind, explain=explain)


def _explainer(run: Run) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """Says why an answer has its score; None of a live run, or where no one model scored it."""
    from workbench.widgets.kit.why_score import ask_why, reward_of, why_question

    config = run.config
    if run.status in LIVE or reward_of(config) is None:
        return None
    return lambda record: ask_why(why_question(config, record))


def loss_explorer(run: Run | str | Path | None = None) -> "LossExplorer":
    """Move two scores and see what the reward model's loss makes of them.

    Args:
        run: a run of ``train_reward``, live or not, by itself, its name or its folder: eight of
            its held-out pairs lie on the curve, as its last evaluation judged them, with their
            texts. None for the curve alone.

    Raises:
        RunError: there is no such run.
        DataError: it has judged no held-out pair so far.
    """
    from workbench.widgets.explorer.explorer import LossExplorer

    if run is None:
        return LossExplorer()
    run = run if isinstance(run, Run) else open_run(run)
    samples = run.folder.samples()
    if not any("chosen_score" in row for row in samples):
        raise DataError(
            "this run has judged no held-out pair",
            where=str(run.path),
            fix="give a run of wb.train_reward after its first evaluation (evaluate_every)",
        )
    return LossExplorer(run.name, samples)


def recorded(record: dict[str, Any]) -> Any:
    """A row of tokens.jsonl as the mathematics takes it."""
    from workbench.algos.one_answer import RecordedAnswer

    names = {field.name for field in fields(RecordedAnswer)}
    kept = {name: value for name, value in record.items() if name in names}
    rows = ("logprobs", "ref_logprobs", "after_logprobs", "values")
    lists = {name: tuple(kept[name]) if name in kept else None for name in rows}
    group = tuple((own, kl) for own, kl in record.get("group", ()))
    return RecordedAnswer(**{**kept, **lists, "group": group})
