"""A column that the star schema gains, all the way to the warehouse."""

from dataclasses import replace

import boto3
import psycopg
import pytest

from lambdas.load.lake import Lake, glue_catalog
from lambdas.load.load import load
from lambdas.load.migrations import Migration, migrations
from lambdas.load.plan import source_changed
from pipeline.requests import LoadRequest
from star_schema.tables import StarColumn
from tests.integration.build.world import STARS, Business, Star

_PAYMENT = ("dim_date", "dim_transaction", "dim_counterparty", "dim_currency", "dim_payment_type")


@pytest.mark.parametrize("table", ["dim_payment_type", "fact_payment"])
def test_a_column_arrives_by_a_line_of_sql_a_migration_and_a_rebuild(
    business: Business,
    star: Star,
    warehouse_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
) -> None:
    lake = Lake(glue_catalog(boto3.client("s3")), star.database)
    changed = source_changed(business.store)
    monkeypatch.setattr("lambdas.load.load.star_tables", lambda: tuple(STARS.values()))
    business.run()
    star.build(*_PAYMENT, "fact_payment")
    with psycopg.connect(warehouse_dsn, autocommit=True) as warehouse:
        request = LoadRequest("run-1", business.runs, rebuild=False)
        load(warehouse, lake, request, changed, seconds_left=lambda: 60.0)

        select = STARS[table].select.replace("_sequence\n", "created_at as made_at, _sequence\n", 1)
        columns = (*STARS[table].columns, StarColumn("made_at", "timestamp_ntz", "When made"))
        monkeypatch.setitem(STARS, table, replace(STARS[table], select=select, columns=columns))
        step = Migration("0099.sql", f"alter table {table} add column made_at timestamp", "1")
        monkeypatch.setattr("lambdas.load.load.migrations", lambda: (*migrations(), step))
        star.build(*_PAYMENT, "fact_payment", rebuild=True)
        request = LoadRequest("run-2", business.runs, rebuild=True)
        load(warehouse, lake, request, changed, seconds_left=lambda: 60.0)

        shown = warehouse.execute(f"select made_at from {table} order by 1".encode()).fetchall()
    assert shown == sorted((row["made_at"],) for row in star.rows(table))
    assert (None,) not in shown
