"""Loads: what the lake's rows become in the warehouse."""

import datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pyiceberg.types import StringType

from lambdas.load.load import LoadResult
from lambdas.load.show import LoadedTable
from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import DAY, DIMENSIONS, PAYMENT_DIMENSIONS, STAR, StarLake
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough

pytestmark = AT_ONCE_AND_IN_STEPS


def changed(result: LoadResult) -> dict[str, LoadedTable]:
    """Returns the tables that a load did something to."""
    return {one.table: one for one in result.tables if one != LoadedTable(one.table)}


def rows(connection: psycopg.Connection, table: str, *columns: str) -> list[tuple[Any, ...]]:
    query = sql.SQL("select {} from {} order by 1").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
    )
    return connection.execute(query).fetchall()


def test_every_table_is_loaded_with_all_its_columns(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*DIMENSIONS)
    facts = [name for name in STAR if name.startswith("fact_")]
    for name in facts:
        star_lake.add_star_rows(name, {})

    result = load_through(1)

    assert changed(result) == {name: LoadedTable(name, inserted=1) for name in STAR}
    assert (result.complete, result.sequence, result.rows) == (True, 1, 11)
    assert result.facts_waiting == 0
    assert rows(warehouse, "fact_payment", *(column.name for column in STAR["fact_payment"])) == [
        (
            *(1, 1, DAY, datetime.time(9, 30), DAY, datetime.time(9, 30), 1, 1),
            *(Decimal("1.5"), 1, 1, False, DAY, False, "run-1"),
        )
    ]


def test_a_lake_without_tables_loads_nothing(load_through: LoadThrough) -> None:
    result = load_through(1)

    assert result.rows == 0
    assert changed(result) == {}


def test_a_dimension_shows_the_latest_state_and_unchanged_rows_are_not_rewritten(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows(
        "dim_currency",
        {"currency_id": 1, "currency_code": "GBP"},
        {"currency_id": 2, "currency_code": "US"},
    )
    load_through(1)
    versions = dict(rows(warehouse, "dim_currency", "currency_id", "xmin"))
    star_lake.add_star_rows("dim_currency", {"currency_id": 3, "currency_code": "EUR"}, sequence=2)
    star_lake.add_star_rows("dim_currency", {"currency_id": 2, "currency_code": "USD"}, sequence=2)

    result = load_through(2)

    assert changed(result) == {
        "dim_currency": LoadedTable("dim_currency", inserted=1, updated=1),
    }
    assert rows(warehouse, "dim_currency", "currency_id", "currency_code", "run_id") == [
        (1, "GBP", "run-1"),
        (2, "USD", "run-2"),
        (3, "EUR", "run-2"),
    ]
    now = dict(rows(warehouse, "dim_currency", "currency_id", "xmin"))
    assert now[1] == versions[1]
    assert now[2] != versions[2]


def test_a_row_that_has_gone_from_the_source_is_kept_and_marked(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows("dim_currency", {})
    load_through(1)
    star_lake.replace(
        "dim_currency",
        {
            "currency_id": 1,
            "currency_code": "GBP",
            "currency_name": "Pound",
            "is_deleted": True,
            "run_id": "run-2",
            "_sequence": 2,
        },
    )

    load_through(2)

    assert rows(warehouse, "dim_currency", "currency_id", "is_deleted") == [(1, True)]


def test_facts_keep_every_version_and_the_view_shows_the_latest_that_is_not_deleted(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1, "payment_id": 1, "paid": False},
        {"payment_record_id": 2, "payment_id": 2},
    )
    load_through(1)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 3, "payment_id": 1, "paid": True},
        {"payment_record_id": 4, "payment_id": 2, "is_deleted": True},
        sequence=2,
    )

    assert changed(load_through(2)) == {"fact_payment": LoadedTable("fact_payment", inserted=2)}

    assert rows(warehouse, "fact_payment", "payment_record_id", "paid", "is_deleted") == [
        (1, False, False),
        (2, False, False),
        (3, True, False),
        (4, False, True),
    ]
    assert rows(warehouse, "current_payment", "payment_record_id", "paid") == [(3, True)]


def test_a_second_load_of_the_same_run_adds_nothing(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    load_through(1)
    before = rows(warehouse, "pipeline_run", "sequence", "xmin")

    result = load_through(1)

    assert result.rows == 0
    assert changed(result) == {}
    assert rows(warehouse, "fact_payment", "payment_record_id") == [(1,)]
    assert rows(warehouse, "pipeline_run", "sequence", "xmin") == before


def test_runs_that_were_never_loaded_are_made_up_for(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    load_through(1)
    for sequence in (2, 3, 4):
        star_lake.add_star_rows("fact_payment", {"payment_record_id": sequence}, sequence=sequence)

    load_through(4)

    assert rows(warehouse, "fact_payment", "payment_record_id", "run_id") == [
        (2, "run-2"),
        (3, "run-3"),
        (4, "run-4"),
    ]


def test_what_later_runs_brought_is_left_for_their_own_load(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 1})
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)

    load_through(1)
    assert rows(warehouse, "fact_payment", "payment_record_id") == [(1,)]

    load_through(2)
    assert rows(warehouse, "fact_payment", "payment_record_id") == [(1,), (2,)]


