"""Models compared: side by side, blind, and in the playground."""
