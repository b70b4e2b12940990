"""The label store: durable events in SQLite, and the label that holds."""