def test_each_load_is_recorded_with_what_it_did(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows("dim_currency", {})
    load_through(1)
    load_through(7)

    runs = warehouse.execute(
        "select sequence, run_id, loaded_at <= clock_timestamp(), tables['dim_currency'] "
        "from pipeline_run order by 1"
    ).fetchall()
    zero = {"updated": 0, "after": 0}
    assert runs == [
        (1, "run-1", True, {"inserted": 1, **zero, "through": 1, "run_id": "run-1"}),
        (7, "run-7", True, {"inserted": 0, **zero, "after": 1, "through": 7, "run_id": "run-7"}),
    ]


def test_a_decimal_arrives_exactly_and_without_the_lakes_padding(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    amounts = [
        "0",
        "0.0000000001",
        "-0.0000000001",
        "3.1",
        "100",
        "1234567890123456789012345678.1234567891",
        "-9999999999999999999999999999.9999999999",
    ]
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        *(
            {"payment_record_id": number, "payment_amount": Decimal(amount)}
            for number, amount in enumerate(amounts)
        ),
    )

    load_through(1)

    query = "select payment_amount::text from fact_payment order by payment_record_id"
    assert [row[0] for row in warehouse.execute(query)] == amounts


def test_null_empty_text_and_words_that_look_like_null_stay_apart(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    texts = (
        None,
        "",
        "null",
        "NULL",
        "None",
        "\\N",
        '""',
        "\\.",
        " ",
        'O\'Neil, "x"\r\n\t;',
        "ж🙂",
    )
    star_lake.add_star_rows(
        "dim_staff",
        *({"staff_id": key, "location": text} for key, text in enumerate(texts)),
    )

    load_through(1)

    assert rows(warehouse, "dim_staff", "staff_id", "location") == list(enumerate(texts))


def test_times_keep_their_microseconds_and_dates_their_day(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    days = (datetime.date(1, 1, 1), datetime.date(1899, 12, 31), datetime.date(9999, 12, 31))
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_date", *({"date_id": day} for day in days))
    star_lake.add_star_rows(
        "fact_payment",
        *(
            {
                "payment_record_id": number,
                "created_date": day,
                "created_time": "23:59:59.999999",
                "last_updated_time": "00:00:00.000001",
                "paid": True,
            }
            for number, day in enumerate(days)
        ),
    )

    load_through(1)

    columns = ("payment_record_id", "created_date", "created_time", "last_updated_time", "paid")
    assert rows(warehouse, "fact_payment", *columns) == [
        (number, day, datetime.time(23, 59, 59, 999999), datetime.time(0, 0, 0, 1), True)
        for number, day in enumerate(days)
    ]


def test_a_nullable_number_stays_a_number_or_null(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows(
        "dim_transaction",
        {"transaction_id": 1, "sales_order_id": 2**31 - 1},
        {"transaction_id": 2, "purchase_order_id": 5},
    )

    load_through(1)

    columns = ("transaction_id", "sales_order_id", "purchase_order_id")
    assert rows(warehouse, "dim_transaction", *columns) == [(1, 2**31 - 1, None), (2, None, 5)]


def test_a_lake_that_is_behind_the_warehouse_is_refused(
    star_lake: StarLake, load_through: LoadThrough
) -> None:
    load_through(5)

    with pytest.raises(StarSchemaMismatch, match="the raw zone has come to run 4 only"):
        load_through(4)


def test_a_column_that_the_lake_lacks_is_named_and_the_other_tables_are_loaded(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*DIMENSIONS)
    with star_lake.table("dim_staff").update_schema() as change:
        change.delete_column("location")

    with pytest.raises(StarSchemaMismatch, match=r"dim_staff has no location"):
        load_through(1)

    assert rows(warehouse, "dim_currency", "currency_id") == [(1,)]
    assert rows(warehouse, "dim_staff", "staff_id") == []
    positions = dict(rows(warehouse, "load_position", "table_name", "sequence"))
    assert (positions["dim_currency"], positions["dim_staff"]) == (1, 0)


def test_a_column_that_only_the_lake_has_is_left_there(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows("dim_currency", {})
    with star_lake.table("dim_currency").update_schema() as change:
        change.add_column("note", StringType())

    load_through(1)

    assert rows(warehouse, "dim_currency", "currency_id") == [(1,)]
