"""One load: every new version of the star schema, as one transaction of the warehouse."""

import io
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb
from pyarrow import csv

from lambdas.load.catalog import WarehouseTable, read_star_tables
from lambdas.load.lake import Lake
from lambdas.load.migrations import migrate, migrations

_ONE_LOAD_AT_A_TIME = 7_065_636_002


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
    connection: psycopg.Connection, lake: Lake, *, run_id: str, sequence: int, rebuild: bool
) -> LoadResult:
    """Brings the warehouse to a run of the star schema.

    Args:
        connection: The warehouse, in autocommit mode.
        lake: The star schema.
        run_id: The execution's name.
        sequence: The run to load through.
        rebuild: Whether to hold every row against the lake, not only the new ones.

    Raises:
        MigrationFailed: The schema could not be brought up to date.
        StarSchemaMismatch: A lake table does not fit its warehouse table.
    """
    began = time.monotonic()
    migrate(connection, migrations())
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_ONE_LOAD_AT_A_TIME])
        held = _held(connection)
        after = 0 if rebuild else held
        tables = read_star_tables(connection)
        for table in tables:
            _stage(connection, table, lake.versions(table, after=after, through=sequence))
        if rebuild:
            connection.execute("delete from fact_quarantine")
            for table in reversed(tables):
                if table.is_fact:
                    _delete_unknown(connection, table)
        loaded = tuple(
            _append(connection, table, overwrite=rebuild)
            if table.is_fact
            else _upsert(connection, table)
            for table in tables
        )
        if rebuild:
            for table in reversed(tables):
                if not table.is_fact:
                    _delete_unknown(connection, table)
        if sequence > held or rebuild:
            _record(connection, run_id, sequence, loaded)
    return LoadResult(
        complete=True,
        sequence=max(held, sequence),
        rows=sum(table.inserted + table.updated for table in loaded),
        seconds=round(time.monotonic() - began, 3),
        tables=loaded,
        quarantined=sum(table.quarantined for table in loaded),
    )


def _held(connection: psycopg.Connection) -> int:
    row = connection.execute("select coalesce(max(sequence), 0) from pipeline_run").fetchone()
    return int(row[0]) if row else 0


def _record(
    connection: psycopg.Connection, run_id: str, sequence: int, loaded: Iterable[LoadedTable]
) -> None:
    rows = {table.table: {"inserted": table.inserted, "updated": table.updated} for table in loaded}
    connection.execute(
        "insert into pipeline_run (sequence, run_id, tables) values (%s, %s, %s) "
        "on conflict (sequence) do update "
        "set run_id = excluded.run_id, loaded_at = excluded.loaded_at, tables = excluded.tables",
        [sequence, run_id, Jsonb(rows)],
    )


def _stage_name(table: WarehouseTable) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"stage_{table.name}")


def _names(table: WarehouseTable, prefix: str | None = None) -> sql.Composed:
    parts = ((prefix, column.name) if prefix else (column.name,) for column in table.columns)
    return sql.SQL(", ").join(sql.Identifier(*part) for part in parts)


