"""Before a long run: memory planned, invariants looked at, PPO held against the exact optimum."""
