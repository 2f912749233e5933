"""A long history of small runs: what a run, a build and a rebuild cost at its end."""
