"""Tests of Load, against PostgreSQL and Iceberg tables of the local cloud."""
