"""The reward model: training it, its members, and scoring with it."""
