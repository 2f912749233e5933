"""A table tells by which declaration its rows were made, through whatever becomes of it."""

import re
from dataclasses import replace

import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from doctor.checks.lake import _declared_as
from glue_jobs.build.maintenance import Retention, maintain_tables
from pipeline.applied_run import SEVERAL
from pipeline.errors import TableBuildFailed
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


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize(
    ("table", "column", "value", "kind", "said"),
    [
        ("fact_payment", "paid", "cast(paid as int)", "int", "is boolean in the lake and int in"),
        (
            "fact_payment",
            "payment_date",
            "cast(payment_date as timestamp_ntz)",
            "timestamp_ntz",
            "is date in the lake and timestamp_ntz in",
        ),
        (
            "fact_payment",
            "payment_amount",
            "cast(payment_amount as decimal(20, 2))",
            "decimal(20,2)",
            "is decimal(38,10) in the lake and decimal(20,2) in",
        ),
        ("dim_design", "FILE_NAME", "file_name", "string", "has the column file_name, and its SEL"),
    ],
)
def test_a_column_of_another_type_or_of_other_letters_leaves_its_table_as_it_is(
    business: Business,
    star: Star,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    column: str,
    value: str,
    kind: str,
    said: str,
    *,
    rebuild: bool,
) -> None:
    business.run()
    star.build(table)
    held, first = star.rows(table), STARS[table]
    former = column.lower()
    columns = tuple(
        replace(one, name=column, type=kind) if one.name == former else one for one in first.columns
    )
    select = f"select * except ({former}), {value} as {column} from ({first.select})"
    monkeypatch.setitem(STARS, table, replace(first, select=select, columns=columns))
    business.execute("update design set design_name = design_name || '.' where design_id = 1")
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.run()

    with pytest.raises(TableBuildFailed, match=rf"{table}: SourceSchemaChanged.*{re.escape(said)}"):
        star.build(table, rebuild=rebuild)

    assert star.rows(table) == held
    monkeypatch.setitem(STARS, table, first)
    star.build(table)
    assert star.differences(table) == []
