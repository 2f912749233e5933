"""The Build stage: versions of the star tables' rows, from the raw zone to Iceberg tables."""
