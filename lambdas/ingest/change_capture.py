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

from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.definitions import DEFINITION_ROWS
from lambdas.ingest.discovery import Source, SourceTable
from lambdas.ingest.key_digest import KeyDigest
from pipeline.manifest import Capture, Manifest, Statistics, TableCapture

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""Above this size, a table's counters decide whether it is read; a smaller table is scanned.

A backend reports its counters up to ten seconds after its commit (PostgreSQL's
PGSTAT_IDLE_INTERVAL). Counters alone could show a change one run late:
docs/adr/0001-counters-and-small-tables.md.
"""
CAPTURED_TRANSACTIONS = 1000
"""How many transactions a capture stores. The rows of further transactions come again."""
_DEFINITION_WRITTEN: LiteralString = (
    f"select distinct xmin::text from ({DEFINITION_ROWS}) "  # noqa: S608  # nosec B608
    "as definition (root, xmin, catalog, place) where {written}"
)
_COUNTED: LiteralString = """
select
    count(*),
    coalesce(sum(hash), 0),
    count(*) filter (where is_written),
    coalesce(sum(hash) filter (where is_written), 0),
    (array_agg(distinct transaction) filter (where transaction is not null))[1:{bound}]
from (
    select
        hashtextextended(({content})::text, 0) as hash,
        {written} as is_written,
        case when {recent} then xmin::text end as transaction
    from {table}
) as version
"""
_COMPARABLE_TRANSACTIONS = 2**31
_TRANSACTION_WRAP = 2**32


@dataclass(frozen=True)
class Decision:
    """How a run captures a table.

    Attributes:
        capture: Whole, changes, or nothing.
        since: The horizon (xid8) of a capture of changes.
        captured_before: Transactions (xid8) whose rows a capture of changes leaves out.
        sweep_keys: Whether to write all keys beside the changes.
        content_digest: The digest that was computed to decide, if any.
        cursor_moves: Whether the table's cursor moves to this run's snapshot.
        captured_transactions: The transactions (xid8) at or above this run's horizon whose rows
            its snapshot shows.
        warning: A warning for the run's report, if any.
    """

    capture: Capture
    since: int = 0
    captured_before: tuple[int, ...] = ()
    sweep_keys: bool = False
    content_digest: str | None = None
    cursor_moves: bool = True
    captured_transactions: tuple[int, ...] = ()
    warning: str = ""

    @property
    def condition(self) -> sql.Composable:
        """The condition on the rows to read."""
        changes = self.capture is Capture.CHANGES
        return written_since(self.since, self.captured_before) if changes else sql.SQL("true")


@dataclass(frozen=True)
class _Counted:
    """What a scan of a table counts.

    Attributes:
        digest: The digest of all rows.
        unwritten: The digest of the rows that have not been written since the last capture.
        written: Number of the other rows.
        transactions: The transactions (xid8) at or above the run's horizon.
    """

    digest: KeyDigest
    unwritten: KeyDigest
    written: int
    transactions: tuple[int, ...]


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
        last = self._previous.tables.get(table.name) if self._previous else None
        if last is None or refresh or not self._continues(table, natural_key, last):
            return self._whole(table, natural_key)
        if self._nothing_committed_since(last):
            return _UNCHANGED
        if self._definitions(table, last.horizon) - set(last.captured_transactions):
            return self._whole(table, natural_key)
        always_whole = always_whole or not natural_key
        if table.bytes > LARGE_TABLE_BYTES:
            return self._decide_large(table, last, always_whole)
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
            and self._snapshot.next_transaction - last.horizon < _COMPARABLE_TRANSACTIONS
            and not counters_fell(last.statistics, self._source.statistics.get(table.oid))
        )

    def _nothing_committed_since(self, last: TableCapture) -> bool:
        """Whether no transaction of the server was in progress at a capture, or began since."""
        previous = self._previous
        return (
            previous is not None
            and last.horizon == previous.next_transaction == self._snapshot.next_transaction
        )

    def _whole(self, table: SourceTable, natural_key: tuple[str, ...]) -> Decision:
        if table.bytes > LARGE_TABLE_BYTES:
            return self._of_large(table, Decision(Capture.WHOLE))
        counted = self._count(table, natural_key, None)
        return self._of_small(table, Decision(Capture.WHOLE), counted)

    def _decide_large(self, table: SourceTable, last: TableCapture, always_whole: bool) -> Decision:
        statistics = self._source.statistics.get(table.oid)
        comparable = (
            self._trust_counters
            and statistics is not None
            and statistics.file_node == last.statistics.file_node
            and statistics.reset_at == last.statistics.reset_at
        )
        if comparable and statistics == last.statistics:
            return _UNCHANGED
        if always_whole:
            return self._of_large(table, Decision(Capture.WHOLE))
        # An update can change a key. Then no row was deleted, and the old key is gone.
        sweep = not comparable or _keys_may_be_gone(last.statistics, statistics)
        return self._of_large(table, _changes(last, sweep_keys=sweep))

    def _decide_small(
        self,
        table: SourceTable,
        natural_key: tuple[str, ...],
        last: TableCapture,
        always_whole: bool,
    ) -> Decision:
        counted = self._count(table, natural_key, last)
        before = KeyDigest.parse(last.content_digest)
        if before == counted.digest and not counted.written:
            return self._of_small(table, Decision(Capture.NONE), counted)
        if before is None or always_whole:
            return self._of_small(table, Decision(Capture.WHOLE), counted)
        if not counted.unwritten.may_lack_only(before):
            decision = Decision(Capture.WHOLE, warning=_missing(table))
            return self._of_small(table, decision, counted)
        # Updates alone leave the keys as they were; insertions alone leave the other rows.
        explained = before in (counted.digest, counted.unwritten)
        return self._of_small(table, _changes(last, sweep_keys=not explained), counted)

    def _of_small(self, table: SourceTable, decision: Decision, counted: _Counted) -> Decision:
        definitions = self._definitions(table, self._snapshot.horizon)
        return replace(
            decision,
            content_digest=str(counted.digest),
            captured_transactions=_bounded(definitions.union(counted.transactions)),
        )

    def _of_large(self, table: SourceTable, decision: Decision) -> Decision:
        definitions = self._definitions(table, self._snapshot.horizon)
        transactions = definitions.union(self._transactions(table))
        return replace(decision, captured_transactions=_bounded(transactions))

    def _definitions(self, table: SourceTable, horizon: int) -> set[int]:
        """Returns the transactions at or above a horizon that wrote the table's definition.

        A definition can change the content of rows that have an old `xmin`. Examples: a column
        that was dropped and added again, the expression of a virtual column, an attached
        partition, a renamed value of an enumeration. None of them writes a row of the table.
        """
        if horizon == self._snapshot.next_transaction:
            return set()
        query = sql.SQL(_DEFINITION_WRITTEN).format(written=written_since(horizon))
        rows = self._connection.execute(query, {"tables": [table.oid]}).fetchall()
        return {_full_transaction(text, horizon) for (text,) in rows}

    def _transactions(self, table: SourceTable) -> set[int]:
        """Returns transactions at or above the run's horizon that wrote rows of a table."""
        horizon = self._snapshot.horizon
        if horizon == self._snapshot.next_transaction:
            return set()
        self.scanned_bytes += table.bytes
        query = sql.SQL("select distinct xmin::text from {} where {} limit {}").format(
            table.identifier, written_since(horizon), sql.Literal(CAPTURED_TRANSACTIONS)
        )
        rows = self._connection.execute(query).fetchall()
        return {_full_transaction(text, horizon) for (text,) in rows}

    def _count(
        self, table: SourceTable, natural_key: tuple[str, ...], last: TableCapture | None
    ) -> _Counted:
        """Scans a table. Without a natural key, its digest is of the rows' places and versions."""
        self.scanned_bytes += table.bytes
        horizon = self._snapshot.horizon
        none_recent = horizon == self._snapshot.next_transaction
        content = natural_key or ("tableoid", "ctid", "xmin")
        query = sql.SQL(_COUNTED).format(
            bound=sql.Literal(CAPTURED_TRANSACTIONS),
            content=sql.SQL("row({})").format(sql.SQL(", ").join(map(sql.Identifier, content))),
            written=written_since(last.horizon, last.captured_transactions)
            if last
            else sql.SQL("true"),
            recent=sql.SQL("false") if none_recent else written_since(horizon),
            table=table.identifier,
        )
        row = self._connection.execute(query).fetchone()
        assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
        rows, total, written, written_total, transactions = row
        digest = KeyDigest(int(rows), int(total))
        return _Counted(
            digest=digest,
            unwritten=digest - KeyDigest(int(written), int(written_total)),
            written=int(written),
            transactions=tuple(_full_transaction(text, horizon) for text in transactions or ()),
        )


