"""Decides which rows of a table a run captures.

PostgreSQL stamps each row version with the transaction that wrote it (`xmin`). A run stores its
snapshot's horizon: the oldest transaction that was then in progress. A row version that the
snapshot did not show was written by that transaction or by a later one. The next run therefore
takes the rows whose `xmin` is at or above the horizon. This includes rows of transactions that
committed late, rows that were edited without a new `last_updated`, and tables that have no such
column. A row that is taken twice is harmless, because the star schema compares content.

Source: PostgreSQL documentation, "System Columns", "Transaction ID and Snapshot Information
Functions" and "Routine Vacuuming" (since version 9.4, freezing leaves `xmin` readable).
"""

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.discovery import SourceSnapshot, SourceTable
from pipeline.manifest import Capture, Manifest, Statistics, TableCapture

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""Above this size, a table's counters decide whether it is read; a smaller table is scanned.

A backend reports its counters up to ten seconds after its commit (PostgreSQL's
PGSTAT_IDLE_INTERVAL). Counters alone could show a change one run late:
docs/adr/0001-counters-and-small-tables.md.
"""
_DEFINITION_WRITTEN: LiteralString = """
select
    exists (select from pg_attribute where attrelid = %(oid)s and {written})
    or exists (select from pg_attrdef where adrelid = %(oid)s and {written})
    or exists (
        select from pg_inherits
        where inhparent in (select %(oid)s union select relid from pg_partition_tree(%(oid)s))
            and {written}
    )
    or exists (
        select from pg_enum
        where enumtypid in (select atttypid from pg_attribute where attrelid = %(oid)s)
            and {written}
    )
