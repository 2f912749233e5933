"""One SELECT a star table, and the rules that its source rows have to keep."""
