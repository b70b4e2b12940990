"""What this machine can do, in words, and whether the smallest loop runs on it."""
