"""Decides which rows of a table a run captures.

PostgreSQL stamps each row version with the transaction that wrote it (`xmin`). A run stores its
snapshot's horizon: the oldest transaction that was then in progress. A row version that the
snapshot did not show was written by that transaction or by a later one. The next run therefore
takes the rows whose `xmin` is at or above the horizon. This includes rows of transactions that
committed late, rows that were edited without a new `last_updated`, and tables that have no such
column. A row that is taken twice is harmless, because the star schema compares content.

A transaction that stays open holds the horizon. So that its rows do not come again in every run, a
capture also stores the transactions at or above its horizon whose rows it saw. The rows of a
transaction, those of its savepoints included, become visible together, so the next run leaves the
rows of these transactions out. A savepoint has a transaction id of its own, which no snapshot
lists: only what a capture saw is left out, never what a snapshot lists as completed.

Source: PostgreSQL documentation, "System Columns", "Transaction ID and Snapshot Information
Functions" and "Routine Vacuuming" (since version 9.4, freezing leaves `xmin` readable).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.definitions import DEFINITION_ROWS
from lambdas.ingest.discovery import Source, SourceSnapshot, SourceTable
from lambdas.ingest.key_count import Counting, KeyCount, Keys
from lambdas.ingest.key_digest import KeyDigest
from lambdas.ingest.transactions import (
    COMPARABLE_TRANSACTIONS,
    bounded,
    full_transaction,
    written_since,
)
from pipeline.manifest import Capture, Manifest, Statistics, TableCapture

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""Above this size, a table's counters decide whether it is read; a smaller table is scanned.

A backend reports its counters up to ten seconds after its commit (PostgreSQL's
PGSTAT_IDLE_INTERVAL). Counters alone could show a change one run late:
docs/adr/0001-counters-and-small-tables.md.
"""
_INTEGERS = (["smallint"], ["integer"], ["bigint"])
_DEFINITION_WRITTEN: LiteralString = (
    f"select distinct root::bigint, xmin::text from ({DEFINITION_ROWS}) "  # noqa: S608  # nosec B608
    "as definition (root, xmin, catalog, place) where {written}"
)


@dataclass(frozen=True)
class Decision:
    """How a run captures a table.

    Attributes:
        capture: Whole, changes, or nothing.
        since: The horizon (xid8) of a capture of changes.
        captured_before: Transactions (xid8) whose rows a capture of changes leaves out.
        counting: How its keys are counted; None if they are not.
        count: What the count gave, if it was made to decide. Otherwise each chunk is counted.
        cursor_moves: Whether the table's cursor moves to this run's snapshot.
        definitions: The transactions (xid8) at or above this run's horizon that wrote the table's
            definition.
        warning: A warning for the run's report, if any.
    """

    capture: Capture
    since: int = 0
    captured_before: tuple[int, ...] = ()
    counting: Counting | None = None
    count: KeyCount | None = None
    cursor_moves: bool = True
    definitions: tuple[int, ...] = ()
    warning: str = ""

    @property
    def condition(self) -> sql.Composable:
        """The condition on the rows to read."""
        changes = self.capture is Capture.CHANGES
        return written_since(self.since, self.captured_before) if changes else sql.SQL("true")


_UNCHANGED = Decision(Capture.NONE, cursor_moves=False)


