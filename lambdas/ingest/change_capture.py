"""Which rows of a table a run has to take.

PostgreSQL stamps each row version with the transaction that wrote it (`xmin`). A run remembers
its snapshot's horizon: the oldest transaction then in progress. Whatever that snapshot did not
show was written by that transaction or a later one, so the next run takes the rows whose `xmin`
is not older than the horizon. Late commits, edits without `last_updated` and tables without such
a column are all seen; rows that are taken twice are harmless, as the star schema compares content.

Source: PostgreSQL documentation, "System Columns", "Transaction ID and Snapshot Information
Functions" and "Routine Vacuuming" (freezing keeps `xmin` readable since version 9.4).
"""

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.discovery import SourceSnapshot, SourceTable
from pipeline.manifest import Capture, Manifest, Statistics, TableCapture

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""From here on a table's counters decide whether it is read; below, one cheap scan does.

A backend reports its counters up to ten seconds after its commit (PostgreSQL's
PGSTAT_IDLE_INTERVAL), and later still inside a long transaction. Counters alone would therefore
show a small table one run late: docs/adr/0001-counters-and-small-tables.md.
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
class Plan:
    """How a table is to be taken.

    Attributes:
        capture: Whole, its changes, or not at all.
        since: The horizon for a capture of changes (xid8).
        sweep_keys: Whether every primary key is to be written beside the changes.
        content_digest: The digest taken while deciding, if any.
        cursor_moves: Whether the table's horizon and statistics move to this snapshot's.
    """

    capture: Capture
    since: int = 0
    sweep_keys: bool = False
    content_digest: str | None = None
    cursor_moves: bool = True


_UNTOUCHED = Plan(Capture.NONE, cursor_moves=False)


def plan_capture(
    connection: psycopg.Connection,
    table: SourceTable,
    snapshot: SourceSnapshot,
    statistics: Statistics | None,
    previous: Manifest | None,
    *,
    always_whole: bool,
    refresh: bool,
    trust_counters: bool,
) -> Plan:
    """Decides how a run takes one table.

    Args:
        connection: A connection inside the run's snapshot.
        table: The table.
        snapshot: The run's snapshot.
        statistics: The table's counters, read before the snapshot; None if there are none.
        previous: The newest committed run.
        always_whole: Whether the star schema joins this table, so that any change takes all of it.
        refresh: Whether the input asks for the whole table.
        trust_counters: Whether unmoved counters may skip a large table.
    """
    last = previous.tables.get(table.name) if previous else None
    if previous is None or last is None or refresh or _cannot_continue(table, snapshot, previous):
        return Plan(Capture.WHOLE, content_digest=_digest_if_small(connection, table))
    if _nothing_committed_since(snapshot, previous):
        return _UNTOUCHED
    if _redefined_since(connection, table, last.horizon):
        return Plan(Capture.WHOLE, content_digest=_digest_if_small(connection, table))
    if table.bytes > LARGE_TABLE_BYTES:
        return _plan_large(table, statistics, last, always_whole, trust_counters)
    return _plan_small(connection, table, last, always_whole)


def _cannot_continue(table: SourceTable, snapshot: SourceSnapshot, previous: Manifest) -> bool:
    last = previous.tables[table.name]
    return (
        snapshot.system_identifier != previous.system_identifier
        or table.oid != last.table_oid
        or table.columns != last.columns
        or table.primary_key != last.primary_key
        or snapshot.next_transaction < previous.next_transaction
        or snapshot.next_transaction - last.horizon >= _COMPARABLE_TRANSACTIONS
    )


def _nothing_committed_since(snapshot: SourceSnapshot, previous: Manifest) -> bool:
    """Whether no transaction has ended since, in the whole server, and none was under way."""
    horizons = {table.horizon for table in previous.tables.values()}
    return snapshot.next_transaction == previous.next_transaction and horizons == {
        previous.next_transaction
    }


def _redefined_since(connection: psycopg.Connection, table: SourceTable, horizon: int) -> bool:
    """Whether a definition was written that can show other content in rows of an old `xmin`.

    A column dropped and added again, a virtual column's expression, an attached partition, an
    enumeration's renamed value: none of them writes a row of the table itself.
    """
    row = connection.execute(
        sql.SQL(_DEFINITION_WRITTEN).format(written=written_since(horizon)), {"oid": table.oid}
    ).fetchone()
    return row == (True,)


def _plan_large(
    table: SourceTable,
    statistics: Statistics | None,
    last: TableCapture,
    always_whole: bool,
    trust_counters: bool,
) -> Plan:
    comparable = (
        trust_counters
        and statistics is not None
        and not table.is_partitioned
        and statistics.file_node == last.statistics.file_node
        and statistics.reset_at == last.statistics.reset_at
    )
    if comparable and statistics == last.statistics:
        return _UNTOUCHED
    if always_whole or not table.primary_key:
        return Plan(Capture.WHOLE)
    deleted = statistics.deleted if statistics else -1
    return Plan(
        Capture.CHANGES,
        since=last.horizon,
        sweep_keys=not comparable or deleted != last.statistics.deleted,
    )


def _plan_small(
    connection: psycopg.Connection, table: SourceTable, last: TableCapture, always_whole: bool
) -> Plan:
    changed = connection.execute(
        sql.SQL("select exists (select from {} where {})").format(
            table.identifier, written_since(last.horizon)
        )
    ).fetchone()
    digest = read_digest(connection, table)
    keys_moved = digest != last.content_digest
    if not keys_moved and changed == (False,):
        return Plan(Capture.NONE, content_digest=digest)
    if always_whole or not table.primary_key or last.content_digest is None:
        return Plan(Capture.WHOLE, content_digest=digest)
    return Plan(Capture.CHANGES, since=last.horizon, sweep_keys=keys_moved, content_digest=digest)


def written_since(horizon: int) -> sql.Composable:
    """Returns the condition for row versions written by the horizon's transaction or later."""
    return sql.SQL("age(xmin) <= age({}::xid)").format(
        sql.Literal(str(horizon % _TRANSACTION_WRAP))
    )


def _digest_if_small(connection: psycopg.Connection, table: SourceTable) -> str | None:
    return None if table.bytes > LARGE_TABLE_BYTES else read_digest(connection, table)


def read_digest(connection: psycopg.Connection, table: SourceTable) -> str:
    """Returns the number of rows and the sum of their keys' 64-bit hashes, at the server.

    A table without a key is digested by its whole rows.
    """
    content = (
        sql.SQL("row({})").format(sql.SQL(", ").join(map(sql.Identifier, table.primary_key)))
        if table.primary_key
        else sql.SQL("{}.*").format(table.identifier)
    )
    row = connection.execute(
        sql.SQL(
            "select count(*) || ':' || coalesce(sum(hashtextextended(({})::text, 0)), 0) from {}"
        ).format(content, table.identifier)
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
    return str(row[0])
