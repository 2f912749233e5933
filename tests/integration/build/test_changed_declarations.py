"""A table tells by which declaration its rows were made, through whatever becomes of it."""

from dataclasses import replace

import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from doctor.checks.lake import _declared_as
from glue_jobs.build.maintenance import Retention, maintain_tables
from pipeline.applied_run import SEVERAL
from tests.integration.build.world import STARS, Business, Star

TABLES = ("dim_design", "fact_payment")
LONG = Retention(snapshot_days=7, snapshots=20, orphan_days=3)


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_two_declarations_are_told_until_a_rebuild(
    business: Business,
    star: Star,
    spark: SparkSession,
    lake_catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
) -> None:
    first = STARS[table]
    commented = replace(first, select=f"-- As of today\n{first.select}")
    other = replace(first, select=f"select * from ({first.select})")

    def built(*, rebuild: bool = False) -> str:
        business.execute("update design set design_name = design_name || '.' where design_id = 1")
        business.execute("update payment set paid = not paid where payment_id = 1")
        business.run()
        star.build(table, rebuild=rebuild)
        return _declared_as(lake_catalog.load_table((star.database, table)))

    assert [built(), built()] == [first.digest] * 2
    star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")
    maintain_tables(spark, star.database, [table], LONG)
    monkeypatch.setitem(STARS, table, commented)
    assert built() == first.digest
    monkeypatch.setitem(STARS, table, other)
    assert built() == SEVERAL
    monkeypatch.setitem(STARS, table, first)
    assert built() == SEVERAL
    assert built(rebuild=True) == first.digest
    monkeypatch.setitem(STARS, table, other)
    assert built(rebuild=True) == other.digest != first.digest
    assert star.differences(table) == []