class ChangeDetector:
    """Decides how a run captures each table.

    Args:
        connection: A connection inside the run's snapshot.
        source: The source in that snapshot.
        previous: The newest committed run; None also if nothing of it can be compared.
        trust_counters: Whether unchanged counters may skip a large table.

    Attributes:
        scanned_bytes: Size of the tables that were scanned to decide.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        source: Source,
        previous: Manifest | None,
        *,
        trust_counters: bool,
    ) -> None:
        self._connection = connection
        self._source = source
        self._snapshot = source.snapshot
        self._previous = previous
        self._trust_counters = trust_counters
        self.scanned_bytes = 0

    def decide(
        self, table: SourceTable, natural_key: tuple[str, ...], *, always_whole: bool, refresh: bool
    ) -> Decision:
        """Decides how the run captures one table.

        Args:
            table: The table.
            natural_key: The columns that identify a row; empty if there are none.
            always_whole: Whether to capture the whole table whenever it changes.
            refresh: Whether the input asks for the whole table.
        """
        if table.has_foreign_leaf:
            return Decision(Capture.WHOLE)
        always_whole = always_whole or not natural_key
        last = self._previous.tables.get(table.name) if self._previous else None
        if last is None or refresh or not self._continues(table, natural_key, last):
            return self._whole(table, natural_key, always_whole=always_whole)
        if self._nothing_committed_since(table, last):
            return _UNCHANGED
        if self._definitions(table, last.horizon) - set(last.captured_transactions):
            return self._whole(table, natural_key, always_whole=always_whole)
        if table.bytes > LARGE_TABLE_BYTES:
            return self._decide_large(table, natural_key, last, always_whole)
        return self._decide_small(table, natural_key, last, always_whole)

    def _continues(
        self, table: SourceTable, natural_key: tuple[str, ...], last: TableCapture
    ) -> bool:
        """Whether the table is the one of its last capture, and comparable with it."""
        return (
            not last.starts_over
            and table.oid == last.table_oid
            and table.columns == last.columns
            and table.primary_key == last.primary_key
            and table.printed_names == last.printed_names
            and natural_key == (last.natural_key or last.primary_key)
            and self._snapshot.next_transaction - last.horizon < COMPARABLE_TRANSACTIONS
            and not counters_fell(last.statistics, self._source.statistics.get(table.oid))
        )

    def _nothing_committed_since(self, table: SourceTable, last: TableCapture) -> bool:
        """Whether no transaction was in progress when the table was last looked at, or began since.

        Every run looks at every small table that it takes.
        """
        previous, now = self._previous, self._snapshot.next_transaction
        if previous is None or previous.next_transaction != now:
            return False
        looked_at = table.bytes <= LARGE_TABLE_BYTES and not last.not_taken
        return now in (last.horizon, previous.horizon if looked_at else last.horizon)

    def _whole(
        self, table: SourceTable, natural_key: tuple[str, ...], *, always_whole: bool
    ) -> Decision:
        counting = _counting(table, natural_key, None)
        if table.bytes > LARGE_TABLE_BYTES:
            return self._decision(table, Capture.WHOLE, None if always_whole else counting)
        return self._decision(table, Capture.WHOLE, counting, self._count(table, counting, None))

    def _decide_large(
        self,
        table: SourceTable,
        natural_key: tuple[str, ...],
        last: TableCapture,
        always_whole: bool,
    ) -> Decision:
        counted = self._source.statistics.get(table.oid)
        if self._trust_counters and counted is not None and counted == last.statistics:
            return _UNCHANGED
        if always_whole:
            return self._decision(table, Capture.WHOLE)
        return self._decision(
            table, Capture.CHANGES, _counting(table, natural_key, last), last=last
        )

    def _decide_small(
        self,
        table: SourceTable,
        natural_key: tuple[str, ...],
        last: TableCapture,
        always_whole: bool,
    ) -> Decision:
        counting = _counting(table, natural_key, last)
        count = self._count(table, counting, last)
        if counting.before == count.every and not count.written.rows:
            if self._snapshot.next_transaction - last.horizon < COMPARABLE_TRANSACTIONS // 2:
                return _UNCHANGED
            return self._decision(table, Capture.NONE, counting, count)
        if always_whole:
            return self._decision(table, Capture.WHOLE, counting, count)
        if count.compared(counting.before) is Keys.UNCAPTURED:
            warning = f"{uncaptured(table.name)}: the table was captured whole"
            return self._decision(table, Capture.WHOLE, counting, count, warning=warning)
        return self._decision(table, Capture.CHANGES, counting, count, last=last)

    def _decision(
        self,
        table: SourceTable,
        capture: Capture,
        counting: Counting | None = None,
        count: KeyCount | None = None,
        *,
        last: TableCapture | None = None,
        warning: str = "",
    ) -> Decision:
        return Decision(
            capture,
            since=last.horizon if last else 0,
            captured_before=last.captured_transactions if last else (),
            counting=counting,
            count=count,
            definitions=bounded(self._definitions(table, self._snapshot.horizon)),
            warning=warning,
        )

    def _definitions(self, table: SourceTable, horizon: int) -> set[int]:
        """Returns the transactions at or above a horizon that wrote the table's definition.

        A definition can change the content of rows that have an old `xmin`. Examples: a column
        that was dropped and added again, the expression of a virtual column, an attached
        partition, a renamed value of an enumeration. None of them writes a row of the table.
        """
        if horizon == self._snapshot.next_transaction:
            return set()
        return {one for one in self._definitions_written.get(table.oid, ()) if one >= horizon}

    @cached_property
    def _definitions_written(self) -> dict[int, set[int]]:
        """The transactions that wrote the tables' definitions since the oldest cursor, by oid."""
        now = self._snapshot.next_transaction
        entries = self._previous.tables.values() if self._previous else ()
        comparable = (one.horizon for one in entries if now - one.horizon < COMPARABLE_TRANSACTIONS)
        oldest = min((self._snapshot.horizon, *comparable))
        query = sql.SQL(_DEFINITION_WRITTEN).format(written=written_since(oldest))
        tables = [table.oid for table in self._source.tables]
        written: dict[int, set[int]] = {}
        for oid, text in self._connection.execute(query, {"tables": tables}):
            written.setdefault(oid, set()).add(full_transaction(text, oldest))
        return written

    def _count(self, table: SourceTable, counting: Counting, last: TableCapture | None) -> KeyCount:
        """Scans a table."""
        self.scanned_bytes += table.bytes
        written = written_since(last.horizon, last.captured_transactions) if last else None
        query = counting.query(
            table.identifier,
            sql.SQL("true"),
            written or sql.SQL("true"),
            recent(self._snapshot),
        )
        row = self._connection.execute(query).fetchone()
        assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
        return counting.counted(row, self._snapshot.horizon)


