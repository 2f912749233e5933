"""Benchmarks: every stage beside its limit and its peers, in one interleaved run."""