"""
_COMPARABLE_TRANSACTIONS = 2**31
_TRANSACTION_WRAP = 2**32


@dataclass(frozen=True)
class Decision:
    """How a run captures a table.

    Attributes:
        capture: Whole, changes, or nothing.
        since: The horizon (xid8) of a capture of changes.
        sweep_keys: Whether to write all keys beside the changes.
        content_digest: The digest that was computed to decide, if any.
        cursor_moves: Whether the table's cursor moves to this run's snapshot.
    """

    capture: Capture
    since: int = 0
    sweep_keys: bool = False
    content_digest: str | None = None
    cursor_moves: bool = True

    @property
    def condition(self) -> sql.Composable:
        """The condition on the rows to read."""
        changes = self.capture is Capture.CHANGES
        return written_since(self.since) if changes else sql.SQL("true")


_UNCHANGED = Decision(Capture.NONE, cursor_moves=False)


def decide_capture(
    connection: psycopg.Connection,
    table: SourceTable,
    snapshot: SourceSnapshot,
    statistics: Statistics | None,
    previous: Manifest | None,
    *,
    natural_key: tuple[str, ...],
    always_whole: bool,
    refresh: bool,
    trust_counters: bool,
) -> Decision:
    """Decides how a run captures one table.

    Args:
        connection: A connection inside the run's snapshot.
        table: The table.
        snapshot: The run's snapshot.
        statistics: The table's counters, read before the snapshot; None if there are none.
        previous: The newest committed run.
        natural_key: The columns that identify a row; empty if there are none.
        always_whole: Whether to capture the whole table whenever it changes.
        refresh: Whether the input asks for the whole table.
        trust_counters: Whether unchanged counters may skip a large table.
    """
    last = previous.tables.get(table.name) if previous else None
    if (
        previous is None
        or last is None
        or refresh
        or _cannot_continue(table, natural_key, snapshot, previous)
    ):
        return Decision(
            Capture.WHOLE, content_digest=_digest_if_small(connection, table, natural_key)
        )
    if _nothing_committed_since(snapshot, previous):
        return _UNCHANGED
    if _redefined_since(connection, table, last.horizon):
        return Decision(
            Capture.WHOLE, content_digest=_digest_if_small(connection, table, natural_key)
        )
    always_whole = always_whole or not natural_key
    if table.bytes > LARGE_TABLE_BYTES:
        return _decide_large(table, statistics, last, always_whole, trust_counters)
    return _decide_small(connection, table, natural_key, last, always_whole)


def _cannot_continue(
    table: SourceTable, natural_key: tuple[str, ...], snapshot: SourceSnapshot, previous: Manifest
) -> bool:
    last = previous.tables[table.name]
    return (
        snapshot.system_identifier != previous.system_identifier
        or table.oid != last.table_oid
        or table.columns != last.columns
        or table.primary_key != last.primary_key
        or natural_key != (last.natural_key or last.primary_key)
        or snapshot.next_transaction < previous.next_transaction
        or snapshot.next_transaction - last.horizon >= _COMPARABLE_TRANSACTIONS
    )


def _nothing_committed_since(snapshot: SourceSnapshot, previous: Manifest) -> bool:
    """Whether no transaction of the server was in progress at the last run, or has begun since."""
    horizons = {table.horizon for table in previous.tables.values()}
    return snapshot.next_transaction == previous.next_transaction and horizons == {
        previous.next_transaction
    }


def _redefined_since(connection: psycopg.Connection, table: SourceTable, horizon: int) -> bool:
    """Whether a definition was written that changes the content of rows that have an old `xmin`.

    Examples: a column that was dropped and added again, the expression of a virtual column, an
    attached partition, a renamed value of an enumeration. None of them writes a row of the table.
    """
    row = connection.execute(
        sql.SQL(_DEFINITION_WRITTEN).format(written=written_since(horizon)), {"oid": table.oid}
    ).fetchone()
    return row == (True,)


def _decide_large(
    table: SourceTable,
    statistics: Statistics | None,
    last: TableCapture,
    always_whole: bool,
    trust_counters: bool,
) -> Decision:
    comparable = (
        trust_counters
        and statistics is not None
        and not table.is_partitioned
        and statistics.file_node == last.statistics.file_node
        and statistics.reset_at == last.statistics.reset_at
    )
    if comparable and statistics == last.statistics:
        return _UNCHANGED
    if always_whole:
        return Decision(Capture.WHOLE)
    deleted = statistics.deleted if statistics else -1
    return Decision(
        Capture.CHANGES,
        since=last.horizon,
        sweep_keys=not comparable or deleted != last.statistics.deleted,
    )


def _decide_small(
    connection: psycopg.Connection,
    table: SourceTable,
    natural_key: tuple[str, ...],
    last: TableCapture,
    always_whole: bool,
) -> Decision:
    changed = connection.execute(
        sql.SQL("select exists (select from {} where {})").format(
            table.identifier, written_since(last.horizon)
        )
    ).fetchone()
    digest = read_digest(connection, table, natural_key)
    keys_moved = digest != last.content_digest
    if not keys_moved and changed == (False,):
        return Decision(Capture.NONE, content_digest=digest)
    if always_whole or last.content_digest is None:
        return Decision(Capture.WHOLE, content_digest=digest)
    return Decision(
        Capture.CHANGES, since=last.horizon, sweep_keys=keys_moved, content_digest=digest
    )


def written_since(horizon: int) -> sql.Composable:
    """Returns the condition for row versions whose `xmin` is at or above a horizon."""
    return sql.SQL("age(xmin) <= age({}::xid)").format(
        sql.Literal(str(horizon % _TRANSACTION_WRAP))
    )


def _digest_if_small(
    connection: psycopg.Connection, table: SourceTable, natural_key: tuple[str, ...]
) -> str | None:
    large = table.bytes > LARGE_TABLE_BYTES
    return None if large else read_digest(connection, table, natural_key)


def read_digest(
    connection: psycopg.Connection, table: SourceTable, natural_key: tuple[str, ...]
) -> str:
    """Returns the number of rows and the sum of their keys' 64-bit hashes, `<rows>:<sum>`.

    The server computes it. Without a natural key, the whole rows are hashed.
    """
    content = (
        sql.SQL("row({})").format(sql.SQL(", ").join(map(sql.Identifier, natural_key)))
        if natural_key
        else sql.SQL("{}.*").format(table.identifier)
    )
    row = connection.execute(
        sql.SQL(
            "select count(*) || ':' || coalesce(sum(hashtextextended(({})::text, 0)), 0) from {}"
        ).format(content, table.identifier)
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
    return str(row[0])
