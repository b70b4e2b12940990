"""PPO: rollouts, what is optimised, the update.

``training.ppo.PPOTrainer(...).run()`` is the run as a generator of events.
"""

from workbench.training.ppo.ppo import PPOTrainer

__all__ = ["PPOTrainer"]
