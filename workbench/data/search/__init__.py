"""Search in the texts of a million pairs: an index that can be taken out whole."""
