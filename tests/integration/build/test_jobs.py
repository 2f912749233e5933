"""The Glue jobs, run as AWS Glue runs them."""

import runpy
import sys

import pytest
from pyspark.sql import SparkSession

from glue_jobs.build import job
from tests.integration.build.world import STARS, Business, Star
from tests.template import ROOT


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[SparkSession]:
    """The sessions that a job stopped; the tests' own one goes on."""
    sessions: list[SparkSession] = []

    def stop(session: SparkSession) -> None:
        sessions.append(session)

    monkeypatch.setattr(SparkSession, "stop", stop)
    return sessions


def test_each_job_builds_its_own_tables_and_stops_its_session(
    business: Business,
    star: Star,
    stopped: list[SparkSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    business.run()
    monkeypatch.setattr(job, "star_tables", lambda: (STARS["dim_currency"], STARS["fact_payment"]))
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "the script",
            *("--JOB_NAME", "build", "--raw_bucket", business.bucket),
            *("--glue_database", star.database, "--through_sequence", "1", "--rebuild", "true"),
        ],
    )

    runpy.run_path(str(ROOT / "glue_jobs" / "build_dimensions.py"), run_name="__main__")
    assert (len(star.rows("dim_currency")), star.rows("fact_payment")) == (3, [])

    runpy.run_path(str(ROOT / "glue_jobs" / "build_facts.py"), run_name="__main__")
    assert star.differences("dim_currency", "fact_payment") == []

    business.execute("update currency set currency_code = 'CHF' where currency_id = 3")
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.run()
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-3], "2", "--rebuild", "false"])
    runpy.run_path(str(ROOT / "glue_jobs" / "build_star.py"), run_name="__main__")
    assert star.differences("dim_currency", "fact_payment") == []
    assert len(stopped) == 3


def test_the_maintenance_job_maintains_what_there_is_and_stops_its_session(
    business: Business,
    star: Star,
    stopped: list[SparkSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for run in range(5):
        business.execute("update payment set payment_amount = %s where payment_id = 1", run + 1)
        business.run()
        star.build("fact_payment")
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "the script",
            *("--JOB_NAME", "maintain", "--glue_database", star.database),
            *("--snapshot_days", "7", "--snapshots_kept", "1", "--orphan_days", "2"),
        ],
    )

    runpy.run_path(str(ROOT / "glue_jobs" / "maintain_tables.py"), run_name="__main__")

    assert len(star.files("fact_payment")) == 1
    assert star.differences("fact_payment") == []
    assert len(stopped) == 1
