"""What is ours for speed: each equal to the plain path, and tested against it."""
