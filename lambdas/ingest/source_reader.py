"""From the source to Parquet: DuckDB's PostgreSQL scanner, inside the run's shared snapshot.

The server sends binary COPY, which DuckDB decodes and writes as it comes, so memory stays the same
whatever the size. What the scanner would turn into something else (numerics of no declared
precision, NaN, all types that are not listed in raw_types.py) travels as PostgreSQL's own text.
Measured against the other ways in benchmarks/README.md.
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
from psycopg.conninfo import make_conninfo

from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.raw_types import RawType, raw_type
from pipeline.errors import DatabaseRefused, SourceBusy, SourceUnavailable, ValueNotHeld
from pipeline.manifest import Column

_EXTENSION_PACKAGE = "duckdb-extension-postgres-scanner"
_EXTENSION_FILE = "postgres_scanner.duckdb_extension"
_MEMORY = "160MB"
_ALL_MEMORY = "1GB"
"""For a single row; what a reader uses otherwise is far less."""
_NOT_HELD = "a value that its raw type cannot hold"
# libpq's message is all that DuckDB hands on. A table or column that planning has just seen and
# that does not exist has gone in between.
_BUSY = ("canceling statement", "lock timeout", "deadlock", "conflict with", "does not exist")
_REFUSED = ("permission denied",)


class OutOfMemory(Exception):
    """The rows of one read do not fit into the memory that a reader may use: read fewer."""


@dataclass(frozen=True)
class Taken:
    """What became of the rows of one SELECT.

    Attributes:
        rows: Rows written to the file; it is there even if there are none.
        not_held: Rows written to the quarantine's file; it is only there if there are some.
    """

    rows: int
    not_held: int


class SourceReader:
    """One connection to the source, inside a snapshot that another one has exported.

    Args:
        conninfo: The connection, as libpq takes it.
        snapshot: What `pg_export_snapshot()` gave.
        folder: Where DuckDB may put files of its own.

    Raises:
        SourceUnavailable: The source cannot be reached, or the snapshot has gone.
    """

    def __init__(self, conninfo: str, snapshot: str, folder: Path) -> None:
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
                self._duckdb.execute(
                    f"attach {literal(conninfo)} as source (type postgres, read_only)"
                )
                self._join()
        except BaseException:
            self.close()
            raise

    @classmethod
    def beside(cls, connection: psycopg.Connection, snapshot: str, folder: Path) -> Self:
        """Returns a reader that connects as another connection did, which exported the snapshot."""
        info = connection.info
        conninfo = make_conninfo(**info.get_parameters(), password=info.password)
        return cls(conninfo, snapshot, folder)

    def close(self) -> None:
        """Ends the transaction and the connection, which may have been lost."""
        # The scanner ends the process where it cannot roll back what is open as it is closed.
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
        """Takes a chunk; one that holds more than the memory in halves, one after the other.

        Each part is in the same two files, for as long as the next one is not asked for.

        Args:
            table: The table.
            columns: The columns to take, in the file's order.
            chunk: The chunk.
            condition: Which of its rows.
            path: The file for the rows.
            quarantine: The file for the values that are not held.

        Raises:
            ValueNotHeld: A single row does not fit into the function's memory.
            PipelineError: As `take` has it.
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
        """Writes the rows of a table that meet a condition to a Parquet file.

        Rows with a value that its raw type cannot hold go to another file, one line a value:
        source_table, primary_key (JSON), column_name, value, reason, source_row (JSON).

        Args:
            table: The table.
            columns: The columns to take, in the file's order.
            condition: Which rows.
            path: The file for the rows.
            quarantine: The file for the values that are not held.

        Raises:
            SourceUnavailable: The connection was lost.
            SourceBusy: The server gave up.
            OutOfMemory: The rows do not fit; the reader can go on.
        """
        selection = _Selection(table, columns, condition)
        with _translated_errors():
            try:
                return Taken(self._copy(selection.strict(), path), 0)
            except duckdb.InvalidInputException as error:
                if _NOT_HELD not in str(error):
                    raise
            self._join_again()
            held = self._copy(selection.held(), path)
            return Taken(held, self._copy(selection.not_held(), quarantine))

    def _allow_all_memory(self, table: str) -> None:
        """Takes the memory for a row that no smaller part would hold."""
        if self._has_all_memory:
            raise ValueNotHeld(
                f"table {table} has a row that is too large for the Ingest function: raise its "
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
        """Goes on after an error, which ended the transaction."""
        self._duckdb.execute("rollback")
        self._join()

    def _join(self) -> None:
        """Begins a transaction that sees what the snapshot sees."""
        statement = f"set transaction snapshot {literal(self._snapshot)}"
        self._duckdb.execute("begin")
        self._duckdb.execute(f"call postgres_execute('source', {literal(statement)})")


@dataclass(frozen=True)
class _Selection:
    """A SELECT at the source, and what DuckDB makes of it; names and values are quoted here.

    Columns travel as c0, c1 and so on: DuckDB takes names that differ by case alone for one.
    """

    table: SourceTable
    columns: tuple[Column, ...]
    condition: sql.Composable

    def strict(self) -> str:
        """Returns the rows; one value that is not held fails it."""
        kept = (
            f"{kind.kept.format(sent)} as {name}"
            if kind.holds_all
            else f"coalesce({kind.kept.format(sent)}, "
            f"case when {sent} is not null then error({literal(_NOT_HELD)}) end) as {name}"
            for sent, name, kind in self._columns()
        )
        return f"select {', '.join(kept)} from {self._sent()}"  # noqa: S608  # nosec B608

    def held(self) -> str:
        """Returns the rows all of whose values are held."""
        kept = (f"{kind.kept.format(sent)} as {name}" for sent, name, kind in self._columns())
        every = " and ".join(f"not ({lost})" for lost in self._lost().values())
        return f"select {', '.join(kept)} from {self._sent()} where {every}"  # noqa: S608  # nosec B608

    def not_held(self) -> str:
        """Returns the values that are not held."""
        names = {column.name: sent for sent, column in self._named()}
        key = ", ".join(f"{literal(n)}, {names[n]}::varchar" for n in self.table.primary_key)
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
        """Returns for each column that may lose values the condition that it does."""
        return {
            column.name: f"{sent} is not null and ({kind.kept.format(sent)}) is null"
            for (sent, column), (_, _, kind) in zip(self._named(), self._columns(), strict=True)
            if not kind.holds_all
        }

    def _sent(self) -> str:
        """Returns what the source is asked for."""
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
    """Returns the scanner's file, which its package brings: nothing is fetched at run time.

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
    """Writes the rows of a SELECT to a file, and returns how many."""
    row = connection.execute(
        f"copy ({select}) to {literal(str(path))} (format parquet, compression zstd)"
    ).fetchone()
    return int(row[0]) if row else 0


def literal(text: str) -> str:
    """Returns a text as DuckDB's SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Returns a name as DuckDB's SQL has it."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Turns DuckDB's errors into the pipeline's."""
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
