"""The loss explorer: what one comparison costs a reward model."""
