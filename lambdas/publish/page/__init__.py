"""The page of a run: one HTML file that says what happened, and needs nothing else."""
