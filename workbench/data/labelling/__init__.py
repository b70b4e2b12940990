"""A labelling session: which items in which order, what is shown, what a choice does."""
