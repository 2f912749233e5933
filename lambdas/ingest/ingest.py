"""One ingest: a snapshot of the source, the changes since the last run, one manifest."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from lambdas.ingest.change_capture import plan_capture
from lambdas.ingest.chunks import chunks_of
from lambdas.ingest.discovery import (
    SourceSnapshot,
    SourceTable,
    read_snapshot,
    read_statistics,
    read_tables,
)
from lambdas.ingest.fingerprints import fingerprint_stars
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.run_plan import Done, Progress, RunPlan, TablePlan
from lambdas.ingest.taking import Taking
from pipeline.errors import InvalidInput, SourceBusy
from pipeline.fingerprints import StarFingerprints
from pipeline.manifest import Capture, Manifest, ManifestStore, Statistics, TableCapture
from pipeline.requests import IngestRequest
from star_schema.tables import StarTable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Connect = Callable[[], psycopg.Connection]

_NO_STATISTICS = Statistics(0, 0, 0, 0, None)


@dataclass(frozen=True)
class IngestedTable:
    """One table's part in a run: how it was taken, how many rows, how many values not held."""

    table: str
    capture: Capture
    rows: int
    not_held: int


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        complete: Whether all of the run is done; if not, the same request goes on from there.
        sequence: The newest committed run; 0 if there is none.
        committed: Whether this ingest committed it.
        rows: Rows written to the raw zone.
        seconds: How long it took.
        longest_query_seconds: The longest that one query kept a reader at the source.
        scanned_bytes: The size of the tables that were read at the source.
        tables: Every table of the source.
        fingerprints: What the source makes of each star table, if asked for; None also where
            the run has no instant of its own, or no time was left.
        warnings: What somebody should know of: tables and columns that came or went, values that
            are not held.
    """

    complete: bool
    sequence: int
    committed: bool
    rows: int
    seconds: float
    longest_query_seconds: float
    scanned_bytes: int
    tables: tuple[IngestedTable, ...]
    fingerprints: tuple[StarFingerprints, ...] | None
    warnings: tuple[str, ...]


def ingest(
    request: IngestRequest,
    *,
    connect: Connect,
    bucket: str,
    client: "S3Client",
    joined: frozenset[str],
    readers: int,
    stars: tuple[StarTable, ...] = (),
    seconds_left: Callable[[], float] = lambda: float("inf"),
    folder: Path | None = None,
) -> IngestResult:
    """Brings the source's changes since the newest run into the raw zone.

    Args:
        request: What to do.
        connect: Opens a connection to the source.
        bucket: The raw bucket.
        client: The S3 client.
        joined: The tables that the star schema joins: taken whole whenever they change.
        readers: How many connections read tables at the same time.
        stars: The star tables, for the source's fingerprints.
        seconds_left: How long the caller may still run.
        folder: Where files are made before they are uploaded; the system's own if not given.

    Raises:
        InvalidInput: `full_refresh` names a table that the source does not have.
        SourceBusy: A table was rewritten while it was read.
        RunConflict: Another ingest committed first; nothing of this one is visible.
        PipelineError: The source or Amazon S3 failed; nothing of this run is visible.
    """
    began = time.monotonic()
    store = ManifestStore(bucket, client)
    progress = Progress(bucket, client, request.run_id)
    previous = store.newest(request.loaded_through)
    with connect() as connection:
        connection.autocommit = True
        statistics = read_statistics(connection)
        connection.execute("begin isolation level repeatable read read only")
        snapshot = read_snapshot(connection)
        tables = read_tables(connection)
        _refuse_unknown(request, tables)
        planning = _Planning(
            connection,
            request,
            previous=previous,
            snapshot=snapshot,
            tables=tables,
            statistics=statistics,
            joined=joined,
        )
        plan, invocation = planning.resumed(progress) or (planning.new(), 0)
        zone = RawZone(bucket, client, plan.sequence, plan.snapshot.taken_at)
        with Taking(
            plan,
            connection=connection,
            zone=zone,
            progress=progress,
            invocation=invocation,
            at_once=joined,
            readers=readers,
            seconds_left=seconds_left,
            folder=folder,
        ) as taking:
            complete = taking.take()
        fingerprints = (
            fingerprint_stars(
                connection,
                tables,
                stars,
                zone=zone,
                run_id=request.run_id,
                seconds_left=seconds_left,
                folder=folder,
            )
            if request.verify and complete and invocation == 0
            else None
        )
        _refuse_rewritten(tables, statistics, read_statistics(connection))
    captures = _captures(plan, previous, taking.done, taking.swept) if complete else {}
    changed = bool(plan.warnings) or any(c.capture is not Capture.NONE for c in captures.values())
    if changed:
        store.commit(
            Manifest(
                sequence=plan.sequence,
                run_id=request.run_id,
                snapshot_at=plan.snapshot.taken_at,
                system_identifier=plan.snapshot.system_identifier,
                next_transaction=plan.snapshot.next_transaction,
                tables=captures,
            )
        )
    return IngestResult(
        complete=complete,
        sequence=plan.sequence if changed else plan.sequence - 1,
        committed=changed,
        rows=sum(capture.rows for capture in captures.values()),
        seconds=round(time.monotonic() - began, 3),
        longest_query_seconds=taking.longest_query_seconds,
        scanned_bytes=planning.scanned_bytes + taking.scanned_bytes,
        tables=tuple(
            IngestedTable(name, capture.capture, capture.rows, capture.not_held)
            for name, capture in captures.items()
        ),
        fingerprints=fingerprints,
        warnings=plan.warnings + tuple(_not_held(captures, bucket)),
    )


class _Planning:
    """Decides what a run takes, inside its snapshot.

    Attributes:
        scanned_bytes: The size of the tables that were read to decide.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        request: IngestRequest,
        *,
        previous: Manifest | None,
        snapshot: SourceSnapshot,
        tables: tuple[SourceTable, ...],
        statistics: dict[int, Statistics],
        joined: frozenset[str],
    ) -> None:
        self._connection = connection
        self._request = request
        self._previous = previous
        self._sequence = previous.sequence + 1 if previous else 1
        self._snapshot = snapshot
        self._tables = tables
        self._statistics = statistics
        self._joined = joined
        self.scanned_bytes = 0

    def resumed(self, progress: Progress) -> tuple[RunPlan, int] | None:
        """Returns the plan that an earlier invocation of this run made, if it still holds."""
        kept = progress.plan()
        if kept is None:
            return None
        plan, invocations = kept
        now = {table.name: table for table in self._tables}
        holds = (
            plan.sequence == self._sequence
            and plan.snapshot.system_identifier == self._snapshot.system_identifier
            and plan.snapshot.next_transaction <= self._snapshot.next_transaction
            and all(self._is_as_planned(one, now.get(one.table.name)) for one in plan.tables)
        )
        return (plan, invocations) if holds else None

    def _is_as_planned(self, planned: TablePlan, now: SourceTable | None) -> bool:
        return (
            now is not None
            and now.oid == planned.table.oid
            and now.columns == planned.table.columns
            and now.primary_key == planned.table.primary_key
            and self._statistics_of(now).file_node == planned.statistics.file_node
        )

    def new(self) -> RunPlan:
        """Returns what has changed since the newest run."""
        return RunPlan(
            sequence=self._sequence,
            snapshot=self._snapshot,
            tables=tuple(
                self._plan(table)
                for table in sorted(self._tables, key=lambda one: one.name not in self._joined)
            ),
            warnings=_drift(self._previous, self._tables),
        )

    def _plan(self, table: SourceTable) -> TablePlan:
        asked = self._request.full_refresh
        # Rolled back to its savepoint, deciding keeps no lock that a migration would wait for.
        with self._connection.transaction(force_rollback=True):
            plan = plan_capture(
                self._connection,
                table,
                self._snapshot,
                self._statistics.get(table.oid),
                self._previous,
                always_whole=table.name in self._joined,
                refresh=asked if isinstance(asked, bool) else table.name in asked,
                trust_counters=not self._request.verify,
            )
        self.scanned_bytes += table.bytes if plan.content_digest is not None else 0
        changes_only = plan.capture is Capture.CHANGES
        chunks = (
            chunks_of(table, changes_only=changes_only) if plan.capture is not Capture.NONE else ()
        )
        return TablePlan(table, plan, self._statistics_of(table), chunks)

    def _statistics_of(self, table: SourceTable) -> Statistics:
        return self._statistics.get(table.oid, _NO_STATISTICS)


