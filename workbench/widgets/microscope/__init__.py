"""One recorded answer, taken apart token by token."""