def recent(snapshot: SourceSnapshot) -> sql.Composable | None:
    """Returns the condition of the rows that a later capture may leave out; None if there are none.

    Transactions at or above the horizon wrote them. Without an open transaction there is none.
    """
    is_idle = snapshot.horizon == snapshot.next_transaction
    return None if is_idle else written_since(snapshot.horizon)


def counters_fell(before: Statistics, after: Statistics | None) -> bool:
    """Whether counters are lower than before though nobody reset them."""
    return (
        after is not None
        and after.file_node == before.file_node
        and after.reset_at == before.reset_at
        and (
            after.inserted < before.inserted
            or after.updated < before.updated
            or after.deleted < before.deleted
        )
    )


def uncaptured(table: str) -> str:
    """Returns what is to be said of a table that has rows that no capture has brought."""
    return (
        f"table {table} shows rows that were not written since its last capture and that no "
        "capture has brought (a policy or a right was changed, or rows were restored)"
    )


def _counting(
    table: SourceTable, natural_key: tuple[str, ...], last: TableCapture | None
) -> Counting:
    """Returns how the keys are counted: without a natural key, the rows' places and versions."""
    types = {column.name: column.source_type for column in table.columns}
    return Counting(
        columns=natural_key or ("tableoid", "ctid", "xmin"),
        is_integer=[types[name] for name in natural_key] in _INTEGERS,
        greatest=last.greatest_keys if last else (),
        before=KeyDigest.parse(last.content_digest) if last else None,
    )
