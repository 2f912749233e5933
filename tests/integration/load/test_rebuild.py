"""Rebuilds: the warehouse becomes equal to the lake."""

from typing import Any

import psycopg

from lambdas.load.show import LoadedTable
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake, star_row
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough

pytestmark = AT_ONCE_AND_IN_STEPS


def payments(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select payment_record_id, payment_id, transaction_id, run_id from fact_payment order by 1"
    ).fetchall()


def runs(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("select sequence, run_id from pipeline_run order by 1").fetchall()


def test_a_warehouse_that_equals_the_lake_is_left_alone(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    load_through(1)
    before = warehouse.execute("select xmin from fact_payment").fetchall()

    result = load_through(1, rebuild=True)

    assert result.rows == 0
    assert warehouse.execute("select xmin from fact_payment").fetchall() == before
    assert runs(warehouse) == [(1, "run-1")]


def test_rows_that_were_changed_added_or_lost_in_the_warehouse_are_as_the_lake_has_them(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        *({"payment_record_id": number, "payment_id": number} for number in (1, 2, 3)),
    )
    load_through(1)
    warehouse.execute("update fact_payment set payment_id = 99 where payment_record_id = 1")
    warehouse.execute("delete from fact_payment where payment_record_id = 2")
    warehouse.execute("update dim_currency set currency_code = 'XXX'")
    warehouse.execute("insert into dim_currency values (2, 'YYY', 'Y', false, 'by hand')")
    warehouse.execute(
        "insert into fact_payment select 4, 4, created_date, created_time, last_updated_date, "
        "last_updated_time, transaction_id, counterparty_id, payment_amount, 2, payment_type_id, "
        "paid, payment_date, is_deleted, 'by hand' from fact_payment where payment_record_id = 3"
    )

    result = load_through(1, rebuild=True)

    assert [one for one in result.tables if one != LoadedTable(one.table)] == [
        LoadedTable("dim_currency", updated=1),
        LoadedTable("fact_payment", inserted=1, updated=1),
    ]
    assert payments(warehouse) == [(number, number, 1, "run-1") for number in (1, 2, 3)]
    assert warehouse.execute("select currency_id, currency_code from dim_currency").fetchall() == [
        (1, "currency_code")
    ]


def test_a_warehouse_that_is_ahead_of_the_lake_comes_back_to_it(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 2}, sequence=5)
    star_lake.add_star_rows(
        "fact_payment", {"payment_record_id": 2, "transaction_id": 2}, sequence=5
    )
    load_through(1)
    load_through(5)
    star_lake.replace("dim_transaction", star_row("dim_transaction"))
    star_lake.replace("fact_payment", star_row("fact_payment"))

    load_through(2, rebuild=True)

    assert payments(warehouse) == [(1, 1, 1, "run-1")]
    assert warehouse.execute("select transaction_id from dim_transaction").fetchall() == [(1,)]
    assert runs(warehouse) == [(1, "run-1"), (2, "run-2")]


def test_a_fact_whose_dimension_row_the_lake_no_longer_has_goes_to_wait(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 2})
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1, "transaction_id": 1},
        {"payment_record_id": 2, "transaction_id": 2},
    )
    load_through(1)
    star_lake.replace("dim_transaction", star_row("dim_transaction"))

    result = load_through(1, rebuild=True)

    assert result.facts_waiting == 1
    assert payments(warehouse) == [(1, 1, 1, "run-1")]
    waiting = warehouse.execute("select key, reasons from waiting_row").fetchall()
    assert waiting == [("2", [{"rule": "dim_transaction has no transaction_id", "value": 2}])]


def test_a_fact_that_names_another_dimension_row_in_the_lake_moves_there(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"transaction_id": 1})
    load_through(1)
    star_lake.replace("dim_transaction", star_row("dim_transaction", transaction_id=7))
    star_lake.replace("fact_payment", star_row("fact_payment", transaction_id=7))

    load_through(1, rebuild=True)

    assert payments(warehouse) == [(1, 1, 7, "run-1")]
    assert warehouse.execute("select transaction_id from dim_transaction").fetchall() == [(7,)]


def test_a_fact_that_the_lake_has_a_null_for_now_waits_and_its_old_version_goes(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    load_through(1)
    star_lake.replace("fact_payment", star_row("fact_payment", payment_amount=None))

    result = load_through(1, rebuild=True)

    assert result.facts_waiting == 1
    assert payments(warehouse) == []


def test_a_waiting_fact_that_the_lake_no_longer_has_is_forgotten(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1, "transaction_id": 2},
        {"payment_record_id": 2, "transaction_id": 2},
    )
    assert load_through(1).facts_waiting == 2
    star_lake.replace("fact_payment", star_row("fact_payment", transaction_id=2))

    assert load_through(1, rebuild=True).facts_waiting == 1

    waiting = warehouse.execute("select key, attempts from waiting_row").fetchall()
    assert waiting == [("1", 2)]


def test_an_empty_fact_is_filled_without_rows_of_dimension_rows_that_the_rebuild_deletes(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_currency", {"currency_id": 2})
    load_through(1)
    star_lake.replace("dim_currency", star_row("dim_currency"))
    star_lake.add_star_rows("fact_payment", {}, {"payment_record_id": 2, "currency_id": 2})

    result = load_through(1, rebuild=True)

    assert result.facts_waiting == 1
    assert [row[0] for row in payments(warehouse)] == [1]
    assert warehouse.execute("select currency_id from dim_currency").fetchall() == [(1,)]
