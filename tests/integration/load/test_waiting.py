"""Facts that cannot stand yet."""

import datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from lambdas.load.load import LoadResult
from lambdas.load.show import LoadedTable
from pipeline.errors import ObjectStoreUnavailable
from tests.fixtures.lake import DIMENSIONS, PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough
from tests.integration.load.disturbed_lake import DisturbedLake

pytestmark = AT_ONCE_AND_IN_STEPS


def payment_part(result: LoadResult) -> LoadedTable:
    return next(one for one in result.tables if one.table == "fact_payment")


def waiting(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select table_name, key, reasons from waiting_row order by 1, 2"
    ).fetchall()


def loaded(connection: psycopg.Connection) -> list[int]:
    rows = connection.execute("select payment_record_id from fact_payment order by 1")
    return [row[0] for row in rows]


def test_a_fact_waits_with_every_reason_and_the_others_arrive(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1},
        {"payment_record_id": 2, "transaction_id": 7},
        {
            "payment_record_id": 3,
            "payment_amount": None,
            "currency_id": None,
            "payment_date": datetime.date(2030, 12, 31),
        },
    )

    result = load_through(1)

    assert result.facts_waiting == 2
    assert payment_part(result) == LoadedTable("fact_payment", inserted=1, waiting=2)
    assert loaded(warehouse) == [1]
    assert waiting(warehouse) == [
        ("fact_payment", "2", [{"rule": "dim_transaction has no transaction_id", "value": 7}]),
        (
            "fact_payment",
            "3",
            [
                {"rule": "payment_amount is null"},
                {"rule": "currency_id is null"},
                {"rule": "dim_date has no date_id", "value": "2030-12-31"},
            ],
        ),
    ]


def test_every_load_tries_again_and_says_how_many_wait(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"transaction_id": 7})

    results = [load_through(sequence) for sequence in (1, 1, 2)]

    assert [result.facts_waiting for result in results] == [1, 1, 1]
    rows = warehouse.execute("select attempts, last_attempt > first_attempt from waiting_row")
    assert rows.fetchall() == [(3, True)]


def test_a_waiting_fact_arrives_unharmed_when_its_dimension_row_arrives(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*DIMENSIONS)
    amount = Decimal("1234567890123456789012345678.1234567891")
    star_lake.add_star_rows(
        "fact_purchase_order",
        {
            "staff_id": 7,
            "item_code": 'ж "quoted"\n\\u0041 \'',
            "item_unit_price": amount,
            "created_time": "23:59:59.999999",
        },
    )
    load_through(1)
    star_lake.add_star_rows("dim_staff", {"staff_id": 7}, sequence=2)

    result = load_through(2)

    assert LoadedTable("fact_purchase_order", inserted=1) in result.tables
    assert result.facts_waiting == 0
    assert waiting(warehouse) == []
    rows = warehouse.execute(
        "select item_code, item_unit_price, created_time, run_id from fact_purchase_order"
    )
    assert rows.fetchall() == [
        ('ж "quoted"\n\\u0041 \'', amount, datetime.time(23, 59, 59, 999999), "run-1")
    ]


def test_versions_that_waited_come_in_their_own_order_beside_those_that_did_not(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1, "payment_id": 5, "transaction_id": 7},
        {"payment_record_id": 2, "payment_id": 6, "transaction_id": 7},
    )
    load_through(1)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 3, "payment_id": 5, "paid": True},
        {"payment_record_id": 4, "payment_id": 6, "transaction_id": 7, "paid": True},
        sequence=2,
    )
    load_through(2)
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 7}, sequence=3)

    result = load_through(3)

    assert payment_part(result) == LoadedTable("fact_payment", inserted=3)
    assert loaded(warehouse) == [1, 2, 3, 4]
    current = warehouse.execute("select payment_record_id from current_payment order by 1")
    assert current.fetchall() == [(3,), (4,)]


def test_what_waits_survives_a_load_that_fails(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"transaction_id": 7})
    load_through(1)
    before = warehouse.execute("select * from waiting_row").fetchall()
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 7}, sequence=2)

    def break_off() -> None:
        raise ObjectStoreUnavailable("the lake broke off")

    with pytest.raises(ObjectStoreUnavailable):
        load_through(2, lake=DisturbedLake.of(star_lake.lake, "dim_transaction", at_end=break_off))

    assert warehouse.execute("select * from waiting_row").fetchall() == before


def test_a_null_that_the_warehouse_does_not_allow_waits_for_the_next_version(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 1, "created_time": None})
    load_through(1)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)

    load_through(2)

    assert loaded(warehouse) == [2]
    assert waiting(warehouse) == [("fact_payment", "1", [{"rule": "created_time is null"}])]
