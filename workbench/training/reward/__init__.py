"""The reward model: training it, its members, and scoring with it.

``training.reward.RewardTrainer(...).run()`` is the run as a generator of events.
"""

from workbench.training.reward.reward import RewardTrainer

__all__ = ["RewardTrainer"]
