"""What the catalogue says of the star's tables, and their snapshots of themselves."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import FileFormat
from pyspark.sql import SparkSession

from glue_jobs.build import lake
from glue_jobs.build.lake import LakeTable
from star_schema import quarantine
from star_schema.tables import ADDED_COLUMNS, star_table
from tests.integration.build.world import Business, Star

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

PAYMENT, CURRENCY = star_table("fact_payment"), star_table("dim_currency")
DECLARED = {
    "fact_payment": (PAYMENT.comment, PAYMENT.columns + ADDED_COLUMNS),
    "dim_currency": (CURRENCY.comment, CURRENCY.columns + ADDED_COLUMNS),
    "quarantine": (quarantine.COMMENT, quarantine.COLUMNS),
}


@pytest.fixture(scope="module")
def built(new_business: Callable[[], Business], new_star: Callable[[Business], Star]) -> Star:
    """Tables of one run."""
    business = new_business()
    star = new_star(business)
    business.run()
    star.build("fact_payment", "dim_currency")
    return star


@pytest.mark.parametrize("table", DECLARED)
def test_tables_and_columns_are_in_the_catalogue_as_declared(
    built: Star, glue: "GlueClient", table: str
) -> None:
    entry = glue.get_table(DatabaseName=built.database, Name=table)["Table"]

    columns = entry["StorageDescriptor"]["Columns"]
    comment, wanted = DECLARED[table]
    assert entry["Description"] == comment
    held = [(column["Name"], column["Type"], column["Comment"]) for column in columns]
    assert held == [(column.name, column.type, column.comment) for column in wanted]


def test_files_are_sorted_by_the_natural_key(built: Star, lake_catalog: Catalog) -> None:
    table = lake_catalog.load_table((built.database, "fact_payment"))

    (field,) = table.sort_order().fields
    keys = [row["payment_id"] for row in built.rows("fact_payment")]
    assert table.schema().find_column_name(field.source_id) == "payment_id"
    assert table.properties["write.metadata.metrics.column.payment_id"] == "full"
    assert len(built.files("fact_payment")) == 1
    assert keys == sorted(keys)


def test_each_snapshot_says_how_far_it_came_and_by_which_execution(
    business: Business, star: Star, lake_catalog: Catalog
) -> None:
    for run in (1, 2):
        business.execute("update payment set payment_amount = %s where payment_id = 1", run)
        business.execute("update currency set currency_code = %s where currency_id = 1", f"XX{run}")
        business.run()
        with patch.object(
            LakeTable, "_alter", autospec=True, side_effect=LakeTable._alter
        ) as alter:
            star.build("fact_payment", "dim_currency")

    # The second build found each table, and the quarantine, as it is declared.
    alter.assert_not_called()
    for name in ("fact_payment", "dim_currency"):
        snapshots = lake_catalog.load_table((star.database, name)).snapshots()
        said = [
            (snapshot.summary["applied-through"], snapshot.summary["run-id"])
            for snapshot in snapshots
            if snapshot.summary is not None
        ]
        assert said == [("1", "run-1"), ("2", "run-2")]
        for snapshot in snapshots:
            assert snapshot.summary is not None
            took = snapshot.timestamp_ms - int(snapshot.summary["build-began-at-ms"] or 0)
            assert 0 < took < 600_000


def test_manifests_of_many_builds_are_merged_between_maintenances(
    business: Business,
    star: Star,
    spark: SparkSession,
    lake_catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most, setting = 3, "commit.manifest.min-count-to-merge"
    assert most < int(lake._PROPERTIES[setting]) < 96, "a day has 96 runs"
    monkeypatch.setitem(lake._PROPERTIES, setting, str(most))
    business.run()
    star.build("fact_payment")
    table = LakeTable(spark.newSession(), star.database, "fact_payment")

    for _ in range(most):
        applied = table.read_applied()
        table.append(table.rows().limit(1), applied)

    held = lake_catalog.load_table((star.database, "fact_payment"))
    snapshot = held.current_snapshot()
    assert snapshot is not None
    assert len(star.files("fact_payment")) == 1 + most
    assert len(snapshot.manifests(held.io)) < most


def test_a_table_of_an_earlier_version_becomes_what_is_declared(
    business: Business,
    star: Star,
    spark: SparkSession,
    glue: "GlueClient",
    lake_catalog: Catalog,
) -> None:
    business.run()
    star.build("dim_currency")
    identifier = f"glue_catalog.{star.database}.dim_currency"
    for change in (
        "alter column currency_code comment 'another'",
        "write unordered",
        "unset tblproperties ('write.metadata.metrics.column.currency_id')",
        "set tblproperties ('write.format.default' = 'orc')",
    ):
        spark.sql(f"alter table {identifier} {change}")
    spark.sql(f"comment on table {identifier} is 'another'")
    business.execute("update currency set currency_code = 'XXX' where currency_id = 1")
    business.run()

    star.build("dim_currency")

    entry = glue.get_table(DatabaseName=star.database, Name="dim_currency")["Table"]
    comments = [column["Comment"] for column in entry["StorageDescriptor"]["Columns"]]
    table = lake_catalog.load_table((star.database, "dim_currency"))
    assert entry["Description"] == CURRENCY.comment
    assert comments == [column.comment for column in CURRENCY.columns + ADDED_COLUMNS]
    assert len(table.sort_order().fields) == 1
    assert table.properties["write.metadata.metrics.column.currency_id"] == "full"
    assert {task.file.file_format for task in table.scan().plan_files()} == {FileFormat.PARQUET}


def test_a_table_whose_entry_was_lost_goes_on_from_its_newest_metadata_file(
    business: Business, star: Star, glue: "GlueClient"
) -> None:
    business.run()
    star.build("fact_payment")
    before = star.fact("fact_payment")
    entry = glue.get_table(DatabaseName=star.database, Name="fact_payment")["Table"]
    glue.delete_table(DatabaseName=star.database, Name="fact_payment")

    star.call("register_table", "fact_payment", f"'{entry['Parameters']['metadata_location']}'")
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.run()

    assert star.build("fact_payment") == {"fact_payment": 1}
    assert before.items() < star.fact("fact_payment").items()
