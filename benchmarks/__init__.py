"""Benchmarks: each stage compared with its limit and its peers, in interleaved runs."""
