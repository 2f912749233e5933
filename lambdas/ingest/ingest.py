"""One ingest: a snapshot of the source, the changes since the last run, one manifest."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from lambdas.ingest.captures import (
    gone_tables,
    not_held_warnings,
    table_captures,
    uncaptured_warnings,
)
from lambdas.ingest.continuity import REREAD_LIMIT_BYTES
from lambdas.ingest.definitions import read_definitions
from lambdas.ingest.discovery import read_source
from lambdas.ingest.drift import drift
from lambdas.ingest.failures import Failures, TableFailure
from lambdas.ingest.fingerprints import fingerprint_stars
from lambdas.ingest.leaves import read_leaves
from lambdas.ingest.planning import Planner
from lambdas.ingest.progress import Progress
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.run_plan import RunPlan
from lambdas.ingest.scope import DEFAULT_SCOPE, Scope
from lambdas.ingest.session import begin
from lambdas.ingest.taken import FIRST
from lambdas.ingest.taking import Taking
from pipeline.errors import RunConflict
from pipeline.fingerprints import StarFingerprints
from pipeline.manifest import Capture, Manifest, ManifestStore, TableCapture
from pipeline.requests import IngestRequest
from star_schema.tables import StarTable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ALTERED = (
    "it was altered, rewritten, truncated or dropped while it was read; start the pipeline again "
    "when no such statement is under way"
)
Connect = Callable[[], psycopg.Connection]


@dataclass(frozen=True)
class IngestedTable:
    """One table's part in a run.

    Attributes:
        table: The table.
        capture: How it was captured.
        rows: Rows in the raw zone.
        not_held: Values in the raw quarantine.
        not_taken: Why it could not be captured, with what to do; empty if it was.
        seconds: How long readers worked on it in this invocation.
    """

    table: str
    capture: Capture
    rows: int
    not_held: int
    not_taken: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        complete: Whether the run is complete. If not, the same request continues it.
        sequence: The newest committed run; 0 if there is none.
        committed: Whether this ingest committed a run.
        rows: Rows written to the raw zone.
        seconds: Duration of this invocation.
        longest_query_seconds: Duration of the longest query of a reader at the source.
        scanned_bytes: Size of the tables that were read at the source.
        tables: Every table of the source.
        fingerprints: What the source makes of each star table, if asked for. None also if the
            run has several snapshots, or if the time did not suffice.
        warnings: The changes of the schema; values in the raw quarantine; and the like.
        snapshot_at: The instant that the run shows of the source, ISO 8601.
        schema_changes: New, dropped and retyped tables and columns.
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
    snapshot_at: str = ""
    schema_changes: tuple[str, ...] = ()


def ingest(
    request: IngestRequest,
    *,
    connect: Connect,
    bucket: str,
    client: "S3Client",
    joined: frozenset[str],
    readers: int,
    stars: tuple[StarTable, ...] = (),
    scope: Scope = DEFAULT_SCOPE,
    reread_limit_bytes: int = REREAD_LIMIT_BYTES,
    seconds_left: Callable[[], float] = lambda: float("inf"),
    store: ManifestStore | None = None,
) -> IngestResult:
    """Writes the source's changes since the newest run to the raw zone.

    Args:
        request: What to do.
        connect: Opens a connection to the source.
        bucket: The raw bucket.
        client: The S3 client.
        joined: The tables that the star schema joins: captured whole whenever they change.
        readers: Number of connections that read at the same time.
        stars: The star tables, for the source's fingerprints.
        scope: What is captured of the source.
        reread_limit_bytes: Size of a source from which a clean restart of its server does not
            cause whole captures.
        seconds_left: Returns how long the caller may still run.
        store: The manifests, if the caller reads them too.

    Raises:
        InvalidSettings: The scope does not fit the source or the star tables.
        InvalidInput: `full_refresh` names a table that the source does not have.
        SourceBusy: A table cannot be read now, and this is not the last attempt.
        RunConflict: Another execution committed first; nothing of this run is visible.
        PipelineError: The source or Amazon S3 failed; nothing of this run is visible.
    """
    began = time.monotonic()
    scope.refuse_needed(stars)
    store = store or ManifestStore(bucket, client)
    progress = Progress(bucket, client, request.run_id)
    # A rebuild goes on from the runs that are left of a raw zone that was emptied or restored.
    previous = store.newest(0 if request.rebuild else request.loaded_through)
    failures = Failures(is_last_attempt=request.is_last_attempt)
    with connect() as connection:
        source = read_source(connection, scope, failures)
        planner = Planner(
            connection,
            source,
            previous,
            joined=joined,
            full_refresh=request.full_refresh,
            trust_counters=not request.verify,
            failures=failures,
            scope=scope,
            reread_limit_bytes=reread_limit_bytes,
        )
        plan, invocation = _plan(planner, progress)
        failures.reasons.update(plan.not_taken)
        zone = RawZone(bucket, client, plan.sequence, plan.snapshot.taken_at)
        with Taking(
            plan,
            connection=connection,
            zone=zone,
            progress=progress,
            invocation=invocation,
            at_once=joined,
            readers=readers,
            failures=failures,
            seconds_left=seconds_left,
        ) as taking:
            complete = taking.take()
        fingerprints = (
            fingerprint_stars(
                connection,
                source.tables,
                stars,
                failures=failures,
                zone=zone,
                run_id=request.run_id,
                seconds_left=seconds_left,
            )
            if request.verify and complete and invocation == FIRST and not failures.reasons
            else None
        )
        if complete:
            _note_altered(plan, connection, failures)
    captures = (
        table_captures(plan, previous, taking.chunks, taking.swept, failures.reasons)
        if complete
        else {}
    )
    committed = False
    if complete:
        try:
            committed = _commit(store, request, plan, captures, previous)
        except RunConflict:
            if store.read(plan.sequence).run_id != request.run_id:
                raise
            # A call of the same execution whose answer was lost: the next one goes on from its run.
            complete = False
    schema_changes = drift(
        previous,
        (one.table for one in plan.tables),
        failures.reasons.keys(),
        scope,
        bucket,
    )
    return IngestResult(
        complete=complete,
        sequence=plan.sequence if committed else plan.sequence - 1,
        committed=committed,
        rows=sum(capture.rows for capture in captures.values()),
        seconds=round(time.monotonic() - began, 3),
        longest_query_seconds=taking.longest_query_seconds,
        scanned_bytes=planner.scanned_bytes + taking.scanned_bytes,
        tables=tuple(_ingested(captures, failures.reasons, taking.work)),
        fingerprints=fingerprints,
        warnings=(
            *plan.warnings,
            *schema_changes,
            *uncaptured_warnings(captures),
            *not_held_warnings(captures, bucket),
        ),
        snapshot_at=plan.snapshot.taken_at,
        schema_changes=schema_changes,
    )


def _plan(planner: Planner, progress: Progress) -> tuple[RunPlan, str]:
    """Returns the plan of an earlier invocation if it can be continued, or a new plan.

    The second value names this invocation. A number would not: of a call that was repeated
    because its answer was lost, two invocations may work at the same time.
    """
    saved = progress.plan()
    continued = planner.continued(saved) if saved else None
    return (continued, uuid.uuid4().hex) if continued else (planner.plan(), FIRST)


def _ingested(
    captures: dict[str, TableCapture], not_taken: dict[str, str], work: Iterable[tuple[str, float]]
) -> Iterator[IngestedTable]:
    spent: defaultdict[str, float] = defaultdict(float)
    for name, seconds in work:
        spent[name] += seconds
    for name in sorted(captures.keys() | not_taken.keys()):
        entry = captures.get(name)
        yield IngestedTable(
            table=name,
            capture=entry.capture if entry else Capture.NONE,
            rows=entry.rows if entry else 0,
            not_held=entry.not_held if entry else 0,
            not_taken=not_taken.get(name, ""),
            seconds=round(spent[name], 3),
        )


def _commit(
    store: ManifestStore,
    request: IngestRequest,
    plan: RunPlan,
    captures: dict[str, TableCapture],
    previous: Manifest | None,
) -> bool:
    """Commits the run if it differs from the previous one, and returns whether it did."""
    if not _is_news(plan, captures, previous):
        return False
    store.commit(
        Manifest(
            sequence=plan.sequence,
            run_id=request.run_id,
            snapshot_at=plan.snapshot.taken_at,
            system_identifier=plan.snapshot.system_identifier,
            next_transaction=plan.snapshot.next_transaction,
            tables=captures,
            horizon=plan.snapshot.horizon,
            epoch=plan.snapshot.epoch,
            gone=gone_tables(previous, captures),
        ),
        previous,
    )
    return True


def _is_news(plan: RunPlan, captures: dict[str, TableCapture], previous: Manifest | None) -> bool:
    if any(one.capture is not Capture.NONE for one in captures.values()) or previous is None:
        return bool(captures)
    same_epoch = previous.epoch and previous.epoch.identity == plan.snapshot.epoch.identity
    is_same = same_epoch and not plan.distrusts_counters
    return _standing(captures) != _standing(previous.tables) or not is_same


def _standing(captures: Mapping[str, TableCapture]) -> dict[str, tuple[bool, bool]]:
    """Returns whether each table was taken, and whether its cursor is still comparable, by name."""
    return {name: (not one.not_taken, one.starts_over) for name, one in captures.items()}


def _note_altered(plan: RunPlan, connection: psycopg.Connection, failures: Failures) -> None:
    """Notes the tables whose definition or files have changed since the snapshot.

    No lock keeps a statement out between two chunks. Source: PostgreSQL documentation, "MVCC
    Caveats": after ALTER TABLE rewrote a table or TRUNCATE emptied it, the table appears empty to
    every snapshot that was taken before.
    """
    read = [
        planned.table
        for planned in plan.tables
        if planned.decision.capture is not Capture.NONE and planned.name not in failures.reasons
    ]
    if not read:
        return
    connection.execute("commit")
    begin(connection)
    now = read_definitions(connection, read_leaves(connection, (table.oid for table in read)))
    for table in read:
        if now.get(table.oid) != table.definition:
            failures.add(table.name, TableFailure(_ALTERED, is_passing=True))
