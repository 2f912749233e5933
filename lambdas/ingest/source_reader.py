"""Reads the source into Parquet with DuckDB's PostgreSQL scanner, in the run's snapshot.

The server sends binary COPY. DuckDB decodes and writes it as a stream, so memory does not depend
on the number of rows. Values that the scanner would change (numerics without a precision, NaN, all
types that raw_types.py does not list) are sent as PostgreSQL's text. benchmarks/README.md compares
this with other readers.
"""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
import psycopg
from psycopg import sql

from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.raw_types import RawType, raw_type
from lambdas.ingest.taken import Taken
from pipeline.database import login_of
from pipeline.errors import DatabaseRefused, SourceBusy, SourceUnavailable, ValueNotHeld
from pipeline.manifest import Column
from pipeline.secret import Login

_EXTENSION_PACKAGE = "duckdb-extension-postgres-scanner"
_EXTENSION_FILE = "postgres_scanner.duckdb_extension"
_MEMORY = "160MB"
_ALL_MEMORY = "1GB"
"""The limit for a single row. Other reads use far less."""
_NOT_HELD = "a value that its raw type cannot hold"
# DuckDB passes on libpq's message and nothing else. A table or column that planning found and that
# does not exist now was dropped in between.
_BUSY = ("canceling statement", "lock timeout", "deadlock", "conflict with", "does not exist")
_REFUSED = ("permission denied",)


class OutOfMemory(Exception):
    """The rows of a read exceed the reader's memory limit: read fewer rows."""


class SourceReader:
    """A connection to the source, inside a snapshot that another connection exported.

    Args:
        login: How to connect to the source.
        snapshot: The name that `pg_export_snapshot()` returned.
        folder: A folder for DuckDB's temporary files.

    Raises:
        SourceUnavailable: The source cannot be reached, or the snapshot does not exist any more.
    """

    def __init__(self, login: Login, snapshot: str, folder: Path) -> None:
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
            }
        )
        try:
            self._duckdb.execute(f"load {literal(str(extension()))}")
            with _translated_errors():
                self._attach(login)
                self._join()
        except BaseException:
            self.close()
            raise

    @classmethod
    def beside(cls, connection: psycopg.Connection, snapshot: str, folder: Path) -> Self:
        """Returns a reader with the parameters of the connection that exported the snapshot."""
        return cls(login_of(connection), snapshot, folder)

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
    ) -> Iterator[Taken]:
        """Reads a chunk. A chunk that exceeds the memory limit is split in halves.

        Each part overwrites the two files of the part before it.

        Args:
            table: The table.
            columns: The columns to read, in the file's order.
            chunk: The chunk.
            condition: The condition on its rows.
            path: The file for the rows.
            quarantine: The file for the values that their raw type cannot hold.

        Raises:
            ValueNotHeld: A single row exceeds the function's memory.
            PipelineError: See `take`.
        """
        try:
            taken = self.take(
                table,
                columns,
                sql.SQL("{} and {}").format(chunk.condition, condition),
                path,
                quarantine,
            )
        except OutOfMemory:
            halves = chunk.halves(table.pages)
            if halves is None:
                self._allow_all_memory(table.name)
            for part in halves or (chunk,):
                yield from self.take_chunk(
                    table, columns, part, condition, path=path, quarantine=quarantine
                )
            return
        yield taken

    def take(
        self,
        table: SourceTable,
        columns: tuple[Column, ...],
        condition: sql.Composable,
        path: Path,
        quarantine: Path,
    ) -> Taken:
        """Writes the rows of a table that satisfy a condition to a Parquet file.

        Rows with a value that its raw type cannot hold go to another file, one row for each value:
        source_table, primary_key (JSON), column_name, value, reason, source_row (JSON).

        Args:
            table: The table.
            columns: The columns to read, in the file's order.
            condition: The condition on its rows.
            path: The file for the rows.
            quarantine: The file for the values that their raw type cannot hold.

        Raises:
            SourceUnavailable: The connection was lost.
            SourceBusy: The server cancelled the query.
            OutOfMemory: The rows exceed the memory limit. The reader can be used again.
        """
        selection = _Selection(table, columns, condition)
        with _translated_errors():
            try:
                return Taken(rows=self._copy(selection.strict(), path))
            except duckdb.InvalidInputException as error:
                if _NOT_HELD not in str(error):
                    raise
            self._join_again()
            held = self._copy(selection.held(), path)
            return Taken(rows=held, not_held=self._copy(selection.not_held(), quarantine))

    def _attach(self, login: Login) -> None:
        """Attaches the source by a secret: DuckDB shows the string of a failed connection."""
        names = [*login.keywords, "password"]
        settings = ", ".join(f"{identifier(name)} ${name}" for name in names)
        self._duckdb.execute(
            f"create secret source (type postgres, {settings})",
            {**login.keywords, "password": login.password or ""},
        )
        self._duckdb.execute("attach '' as source (type postgres, secret source, read_only)")

    def _allow_all_memory(self, table: str) -> None:
        """Raises the memory limit, for a chunk of one row that exceeds it."""
        if self._has_all_memory:
            raise ValueNotHeld(
                f"table {table} has a row that is too large for the Ingest function: increase its "
                "MemorySize in template.yaml"
            )
        self._has_all_memory = True
        self._duckdb.execute(f"set memory_limit = {literal(_ALL_MEMORY)}")

    def _copy(self, select: str, path: Path) -> int:
        try:
            return copy_to_parquet(self._duckdb, select, path)
        except duckdb.OutOfMemoryException as error:
            self._join_again()
            raise OutOfMemory from error

    def _join_again(self) -> None:
        """Begins a new transaction after an error."""
        self._duckdb.execute("rollback")
        self._join()

    def _join(self) -> None:
        """Begins a transaction in the exported snapshot."""
        statement = f"set transaction snapshot {literal(self._snapshot)}"
        self._duckdb.execute("begin")
        self._duckdb.execute(f"call postgres_execute('source', {literal(statement)})")


