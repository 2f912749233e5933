"""Loads that take more than one invocation: nothing of them shows before all of it does."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from lambdas.load.lake import Lake
from lambdas.load.load import LoadResult, load
from lambdas.load.pace import Pace
from lambdas.load.show import LoadedTable
from pipeline.database import Role, translated_errors
from pipeline.errors import (
    DatabaseRefused,
    ObjectStoreUnavailable,
    PipelineError,
    WarehouseBusy,
    WarehouseUnavailable,
)
from pipeline.requests import LoadRequest
from tests.fixtures.lake import PAYMENT_DIMENSIONS, STAR, StarLake, star_row
from tests.integration.load.conftest import IN_STEPS, REFUSE_RUNS, Connect, unchanged
from tests.integration.load.disturbed_lake import DisturbedLake

_FILES_OF_PAYMENTS = 3
_BATCHES = len(PAYMENT_DIMENSIONS) + _FILES_OF_PAYMENTS
_EVERY_BATCH = range(1, _BATCHES + 1)
_ALL = {
    **dict.fromkeys(PAYMENT_DIMENSIONS, 1),
    "fact_payment": _FILES_OF_PAYMENTS + 1,
    "waiting_row": _FILES_OF_PAYMENTS - 1,
    "pipeline_run": 1,
}
"""How many rows the tables have in the end; those without any are left out."""


@dataclass
class Reader:
    """Reads the lake for any number of invocations, and counts its batches.

    Attributes:
        lake: The lake.
        batches: How many batches have been read.
        at_batch: What happens before the batch of that number.
    """

    lake: Lake
    batches: int = 0
    at_batch: Callable[[int], object] = lambda _: None

    def next_batch(self) -> None:
        self.batches += 1
        self.at_batch(self.batches)

    def load(
        self,
        connection: psycopg.Connection,
        *,
        sequence: int = 1,
        rebuild: bool = False,
        pace: Pace = IN_STEPS,
        seconds_left: Callable[[], float] = lambda: 60.0,
        lock_seconds: float = 30.0,
    ) -> LoadResult:
        """Calls the load once, as an invocation of the function does."""
        with translated_errors(Role.WAREHOUSE):
            return load(
                connection,
                DisturbedLake.of(self.lake, at_batch=self.next_batch),
                LoadRequest(f"run-{sequence}", sequence, rebuild),
                unchanged,
                seconds_left=seconds_left,
                lock_seconds=lock_seconds,
                pace=pace,
            )


@pytest.fixture
def reader(star_lake: StarLake) -> Reader:
    """Reads a lake with payments in several files, some of which have to wait."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    for number in range(1, _FILES_OF_PAYMENTS + 1):
        star_lake.add_star_rows(
            "fact_payment",
            {"payment_record_id": number},
            {"payment_record_id": number + 10, "transaction_id": 1 if number == 1 else 7},
        )
    return Reader(star_lake.lake)


def shown(connection: psycopg.Connection) -> dict[str, int]:
    """Returns how many rows each table has, without the empty ones."""
    counts = {
        table: connection.execute(f"select count(*) from {table}".encode()).fetchone()
        for table in (*STAR, "waiting_row", "pipeline_run")
    }
    return {table: count[0] for table, count in counts.items() if count and count[0]}


def until(reader: Reader, batches: int) -> Callable[[], float]:
    """Returns a clock by which the time ends with a batch."""
    return lambda: 60.0 if reader.batches < batches else 20.0


def is_staged(connection: psycopg.Connection) -> bool:
    row = connection.execute("select to_regnamespace('pipeline_staging') is not null")
    return row.fetchone() == (True,)


