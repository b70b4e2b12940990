"""All runs in a table, and several of them beside each other."""