def _stage(
    connection: psycopg.Connection, table: WarehouseTable, batches: Iterable[pa.RecordBatch]
) -> None:
    """Copies rows into a temporary table of the same columns, without its constraints."""
    connection.execute(
        sql.SQL("create temporary table {} on commit drop as select * from {} with no data").format(
            sql.Identifier(f"stage_{table.name}"), sql.Identifier(table.name)
        )
    )
    copy_in = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        _stage_name(table), _names(table)
    )
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for batch in batches:
            buffer = io.BytesIO()
            csv.write_csv(_as_text(batch), buffer, csv.WriteOptions(include_header=False))
            copy.write(buffer.getbuffer())
    for column in table.columns:
        if column.type == "numeric":
            connection.execute(
                sql.SQL("update {table} set {column} = trim_scale({column})").format(
                    table=_stage_name(table), column=sql.Identifier(column.name)
                )
            )


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch with its decimals as text, which Arrow's CSV writer leaves exact."""
    columns = [
        column.cast(pa.string()) if pa.types.is_decimal(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _upsert(connection: psycopg.Connection, table: WarehouseTable) -> LoadedTable:
    """Adds the staged rows of new keys, and updates those that differ."""
    inserted, updated = _insert(connection, table, sql.SQL("true"), overwrite=True)
    return LoadedTable(table.name, inserted=inserted, updated=updated)


def _insert(
    connection: psycopg.Connection,
    table: WarehouseTable,
    condition: sql.Composable,
    *,
    overwrite: bool,
) -> tuple[int, int]:
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column.name))
        for column in table.columns
    )
    conflict = (
        sql.SQL(
            "on conflict ({}) do update set {} where ({}) is distinct from ({})"
        ).format(
            sql.Identifier(table.key), changes, _names(table, table.name), _names(table, "excluded")
        )
        if overwrite
        else sql.SQL("")
    )
    query = sql.SQL(
        "with done as (insert into {table} ({names}) select {names} from {stage} as stage "
        "where {condition} {conflict} returning ({table}.xmax = 0) as is_new) "
        "select count(*) filter (where is_new), count(*) filter (where not is_new) from done"
    ).format(
        table=sql.Identifier(table.name),
        names=_names(table),
        stage=_stage_name(table),
        condition=condition,
        conflict=conflict,
    )
    row = connection.execute(query).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _append(
    connection: psycopg.Connection, table: WarehouseTable, *, overwrite: bool
) -> LoadedTable:
    """Adds the staged and the waiting rows that can stand; the others wait, with the reason."""
    connection.execute(
        sql.SQL(
            "insert into {stage} ({names}) select {row_names} from fact_quarantine as waiting "
            "cross join lateral jsonb_populate_record(null::{table}, waiting.content) as row "
            "where waiting.table_name = {name}"
        ).format(
            stage=_stage_name(table),
            names=_names(table),
            row_names=_names(table, "row"),
            table=sql.Identifier(table.name),
            name=sql.Literal(table.name),
        )
    )
    reason = _reason(table)
    waiting = connection.execute(
        sql.SQL(
            "insert into fact_quarantine (table_name, record_id, content, reason) "
            "select {name}, {key}, to_jsonb(stage.*), {reason} from {stage} as stage "
            "where {reason} <> '' "
            "on conflict (table_name, record_id) do update set reason = excluded.reason, "
            "last_attempt = excluded.last_attempt, attempts = fact_quarantine.attempts + 1"
        ).format(
            name=sql.Literal(table.name),
            key=sql.Identifier("stage", table.key),
            reason=reason,
            stage=_stage_name(table),
        )
    ).rowcount
    inserted, updated = _insert(
        connection, table, sql.SQL("{} = ''").format(reason), overwrite=overwrite
    )
    released = connection.execute(
        sql.SQL(
            "delete from fact_quarantine using {stage} as stage where table_name = {name} "
            "and record_id = {key} and {reason} = ''"
        ).format(
            stage=_stage_name(table),
            name=sql.Literal(table.name),
            key=sql.Identifier("stage", table.key),
            reason=reason,
        )
    ).rowcount
    return LoadedTable(table.name, inserted, updated, quarantined=waiting, released=released)


def _reason(table: WarehouseTable) -> sql.Composed:
    """Returns the expression that says why a staged row cannot be loaded; empty if it can."""
    nulls = [
        sql.SQL("case when {} is null then {} end").format(
            sql.Identifier("stage", column.name), sql.Literal(f"{column.name} is null")
        )
        for column in table.columns
        if column.is_required
    ]
    missing = [
        sql.SQL(
            "case when {own} is not null and not exists "
            "(select from {other} as known where known.{key} = {own}) then {text} || {own} end"
        ).format(
            own=sql.Identifier("stage", reference.column),
            other=sql.Identifier(reference.table),
            key=sql.Identifier(reference.key),
            text=sql.Literal(f"{reference.table} has no {reference.key} "),
        )
        for reference in table.references
    ]
    return sql.SQL("concat_ws('; ', {})").format(sql.SQL(", ").join(nulls + missing))


def _delete_unknown(connection: psycopg.Connection, table: WarehouseTable) -> None:
    """Deletes the rows that the lake does not have."""
    connection.execute(
        sql.SQL(
            "delete from {table} as held where not exists "
            "(select from {stage} as stage where stage.{key} = held.{key})"
        ).format(
            table=sql.Identifier(table.name),
            stage=_stage_name(table),
            key=sql.Identifier(table.key),
        )
    )
