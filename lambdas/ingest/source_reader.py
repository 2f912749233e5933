"""Reads the source into Parquet with DuckDB's PostgreSQL scanner, in the run's snapshot.

The server sends binary COPY. DuckDB decodes and writes it as a stream, so memory does not depend
on the number of rows. Values that the scanner would change (numerics without a precision, NaN, all
types that raw_types.py does not list) are sent as PostgreSQL's text. benchmarks/README.md compares
this with other readers.
"""

import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import duckdb
import psycopg
from psycopg import sql

from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.failures import TableFailure
from lambdas.ingest.parquet_names import rename_columns
from lambdas.ingest.selection import NOT_HELD, Selection, identifier, literal
from lambdas.ingest.session import SERVER, refuse_other_server, server_of, set_local
from lambdas.ingest.taken import Taken
from lambdas.ingest.unreadable import (
    UnreadableRow,
    describe_unreadable,
    excluding,
    find_unreadable,
)
from pipeline.database import login_of, open_connection
from pipeline.errors import SourceUnavailable, first_line
from pipeline.manifest import Column
from pipeline.secret import Login

_EXTENSION_PACKAGE = "duckdb-extension-postgres-scanner"
_EXTENSION_FILE = "postgres_scanner.duckdb_extension"
_MEMORY = "160MB"
_ALL_MEMORY = "1GB"
"""The limit for a single row. Other reads use far less."""


class OutOfMemory(Exception):
    """The rows of a read exceed the reader's memory limit: read fewer rows."""


class ReadFailed(Exception):
    """A read failed, and DuckDB has no error code for it. The reader can be used again."""


