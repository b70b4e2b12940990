"""PPO: rollouts, what is optimised, the update."""
