"""Ingest beside its peers: one PostgreSQL table into zstd Parquet."""
