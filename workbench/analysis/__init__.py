"""Numbers about data, people and models: no HTML, no torch."""
