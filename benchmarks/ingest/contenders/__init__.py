"""Contenders that copy a PostgreSQL table to Parquet: one script each, run in a new process."""
