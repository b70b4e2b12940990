"""What a person asks for. Notebooks and the command line call the same verbs.

Each verb joins the rooms: it reads the data, starts a process, or shows a widget. The notebook's
own process never loads a model. Imports go down this list: load_data, model_names, reward_specs,
train, batch, gold_labels, reward_evaluation, optimisation_limits, plan_memory, run_preflight,
verify_model, publish, views, draw_pairs, rounds, write_report.
"""

from workbench.verbs.batch import answers, before_and_after, export_model, sample_pairs, score
from workbench.verbs.gold_labels import gold_labels
from workbench.verbs.load_data import load_examples, load_pairs, load_prompts
from workbench.verbs.optimisation_limits import analytic_check, best_of_n, overoptimisation
from workbench.verbs.plan_memory import plan
from workbench.verbs.publish import push
from workbench.verbs.reward_evaluation import evaluate_reward, learning_curve
from workbench.verbs.rounds import next_round
from workbench.verbs.run_preflight import preflight
from workbench.verbs.train import (
    finished,
    open_run,
    presets,
    runs,
    train_ppo,
    train_reward,
    train_sft,
)
from workbench.verbs.verify_model import verify
from workbench.verbs.views import (
    browse,
    compare,
    label,
    loss_explorer,
    playground,
    quality,
    release,
)
from workbench.verbs.write_report import report
from workbench.world.judge import gold_score
from workbench.world.sample_files import sample_dir

__all__ = [
    "analytic_check",
    "answers",
    "before_and_after",
    "best_of_n",
    "browse",
    "compare",
    "evaluate_reward",
    "export_model",
    "finished",
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
