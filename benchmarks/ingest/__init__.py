"""Ingest, compared with its peers: one PostgreSQL table to zstd Parquet."""
