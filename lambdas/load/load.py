"""One load: every new version of the star schema, as one transaction of the warehouse."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from lambdas.load import first_load, quarantine
from lambdas.load.catalog import WarehouseTable, read_star_tables
from lambdas.load.lake import Lake
from lambdas.load.migrations import migrate, migrations
from lambdas.load.staging import names_of, stage, stage_of
from pipeline.errors import StarSchemaMismatch, WarehouseBusy

_ONE_LOAD_AT_A_TIME = 7_065_636_002
_SECONDS_TO_END = 10.0
"""What is kept of the time allowed: to roll back, and to say what happened."""
_LOCK_SECONDS = 60.0
"""How long a lock is waited for: well inside the time allowed, and longer than a query lasts."""


@dataclass(frozen=True)
class LoadRequest:
    """What a load is to do.

    Attributes:
        run_id: The execution's name.
        sequence: The run to load through.
        rebuild: Whether to hold every row against the lake, not only the new ones.
    """

    run_id: str
    sequence: int
    rebuild: bool


@dataclass(frozen=True)
class LoadedTable:
    """What a load did to a table.

    Attributes:
        table: The star table.
        inserted: Rows added.
        updated: Rows whose content changed (dimensions; facts only in a rebuild).
        quarantined: Fact rows that have to wait, in all.
        released: Fact rows that had waited and were loaded now.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    quarantined: int = 0
    released: int = 0


@dataclass(frozen=True)
class LoadResult:
    """What a load did: the run that the warehouse shows now, and each table's rows."""

    complete: bool
    sequence: int
    rows: int
    seconds: float
    tables: tuple[LoadedTable, ...]
    quarantined: int


def load(
    connection: psycopg.Connection,
    lake: Lake,
    request: LoadRequest,
    *,
    seconds_left: Callable[[], float],
    lock_seconds: float = _LOCK_SECONDS,
) -> LoadResult:
    """Brings the warehouse to a run of the star schema.

    Args:
        connection: The warehouse, in autocommit mode.
        lake: The star schema.
        request: What to load.
        seconds_left: How long the caller may still run.
        lock_seconds: How long to wait for a lock that somebody else holds.

    Raises:
        MigrationFailed: The schema could not be brought up to date.
        StarSchemaMismatch: A lake table does not fit its warehouse table.
        WarehouseBusy: The time would not suffice; nothing was changed.
        psycopg.Error: The warehouse gave up (LockNotAvailable, QueryCanceled), dropped the
            connection, or refused; nothing was changed.
    """

    def limit(lock_seconds: float = lock_seconds) -> None:
        _limit(connection, seconds_left, lock_seconds)

    def versions(table: WarehouseTable) -> Iterator[pa.RecordBatch]:
        return lake.versions(table, after=after, through=request.sequence)

    began = time.monotonic()
    limit()
    migrate(connection, migrations())
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_ONE_LOAD_AT_A_TIME])
        held = _held(connection)
        if request.sequence < held and not request.rebuild:
            raise StarSchemaMismatch(
                f"the warehouse shows run {held}, and the lake has come to run {request.sequence} "
                "only: it is another lake, or was restored; start the state machine with "
                '{"rebuild": true} to make the warehouse equal to it'
            )
        after = 0 if request.rebuild else held
        tables = read_star_tables(connection)
        facts = [table for table in tables if table.is_fact]
        to_fill = {table.name for table in facts if first_load.is_due(connection, table)}
        for table in tables:
            if table.name not in to_fill:
                limit()
                stage(connection, table, versions(table))
        loaded: list[LoadedTable] = []
        for table in tables:
            if not table.is_fact:
                limit()
                loaded.append(_upsert(connection, table))
        if request.rebuild:
            limit()
            _forget_dimensions(connection, tables)
        for table in facts:
            limit()
            if table.name in to_fill:
                loaded.append(_fill(connection, table, versions(table), limit, lock_seconds))
            else:
                loaded.append(_append(connection, table, rebuild=request.rebuild))
        if request.sequence > held or request.rebuild:
            _record(connection, request, loaded)
    return LoadResult(
        complete=True,
        sequence=request.sequence,
        rows=sum(table.inserted + table.updated for table in loaded),
        seconds=round(time.monotonic() - began, 3),
        tables=tuple(loaded),
        quarantined=sum(table.quarantined for table in loaded),
    )