class SourceReader:
    """A connection to the source, inside a snapshot that another connection exported.

    Args:
        login: How to connect to the source.
        snapshot: The name that `pg_export_snapshot()` returned.
        folder: A folder for DuckDB's temporary files.
        server: The identity of the server that the snapshot is of; empty if there is one only.

    Raises:
        SourceUnavailable: The source cannot be reached, or the snapshot does not exist any more.
        InvalidSettings: The login leads to another server.
    """

    def __init__(self, login: Login, snapshot: str, folder: Path, server: str = "") -> None:
        self._login = login
        self._snapshot = snapshot
        self._has_all_memory = False
        self._duckdb = duckdb.connect(
            config={
                "threads": 1,
                "memory_limit": _MEMORY,
                "temp_directory": str(folder / "duckdb"),
                "home_directory": str(folder),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                # Checking the signature takes 93 ms a reader. The package is pinned by its hash.
                "allow_unsigned_extensions": True,
            }
        )
        try:
            self._duckdb.execute(f"load {literal(str(extension()))}")
            with _connecting():
                self._attach(login)
                if server:
                    refuse_other_server(server, self._server())
        except BaseException:
            self.close()
            raise

    @classmethod
    def beside(cls, connection: psycopg.Connection, snapshot: str, folder: Path) -> Self:
        """Returns a reader with the parameters of the connection that exported the snapshot."""
        return cls(login_of(connection), snapshot, folder, server_of(connection))

    def close(self) -> None:
        """Ends the transaction and closes the connection, which may be broken."""
        # Closing the scanner aborts the process if an open transaction cannot be rolled back.
        with suppress(duckdb.Error):
            self._duckdb.execute("rollback")
        self._duckdb.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take_chunk(
        self,
        table: SourceTable,
        columns: tuple[Column, ...],
        chunk: Chunk,
        condition: sql.Composable,
        *,
        path: Path,
        quarantine: Path,
        is_repeated: bool = False,
    ) -> Iterator[Taken]:
        """Reads a chunk, in several parts if necessary.

        A chunk that exceeds the memory limit is split in halves. Rows that the source cannot send
        are set aside. Each part overwrites the two files of the part before it.

        Args:
            table: The table.
            columns: The columns to read, in the file's order.
            chunk: The chunk.
            condition: The condition on its rows.
            path: The file for the rows.
            quarantine: The file for the values that cannot be read, or that their raw type cannot
                hold.
            is_repeated: Whether a read of the same chunk has failed before.

        Raises:
            TableFailure: The table cannot be read.
            SourceUnavailable: The connection was lost.
        """
        leaf = table.leaf(chunk.leaf)
        selection = Selection(
            table, columns, sql.SQL("{} and {}").format(chunk.condition, condition), leaf
        )
        try:
            taken = self.take(selection, path, quarantine)
        except OutOfMemory:
            pages = leaf.pages if leaf else max((one.pages for one in table.leaves), default=0)
            halves = None if leaf and leaf.is_foreign else chunk.halves(pages)
            if halves is None:
                self._allow_all_memory()
            for part in halves or (chunk,):
                yield from self.take_chunk(
                    table, columns, part, condition, path=path, quarantine=quarantine
                )
        except ReadFailed as failure:
            unreadable = self._unreadable(selection)
            if is_repeated and not unreadable:
                raise TableFailure(
                    f"it was sent and could not be decoded: {first_line(failure)}; correct the "
                    "values, or leave the column out"
                ) from failure
            if unreadable:
                condition = sql.SQL("{} and {}").format(condition, excluding(unreadable))
            yield from self.take_chunk(
                table,
                columns,
                chunk,
                condition,
                path=path,
                quarantine=quarantine,
                is_repeated=True,
            )
            if unreadable:
                yield from self._all_set_aside(unreadable, selection, path, quarantine)
        else:
            yield taken

    def take(self, selection: Selection, path: Path, quarantine: Path) -> Taken:
        """Writes the rows of a selection to a Parquet file.

        Rows with a value that its raw type cannot hold go to another file, one row for each value:
        source_table, primary_key (JSON), column_name, value, reason, source_row (JSON).

        Args:
            selection: The rows.
            path: The file for the rows.
            quarantine: The file for the values that their raw type cannot hold.

        Raises:
            ReadFailed: The source or DuckDB failed. The reader can be used again.
            OutOfMemory: The rows exceed the memory limit. The reader can be used again.
            SourceUnavailable: The connection was lost.
        """
        try:
            return Taken(rows=self._copy_rows(selection, selection.strict(), path))
        except ReadFailed as error:
            if not isinstance(error.__cause__, duckdb.ConversionException) and (
                NOT_HELD not in str(error)
            ):
                raise
        held = self._copy_rows(selection, selection.held(), path)
        return Taken(rows=held, not_held=self._copy(selection.not_held(), quarantine))

    def ask(self, query: sql.Composed) -> tuple[str | None, ...]:
        """Returns the one row of a query whose values are text and whose columns' names differ.

        Raises:
            psycopg.Error: The server cannot answer it.
            SourceUnavailable: The connection was lost.
        """
        self._join()
        asked = f"from postgres_query('source', {literal(query.as_string())})"
        try:
            row = self._duckdb.execute(asked).fetchone()
        except duckdb.Error:
            row = None
        finally:
            with _connecting():
                self._duckdb.execute("rollback")
        if row is None:
            # DuckDB hands on no SQLSTATE.
            with self._connected() as connection:
                row = connection.execute(query).fetchone()
        assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
        return row

    def _attach(self, login: Login) -> None:
        """Attaches the source by a secret: DuckDB shows the string of a failed connection."""
        names = [*login.keywords, "password"]
        settings = ", ".join(f"{identifier(name)} ${name}" for name in names)
        self._duckdb.execute(
            f"create secret source (type postgres, {settings})",
            {**login.keywords, "password": login.password or ""},
        )
        self._duckdb.execute("attach '' as source (type postgres, secret source, read_only)")

    def _unreadable(self, selection: Selection) -> dict[str, str]:
        """Returns the rows of a selection that the source cannot send.

        Raises:
            TableFailure: The table cannot be read.
        """
        with self._connected() as connection:
            return find_unreadable(connection, selection)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        """Gives a connection inside the snapshot."""
        try:
            opened = open_connection(self._login)
        except psycopg.Error as error:
            raise SourceUnavailable(
                f"a reader lost the connection to the source database: {first_line(error)}"
            ) from error
        opened.autocommit = True
        with opened as connection:
            connection.execute("begin isolation level repeatable read read only")
            for statement in self._joining():
                connection.execute(statement.encode())
            yield connection

    def _all_set_aside(
        self, unreadable: dict[str, str], selection: Selection, path: Path, quarantine: Path
    ) -> Iterator[Taken]:
        """Writes the values of all rows that the source cannot send."""
        with self._connected() as connection:
            for rows in describe_unreadable(connection, selection, unreadable):
                yield from self._set_aside(rows, selection, path, quarantine)

    def _set_aside(
        self,
        unreadable: tuple[UnreadableRow, ...],
        selection: Selection,
        path: Path,
        quarantine: Path,
    ) -> Iterator[Taken]:
        """Writes the values of rows that the source cannot send, in parts if necessary."""
        try:
            taken = self._written_aside(unreadable, selection, path, quarantine)
        except OutOfMemory:
            middle = len(unreadable) // 2
            if not middle:
                self._allow_all_memory()
            for part in filter(None, (unreadable[:middle], unreadable[middle:])):
                yield from self._set_aside(part, selection, path, quarantine)
        else:
            yield taken

    def _written_aside(
        self,
        unreadable: tuple[UnreadableRow, ...],
        selection: Selection,
        path: Path,
        quarantine: Path,
    ) -> Taken:
        """Writes the values of rows that the source cannot send, and a file without rows."""
        nothing = Selection(selection.table, selection.columns, sql.SQL("false"))
        self._copy_rows(nothing, nothing.strict(), path)
        self._duckdb.execute(
            "create or replace temp table unreadable (source_table varchar, primary_key varchar, "
            "column_name varchar, value varchar, reason varchar, source_row varchar)"
        )
        lines = [line for row in unreadable for line in _lines(selection.table, row)]
        try:
            self._duckdb.executemany("insert into unreadable values (?, ?, ?, ?, ?, ?)", lines)
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory from error
        values = self._copy("from unreadable", quarantine)
        return Taken(not_held=values, unreadable=len(unreadable))

    def _allow_all_memory(self) -> None:
        """Raises the memory limit, for a chunk of one row that exceeds it."""
        if self._has_all_memory:
            raise TableFailure(
                "it has a row that is too large for the Ingest function; increase its MemorySize "
                "in template.yaml"
            )
        self._has_all_memory = True
        self._duckdb.execute(f"set memory_limit = {literal(_ALL_MEMORY)}")

    def _copy_rows(self, selection: Selection, select: str, path: Path) -> int:
        rows = self._copy(select, path)
        if selection.renamed:
            rename_columns(path, selection.renamed)
        return rows

    def _copy(self, select: str, path: Path) -> int:
        """Writes the rows of a SELECT to a file, in a transaction of its own.

        No lock on a table outlives its read.
        """
        self._join()
        try:
            return copy_to_parquet(self._duckdb, select, path)
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory from error
        except duckdb.Error as error:
            raise ReadFailed(str(error)) from error
        finally:
            with _connecting():
                self._duckdb.execute("rollback")

    def _join(self) -> None:
        """Begins a transaction in the exported snapshot."""
        with _connecting():
            self._duckdb.execute("begin")
            for statement in self._joining():
                self._duckdb.execute(f"call postgres_execute('source', {literal(statement)})")

    def _server(self) -> str:
        query = f"from postgres_query('source', {literal(SERVER)})"
        ((server,),) = self._duckdb.execute(query).fetchall()
        return str(server)

    def _joining(self) -> tuple[str, ...]:
        return (f"set transaction snapshot {literal(self._snapshot)}", set_local())


