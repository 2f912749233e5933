"""Fixtures, by topic, and what holds for the tests' process."""

import gc

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

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
    """Collects garbage seldom, as it goes through all modules, and lets examples take any time."""
    gc.set_threshold(20_000, 20, 20)
    settings.register_profile(
        "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves tests of drawn examples out of coverage, as tests of many cases leave themselves out.

    To trace such a test takes nearly as long as the test, and others cover the same lines: coverage
    can only be less by this.
    """
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.no_cover)
