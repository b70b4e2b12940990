"""PPO: rollouts, what is optimised, the update.

``training.ppo.steps(...)`` is the run as a generator of events.
"""

from workbench.training.ppo.ppo import PPOTrainer, steps

__all__ = ["PPOTrainer", "steps"]
