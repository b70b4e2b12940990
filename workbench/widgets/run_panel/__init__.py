"""The run panel: a live view of one run folder."""
