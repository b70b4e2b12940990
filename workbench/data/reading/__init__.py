"""Any public format in, every row accounted for."""