def _limit(
    connection: psycopg.Connection, seconds_left: Callable[[], float], lock_seconds: float
) -> None:
    """Has the server give up a statement before the caller is killed in the middle of it.

    A wait for a lock ends sooner: tried again, it may find the lock free.
    """
    seconds = seconds_left() - _SECONDS_TO_END
    if seconds <= 0:
        raise WarehouseBusy(
            "the load would not end in the time that the Load function has; nothing was changed: "
            "raise its MemorySize, or see what keeps the warehouse busy"
        )
    connection.execute(
        "select set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
        [f"{math.ceil(limit * 1000)}ms" for limit in (seconds, lock_seconds)],
    )


def _held(connection: psycopg.Connection) -> int:
    row = connection.execute("select coalesce(max(sequence), 0) from pipeline_run").fetchone()
    return int(row[0]) if row else 0


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


def _upsert(connection: psycopg.Connection, table: WarehouseTable) -> LoadedTable:
    inserted, updated = _write(connection, table)
    return LoadedTable(table.name, inserted=inserted, updated=updated)


def _fill(
    connection: psycopg.Connection,
    table: WarehouseTable,
    batches: Iterator[pa.RecordBatch],
    limit: Callable[..., None],
    lock_seconds: float,
) -> LoadedTable:
    """Loads a fact of which nothing has ever arrived, directly if nobody uses its tables."""
    rows: Iterator[pa.RecordBatch] = (batch for batch in batches if batch.num_rows)
    first = next(rows, None)
    if first is None:
        return LoadedTable(table.name)
    limit(min(lock_seconds, first_load.LOCK_SECONDS))
    rules = first_load.lay_bare(connection, table)
    limit()
    rows = chain((first,), rows)
    if rules is None:
        stage(connection, table, rows)
        return _append(connection, table, rebuild=False)
    inserted, waiting = first_load.fill(connection, table, rules, rows, limit)
    return LoadedTable(table.name, inserted=inserted, quarantined=waiting)


def _append(connection: psycopg.Connection, table: WarehouseTable, *, rebuild: bool) -> LoadedTable:
    """Adds the staged and the waiting rows that can stand; the others wait."""
    if rebuild:
        quarantine.forget_unknown(connection, table)
    quarantine.bring_back(connection, table)
    waiting = quarantine.hold_back(connection, table, stage_of(table.name))
    if rebuild:
        _delete_unknown(connection, table)
    inserted, updated = _write(connection, table)
    released = quarantine.release(connection, table)
    return LoadedTable(table.name, inserted, updated, quarantined=waiting, released=released)


def _write(connection: psycopg.Connection, table: WarehouseTable) -> tuple[int, int]:
    """Adds the staged rows of new keys and updates those that differ, and returns how many.

    Rows that do not differ are left out before the upsert: PostgreSQL locks, and so writes, every
    row that `on conflict` meets, changed or not.
    """
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column.name))
        for column in table.columns
        if column.name != table.key
    )
    row = connection.execute(
        sql.SQL(
            "with written as ("
            "insert into {table} ({names}) select {stage_names} from {stage} as stage "
            "where not exists (select from {table} as held where held.{key} = stage.{key} "
            "and ({held_names}) is not distinct from ({stage_names})) "
            "on conflict ({key}) do update set {changes} "
            "returning {table}.xmax = 0 as is_new) "
            "select count(*) filter (where is_new), count(*) filter (where not is_new) from written"
        ).format(
            table=sql.Identifier(table.name),
            names=names_of(table),
            stage=stage_of(table.name),
            key=sql.Identifier(table.key),
            held_names=names_of(table, "held"),
            stage_names=names_of(table, "stage"),
            changes=changes,
        )
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _forget_dimensions(connection: psycopg.Connection, tables: Iterable[WarehouseTable]) -> None:
    """Deletes the dimension rows that the lake does not have, and first what names them.

    Such a fact is staged, if the lake has it: it comes back by a dimension row that it names now,
    or has to wait for one.
    """
    for table in tables:
        for reference in table.references:
            connection.execute(
                sql.SQL(
                    "delete from {table} as held using {referenced} as gone "
                    "where gone.{key} = held.{column} and not exists "
                    "(select from {stage} as stage where stage.{key} = gone.{key})"
                ).format(
                    table=sql.Identifier(table.name),
                    referenced=sql.Identifier(reference.table),
                    column=sql.Identifier(reference.column),
                    stage=stage_of(reference.table),
                    key=sql.Identifier(reference.key),
                )
            )
    for table in tables:
        if not table.is_fact:
            _delete_unknown(connection, table)


def _delete_unknown(connection: psycopg.Connection, table: WarehouseTable) -> None:
    connection.execute(
        sql.SQL(
            "delete from {table} as held where not exists "
            "(select from {stage} as stage where stage.{key} = held.{key})"
        ).format(
            table=sql.Identifier(table.name),
            stage=stage_of(table.name),
            key=sql.Identifier(table.key),
        )
    )
