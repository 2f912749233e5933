"""Tests on real PostgreSQL, real Spark and real packages."""
