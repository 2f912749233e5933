"""Tables in parts: ranges of ctid, the place of a row version in its table's file.

A chunk bounds what one reader does at a time: the memory that it takes, what is lost by a kill,
and how long it goes on before the deadline is looked at.
"""

from dataclasses import dataclass
from typing import Self

from psycopg import sql

from lambdas.ingest.discovery import SourceTable

CHUNK_BYTES = 128 * 1024 * 1024
"""What a chunk holds at the server, out-of-line values included."""
_CHANGES_TIMES = 4
"""A chunk of which only changes are taken may hold more: each one makes a file."""
_PLACES_A_PAGE = 2048
"""More row versions than a page of 32 KiB, PostgreSQL's largest, can hold."""


@dataclass(frozen=True)
class Chunk:
    """The row versions from a place to before another one.

    Places count on through the pages: page 2, line 5 is `2 * _PLACES_A_PAGE + 5`.

    Attributes:
        first: The first place.
        end: The place after the last one; None for all that follow.
    """

    first: int
    end: int | None

    @property
    def condition(self) -> sql.Composable:
        """The condition on ctid."""
        if self.first == 0 and self.end is None:
            return sql.SQL("true")
        first = sql.SQL("ctid >= {}").format(_tid(self.first))
        if self.end is None:
            return first
        return sql.SQL("{} and ctid < {}").format(first, _tid(self.end))

    def halves(self, pages: int) -> tuple[Self, Self] | None:
        """Returns the chunk in two parts, or None if it is one row version.

        Args:
            pages: How many pages the table has, for a chunk without an end.
        """
        end = max(pages, self.first // _PLACES_A_PAGE + 1) * _PLACES_A_PAGE
        middle = (self.first + (end if self.end is None else self.end)) // 2
        if middle <= self.first:
            return None
        return type(self)(self.first, middle), type(self)(middle, self.end)


def chunks_of(table: SourceTable, *, changes_only: bool = False) -> tuple[Chunk, ...]:
    """Returns the chunks that cover a table; one for what has no file of its own.

    Args:
        table: The table.
        changes_only: Whether only rows that have changed are taken.
    """
    if table.pages <= 1:
        return (Chunk(0, None),)
    size = CHUNK_BYTES * (_CHANGES_TIMES if changes_only else 1)
    pages = max(1, size * table.pages // max(table.total_bytes, 1))
    firsts = range(0, table.pages, pages)
    ends = [*firsts[1:], None]
    return tuple(
        Chunk(first * _PLACES_A_PAGE, None if end is None else end * _PLACES_A_PAGE)
        for first, end in zip(firsts, ends, strict=True)
    )


def _tid(place: int) -> sql.Literal:
    page, line = divmod(place, _PLACES_A_PAGE)
    return sql.Literal(f"({page},{line})")
