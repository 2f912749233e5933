"""Tests of Publish, against the local cloud and PostgreSQL."""
