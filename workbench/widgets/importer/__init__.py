"""The import form: which column is which, for a file that no format fits."""
