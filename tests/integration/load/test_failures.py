"""Loads that fail, or meet somebody else's."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from lambdas.load.load import load
from pipeline.database import Role, translated_errors
from pipeline.errors import (
    DatabaseRefused,
    ObjectStoreUnavailable,
    WarehouseBusy,
    WarehouseUnavailable,
)
from pipeline.requests import LoadRequest
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.fixtures.waiting import wait_until
from tests.integration.load.conftest import REFUSE_RUNS, Connect, LoadThrough, unchanged
from tests.integration.load.disturbed_lake import DisturbedLake

_DEADLINE_SECONDS = 20.0


@pytest.fixture
def full_lake(star_lake: StarLake) -> StarLake:
    """A lake with all dimensions, and a payment."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    return star_lake


def counts(connection: psycopg.Connection) -> tuple[int, ...]:
    """Returns how many currencies, payments, waiting facts and runs there are."""
    row = connection.execute(
        "select (select count(*) from dim_currency), (select count(*) from fact_payment), "
        "(select count(*) from waiting_row), (select count(*) from pipeline_run)"
    ).fetchone()
    assert row is not None
    return tuple(row)


def is_waiting(observer: psycopg.Connection, waiting: psycopg.Connection) -> bool:
    """Returns whether a connection waits for a lock."""
    row = observer.execute(
        "select cardinality(pg_blocking_pids(%s)) > 0", [waiting.info.backend_pid]
    )
    return row.fetchone() == (True,)


def test_a_lake_that_breaks_off_leaves_nothing_and_the_next_load_catches_up(
    warehouse: psycopg.Connection, full_lake: StarLake, load_through: LoadThrough
) -> None:
    def break_off() -> None:
        raise ObjectStoreUnavailable("the lake broke off")

    disturbed = DisturbedLake.of(full_lake.lake, "fact_payment", at_end=break_off)

    with pytest.raises(ObjectStoreUnavailable):
        load_through(1, lake=disturbed)
    assert counts(warehouse) == (0, 0, 0, 0)

    load_through(1)
    assert counts(warehouse) == (1, 1, 0, 1)


def test_a_connection_that_is_lost_leaves_nothing(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    other = connect()
    disturbed = DisturbedLake.of(
        full_lake.lake,
        "fact_payment",
        at_end=lambda: other.execute(
            "select pg_terminate_backend(%s, 10000)", [warehouse.info.backend_pid]
        ),
    )

    with pytest.raises(WarehouseUnavailable), translated_errors(Role.WAREHOUSE):
        load_through(1, lake=disturbed)

    assert counts(other) == (0, 0, 0, 0)


def test_a_failure_after_rows_were_written_leaves_nothing(
    warehouse: psycopg.Connection, full_lake: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute(REFUSE_RUNS)

    with pytest.raises(DatabaseRefused, match="no runs"), translated_errors(Role.WAREHOUSE):
        load_through(1)

    assert counts(warehouse) == (0, 0, 0, 0)


def test_a_reader_sees_all_of_a_load_or_nothing(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    reader, blocker = connect(), connect()
    with ThreadPoolExecutor() as pool:
        with blocker.transaction():
            # The load waits here: its dimensions are written by then, its facts are not.
            blocker.execute("lock table fact_payment in share mode")
            loading = pool.submit(load_through, 1)
            wait_until(lambda: is_waiting(reader, warehouse))
            assert counts(reader) == (0, 0, 0, 0)
        loading.result(_DEADLINE_SECONDS)

    assert counts(reader) == (1, 1, 0, 1)


@pytest.mark.parametrize(
    "lock",
    [
        "select pg_advisory_xact_lock(7065636001)",
        "select pg_advisory_xact_lock(7065636002)",
        "lock table dim_currency in share mode",
        "lock table fact_payment",
    ],
)
def test_a_lock_that_stays_held_ends_the_load_while_there_is_time_to_try_again(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
    lock: str,
) -> None:
    with connect().transaction() as held:
        held.connection.execute(lock.encode())
        with (
            pytest.raises(WarehouseBusy, match="lock timeout"),
            translated_errors(Role.WAREHOUSE),
        ):
            load_through(1, lock_seconds=0.1)
    assert counts(warehouse) == (0, 0, 0, 0)

    load_through(1)
    assert counts(warehouse) == (1, 1, 0, 1)


def test_a_load_that_waits_in_vain_for_another_names_its_session(
    connect: Connect, full_lake: StarLake, load_through: LoadThrough
) -> None:
    other = connect()
    other.execute("select pg_advisory_lock(7065636002)")

    with pytest.raises(WarehouseBusy, match=rf"pg_terminate_backend\({other.info.backend_pid}\)"):
        load_through(1, lock_seconds=0.1)


def test_a_load_waits_for_another_that_ends_in_time(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    blocker, observer = connect(), connect()
    with ThreadPoolExecutor() as pool:
        with blocker.transaction():
            blocker.execute("select pg_advisory_xact_lock(7065636002)")
            loading = pool.submit(load_through, 1)
            wait_until(lambda: is_waiting(observer, warehouse))
        loading.result(_DEADLINE_SECONDS)

    assert counts(warehouse) == (1, 1, 0, 1)


def test_of_two_loads_at_once_into_an_empty_database_one_brings_the_rows(
    empty_warehouse: psycopg.Connection, connect: Connect, full_lake: StarLake
) -> None:
    def load_once(connection: psycopg.Connection) -> int:
        request = LoadRequest("run-1", 1, rebuild=False)
        return load(connection, full_lake.lake, request, unchanged, seconds_left=lambda: 60.0).rows

    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(load_once, (connect(), connect())))

    assert sorted(rows) == [0, len(PAYMENT_DIMENSIONS) + 1]
    assert counts(empty_warehouse) == (1, 1, 0, 1)


def test_a_load_that_has_no_time_left_does_not_begin(
    warehouse: psycopg.Connection, full_lake: StarLake, load_through: LoadThrough
) -> None:
    with pytest.raises(WarehouseBusy, match="the load would not end in the time"):
        load_through(1, seconds_left=10.0)

    assert counts(warehouse) == (0, 0, 0, 0)


def test_a_load_whose_time_runs_out_leaves_nothing(
    warehouse: psycopg.Connection, full_lake: StarLake
) -> None:
    remaining = itertools.chain([60.0] * 8, itertools.repeat(9.0))

    with pytest.raises(WarehouseBusy, match="nothing was changed"):
        load(
            warehouse,
            full_lake.lake,
            LoadRequest("run-1", 1, rebuild=False),
            unchanged,
            seconds_left=lambda: next(remaining),
        )

    assert counts(warehouse) == (0, 0, 0, 0)


def test_a_statement_is_given_up_before_the_callers_time_ends(
    warehouse: psycopg.Connection,
    connect: Connect,
    full_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    with connect().transaction() as held:
        held.connection.execute("lock table fact_payment in share mode")
        with (
            pytest.raises(WarehouseBusy, match="statement timeout"),
            translated_errors(Role.WAREHOUSE),
        ):
            load_through(1, seconds_left=10.3)

    assert counts(warehouse) == (0, 0, 0, 0)
