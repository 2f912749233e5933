"""The planning of a run: how each table is captured, decided inside the run's snapshot."""

import dataclasses
import uuid
from collections.abc import Iterable, Iterator, Mapping, Set

import psycopg

from lambdas.ingest.change_capture import ChangeDetector
from lambdas.ingest.chunks import chunks_of
from lambdas.ingest.continuity import Continuity, continuity, was_configured
from lambdas.ingest.discovery import Source, SourceTable
from lambdas.ingest.failures import Failures
from lambdas.ingest.natural_keys import natural_key, refuse_ambiguous_key
from lambdas.ingest.open_transactions import long_transaction_warnings
from lambdas.ingest.run_plan import RunPlan, TablePlan
from lambdas.ingest.scope import Scope
from pipeline.errors import InvalidInput
from pipeline.manifest import Capture, Manifest

_RESTARTED = (
    "the source's server was restarted: its statistics, its log and its transaction ids show no "
    "loss, and the source is too large to be captured whole for that; prove it equal with an "
    'execution whose input is {"verify": true}'
)


class Planner:
    """Decides what a run takes.

    Args:
        connection: A connection inside the run's snapshot.
        source: The source in that snapshot.
        previous: The newest committed run.
        joined: The tables that the star schema joins: captured whole whenever they change.
        full_refresh: Tables to capture whole; True for all tables.
        trust_counters: Whether unchanged counters may skip a large table.
        reread_limit_bytes: Size of a source from which a clean restart of the server does not
            cause whole captures, nor a load of its configuration a search of all tables.
        failures: The tables that cannot be planned.
        scope: What is captured of the source.

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
        reread_limit_bytes: int,
        failures: Failures,
        scope: Scope,
    ) -> None:
        self._connection = connection
        self._source = source
        self._previous = previous
        self._sequence = previous.sequence + 1 if previous else 1
        self._joined = joined
        self._full_refresh = full_refresh
        self._failures = failures
        self._scope = scope
        self._restarted = False
        if not isinstance(full_refresh, bool):
            known = {table.name for table in source.tables} | failures.reasons.keys()
            _refuse_unknown(full_refresh, known)
        size = sum(table.total_bytes for table in source.tables)
        self._may_reread = size <= reread_limit_bytes
        comparable = previous if previous and self._is_comparable(previous) else None
        self._starts_over = comparable is None
        self._distrusts_counters = (
            previous is not None and self._may_reread and was_configured(source.snapshot, previous)
        )
        self._detector = ChangeDetector(
            connection,
            source,
            comparable,
            trust_counters=trust_counters and not self._distrusts_counters,
        )

    @property
    def scanned_bytes(self) -> int:
        """Size of the tables that were scanned to decide."""
        return self._detector.scanned_bytes

    def plan(self) -> RunPlan:
        """Returns a new plan: what has changed since the newest run."""
        tables = tuple(self._planned(self._source.tables, {}))
        return RunPlan(
            sequence=self._sequence,
            snapshot=self._source.snapshot,
            tables=tables,
            warnings=(
                *self._source.warnings,
                *(one.decision.warning for one in tables if one.decision.warning),
                *((_RESTARTED,) if self._restarted else ()),
                *long_transaction_warnings(self._connection, self._source.snapshot, self._previous),
            ),
            not_taken=dict(self._failures.reasons),
            starts_over=self._starts_over,
            distrusts_counters=self._distrusts_counters,
        )

    def continued(self, plan: RunPlan) -> RunPlan | None:
        """Returns the plan of an earlier invocation; None if it cannot be continued.

        It cannot if another run was committed, or if the server is another one. A table that has
        other columns, another key or another file than planned is planned again, alone.
        """
        if not self._can_continue(plan):
            return None
        tables = [table for table in self._source.tables if table.name not in plan.not_taken]
        planned = tuple(self._planned(tables, {one.name: one for one in plan.tables}))
        told = (one.decision.warning for one in planned if one.decision.warning)
        warnings = tuple(dict.fromkeys((*plan.warnings, *told)))
        return dataclasses.replace(plan, tables=planned, warnings=warnings)

    def _can_continue(self, plan: RunPlan) -> bool:
        snapshot = self._source.snapshot
        return (
            plan.sequence == self._sequence
            and plan.snapshot.system_identifier == snapshot.system_identifier
            and plan.snapshot.epoch.identity == snapshot.epoch.identity
            and plan.snapshot.next_transaction <= snapshot.next_transaction
        )

    def _is_comparable(self, previous: Manifest) -> bool:
        """Whether the tables can be compared with the last run, or must be captured whole."""
        match continuity(self._source, previous):
            case Continuity.RESTARTED:
                self._restarted = not self._may_reread
                return self._restarted
            case found:
                return found is Continuity.UNBROKEN

    def _planned(
        self, tables: Iterable[SourceTable], before: Mapping[str, TablePlan]
    ) -> Iterator[TablePlan]:
        """Yields the plans of tables, joined ones first: those of before as far as they hold."""
        for table in sorted(tables, key=lambda one: one.name not in self._joined):
            with self._failures.of(table.name):
                last = before.get(table.name)
                yield last if last and _is_as_planned(last, table) else self._plan(table)

    def _plan(self, table: SourceTable) -> TablePlan:
        key = natural_key(table)
        self._scope.refuse_key(table.schema, table.relation, key)
        # Rolling back to a savepoint releases the locks that deciding took.
        with self._connection.transaction(force_rollback=True):
            decision = self._detector.decide(
                table,
                key,
                always_whole=table.name in self._joined,
                refresh=self._is_refreshed(table),
            )
            if decision.capture is not Capture.NONE:
                refuse_ambiguous_key(self._connection, table)
        chunks = (
            ()
            if decision.capture is Capture.NONE
            else chunks_of(table, changes_only=decision.capture is Capture.CHANGES)
        )
        statistics = self._source.statistics_of(table)
        return TablePlan(uuid.uuid4().hex, table, key, decision, statistics, chunks)

    def _is_refreshed(self, table: SourceTable) -> bool:
        asked = self._full_refresh
        return asked if isinstance(asked, bool) else table.name in asked


def _is_as_planned(planned: TablePlan, table: SourceTable) -> bool:
    """Whether a table is as planned. A leaf without pages has no chunk, so it must have none."""
    return (
        table.oid == planned.table.oid
        and table.columns == planned.table.columns
        and table.primary_key == planned.table.primary_key
        and natural_key(table) == planned.natural_key
        and table.definition == planned.table.definition
        and not any(
            now.pages and not then.pages
            for now, then in zip(table.leaves, planned.table.leaves, strict=True)
        )
    )


def _refuse_unknown(full_refresh: tuple[str, ...], known: Set[str]) -> None:
    if unknown := sorted(set(full_refresh) - known):
        raise InvalidInput(
            f"full_refresh names {', '.join(unknown)}, which the source does not have; "
            f"it has {', '.join(sorted(known))}"
        )
