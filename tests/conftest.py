"""Fixtures, by topic."""

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.cloud",
    "tests.fixtures.installed",
    "tests.fixtures.lake",
    "tests.fixtures.pooler",
    "tests.fixtures.postgres",
    "tests.fixtures.proxy",
    "tests.fixtures.spark",
    "tests.fixtures.stack",
    "tests.fixtures.tls",
]
