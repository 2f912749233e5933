"""Chunks: ranges of ctid, the physical location of a row version in its table.

A chunk limits what one reader does at a time: its memory, the work that is lost if the process is
killed, and the time until the deadline is checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from psycopg import sql

from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.leaves import Leaf

CHUNK_BYTES = 128 * 1024 * 1024
"""Size of a chunk at the server, TOAST included."""
_CHANGES_TIMES = 4
"""How much larger a chunk is if only its changes are read. Each chunk makes a file."""
_PLACES_A_PAGE = 2048
"""More row versions than a page of 32 KiB, the largest page size, can hold."""


@dataclass(frozen=True)
class Chunk:
    """The row versions in a range of ctid.

    A ctid is numbered across the pages: page 2, line 5 is `2 * _PLACES_A_PAGE + 5`.

    Attributes:
        first: The first ctid.
        end: The ctid after the last one; None for a chunk that ends with the relation.
        leaf: The oid of the leaf that holds them; 0 for all rows of the table.
    """

    first: int
    end: int | None
    leaf: int = 0

    @property
    def condition(self) -> sql.Composable:
        """The condition on ctid."""
        if self.first == 0 and self.end is None:
            return sql.SQL("true")
        first = sql.SQL("ctid >= {}").format(_tid(self.first))
        if self.end is None:
            return first
        return sql.SQL("{} and ctid < {}").format(first, _tid(self.end))

    def within(self, first: str, last: str) -> Self:
        """Returns the part of the chunk from one ctid to another, as PostgreSQL prints them."""
        return replace(self, first=_place(first), end=_place(last) + 1)

    def halves(self, pages: int) -> tuple[Self, Self] | None:
        """Splits the chunk into two, or returns None if it holds one row version.

        Args:
            pages: Number of pages of the relation, for a chunk without an end.
        """
        end = max(pages, self.first // _PLACES_A_PAGE + 1) * _PLACES_A_PAGE
        middle = (self.first + (end if self.end is None else self.end)) // 2
        if middle <= self.first:
            return None
        return replace(self, end=middle), replace(self, first=middle)


def chunks_of(table: SourceTable, *, changes_only: bool = False) -> tuple[Chunk, ...]:
    """Returns chunks that cover a table, leaf by leaf.

    Args:
        table: The table.
        changes_only: Whether only changed rows are read.
    """
    size = CHUNK_BYTES * (_CHANGES_TIMES if changes_only else 1)
    leaves = [leaf for leaf in table.leaves if leaf.pages or leaf.is_foreign]
    return tuple(chunk for leaf in leaves or table.leaves[:1] for chunk in _chunks_of(leaf, size))


def _chunks_of(leaf: Leaf, size: int) -> Iterator[Chunk]:
    pages = max(1, size * leaf.pages // max(leaf.total_bytes, 1))
    firsts = range(0, leaf.pages, pages) if leaf.pages > 1 else range(1)
    for first, end in zip(firsts, [*firsts[1:], None], strict=True):
        last = None if end is None else end * _PLACES_A_PAGE
        yield Chunk(first * _PLACES_A_PAGE, last, leaf.oid)


def _place(ctid: str) -> int:
    page, line = ctid.strip("()").split(",")
    return int(page) * _PLACES_A_PAGE + int(line)


def _tid(place: int) -> sql.Literal:
    page, line = divmod(place, _PLACES_A_PAGE)
    return sql.Literal(f"({page},{line})")
