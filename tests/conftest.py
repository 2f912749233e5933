"""Fixtures, by topic, and what holds for the tests' process."""

import gc
import os

from hypothesis import HealthCheck, settings

from local.cloud.server import leave_other_places

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
    "tests.fixtures.tracing",
]


def pytest_configure() -> None:
    """Collects garbage seldom, as it goes through all modules, and lets examples take any time.

    No test depends on the clouds and databases that the shell is set to.
    """
    leave_other_places(os.environ)
    gc.set_threshold(20_000, 20, 20)
    settings.register_profile(
        "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")