def extension() -> Path:
    """Returns the path of the scanner's file in its package. Nothing is downloaded at run time.

    Raises:
        FileNotFoundError: The package is not installed, or is of another version than DuckDB.
    """
    for file in importlib.metadata.files(_EXTENSION_PACKAGE) or ():
        if file.name == _EXTENSION_FILE and duckdb.__version__ in str(file):
            return Path(str(file.locate()))
    raise FileNotFoundError(
        f"{_EXTENSION_PACKAGE} has no {_EXTENSION_FILE} for DuckDB {duckdb.__version__}"
    )


def copy_to_parquet(connection: duckdb.DuckDBPyConnection, select: str, path: Path) -> int:
    """Writes the rows of a SELECT to a file and returns their number."""
    row = connection.execute(
        f"copy ({select}) to {literal(str(path))} (format parquet, compression zstd)"
    ).fetchone()
    return int(row[0]) if row else 0


def _lines(table: SourceTable, row: UnreadableRow) -> Iterator[tuple[str | None, ...]]:
    """Yields a line of the quarantine for each value of a row that cannot be read."""
    key = {name: row.values[name] for name in table.primary_key if name in row.values}
    for column, reason in row.reasons.items():
        yield (
            table.name,
            json.dumps(key, ensure_ascii=False) if key else None,
            column,
            row.values.get(column),
            reason,
            json.dumps(row.values, ensure_ascii=False),
        )


@contextmanager
def _connecting() -> Iterator[None]:
    """Translates the errors of connecting, and of joining the snapshot."""
    try:
        yield
    except duckdb.Error as error:
        message = str(error).split("ERROR:")[-1].strip().split("\n")[0]
        raise SourceUnavailable(
            f"a reader lost the connection to the source database: {message}"
        ) from error