@dataclass(frozen=True)
class _Selection:
    """The SELECT that the source runs and the SELECT of DuckDB over its result.

    All names and values are quoted here. Columns are sent as c0, c1 and so on, because DuckDB's
    names do not depend on case.
    """

    table: SourceTable
    columns: tuple[Column, ...]
    condition: sql.Composable

    def strict(self) -> str:
        """Returns the SELECT of all rows. It fails if a raw type cannot hold a value."""
        kept = (
            f"{kind.kept.format(sent)} as {name}"
            if kind.holds_all
            else f"coalesce({kind.kept.format(sent)}, "
            f"case when {sent} is not null then error({literal(_NOT_HELD)}) end) as {name}"
            for sent, name, kind in self._columns()
        )
        return f"select {', '.join(kept)} from {self._sent()}"  # noqa: S608  # nosec B608

    def held(self) -> str:
        """Returns the SELECT of the rows whose values the raw types hold."""
        kept = (f"{kind.kept.format(sent)} as {name}" for sent, name, kind in self._columns())
        every = " and ".join(f"not ({lost})" for lost in self._lost().values())
        return f"select {', '.join(kept)} from {self._sent()} where {every}"  # noqa: S608  # nosec B608

    def not_held(self) -> str:
        """Returns the SELECT of the values that their raw types cannot hold."""
        names = {column.name: sent for sent, column in self._named()}
        key = ", ".join(
            f"{literal(n)}, {names[n]}::varchar" for n in self.table.primary_key if n in names
        )
        whole = ", ".join(f"{literal(n)}, {sent}::varchar" for n, sent in names.items())
        limits = {column.name: raw_type(column.source_type) for column in self.columns}
        lost = ", ".join(
            f"case when {condition} then {{'column_name': {literal(name)}, "
            f"'value': {names[name]}::varchar, 'reason': "
            + literal(f"{limits[name].name} holds {limits[name].limits} only")
            + "} end"
            for name, condition in self._lost().items()
        )
        return (
            f"select {literal(self.table.name)} as source_table, primary_key, "  # noqa: S608  # nosec B608
            "lost.column_name, "
            "lost.value, lost.reason, source_row from ("
            f"select {f'json_object({key})' if key else 'null'}::varchar as primary_key, "
            f"json_object({whole})::varchar as source_row, "
            f"unnest(list_filter([{lost}], lambda one: one is not null)) as lost "
            f"from {self._sent()})"
        )

    def _named(self) -> Iterator[tuple[str, Column]]:
        return ((f"c{number}", column) for number, column in enumerate(self.columns))

    def _columns(self) -> Iterator[tuple[str, str, RawType]]:
        for sent, column in self._named():
            yield sent, identifier(column.name), raw_type(column.source_type)

    def _lost(self) -> dict[str, str]:
        """Returns, by column, the condition that its raw type cannot hold the value."""
        return {
            column.name: f"{sent} is not null and ({kind.kept.format(sent)}) is null"
            for (sent, column), (_, _, kind) in zip(self._named(), self._columns(), strict=True)
            if not kind.holds_all
        }

    def _sent(self) -> str:
        """Returns the query that the source runs."""
        columns = sql.SQL(", ").join(
            sql.SQL("{} as {}").format(
                sql.SQL(raw_type(column.source_type).sent).format(sql.Identifier(column.name)),
                sql.Identifier(sent),
            )
            for sent, column in self._named()
        )
        query = sql.SQL("select {} from {} where {}").format(
            columns, self.table.identifier, self.condition
        )
        return f"postgres_query('source', {literal(query.as_string())})"


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


def literal(text: str) -> str:
    """Returns a text as a literal of DuckDB's SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Returns a name as an identifier of DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translates DuckDB's errors into the pipeline's."""
    try:
        yield
    except duckdb.Error as error:
        message = str(error).split("ERROR:")[-1].strip().split("\n")[0]
        if any(text in message for text in _REFUSED):
            raise DatabaseRefused(
                f"the source database refused: {message}; grant its role what docs/operations.md "
                "lists"
            ) from error
        kind = SourceBusy if any(text in message for text in _BUSY) else SourceUnavailable
        raise kind(f"the source database stopped in the middle of a read: {message}") from error
