"""What a scan of a table counts: which rows are there, and which keys were there before.

The last run knew a set of keys, and stored its digest and its greatest keys. If no row has been
deleted, these keys are those of the rows that have not been written since, and of the written rows
that were there before. Where the digest of these two is the stored one, every known key is still
there, and all other keys are of rows that this run captures: the keys need no sweep. Of written
rows, those with a key up to a greatest known one are taken for rows that were there before. If that
is wrong, the digests differ, and the keys are swept; so the guess costs at most a sweep.

There are two guesses. The greatest key of all is right unless a transaction that was open commits a
key below it. The greatest key that was written before the oldest open transaction is right then,
unless rows with a key between the two are updated.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, LiteralString, Self

from psycopg import sql

from lambdas.ingest.key_digest import KeyDigest
from lambdas.ingest.transactions import CAPTURED_TRANSACTIONS, full_transaction

_COUNTED: LiteralString = """
select
    count(*)::text as rows,
    coalesce(pg_catalog.sum(hash), 0)::text as total,
    count(*) filter (where is_written)::text as written,
    coalesce(pg_catalog.sum(hash) filter (where is_written), 0)::text as written_total,
    pg_catalog.min(ctid) filter (where is_written)::text as least,
    pg_catalog.max(ctid) filter (where is_written)::text as last,
    {greatest}::text as greatest,
    {settled}::text as settled,
    {transactions} as transactions
    {new}
from (
    select
        pg_catalog.hashtextextended(row({columns})::text, 0) as hash,
        {key} as key,
        {written} as is_written,
        ctid,
        xmin
    from {origin}
    where {place}
) as version
"""
_NEW: LiteralString = """,
    count(*) filter (where is_written and key > {greatest})::text as {rows},
    coalesce(
        pg_catalog.sum(hash) filter (where is_written and key > {greatest}), 0
    )::text as {total}
"""
_TRANSACTIONS: LiteralString = (
    "pg_catalog.array_to_string("
    "(pg_catalog.array_agg(distinct xmin::text) filter (where {recent}))[1:{bound}], ',')"
)


class Keys(Enum):
    """What became of the keys that the last run knew."""

    EXPLAINED = auto()
    """All are there, and every other key is of a row that was written since."""
    UNEXPLAINED = auto()
    """Some may be gone."""
    UNCAPTURED = auto()
    """There are others whose rows were not written since."""


@dataclass(frozen=True)
class KeyCount:
    """What a scan of a table, or of a part of it, counts. The counts of two parts add up.

    Attributes:
        every: The digest of all rows.
        written: The digest of the rows written since the last capture.
        new: For each greatest known key, the digest of those of them whose key is above it.
        greatest: The greatest key; None if keys are not integers.
        settled: The greatest key of the rows that were written before the run's horizon.
        transactions: The transactions (xid8) at or above the run's horizon.
        places: The least and the greatest ctid of the rows written since the last capture; None if
            there are none, and in a sum.
    """

    every: KeyDigest
    written: KeyDigest
    new: tuple[KeyDigest, ...]
    greatest: int | None
    settled: int | None
    transactions: tuple[int, ...]
    places: tuple[str, str] | None = None

    def __add__(self, other: Self) -> Self:
        return type(self)(
            every=self.every + other.every,
            written=self.written + other.written,
            new=tuple(one + more for one, more in zip(self.new, other.new, strict=True)),
            greatest=_greater(self.greatest, other.greatest),
            settled=_greater(self.settled, other.settled),
            transactions=tuple(sorted({*self.transactions, *other.transactions})),
        )

    @property
    def greatest_keys(self) -> tuple[int, ...]:
        """The keys up to which the next run takes written rows for rows that were there before."""
        return tuple(sorted({key for key in (self.greatest, self.settled) if key is not None}))

    def compared(self, before: KeyDigest | None) -> Keys:
        """Returns what became of the keys of a digest."""
        if before is None:
            return Keys.UNEXPLAINED
        unwritten = self.every - self.written
        if not unwritten.may_lack_only(before):
            return Keys.UNCAPTURED
        # Updates alone leave all keys, and insertions alone all rows, whatever their keys are.
        known = (self.every - new for new in self.new)
        explained = before in (self.every, unwritten, *known)
        return Keys.EXPLAINED if explained else Keys.UNEXPLAINED

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Returns the count that `dataclasses.asdict` described."""
        return cls(
            every=KeyDigest(**document["every"]),
            written=KeyDigest(**document["written"]),
            new=tuple(KeyDigest(**new) for new in document["new"]),
            greatest=document["greatest"],
            settled=document["settled"],
            transactions=tuple(document["transactions"]),
        )


