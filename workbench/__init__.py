"""The RLHF workbench: preference pairs, a reward model, PPO, and a view of it all in a notebook.

    import workbench as wb

What is imported here is public. A verb loads what is heavy (torch, pandas, Plotly) when it is
called, so that all of them together are imported in a fraction of a second.
"""

from workbench.data.labelling.session import LabelSession as LabelSession
from workbench.data.pairs import Pair as Pair
from workbench.data.pairs import Pairs as Pairs
from workbench.data.store.labels import LabelStore as LabelStore
from workbench.machine.doctor import doctor as doctor
from workbench.runs.run import Run as Run
from workbench.verbs.batch import export_model as export_model
from workbench.verbs.batch import sample_pairs as sample_pairs
from workbench.verbs.batch import score as score
from workbench.verbs.draw_frontier import frontier as frontier
from workbench.verbs.explain_scores import influence as influence
from workbench.verbs.explain_scores import relabel_and_retrain as relabel_and_retrain
from workbench.verbs.explain_scores import why as why
from workbench.verbs.explain_scores import why_rose as why_rose
from workbench.verbs.gold import gold_labels as gold_labels
from workbench.verbs.load_data import import_pairs as import_pairs
from workbench.verbs.load_data import load_examples as load_examples
from workbench.verbs.load_data import load_pairs as load_pairs
from workbench.verbs.load_data import load_prompts as load_prompts
from workbench.verbs.look_closely import loss_explorer as loss_explorer
from workbench.verbs.look_closely import microscope as microscope
from workbench.verbs.optimisation_limits import analytic_check as analytic_check
from workbench.verbs.optimisation_limits import best_of_n as best_of_n
from workbench.verbs.optimisation_limits import overoptimisation as overoptimisation
from workbench.verbs.plan_memory import plan as plan
from workbench.verbs.publish import push as push
from workbench.verbs.reward_evaluation import evaluate_reward as evaluate_reward
from workbench.verbs.reward_evaluation import learning_curve as learning_curve
from workbench.verbs.rounds import next_round as next_round
from workbench.verbs.run_preflight import preflight as preflight
from workbench.verbs.train import open_run as open_run
from workbench.verbs.train import presets as presets
from workbench.verbs.train import runs as runs
from workbench.verbs.train import train_dpo as train_dpo
from workbench.verbs.train import train_online_dpo as train_online_dpo
from workbench.verbs.train import train_ppo as train_ppo
from workbench.verbs.train import train_reward as train_reward
from workbench.verbs.train import train_sft as train_sft
from workbench.verbs.verify_model import verify as verify
from workbench.verbs.views import browse as browse
from workbench.verbs.views import compare as compare
from workbench.verbs.views import label as label
from workbench.verbs.views import playground as playground
from workbench.verbs.views import quality as quality
from workbench.verbs.views import release as release
from workbench.verbs.write_report import report as report
from workbench.verbs.write_report import share as share
from workbench.version import __version__ as __version__
from workbench.world.judge import gold_score as gold_score
from workbench.world.sample_files import sample_dir as sample_dir

__all__ = sorted(name for name, value in globals().items() if callable(value))  # pyright: ignore[reportUnsupportedDunderAll]
