"""What a run could not take, or a build could not make, waits; nothing else is built again."""

import dataclasses
import logging
from collections.abc import Callable

import boto3
import pytest

from glue_jobs.build.lake import LakeTable
from lambdas.ingest.lake_position import applied_runs
from lambdas.ingest.unbuilt import unbuilt
from pipeline.errors import TableBuildFailed
from pipeline.manifest import Capture, key_of
from tests.integration.build.world import STARS, Business, Star, Warehouse
from tests.oracle.history import HistoryOracle

TABLES = ("dim_currency", "dim_design", "dim_staff", "fact_payment")


def capture_without(business: Business, table: str, reason: str) -> None:
    """Captures the source as one run that could not take a table."""
    business.capture()
    run, before = business.store.read(business.runs), business.store.read(business.runs - 1)
    left = dataclasses.replace(before.tables[table], capture=Capture.NONE, not_taken=reason)
    lacking = dataclasses.replace(run, tables={**run.tables, table: left})
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


class Executions:
    """Executions of the pipeline: each builds only if a star table has runs to apply."""

    def __init__(self, business: Business, star: Star) -> None:
        self._business = business
        self._star = star

    def unbuilt(self) -> tuple[str, ...]:
        """Returns the star tables that have runs to apply, as Ingest tells the state machine."""
        stars = [STARS[table] for table in TABLES]
        glue, client = boto3.client("glue"), self._business.client
        applied = applied_runs(glue, client, self._star.database, TABLES)
        found = unbuilt(
            self._business.store, stars, applied, through=self._business.runs, small_rows=0
        )
        return found.tables

    def build(self) -> tuple[str, ...]:
        """Builds all tables if one has runs to apply; returns those that had."""
        found = self.unbuilt()
        if found:
            self._star.build(*TABLES)
        return found


@pytest.fixture
def executions(business: Business, star: Star) -> Executions:
    """Executions after the first, which has built all tables."""
    business.run()
    made = Executions(business, star)
    assert made.build() == TABLES
    return made


def test_a_failed_build_is_repeated_although_its_source_is_quiet(
    executions: Executions, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert executions.build() == ()
    business.execute("update design set design_name = 'Oak' where design_id = 1")
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.run()

    def fail(table: LakeTable, *arguments: object) -> int:
        raise RuntimeError(f"{table.name} cannot be written")

    with monkeypatch.context() as broken:
        broken.setattr(LakeTable, "merge", fail)
        for _ in range(2):
            assert "dim_design" in executions.unbuilt()
            with pytest.raises(TableBuildFailed):
                executions.build()
        assert executions.unbuilt() == ("dim_design",)
        business.execute("update payment set paid = not paid where payment_id = 2")
        business.run()
        assert executions.unbuilt() == ("dim_design", "fact_payment")

    assert executions.build() == ("dim_design", "fact_payment")
    assert executions.build() == ()


def test_what_waits_for_a_joined_source_is_built_once_the_source_is_taken(
    executions: Executions, business: Business
) -> None:
    business.execute("update staff set last_name = 'New' where staff_id = 1")
    capture_without(business, "department", "permission denied")
    assert executions.build() == ()
    business.execute("update staff set last_name = 'Newer' where staff_id = 1")
    business.execute("update currency set currency_code = 'CHF' where currency_id = 3")
    capture_without(business, "department", "permission denied")
    assert executions.build() == ("dim_currency",)
    assert executions.build() == ()

    business.run()
    assert executions.build() == ("dim_staff",)
    assert executions.build() == ()


@pytest.mark.parametrize("table", ["dim_currency", "fact_payment"])
def test_what_others_do_to_a_table_has_it_built_once(
    executions: Executions, business: Business, star: Star, table: str
) -> None:
    business.execute("update currency set currency_code = 'CHF' where currency_id = 3")
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.run()
    executions.build()
    star.call("rollback_to_snapshot", table, str(star.snapshots(table)[-1]))
    assert executions.build() == (table,)
    star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")
    assert executions.build() == ()
    # Nothing names the run any more: a build finds it in the rows, and names it again.
    old = "older_than => timestamp '2999-01-01 00:00:00', retain_last => 1"
    star.call("expire_snapshots", table, old)
    assert executions.build() == (table,)
    assert executions.build() == ()
    assert star.differences(table) == []


def test_a_rebuild_after_an_emptied_raw_zone_gives_what_the_source_has(
    business: Business, star: Star, new_warehouse: Callable[[Star, Business], Warehouse]
) -> None:
    warehouse = new_warehouse(star, business)
    for amount in (1, 2, 3):
        business.execute("update payment set payment_amount = %s where payment_id <= 3", amount)
        business.execute("update payment set payment_date = %s where payment_id = 4", f"{amount}")
        business.run()
    star.build(*STARS)
    warehouse.load()
    kept = boto3.resource("s3").Bucket(business.bucket)
    kept.objects.all().delete()
    business.runs, business.oracle = 0, HistoryOracle()

    business.run()
    star.build(*STARS, rebuild=True)
    warehouse.load(is_rebuild=True)

    assert warehouse.differences() == []
    business.execute("update payment set payment_amount = 4 where payment_id <= 3")
    business.execute("delete from payment where payment_id = 5")
    business.run()
    star.build(*STARS)
    warehouse.load()
    assert warehouse.differences() == []
    assert {row["_sequence"] for row in star.rows("quarantine")} == {1}
