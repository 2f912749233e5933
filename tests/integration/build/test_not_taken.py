"""A run that lacks a source: the star tables that join it wait, and all others are built."""

import dataclasses
import logging

import pytest

from pipeline.manifest import Capture, key_of
from tests.integration.build.world import Business, Star


def capture_without(business: Business, table: str, reason: str) -> None:
    """Captures the source as one run that could not take a table."""
    business.capture()
    run, before = business.store.read(business.runs), business.store.read(business.runs - 1)
    left = dataclasses.replace(before.tables[table], capture=Capture.NONE, not_taken=reason)
    lacking = dataclasses.replace(run, tables=run.tables | {table: left})
    business.client.put_object(
        Bucket=business.bucket, Key=key_of(run.sequence), Body=lacking.to_json().encode()
    )


def test_a_joined_table_waits_until_a_run_has_all_its_sources(
    business: Business, star: Star, caplog: pytest.LogCaptureFixture
) -> None:
    business.run()
    star.build("dim_staff", "dim_location", "dim_counterparty")
    business.execute("update department set department_name = 'Treasury' where department_id = 1")
    business.execute("update staff set last_name = 'New' where staff_id = 1")
    business.execute("update address set city = 'Elsewhere' where address_id = 1")
    capture_without(business, "department", "permission denied")

    with caplog.at_level(logging.INFO, logger="glue_jobs"):
        built = star.build("dim_staff", "dim_location", "dim_counterparty")

    assert (built["dim_staff"], built["dim_location"]) == (0, 1)
    lines = [" ".join(line.split()) for line in caplog.messages]
    assert "dim_staff waits: run 2 did not take department: permission denied" in lines
    assert {row["run_id"] for row in star.rows("dim_staff")} == {"run-1"}

    business.run()
    assert star.build("dim_staff")["dim_staff"] > 0
    assert star.differences("dim_staff") == []
    before = star.dimension("dim_staff")
    star.build("dim_staff", rebuild=True)
    assert star.dimension("dim_staff") == before
