"""Loads beside somebody who reads: neither ends the other, and a load that has to wait says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import IsolationLevel
from pyiceberg.types import StringType

from lambdas.load.migrations import Migration, migrations
from pipeline.database import Role, translated_errors
from pipeline.errors import WarehouseBusy
from tests.fixtures.lake import DIMENSIONS, STAR, StarLake
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, Connect, LoadThrough
from tests.integration.load.disturbed_lake import DisturbedLake

_IMPATIENT = "set statement_timeout = '5s'"
_EVERY_TABLE = f"select {', '.join(f'(select count(*) from {table})' for table in STAR)}"


@pytest.fixture
def full_lake(star_lake: StarLake) -> StarLake:
    """A lake with a row in every table."""
    star_lake.add_dimensions(*DIMENSIONS)
    for table in STAR:
        if table.startswith("fact_"):
            star_lake.add_star_rows(table, {})
    return star_lake


@contextmanager
def report(connect: Connect, query: str) -> Iterator[Callable[[str], list[tuple[int, ...]]]]:
    """A report in one long transaction: it has read, and goes on reading."""
    connection = connect()
    connection.execute(_IMPATIENT)
    connection.isolation_level = IsolationLevel.REPEATABLE_READ

    def read(query: str) -> list[tuple[int, ...]]:
        return connection.execute(query.encode()).fetchall()

    with connection.transaction():
        read(query)
        yield read


@AT_ONCE_AND_IN_STEPS
@pytest.mark.parametrize("held", STAR)
def test_a_report_on_any_table_reads_all_others_during_a_first_load(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
    held: str,
) -> None:
    with report(connect, f"select count(*) from {held}") as read:

        def look() -> None:
            assert read(_EVERY_TABLE) == [(0,) * len(STAR)]

        result = load_through(
            1, lake=DisturbedLake.of(full_lake.lake, at_batch=look), lock_seconds=0.1
        )
        look()

    assert (result.complete, result.rows) == (True, len(STAR))


@AT_ONCE_AND_IN_STEPS
def test_a_report_reads_what_it_began_with_during_an_incremental_load(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    load_through(1)
    full_lake.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    full_lake.add_star_rows("dim_currency", {"currency_id": 2}, sequence=2)

    with report(connect, _EVERY_TABLE) as read:
        result = load_through(2, lock_seconds=0.1)
        assert read(_EVERY_TABLE) == [(1,) * len(STAR)]

    assert result.rows == 2


def test_who_comes_to_read_during_a_first_load_waits_and_sees_all_of_it(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    reader, refused = connect(), []
    reader.execute("set lock_timeout = '50ms'")

    def look() -> None:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            reader.execute("select from fact_payment")
        refused.append(True)

    load_through(1, lake=DisturbedLake.of(full_lake.lake, "fact_payment", at_end=look))

    assert refused == [True]
    assert reader.execute("select count(*) from fact_payment").fetchone() == (1,)


def test_a_migration_waits_for_a_report_and_is_worth_a_retry(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Migration("0099.sql", "alter table dim_staff add column note varchar", "1")
    monkeypatch.setattr("lambdas.load.load.migrations", lambda: (*migrations(), step))
    with full_lake.table("dim_staff").update_schema() as change:
        change.add_column("note", StringType())

    with report(connect, "select count(*) from dim_staff") as read:
        with (
            pytest.raises(WarehouseBusy, match="lock timeout"),
            translated_errors(Role.WAREHOUSE),
        ):
            load_through(1, lock_seconds=0.1)
        assert read(_EVERY_TABLE) == [(0,) * len(STAR)]

    assert load_through(1).rows == len(STAR)
