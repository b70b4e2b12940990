"""The browser: a table of any number of pairs, searched, filtered, sorted, read."""