@dataclass(frozen=True)
class Counting:
    """How the keys of a table are counted.

    Attributes:
        columns: The columns of the key.
        is_integer: Whether the key is one column of an integer type, whose values are ordered.
        greatest: The greatest keys that the last run stored.
        before: The digest of the keys that the last run knew; None if there is none.
    """

    columns: tuple[str, ...]
    is_integer: bool
    greatest: tuple[int, ...] = ()
    before: KeyDigest | None = None

    def query(
        self,
        origin: sql.Composable,
        place: sql.Composable,
        written: sql.Composable,
        recent: sql.Composable | None,
    ) -> sql.Composed:
        """Returns the query of a count. Its values are text, and its columns' names differ.

        Args:
            origin: The relation.
            place: The condition on its rows.
            written: The condition of the rows written since the last capture.
            recent: The condition of the rows whose transactions are listed; None for no row, which
                lets the server scan in parallel.
        """
        greatest = sql.SQL("max(key)" if self.is_integer else "null")
        settled: sql.Composable = greatest
        listed: sql.Composable = sql.SQL("null::text")
        if recent is not None:
            bound = sql.Literal(CAPTURED_TRANSACTIONS)
            listed = sql.SQL(_TRANSACTIONS).format(recent=recent, bound=bound)
        if recent is not None and self.is_integer:
            settled = sql.SQL("pg_catalog.max(key) filter (where not {})").format(recent)
        return sql.SQL(_COUNTED).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            key=sql.Identifier(self.columns[0]) if self.is_integer else sql.SQL("null"),
            greatest=greatest,
            settled=settled,
            transactions=listed,
            new=sql.Composed(
                [
                    sql.SQL(_NEW).format(
                        greatest=sql.Literal(key),
                        rows=sql.Identifier(f"new_rows_{number}"),
                        total=sql.Identifier(f"new_total_{number}"),
                    )
                    for number, key in enumerate(self.greatest)
                ]
            ),
            written=written,
            origin=origin,
            place=place,
        )

    def counted(self, row: Iterable[str | None], horizon: int) -> KeyCount:
        """Returns the count that a row of the query's result is.

        Args:
            row: The row.
            horizon: The run's horizon.
        """
        rows, total, written, written_total, least, last, *others = row
        greatest, settled, transactions, *new = others
        texts = transactions.split(",") if transactions else ()
        return KeyCount(
            every=_digest(rows, total),
            written=_digest(written, written_total),
            new=tuple(map(_digest, new[::2], new[1::2])),
            greatest=None if greatest is None else int(greatest),
            settled=None if settled is None else int(settled),
            transactions=tuple(full_transaction(text, horizon) for text in texts),
            places=(least, last) if least and last else None,
        )

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Returns what `dataclasses.asdict` described."""
        before = document["before"]
        return cls(
            columns=tuple(document["columns"]),
            is_integer=document["is_integer"],
            greatest=tuple(document["greatest"]),
            before=before and KeyDigest(**before),
        )


def _digest(rows: str | None, total: str | None) -> KeyDigest:
    return KeyDigest(int(rows or 0), int(total or 0))


def _greater(one: int | None, other: int | None) -> int | None:
    return max((key for key in (one, other) if key is not None), default=None)
