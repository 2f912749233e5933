"""The planning of a run: how each table is captured, decided inside the run's snapshot."""

import uuid
from collections.abc import Iterable, Iterator, Set

import psycopg

from lambdas.ingest.change_capture import decide_capture
from lambdas.ingest.chunks import chunks_of
from lambdas.ingest.discovery import Source, SourceTable
from lambdas.ingest.failures import Failures
from lambdas.ingest.run_plan import RunPlan, TablePlan
from pipeline.errors import InvalidInput
from pipeline.manifest import Capture, Manifest
from star_schema.sources import source_declaration


class Planner:
    """Decides what a run takes.

    Args:
        connection: A connection inside the run's snapshot.
        source: The source in that snapshot.
        previous: The newest committed run.
        joined: The tables that the star schema joins: captured whole whenever they change.
        full_refresh: Tables to capture whole; True for all tables.
        trust_counters: Whether unchanged counters may skip a large table.
        failures: The tables that cannot be planned.

    Attributes:
        scanned_bytes: Size of the tables that were scanned to decide.

    Raises:
        InvalidInput: `full_refresh` names a table that the source does not have.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        source: Source,
        previous: Manifest | None,
        *,
        joined: frozenset[str],
        full_refresh: bool | tuple[str, ...],
        trust_counters: bool,
        failures: Failures,
    ) -> None:
        self._connection = connection
        self._source = source
        self._previous = previous
        self._sequence = previous.sequence + 1 if previous else 1
        self._joined = joined
        self._full_refresh = full_refresh
        self._trust_counters = trust_counters
        self._failures = failures
        self.scanned_bytes = 0
        if not isinstance(full_refresh, bool):
            known = {table.name for table in source.tables} | failures.reasons.keys()
            _refuse_unknown(full_refresh, known)

    def plan(self) -> RunPlan:
        """Returns a new plan: what has changed since the newest run."""
        joined_first = sorted(self._source.tables, key=lambda one: one.name not in self._joined)
        tables = tuple(self._planned(joined_first))
        return RunPlan(
            identifier=uuid.uuid4().hex,
            sequence=self._sequence,
            snapshot=self._source.snapshot,
            tables=tables,
            warnings=(),
            not_taken=dict(self._failures.reasons),
        )

    def still_holds(self, plan: RunPlan) -> bool:
        """Whether a plan that an earlier invocation made can be continued.

        It cannot if another run was committed, if the server is another one, or if a table has
        other columns, another key or another file than planned.
        """
        snapshot = self._source.snapshot
        tables = {table.name: table for table in self._source.tables}
        return (
            plan.sequence == self._sequence
            and plan.snapshot.system_identifier == snapshot.system_identifier
            and plan.snapshot.next_transaction <= snapshot.next_transaction
            and all(self._is_as_planned(one, tables.get(one.name)) for one in plan.tables)
        )

    def _is_as_planned(self, planned: TablePlan, table: SourceTable | None) -> bool:
        return (
            table is not None
            and table.oid == planned.table.oid
            and table.columns == planned.table.columns
            and table.primary_key == planned.table.primary_key
            and _natural_key(table) == planned.natural_key
            and self._source.statistics_of(table).file_node == planned.statistics.file_node
        )

    def _planned(self, tables: Iterable[SourceTable]) -> Iterator[TablePlan]:
        for table in tables:
            with self._failures.of(table.name):
                yield self._plan(table)

    def _plan(self, table: SourceTable) -> TablePlan:
        natural_key = _natural_key(table)
        # Rolling back to a savepoint releases the locks that deciding took.
        with self._connection.transaction(force_rollback=True):
            decision = decide_capture(
                self._connection,
                table,
                self._source.snapshot,
                self._source.statistics.get(table.oid),
                self._previous,
                natural_key=natural_key,
                always_whole=table.name in self._joined,
                refresh=self._is_refreshed(table),
                trust_counters=self._trust_counters,
            )
        self.scanned_bytes += table.bytes if decision.content_digest is not None else 0
        chunks = (
            ()
            if decision.capture is Capture.NONE
            else chunks_of(table, changes_only=decision.capture is Capture.CHANGES)
        )
        statistics = self._source.statistics_of(table)
        return TablePlan(table, natural_key, decision, statistics, chunks)

    def _is_refreshed(self, table: SourceTable) -> bool:
        asked = self._full_refresh
        return asked if isinstance(asked, bool) else table.name in asked


def _natural_key(table: SourceTable) -> tuple[str, ...]:
    declaration = source_declaration(table.name)
    names = {column.name for column in table.columns}
    if declaration and declaration.natural_key in names:
        return (declaration.natural_key,)
    return table.primary_key


def _refuse_unknown(full_refresh: tuple[str, ...], known: Set[str]) -> None:
    if unknown := sorted(set(full_refresh) - known):
        raise InvalidInput(
            f"full_refresh names {', '.join(unknown)}, which the source does not have; "
            f"it has {', '.join(sorted(known))}"
        )
