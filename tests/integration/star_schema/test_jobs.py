"""The two Glue jobs, run as AWS Glue runs them."""

import runpy
import sys

import pytest
from pyspark.sql import SparkSession

from glue_jobs.star_schema import job
from tests.integration.star_schema.world import STARS, Business, Star
from tests.template import ROOT


def test_each_job_builds_its_own_tables_and_stops_its_session(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    business.run()
    stopped: list[SparkSession] = []

    def stop(session: SparkSession) -> None:
        stopped.append(session)

    monkeypatch.setattr(SparkSession, "stop", stop)
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
    assert len(stopped) == 2