def _keys_may_be_gone(before: Statistics, after: Statistics | None) -> bool:
    return after is None or (before.updated, before.deleted) != (after.updated, after.deleted)


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


def written_since(horizon: int, captured: tuple[int, ...] = ()) -> sql.Composable:
    """Returns the condition for row versions whose `xmin` is at or above a horizon.

    Args:
        horizon: The horizon (xid8).
        captured: Transactions (xid8) whose row versions are left out.
    """
    since = sql.SQL("age(xmin) <= age({}::xid)").format(sql.Literal(_short_transaction(horizon)))
    if not captured:
        return since
    left_out = sql.Literal(f"{{{','.join(map(_short_transaction, captured))}}}")
    return sql.SQL("({} and not xmin = any({}::xid[]))").format(since, left_out)


def _changes(last: TableCapture, *, sweep_keys: bool) -> Decision:
    return Decision(
        Capture.CHANGES,
        since=last.horizon,
        captured_before=last.captured_transactions,
        sweep_keys=sweep_keys,
    )


def _missing(table: SourceTable) -> str:
    return (
        f"table {table.name} shows rows that were not written since its last capture and that no "
        "capture has brought (a policy or a right was changed, or rows were restored): the table "
        "was captured whole"
    )


def _bounded(transactions: set[int]) -> tuple[int, ...]:
    return tuple(sorted(transactions)[:CAPTURED_TRANSACTIONS])


def _short_transaction(transaction: int) -> str:
    """Returns the 32 bits of a transaction id (xid8) that row versions carry."""
    return str(transaction % _TRANSACTION_WRAP)


def _full_transaction(text: str, horizon: int) -> int:
    """Returns the transaction id (xid8) of a row version at or above a horizon."""
    return horizon + (int(text) - horizon) % _TRANSACTION_WRAP
