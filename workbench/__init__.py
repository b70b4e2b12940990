"""The RLHF workbench: preference pairs, a reward model, PPO, and a view of it all in a notebook.

    import workbench as wb

Nothing heavy is imported here: each name is loaded when it is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.version import __version__ as __version__

if TYPE_CHECKING:
    from workbench.data.labelling.session import LabelSession
    from workbench.data.pairs import Pair, Pairs
    from workbench.data.store.labels import LabelStore
    from workbench.runs.run import Run
    from workbench.verbs import (
        analytic_check,
        best_of_n,
        browse,
        compare,
        evaluate_reward,
        export_model,
        gold_labels,
        gold_score,
        label,
        learning_curve,
        load_examples,
        load_pairs,
        load_prompts,
        loss_explorer,
        next_round,
        open_run,
        overoptimisation,
        plan,
        playground,
        preflight,
        presets,
        push,
        quality,
        release,
        report,
        runs,
        sample_dir,
        sample_pairs,
        score,
        train_ppo,
        train_reward,
        train_sft,
        verify,
    )

_VERBS = (
    "analytic_check",
    "best_of_n",
    "browse",
    "compare",
    "evaluate_reward",
    "export_model",
    "gold_labels",
    "gold_score",
    "label",
    "learning_curve",
    "load_examples",
    "load_pairs",
    "load_prompts",
    "loss_explorer",
    "next_round",
    "open_run",
    "overoptimisation",
    "plan",
    "playground",
    "preflight",
    "presets",
    "push",
    "quality",
    "release",
    "report",
    "runs",
    "sample_dir",
    "sample_pairs",
    "score",
    "train_ppo",
    "train_reward",
    "train_sft",
    "verify",
)
_HOMES = {
    **dict.fromkeys(_VERBS, "workbench.verbs"),
    "LabelStore": "workbench.data.store.labels",
    "LabelSession": "workbench.data.labelling.session",
    "Pair": "workbench.data.pairs",
    "Pairs": "workbench.data.pairs",
    "Run": "workbench.runs.run",
}

__all__ = [
    "LabelSession",
    "LabelStore",
    "Pair",
    "Pairs",
    "Run",
    "analytic_check",
    "best_of_n",
    "browse",
    "compare",
    "evaluate_reward",
    "export_model",
    "gold_labels",
    "gold_score",
    "label",
    "learning_curve",
    "load_examples",
    "load_pairs",
    "load_prompts",
    "loss_explorer",
    "next_round",
    "open_run",
    "overoptimisation",
    "plan",
    "playground",
    "preflight",
    "presets",
    "push",
    "quality",
    "release",
    "report",
    "runs",
    "sample_dir",
    "sample_pairs",
    "score",
    "train_ppo",
    "train_reward",
    "train_sft",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


class _Package(ModuleType):
    """Python sets a submodule on its package; one that is called as a verb must not hide it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
