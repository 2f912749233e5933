"""One load: every new version of the star schema, shown by one transaction of the warehouse.

A load that surely fits into the caller's time copies and shows its rows in that transaction. A
larger one is resumable: it stages its rows first, in transactions of their own.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from lambdas.load import first_load, merge, resumable, waiting
from lambdas.load.catalog import WarehouseTable, read_star_tables
from lambdas.load.deadline import Deadline
from lambdas.load.lake import Lake
from lambdas.load.migrations import migrate, migrations
from lambdas.load.pace import Pace
from lambdas.load.resumable import ResumableStaging
from lambdas.load.staging import Staging, TemporaryStaging
from pipeline.errors import StarSchemaMismatch, WarehouseBusy
from pipeline.requests import LoadRequest
from star_schema.tables import star_tables

_ONE_LOAD_AT_A_TIME = 7_065_636_002
_LOCK_SECONDS = 60.0
"""How long a lock is waited for: well inside the time allowed, and longer than a query lasts."""
_PACE = Pace()


@dataclass(frozen=True)
class LoadedTable:
    """What a load did to a table.

    Attributes:
        table: The star table.
        inserted: Rows added.
        updated: Rows whose content changed (dimensions; facts only in a rebuild).
        waiting: Rows that wait in waiting_row after the load.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class LoadResult:
    """What a load did.

    Attributes:
        complete: Whether the warehouse shows the run; otherwise rows were staged, the warehouse
            is as it was, and the same load has to be called again.
        sequence: The run.
        rows: Rows added and changed, in all tables.
        seconds: How long that took, from the first of its calls to the end of this one.
        tables: What it did to each table.
        facts_waiting: Fact rows that wait in waiting_row after the load.
    """

    complete: bool
    sequence: int
    rows: int
    seconds: float
    tables: tuple[LoadedTable, ...]
    facts_waiting: int


def load(
    connection: psycopg.Connection,
    lake: Lake,
    request: LoadRequest,
    *,
    seconds_left: Callable[[], float],
    lock_seconds: float = _LOCK_SECONDS,
    pace: Pace = _PACE,
) -> LoadResult:
    """Brings the warehouse to a run of the star schema, or a step nearer to it.

    Args:
        connection: The warehouse, in autocommit mode.
        lake: The star schema.
        request: What to load.
        seconds_left: How long the caller may still run.
        lock_seconds: How long to wait for a lock that somebody else holds.
        pace: How many rows fit into that.

    Raises:
        MigrationFailed: The schema could not be brought up to date.
        StarSchemaMismatch: A lake table does not fit its warehouse table.
        ObjectStoreUnavailable: The lake could not be read.
        WarehouseBusy: The time would not suffice; nothing was changed.
        psycopg.Error: The warehouse gave up (LockNotAvailable, QueryCanceled), dropped the
            connection, or refused; nothing was changed.
    """
    began = time.monotonic()
    deadline = Deadline(connection, seconds_left, lock_seconds)
    deadline.limit()
    with _alone(connection):
        migrate(connection, migrations())
        tables = read_star_tables(connection, star_tables())
        after = _shown(connection, request)
        versions = {
            table.name: lake.versions(table, after=after, through=request.sequence)
            for table in tables
        }
        in_steps = ResumableStaging(connection, versions, tables)
        if in_steps.is_begun() or not pace.suffices(versions, deadline):
            if not in_steps.go_on(deadline, pace):
                seconds = round(in_steps.seconds(), 3)
                return LoadResult(False, request.sequence, 0, seconds, (), 0)
            began -= in_steps.seconds()
            loaded = _show(in_steps, tables, request, deadline, pace)
        else:
            try:
                staging = TemporaryStaging(connection, versions)
                loaded = _show(staging, tables, request, deadline, pace)
            except (WarehouseBusy, psycopg.errors.QueryCanceled):
                # There was not enough time for one transaction: the next attempt goes on from here.
                in_steps.begin()
                raise
    return LoadResult(
        complete=True,
        sequence=request.sequence,
        rows=sum(table.inserted + table.updated for table in loaded),
        seconds=round(time.monotonic() - began, 3),
        tables=loaded,
        facts_waiting=sum(table.waiting for table in loaded),
    )


