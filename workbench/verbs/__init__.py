"""What a person asks for. Notebooks and the command line call the same verbs.

Each verb joins the rooms: it reads the data, starts a process, or shows a widget. The notebook's
own process never loads a model. Imports go down this list: given, model_names, rewards, launch,
batch, gold, measure, goodhart, plans, preflights, verifying, publish, views, drawing, rounds,
reports.
"""

from workbench.verbs.batch import answers, before_and_after, export_model, sample_pairs, score
from workbench.verbs.given import load_examples, load_pairs, load_prompts
from workbench.verbs.gold import gold_labels
from workbench.verbs.goodhart import analytic_check, best_of_n, overoptimisation
from workbench.verbs.launch import (
    finished,
    open_run,
    presets,
    runs,
    train_ppo,
    train_reward,
    train_sft,
)
from workbench.verbs.measure import evaluate_reward, learning_curve
from workbench.verbs.plans import plan
from workbench.verbs.preflights import preflight
from workbench.verbs.publish import push
from workbench.verbs.reports import report
from workbench.verbs.rounds import next_round
from workbench.verbs.verifying import verify
from workbench.verbs.views import (
    browse,
    compare,
    label,
    loss_explorer,
    playground,
    quality,
    release,
)
from workbench.world.files import sample_dir
from workbench.world.judge import gold_score

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
