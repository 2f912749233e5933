"""Fixtures, by topic, and how often the tests' process looks for garbage."""

import gc

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


def pytest_configure() -> None:
    """Has garbage collected seldom: each time, Python goes through all modules and their tests."""
    gc.set_threshold(20_000, 20, 20)
