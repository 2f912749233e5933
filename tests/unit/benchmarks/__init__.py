"""The benchmarks' measuring, comparing and telling."""
