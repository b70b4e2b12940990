"""The labeller: two answers side by side, one key a label."""
