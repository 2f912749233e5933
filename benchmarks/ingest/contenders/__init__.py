"""Ways from a PostgreSQL table to Parquet: each a script, run in a fresh process of its own."""
