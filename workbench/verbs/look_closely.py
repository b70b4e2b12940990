"""One recorded answer of a run under the microscope."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.runs import Run
from workbench.verbs.train import open_run

if TYPE_CHECKING:
    from workbench.widgets.microscope.microscope import Microscope

RECORDED = "microscope.jsonl"
"""Of the embedded model's PPO run, in the sample data."""


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
    from workbench.algos.one_answer import take_apart
    from workbench.widgets.microscope.microscope import Microscope

    def compute(record: dict[str, Any], **settings: float) -> dict[str, Any]:
        return take_apart(recorded(record), **settings)._asdict()

    if run is None:
        from workbench.json_lines import read_lines
        from workbench.world.sample_files import sample_dir

        path = sample_dir() / RECORDED
        return Microscope(
            lambda: read_lines(path).rows, compute, name="PPO on builtin:tiny-chat", kind="ppo"
        )
    run = run if isinstance(run, Run) else open_run(run)
    if run.kind not in ("ppo", "sft"):
        raise DataError(
            f"the microscope looks at PPO and fine-tuning runs, and {run.name} is a {run.kind} run",
            where=str(run.path),
            fix="wb.loss_explorer() takes a comparison's loss in the hand",
        )
    return Microscope(run.folder.tokens, compute, name=run.name, kind=run.kind)


def recorded(record: dict[str, Any]) -> Any:
    """A row of tokens.jsonl as the mathematics takes it."""
    from workbench.algos.one_answer import RecordedAnswer

    names = {field.name for field in fields(RecordedAnswer)}
    kept = {name: value for name, value in record.items() if name in names}
    rows = ("logprobs", "ref_logprobs", "after_logprobs", "values")
    lists = {name: tuple(kept[name]) if name in kept else None for name in rows}
    group = tuple((own, kl) for own, kl in record.get("group", ()))
    return RecordedAnswer(**{**kept, **lists, "group": group})
