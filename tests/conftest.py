"""Fixtures, by topic."""

pytest_plugins = ["tests.fixtures.postgres"]
