"""The whole pipeline on a laptop."""