def _captures(
    plan: RunPlan,
    previous: Manifest | None,
    done: dict[tuple[str, int], Done],
    swept: dict[str, Done],
) -> dict[str, TableCapture]:
    """Returns every table's entry of the manifest, by name."""
    captures: dict[str, TableCapture] = {}
    for one in sorted(plan.tables, key=lambda planned: planned.table.name):
        name = one.table.name
        last = previous.tables.get(name) if previous else None
        parts = [done[name, number] for number in range(len(one.chunks))]
        captures[name] = _capture(plan, one, last, parts, swept.get(name))
    return captures


def _capture(
    plan: RunPlan,
    planned: TablePlan,
    last: TableCapture | None,
    parts: list[Done],
    swept: Done | None,
) -> TableCapture:
    rows = sum(part.rows for part in parts)
    not_held = sum(part.not_held for part in parts)
    keys_swept = planned.plan.capture is Capture.WHOLE or swept is not None
    is_change = rows > 0 or not_held > 0 or keys_swept
    moves = last is None or planned.plan.cursor_moves
    cursor = (
        (plan.snapshot.horizon, planned.statistics, planned.plan.content_digest)
        if last is None or moves
        else (last.horizon, last.statistics, last.content_digest)
    )
    last_change = last.changed_in if last else 0
    return TableCapture(
        capture=planned.plan.capture if is_change else Capture.NONE,
        rows=rows,
        files=tuple(file for part in parts for file in part.files),
        key_files=swept.files if swept else (),
        not_held=not_held,
        quarantine_files=tuple(file for part in parts for file in part.quarantine_files),
        keys_swept=keys_swept,
        columns=planned.table.columns,
        primary_key=planned.table.primary_key,
        table_oid=planned.table.oid,
        horizon=cursor[0],
        statistics=cursor[1],
        content_digest=cursor[2],
        changed_in=plan.sequence if is_change else last_change,
        previous_change=last_change if is_change else (last.previous_change if last else 0),
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
    """Holds that no table was given another file since the invocation began.

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


def _not_held(captures: dict[str, TableCapture], bucket: str) -> Iterable[str]:
    for name, capture in captures.items():
        if capture.not_held:
            yield (
                f"table {name} has {capture.not_held} values that its raw types cannot hold: "
                f"their rows wait in s3://{bucket}/{RawZone.QUARANTINE}/{name}/"
            )


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
