"""Fixtures, by topic."""

pytest_plugins = [
    "tests.fixtures.cloud",
    "tests.fixtures.lake",
    "tests.fixtures.postgres",
    "tests.fixtures.spark",
    "tests.fixtures.stack",
]
