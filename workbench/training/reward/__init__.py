"""The reward model: training it, its members, and scoring with it.

``training.reward.steps(...)`` is the run as a generator of events.
"""

from workbench.training.reward.reward import RewardTrainer, steps

__all__ = ["RewardTrainer", "steps"]
