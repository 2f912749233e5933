"""First loads: the rows go straight into an empty fact, and all its rules are back at the end."""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from lambdas.load.load import LoadResult
from lambdas.load.pace import Pace
from lambdas.load.show import LoadedTable
from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import DIMENSIONS, PAYMENT_DIMENSIONS, STAR, StarLake
from tests.integration.load.conftest import Connect, LoadThrough
from tests.integration.load.disturbed_lake import DisturbedLake

FACTS = [name for name in STAR if name.startswith("fact_")]
_RULES = (
    "select conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid) "
    "from pg_constraint where connamespace = 'public'::regnamespace "
    "union all select tablename, indexname, true, indexdef from pg_indexes "
    "where schemaname = 'public' order by 1, 2, 4"
)


@pytest.fixture(params=["nobody", "somebody"])
def while_reading(request: pytest.FixtureRequest, connect: Connect) -> Callable[[], Any]:
    """Gives a context in which nobody or somebody uses a dimension."""

    @contextmanager
    def reading() -> Iterator[None]:
        if request.param == "nobody":
            yield
            return
        with connect().transaction() as held:
            held.connection.execute("select from dim_currency")
            yield

    return reading


def rules(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_RULES).fetchall()


def identities(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Returns what changes when a constraint is dropped and made again."""
    return connection.execute("select oid, conname from pg_constraint order by 1").fetchall()


def part(result: LoadResult, table: str) -> LoadedTable:
    return next(one for one in result.tables if one.table == table)


def test_all_constraints_and_indexes_are_back_under_their_names(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    before = rules(warehouse)
    identities_before = identities(warehouse)
    star_lake.add_dimensions(*DIMENSIONS)
    for name in FACTS:
        star_lake.add_star_rows(name, {}, {STAR[name][0].name: 2, "currency_id": 7})

    result = load_through(1)

    assert [part(result, name) for name in FACTS] == [
        LoadedTable(name, inserted=1, waiting=1) for name in FACTS
    ]
    assert identities(warehouse) != identities_before
    assert rules(warehouse) == before
    assert len([rule for rule in before if rule[3].startswith("FOREIGN KEY")]) == 24


def test_what_cannot_stand_waits_whether_or_not_somebody_reads(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    while_reading: Callable[[], Any],
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1},
        {"payment_record_id": 2, "transaction_id": 7, "payment_amount": None},
        {"payment_record_id": 3, "payment_date": datetime.date(2030, 12, 31)},
        {"payment_record_id": 4, "created_time": None},
        {"payment_record_id": 5, "run_id": ""},
    )

    with while_reading():
        result = load_through(1, lock_seconds=0.1)

    assert part(result, "fact_payment") == LoadedTable("fact_payment", inserted=2, waiting=3)
    rows = warehouse.execute("select payment_record_id, run_id from fact_payment order by 1")
    assert rows.fetchall() == [(1, "run-1"), (5, "")]
    waiting = warehouse.execute(
        "select key, reasons, attempts, content->>'payment_amount', "
        "(select count(*) from jsonb_object_keys(content)) from waiting_row order by 1"
    )
    assert waiting.fetchall() == [
        (
            "2",
            [
                {"rule": "payment_amount is null"},
                {"rule": "dim_transaction has no transaction_id", "value": 7},
            ],
            *(1, None, 15),
        ),
        ("3", [{"rule": "dim_date has no date_id", "value": "2030-12-31"}], 1, "1.5", 15),
        ("4", [{"rule": "created_time is null"}], 1, "1.5", 15),
    ]


def test_a_reader_in_the_middle_of_a_transaction_neither_waits_nor_keeps_the_load_waiting(
    warehouse: psycopg.Connection,
    connect: Connect,
    star_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    before = identities(warehouse)
    reader = connect()

    with reader.transaction():
        reader.execute("select from fact_payment")
        load_through(1, lock_seconds=0.1)
        seen = reader.execute("select count(*) from fact_payment").fetchone()

    assert seen == (1,)
    assert identities(warehouse) == before


@pytest.mark.parametrize(
    "theirs",
    [
        "create view amounts as select payment_record_id, payment_amount from fact_payment "
        "group by payment_record_id",
        "alter index fact_payment_pkey set (fillfactor = 70)",
    ],
)
def test_what_depends_on_the_primary_key_keeps_it(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    theirs: LiteralString,
) -> None:
    warehouse.execute(theirs)
    before = identities(warehouse)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})

    load_through(1)

    assert warehouse.execute("select payment_record_id from fact_payment").fetchall() == [(1,)]
    assert identities(warehouse) == before


AGAIN: LiteralString = (
    "alter table fact_payment drop constraint fact_payment_currency_id_fkey, "
    "add constraint fact_payment_currency_id_fkey "
    "foreign key (currency_id) references dim_currency "
)


@pytest.mark.parametrize(
    "change",
    [
        AGAIN + "not valid",
        AGAIN + "not enforced",
        "alter table fact_payment disable trigger all; "
        "alter table dim_currency disable trigger all",
    ],
)
def test_a_foreign_key_that_postgresql_does_not_check_lets_no_row_in(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    change: LiteralString,
) -> None:
    warehouse.execute(change)
    before = rules(warehouse)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {}, {"payment_record_id": 2, "currency_id": 7})

    assert load_through(1).facts_waiting == 1
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 3, "currency_id": 7}, sequence=2)
    assert load_through(2).facts_waiting == 2

    assert warehouse.execute("select payment_record_id from fact_payment").fetchall() == [(1,)]
    assert rules(warehouse) == before


def test_a_fact_without_rows_is_not_touched(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    before = identities(warehouse)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add("fact_payment")

    load_through(1)

    assert identities(warehouse) == before


def test_only_a_facts_first_rows_are_loaded_so(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"transaction_id": 7})
    load_through(1)
    before = identities(warehouse)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 7}, sequence=2)

    result = load_through(2)

    assert part(result, "fact_payment") == LoadedTable("fact_payment", inserted=2)
    assert identities(warehouse) == before


@pytest.mark.parametrize("pace", [Pace()], indirect=True)
def test_a_small_first_load_keeps_nobody_out(
    warehouse: psycopg.Connection,
    connect: Connect,
    star_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    before = identities(warehouse)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    reader = connect()
    reader.execute("set lock_timeout = '50ms'")

    def look() -> None:
        assert reader.execute("select count(*) from fact_payment").fetchone() == (0,)

    load_through(1, lake=DisturbedLake.of(star_lake.lake, "fact_payment", at_end=look))

    assert reader.execute("select count(*) from fact_payment").fetchone() == (1,)
    assert identities(warehouse) == before


def test_a_record_that_the_lake_has_twice_leaves_its_table_as_it_was(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    before = rules(warehouse)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {}, {})

    with pytest.raises(StarSchemaMismatch, match="payment_record_id 1 twice in the lake"):
        load_through(1)

    assert warehouse.execute("select from fact_payment").fetchall() == []
    assert rules(warehouse) == before


def test_an_event_trigger_that_forbids_to_alter_tables_keeps_no_row_out(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    before = identities(warehouse)
    warehouse.execute(
        "create function forbid() returns event_trigger language plpgsql "
        "as $$ begin raise exception 'no DDL by day'; end $$"
    )
    warehouse.execute(
        "create event trigger by_day on ddl_command_start when tag in ('ALTER TABLE') "
        "execute function forbid()"
    )

    assert part(load_through(1), "fact_payment") == LoadedTable("fact_payment", inserted=1)

    assert identities(warehouse) == before
