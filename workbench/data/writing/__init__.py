"""Pairs and label stores out, in the formats that trainers read."""
