"""Ingest: the source's changes since the last run, into the raw zone, as one commit."""
