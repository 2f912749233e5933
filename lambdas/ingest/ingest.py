"""One ingest: a snapshot of the source, the changes since the last run, one manifest."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from lambdas.ingest.change_capture import Plan, plan_capture, written_since
from lambdas.ingest.discovery import (
    SourceSnapshot,
    SourceTable,
    read_snapshot,
    read_statistics,
    read_tables,
)
from lambdas.ingest.extract import extract
from lambdas.ingest.fingerprints import Fingerprint, fingerprint
from lambdas.ingest.raw_zone import RawZone
from pipeline.errors import InvalidInput, SourceBusy
from pipeline.manifest import Capture, Column, Manifest, ManifestStore, Statistics, TableCapture

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Connect = Callable[[], psycopg.Connection]

_NO_STATISTICS = Statistics(0, 0, 0, 0, None)


@dataclass(frozen=True)
class IngestRequest:
    """What an execution asks of Ingest.

    Attributes:
        run_id: The execution's name.
        full_refresh: Tables to take whole; True for all of them.
        verify: Whether to return the source's fingerprints, and to trust no counter.
        loaded_through: A sequence known to be committed; 0 if none is.
    """

    run_id: str
    full_refresh: bool | tuple[str, ...] = False
    verify: bool = False
    loaded_through: int = 0


@dataclass(frozen=True)
class IngestedTable:
    """One table's part in a run: how it was taken, and how many rows."""

    table: str
    capture: Capture
    rows: int


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        complete: Whether all of the run is done; if not, the same request goes on from there.
        sequence: The newest committed run; 0 if there is none.
        committed: Whether this ingest committed it.
        rows: Rows written to the raw zone.
        seconds: How long it took.
        tables: Every table of the source.
        fingerprints: The source's counts and sums by table, if asked for.
        warnings: What somebody should know of: tables and columns that came or went.
    """

    complete: bool
    sequence: int
    committed: bool
    rows: int
    seconds: float
    tables: tuple[IngestedTable, ...]
    fingerprints: dict[str, Fingerprint] | None
    warnings: tuple[str, ...]


def ingest(
    request: IngestRequest,
    *,
    connect: Connect,
    bucket: str,
    client: "S3Client",
    joined: frozenset[str],
    readers: int,
) -> IngestResult:
    """Brings the source's changes since the newest run into the raw zone.

    Args:
        request: What to do.
        connect: Opens a connection to the source.
        bucket: The raw bucket.
        client: The S3 client.
        joined: The tables that the star schema joins: taken whole whenever they change.
        readers: How many connections read tables at the same time.

    Raises:
        InvalidInput: `full_refresh` names a table that the source does not have.
        SourceBusy: A table was rewritten while it was read.
        RunConflict: Another ingest committed first; nothing of this one is visible.
        PipelineError: The source or Amazon S3 failed; nothing of this run is visible.
    """
    began = time.monotonic()
    store = ManifestStore(bucket, client)
    previous = store.newest(request.loaded_through)
    with connect() as connection:
        connection.autocommit = True
        statistics = read_statistics(connection)
        connection.execute("begin isolation level repeatable read read only")
        snapshot = read_snapshot(connection)
        tables = read_tables(connection)
        _refuse_unknown(request, tables)
        run = _Run(
            request=request,
            connect=connect,
            export=_export(connection),
            previous=previous,
            snapshot=snapshot,
            statistics=statistics,
            joined=joined,
            zone=RawZone(
                bucket, client, previous.sequence + 1 if previous else 1, snapshot.taken_at
            ),
            sequence=previous.sequence + 1 if previous else 1,
        )
        with ThreadPoolExecutor(max_workers=readers) as pool:
            captures = dict(zip((t.name for t in tables), pool.map(run.take, tables), strict=True))
        fingerprints = (
            {table.name: fingerprint(connection, table) for table in tables}
            if request.verify
            else None
        )
        _refuse_rewritten(tables, statistics, read_statistics(connection))
    warnings = _drift(previous, tables)
    changed = bool(warnings) or any(c.capture is not Capture.NONE for c in captures.values())
    if changed:
        store.commit(
            Manifest(
                sequence=run.sequence,
                run_id=request.run_id,
                snapshot_at=snapshot.taken_at,
                system_identifier=snapshot.system_identifier,
                next_transaction=snapshot.next_transaction,
                tables=captures,
            )
        )
    return IngestResult(
        complete=True,
        sequence=run.sequence if changed else run.sequence - 1,
        committed=changed,
        rows=sum(capture.rows for capture in captures.values()),
        seconds=round(time.monotonic() - began, 3),
        tables=tuple(
            IngestedTable(name, capture.capture, capture.rows) for name, capture in captures.items()
        ),
        fingerprints=fingerprints,
        warnings=warnings,
    )


def _refuse_unknown(request: IngestRequest, tables: tuple[SourceTable, ...]) -> None:
    if isinstance(request.full_refresh, bool):
        return
    known = {table.name for table in tables}
    if unknown := sorted(set(request.full_refresh) - known):
        raise InvalidInput(
            f"full_refresh names {', '.join(unknown)}, which the source does not have; "
            f"it has {', '.join(sorted(known))}"
        )


def _refuse_rewritten(
    tables: tuple[SourceTable, ...], before: dict[int, Statistics], after: dict[int, Statistics]
) -> None:
    """Holds that no table was given another file since the run began.

    Source: PostgreSQL documentation, "MVCC Caveats": after ALTER TABLE rewrote or TRUNCATE
    emptied a table, it looks empty to every snapshot that was taken before.
    """
    for table in tables:
        if table.oid in before and before[table.oid].file_node != (
            after[table.oid].file_node if table.oid in after else None
        ):
            raise SourceBusy(
                f"table {table.name} was rewritten or truncated while it was read: nothing of "
                "this run is visible; try again"
            )


def _export(connection: psycopg.Connection) -> str:
    row = connection.execute("select pg_export_snapshot()").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM gives one row  # nosec B101
    return str(row[0])


def _drift(previous: Manifest | None, tables: tuple[SourceTable, ...]) -> tuple[str, ...]:
    if previous is None:
        return ()
    now = {table.name: table for table in tables}
    warnings = [f"table {name} is new" for name in sorted(now.keys() - previous.tables.keys())]
    warnings += [f"table {name} is gone" for name in sorted(previous.tables.keys() - now.keys())]
    for name in sorted(now.keys() & previous.tables.keys()):
        before = {column.name: column.source_type for column in previous.tables[name].columns}
        after = {column.name: column.source_type for column in now[name].columns}
        warnings += [f"column {name}.{c} is new" for c in sorted(after.keys() - before.keys())]
        warnings += [f"column {name}.{c} is gone" for c in sorted(before.keys() - after.keys())]
        warnings += [
            f"column {name}.{c} was {before[c]} and is now {after[c]}"
            for c in sorted(after.keys() & before.keys())
            if after[c] != before[c]
        ]
    return tuple(warnings)


@dataclass(frozen=True)
class _Run:
    """What taking a table needs to know of its run."""

    request: IngestRequest
    connect: Connect
    export: str
    previous: Manifest | None
    snapshot: SourceSnapshot
    statistics: dict[int, Statistics]
    joined: frozenset[str]
    zone: RawZone
    sequence: int

    def take(self, table: SourceTable) -> TableCapture:
        """Takes one table, on a connection of its own inside the shared snapshot."""
        with self.connect() as connection:
            connection.autocommit = True
            connection.execute("begin isolation level repeatable read read only")
            connection.execute(
                sql.SQL("set transaction snapshot {}").format(sql.Literal(self.export))
            )
            plan = plan_capture(
                connection,
                table,
                self.snapshot,
                self.statistics.get(table.oid),
                self.previous,
                always_whole=table.name in self.joined,
                refresh=self._is_refreshed(table.name),
                trust_counters=not self.request.verify,
            )
            return self._carry_out(connection, table, plan)

    def _is_refreshed(self, table: str) -> bool:
        asked = self.request.full_refresh
        return asked if isinstance(asked, bool) else table in asked

    def _carry_out(
        self, connection: psycopg.Connection, table: SourceTable, plan: Plan
    ) -> TableCapture:
        last = self.previous.tables.get(table.name) if self.previous else None
        rows = 0
        files: tuple[str, ...] = ()
        key_files: tuple[str, ...] = ()
        if plan.capture is not Capture.NONE:
            condition = (
                written_since(plan.since) if plan.capture is Capture.CHANGES else sql.SQL("true")
            )
            rows, files = self._write(connection, RawZone.ROWS, table, table.columns, condition)
            if plan.sweep_keys:
                keys = tuple(c for c in table.columns if c.name in table.primary_key)
                _, key_files = self._write(connection, RawZone.KEYS, table, keys, sql.SQL("true"))
        swept = plan.capture is Capture.WHOLE or plan.sweep_keys
        if last is not None and not plan.cursor_moves:
            return dataclasses.replace(
                last, capture=Capture.NONE, rows=0, files=(), key_files=(), keys_swept=False
            )
        is_change = rows > 0 or swept
        last_change = last.changed_in if last else 0
        return TableCapture(
            capture=plan.capture if is_change else Capture.NONE,
            rows=rows,
            files=files,
            key_files=key_files,
            keys_swept=swept,
            columns=table.columns,
            primary_key=table.primary_key,
            table_oid=table.oid,
            horizon=self.snapshot.horizon,
            statistics=self.statistics.get(table.oid, _NO_STATISTICS),
            content_digest=plan.content_digest,
            changed_in=self.sequence if is_change else last_change,
            previous_change=last_change if is_change else (last.previous_change if last else 0),
        )

    def _write(
        self,
        connection: psycopg.Connection,
        prefix: str,
        table: SourceTable,
        columns: tuple[Column, ...],
        condition: sql.Composable,
    ) -> tuple[int, tuple[str, ...]]:
        with tempfile.TemporaryDirectory() as folder:
            made = extract(connection, table, columns, condition, Path(folder) / "part.parquet")
            if not made.rows:
                return 0, ()
            return made.rows, (self.zone.put(prefix, table.name, made.path),)