def test_nothing_shows_until_everything_is_staged_and_then_all_of_it_does(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    staged = reader.load(warehouse)

    assert (staged.complete, staged.rows, staged.tables) == (False, 0, ())
    assert shown(warehouse) == {}

    result = reader.load(warehouse)

    assert (result.complete, result.rows, result.facts_waiting) == (True, 9, 2)
    assert LoadedTable("fact_payment", inserted=4, waiting=2) in result.tables
    assert result.seconds > staged.seconds > 0
    assert shown(warehouse) == _ALL
    assert not is_staged(warehouse)


def test_a_deadline_at_every_batch_costs_an_invocation_and_no_row(
    warehouse: psycopg.Connection, connect: Connect, reader: Reader
) -> None:
    observer = connect()
    for batches in _EVERY_BATCH:
        result = reader.load(warehouse, seconds_left=until(reader, batches))
        assert (result.complete, reader.batches, shown(observer)) == (False, batches, {})

    while not reader.load(warehouse).complete:
        assert reader.batches == _BATCHES
    assert (reader.batches, shown(observer)) == (_BATCHES, _ALL)


@pytest.mark.parametrize("batch", _EVERY_BATCH)
@pytest.mark.parametrize("how", ["the lake breaks off", "the connection is lost"])
def test_a_failure_at_any_batch_keeps_what_was_staged_and_shows_nothing(
    warehouse: psycopg.Connection, connect: Connect, reader: Reader, batch: int, how: str
) -> None:
    other = connect()

    def fail(number: int) -> None:
        if number == batch and how == "the lake breaks off":
            raise ObjectStoreUnavailable(how)
        if number == batch:
            pid = warehouse.info.backend_pid
            other.execute("select pg_terminate_backend(%s, 10000)", [pid])

    reader.at_batch = fail
    with pytest.raises((ObjectStoreUnavailable, WarehouseUnavailable)):
        reader.load(warehouse)
    assert (shown(other), is_staged(other)) == ({}, True)

    assert not reader.load(other).complete
    assert reader.load(other).complete
    assert (reader.batches, shown(other)) == (_BATCHES + 1, _ALL)


def test_a_failure_after_all_was_staged_reads_nothing_again(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    warehouse.execute(REFUSE_RUNS)
    reader.load(warehouse)
    for _ in range(2):
        with pytest.raises(DatabaseRefused, match="no"):
            reader.load(warehouse)
        assert shown(warehouse) == {}
    warehouse.execute("drop function refuse cascade")

    assert reader.load(warehouse).complete
    assert (reader.batches, shown(warehouse)) == (_BATCHES, _ALL)


def test_rows_in_the_middle_of_a_file_are_neither_lost_nor_doubled(
    warehouse: psycopg.Connection, star_lake: StarLake
) -> None:
    rows = 20_000
    star_lake.add_star_rows(
        "dim_transaction", *({"transaction_id": number} for number in range(rows))
    )
    reader = Reader(star_lake.lake)
    for batches in (1, 2, 3):
        assert not reader.load(warehouse, seconds_left=until(reader, batches)).complete
        assert reader.batches == batches

    assert not reader.load(warehouse).complete
    assert reader.load(warehouse).complete
    assert reader.batches == 3
    assert shown(warehouse) == {"dim_transaction": rows, "pipeline_run": 1}


@pytest.mark.parametrize("sequence", [1, 2])
def test_what_was_staged_of_another_snapshot_is_thrown_away(
    warehouse: psycopg.Connection, star_lake: StarLake, reader: Reader, sequence: int
) -> None:
    reader.load(warehouse)
    star_lake.replace(
        "fact_payment", star_row("fact_payment", payment_record_id=99, sequence=sequence)
    )

    assert not reader.load(warehouse, sequence=sequence).complete
    assert reader.load(warehouse, sequence=sequence).complete

    rows = warehouse.execute("select payment_record_id, run_id from fact_payment")
    assert rows.fetchall() == [(99, f"run-{sequence}")]


def test_a_rebuild_begins_anew_beside_what_was_staged_of_a_run(
    warehouse: psycopg.Connection, star_lake: StarLake, reader: Reader
) -> None:
    reader.load(warehouse, pace=Pace())
    warehouse.execute("delete from fact_payment where payment_record_id = 1")
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 20}, sequence=2)
    assert not reader.load(warehouse, sequence=2).complete

    assert not reader.load(warehouse, sequence=2, rebuild=True).complete
    assert reader.load(warehouse, sequence=2, rebuild=True).complete

    rows = warehouse.execute("select payment_record_id from fact_payment order by 1")
    assert rows.fetchall() == [(1,), (2,), (3,), (11,), (20,)]


