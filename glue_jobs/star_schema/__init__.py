"""The star schema: versions of its rows from the raw zone, written to Iceberg tables."""