@contextmanager
def _alone(connection: psycopg.Connection) -> Iterator[None]:
    """Keeps other loads away, over any number of transactions."""
    connection.execute("select pg_advisory_lock(%s)", [_ONE_LOAD_AT_A_TIME])
    try:
        yield
    finally:
        # A connection that was lost holds no lock.
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(%s)", [_ONE_LOAD_AT_A_TIME])


def _shown(connection: psycopg.Connection, request: LoadRequest) -> int:
    """Returns the run after which the lake's rows are wanted.

    Raises:
        StarSchemaMismatch: The warehouse shows a later run than the one to load.
    """
    row = connection.execute("select coalesce(max(sequence), 0) from pipeline_run").fetchone()
    held = int(row[0]) if row else 0
    if request.sequence < held and not request.rebuild:
        raise StarSchemaMismatch(
            f"the warehouse shows run {held}, and the lake has come to run {request.sequence} "
            "only: it is another lake, or was restored; start the state machine with "
            '{"rebuild": true} to make the warehouse equal to it'
        )
    return 0 if request.rebuild else held


def _show(
    staging: Staging,
    tables: Sequence[WarehouseTable],
    request: LoadRequest,
    deadline: Deadline,
    pace: Pace,
) -> tuple[LoadedTable, ...]:
    """Brings all rows into their tables and records the run, in one transaction."""
    connection = deadline.connection
    facts = [table for table in tables if table.is_fact]
    with connection.transaction():
        bare = first_load.lay_bare(_large_first_loads(facts, staging, pace), deadline)
        for table in tables:
            if table.name not in bare:
                deadline.limit()
                staging.prepare(table)
        loaded = []
        for table in tables:
            if not table.is_fact:
                deadline.limit()
                counts = merge.write(connection, table, staging.of(table.name))
                loaded.append(LoadedTable(table.name, *counts))
        if request.rebuild:
            deadline.limit()
            merge.forget_dimensions(connection, tables, staging)
        for table in facts:
            deadline.limit()
            if table.name in bare:
                counts = first_load.fill(table, bare[table.name], staging, deadline)
                loaded.append(LoadedTable(table.name, counts[0], waiting=counts[1]))
            else:
                loaded.append(_append(connection, table, staging, rebuild=request.rebuild))
        if request.sequence > _shown(connection, request):
            _record(connection, request, loaded)
        resumable.discard(connection)
    return tuple(loaded)


def _large_first_loads(
    facts: Iterable[WarehouseTable], staging: Staging, pace: Pace
) -> dict[WarehouseTable, int]:
    """Returns the facts of which nothing has ever arrived and much comes now, with its rows."""
    rows = {table: staging.versions[table.name].most_rows for table in facts}
    return {
        table: count
        for table, count in rows.items()
        if count >= pace.rows_worth_locks and first_load.is_due(staging.connection, table)
    }


def _append(
    connection: psycopg.Connection, table: WarehouseTable, staging: Staging, *, rebuild: bool
) -> LoadedTable:
    """Adds the staged and the waiting rows that can stand; the others wait."""
    stage = staging.of(table.name)
    if rebuild:
        waiting.forget_unknown(connection, table, stage)
    waiting.bring_back(connection, table, stage)
    held_back = waiting.hold_back(connection, table, stage)
    if rebuild:
        merge.delete_unknown(connection, table, stage)
    inserted, updated = merge.write(connection, table, stage)
    waiting.release(connection, table, stage)
    return LoadedTable(table.name, inserted, updated, waiting=held_back)


def _record(
    connection: psycopg.Connection, request: LoadRequest, loaded: Iterable[LoadedTable]
) -> None:
    connection.execute("delete from pipeline_run where sequence > %s", [request.sequence])
    rows = {table.table: {"inserted": table.inserted, "updated": table.updated} for table in loaded}
    connection.execute(
        "insert into pipeline_run (sequence, run_id, tables) values (%s, %s, %s) "
        "on conflict (sequence) do update "
        "set run_id = excluded.run_id, loaded_at = excluded.loaded_at, tables = excluded.tables",
        [request.sequence, request.run_id, Jsonb(rows)],
    )
