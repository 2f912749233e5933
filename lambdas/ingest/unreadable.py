"""Rows that the source cannot send: found one by one, with the reason of each value.

Examples are a virtual column that divides by zero, a byte that is not UTF-8 in a SQL_ASCII
database, and a damaged page.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from lambdas.ingest.failures import INTERNAL, TableFailure, table_failure
from lambdas.ingest.selection import Selection, printed, sent
from pipeline.errors import first_line
from pipeline.manifest import Column

MOST_UNREADABLE = 1000
"""A table with more such rows is not taken."""
_GROUP_BYTES = 16 * 1024 * 1024
"""Size from which rows are written before further ones are read."""
_NOT_OF_ROWS = ("0A", "42")
"""Classes of errors that no single row causes: a feature, a name or a right is missing."""


@dataclass(frozen=True)
class UnreadableRow:
    """A row that the source cannot send.

    Attributes:
        ctid: Its place.
        values: The values as the server prints them, by column. None for null, and for a value
            that cannot be printed. Bytes that are not UTF-8 are shown in hexadecimal.
        reasons: Why values cannot be read, by column.
    """

    ctid: str
    values: Mapping[str, str | None]
    reasons: Mapping[str, str]

    @property
    def size(self) -> int:
        """The approximate size in the quarantine, in bytes: each reason repeats the row."""
        row = sum(len(value) for value in self.values.values() if value)
        return row * (1 + len(self.reasons))


def refuse_unreadable(rows: int, because: str = "") -> None:
    """Refuses a table that has too many rows that the source cannot send.

    Raises:
        TableFailure: There are more than MOST_UNREADABLE.
    """
    if rows > MOST_UNREADABLE:
        raise TableFailure(
            f"more than {MOST_UNREADABLE} of its rows cannot be read{because}; correct the rows, "
            "or leave the table or the column out"
        )


def excluding(places: Iterable[str]) -> sql.Composable:
    """Returns the condition that leaves out the rows of some places."""
    tids = sql.SQL(", ").join(sql.SQL("{}::tid").format(place) for place in places)
    return sql.SQL("ctid <> all (array[{}]::tid[])").format(tids)


def find_unreadable(connection: psycopg.Connection, selection: Selection) -> dict[str, str]:
    """Returns the rows of a selection that the source cannot send, each place with its reason.

    Raises:
        TableFailure: No single rows are the reason, or there are more than MOST_UNREADABLE.
        psycopg.Error: The connection was lost.
    """
    try:
        return dict(_Search(connection, selection).places())
    except psycopg.Error as error:
        raise table_failure(error) from error


def describe_unreadable(
    connection: psycopg.Connection, selection: Selection, found: Mapping[str, str]
) -> Iterator[tuple[UnreadableRow, ...]]:
    """Yields the rows that `find_unreadable` found, in groups of a limited size.

    Raises:
        TableFailure: They cannot be described.
        psycopg.Error: The connection was lost.
    """
    search = _Search(connection, selection)
    group: list[UnreadableRow] = []
    size = 0
    try:
        for place, reason in found.items():
            group.append(search.described(place, reason))
            size += group[-1].size
            if size >= _GROUP_BYTES:
                yield tuple(group)
                group, size = [], 0
    except psycopg.Error as error:
        raise table_failure(error) from error
    if group:
        yield tuple(group)


class _Search:
    """Reads rows in the order of their places. The row after the last one received has failed."""

    def __init__(self, connection: psycopg.Connection, selection: Selection) -> None:
        self._connection = connection
        self._selection = selection

    def places(self) -> Iterator[tuple[str, str]]:
        """Yields the place of each row that cannot be sent, and the reason."""
        place, found = "(0,0)", 0
        while (failure := self._first_failure(place)) is not None:
            error, last = failure
            if not _may_be_of_a_row(error):
                raise error
            following = self._following(last)
            if following is None or not self._fails(following):
                raise error
            found += 1
            refuse_unreadable(found, f", the last one because of {_reason(error)}")
            place = following
            yield place, _reason(error)

    def _first_failure(self, place: str) -> tuple[psycopg.Error, str] | None:
        """Returns the error of reading the rows after a place, and the last row without one."""
        columns = (sent(column) for column in self._selection.columns)
        query = self._query(sql.SQL(", ").join([sql.SQL("ctid"), *columns]), _after(place))
        last = b""
        try:
            with self._savepoint(), self._connection.cursor() as cursor:
                copy_out = sql.SQL("copy ({}) to stdout (format binary)").format(query)
                with cursor.copy(copy_out) as copy:
                    for row in copy:
                        last = bytes(row) if len(row) > _TID_END else last
        except psycopg.Error as error:
            return error, _place(last) or place
        return None

    def _following(self, place: str) -> str | None:
        """Returns the place of the selection's next row."""
        query = sql.SQL("{} limit 1").format(self._query(sql.SQL("ctid::text"), _after(place)))
        with self._savepoint():
            row = self._connection.execute(query).fetchone()
        return str(row[0]) if row else None

    def _fails(self, place: str) -> bool:
        """Whether the row of a place cannot be sent, whatever rows surround it."""
        columns = sql.SQL(", ").join(sent(column) for column in self._selection.columns)
        try:
            with self._savepoint():
                self._connection.execute(self._query(columns, _at(place)), binary=True)
        except psycopg.Error as error:
            table_failure(error)
            return True
        return False

    def described(self, place: str, reason: str) -> UnreadableRow:
        """Returns the values of the row of a place."""
        values: dict[str, str | None] = {}
        reasons: dict[str, str] = {}
        for column in self._selection.columns:
            try:
                values[column.name] = self._value(place, column)
            except psycopg.Error as own:
                table_failure(own)
                reasons[column.name] = _reason(own)
                values[column.name] = self._shown(place, column)
        return UnreadableRow(place, values, reasons or {"": reason})

    def _value(self, place: str, column: Column) -> str | None:
        with self._savepoint():
            row = self._connection.execute(self._query(printed(column), _at(place))).fetchone()
        return row[0] if row else None

    def _shown(self, place: str, column: Column) -> str | None:
        """Returns a value that has no equivalent in UTF-8, or None for any other one."""
        text = sql.SQL("pg_catalog.convert_to({}, 'SQL_ASCII')").format(printed(column))
        try:
            with self._savepoint():
                row = self._connection.execute(self._query(text, _at(place))).fetchone()
        except psycopg.Error as error:
            table_failure(error)
            return None
        return row[0].decode(errors="backslashreplace") if row and row[0] is not None else None

    def _query(self, columns: sql.Composable, places: sql.Composable) -> sql.Composed:
        selection = self._selection
        return sql.SQL("select {} from {} where {} and {} and {}").format(
            columns, selection.origin, selection.place, places, selection.condition
        )

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        with self._connection.transaction(force_rollback=True):
            # A scan has to begin at the table's first page, in one process.
            self._connection.execute("set local synchronize_seqscans = off")
            self._connection.execute("set local max_parallel_workers_per_gather = 0")
            yield


_TID_BEGIN, _TID_END = 6, 12
"""A row's first field in binary COPY: after the number of fields and the length of the field."""
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0"


def _place(row: bytes) -> str:
    """Returns the place in a row of binary COPY whose first field is ctid; empty without a row."""
    # The header comes together with the first row, or alone.
    fields = row[len(_COPY_HEADER) + 8 :] if row.startswith(_COPY_HEADER) else row
    if len(fields) < _TID_END:
        return ""
    page = int.from_bytes(fields[_TID_BEGIN : _TID_BEGIN + 4])
    return f"({page},{int.from_bytes(fields[_TID_BEGIN + 4 : _TID_END])})"


def _after(place: str) -> sql.Composable:
    return sql.SQL("ctid > {}::tid").format(place)


def _at(place: str) -> sql.Composable:
    return sql.SQL("ctid = {}::tid").format(place)


def _may_be_of_a_row(error: psycopg.Error) -> bool:
    """Whether a single row can be what an error comes from."""
    code = error.sqlstate or ""
    passes = table_failure(error).is_passing and code != INTERNAL
    return not passes and not code.startswith(_NOT_OF_ROWS)


def _reason(error: psycopg.Error) -> str:
    return f"{error.sqlstate}: {first_line(error)}"