def test_what_an_execution_left_behind_is_thrown_away_by_a_load_that_is_small(
    warehouse: psycopg.Connection, star_lake: StarLake, reader: Reader
) -> None:
    reader.load(warehouse)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 20}, sequence=2)

    assert reader.load(warehouse, sequence=2, pace=Pace()).complete

    assert not is_staged(warehouse)
    assert shown(warehouse) == _ALL | {"fact_payment": 5}


def test_a_load_that_is_under_way_goes_on_in_steps_although_the_rest_would_fit(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    reader.load(warehouse)

    assert reader.load(warehouse, pace=Pace()).complete
    assert (reader.batches, shown(warehouse)) == (_BATCHES, _ALL)


def test_staging_that_the_server_lost_in_a_crash_begins_anew(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    reader.load(warehouse)
    unlogged = warehouse.execute(
        "select relpersistence, relname from pg_class "
        "where relnamespace = 'pipeline_staging'::regnamespace and relkind = 'r'"
    ).fetchall()
    assert {kind for kind, _ in unlogged} == {"u"}
    for _, table in unlogged:
        warehouse.execute(f"truncate pipeline_staging.{table}".encode())

    assert not reader.load(warehouse).complete
    assert reader.load(warehouse).complete
    assert shown(warehouse) == _ALL


def test_a_load_that_ran_out_of_time_goes_on_in_steps(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    with pytest.raises(WarehouseBusy, match="would not end in the time"):
        reader.load(
            warehouse,
            pace=Pace(),
            seconds_left=lambda: 60.0 if reader.batches < _BATCHES else 5.0,
        )
    assert shown(warehouse) == {}

    assert not reader.load(warehouse, pace=Pace()).complete
    assert reader.load(warehouse, pace=Pace()).complete
    assert shown(warehouse) == _ALL


def test_no_other_load_comes_in_between_two_steps(
    warehouse: psycopg.Connection, connect: Connect, reader: Reader
) -> None:
    other, refused = connect(), []

    def intrude(_batch: int) -> None:
        with pytest.raises(WarehouseBusy, match="lock timeout") as refusal:
            Reader(reader.lake).load(other, lock_seconds=0.05)
        refused.append(refusal)

    reader.at_batch = intrude
    reader.load(warehouse)
    reader.load(warehouse)

    assert len(refused) == _BATCHES
    assert Reader(reader.lake).load(other, pace=Pace()).rows == 0
    assert shown(warehouse) == _ALL


def test_nobody_who_reports_may_look_at_what_is_staged(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    reader.load(warehouse)

    row = warehouse.execute(
        "select bool_or(has_schema_privilege(oid, 'pipeline_staging', 'usage')) from pg_roles "
        "where rolname = 'totesys_reporting'"
    ).fetchone()
    assert row == (False,)


def test_a_user_who_may_make_no_schema_is_told_what_to_grant(
    warehouse: psycopg.Connection, reader: Reader
) -> None:
    warehouse.execute("create role no_schemas nosuperuser")
    try:
        for grant in ("all on schema public", "all on all tables in schema public"):
            warehouse.execute(f"grant {grant} to no_schemas".encode())
        warehouse.execute("set role no_schemas")
        with pytest.raises(PipelineError, match="permission denied for database"):
            reader.load(warehouse)
    finally:
        warehouse.execute("reset role")
        warehouse.execute("drop owned by no_schemas")
        warehouse.execute("drop role no_schemas")
    assert shown(warehouse) == {}
