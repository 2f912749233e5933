"""Staging: what came from the lake, before it is held against the warehouse."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pyarrow as pa
from psycopg import sql

from lambdas.load import binary_copy
from lambdas.load.catalog import WarehouseTable
from lambdas.load.lake import Versions
from pipeline.errors import StarSchemaMismatch


class Staging(ABC):
    """Where a load has its rows: in tables of the same columns, without constraints.

    Attributes:
        schema: The schema of those.
        connection: The warehouse.
        versions: The rows of each table in the lake, by its name.
    """

    schema: LiteralString

    def __init__(self, connection: psycopg.Connection, versions: Mapping[str, Versions]) -> None:
        """Stages nothing yet."""
        self.connection = connection
        self.versions = versions

    def of(self, table: str) -> sql.Identifier:
        """Returns the name of what a table has staged."""
        return sql.Identifier(self.schema, f"stage_{table}")

    @abstractmethod
    def prepare(self, table: WarehouseTable) -> None:
        """Has a table's rows staged, and their statistics known, inside a transaction.

        Raises:
            StarSchemaMismatch: A value does not fit its column.
        """

    @abstractmethod
    def fill(self, table: WarehouseTable) -> int:
        """Brings the rows of a table that was not prepared straight into it; returns how many.

        Raises:
            StarSchemaMismatch: A value does not fit its column.
        """

    def _make(self, table: WarehouseTable, create: LiteralString) -> None:
        self.connection.execute(
            sql.SQL("{} as select * from {} with no data").format(
                sql.SQL(create).format(self.of(table.name)), sql.Identifier(table.name)
            )
        )

    def _analyze(self, table: WarehouseTable) -> None:
        self.connection.execute(sql.SQL("analyze {}").format(self.of(table.name)))


class TemporaryStaging(Staging):
    """Staging that begins and ends with one transaction."""

    schema = "pg_temp"

    def prepare(self, table: WarehouseTable) -> None:
        """Copies a table's rows from the lake."""
        self._make(table, "create temporary table {} on commit drop")
        self._copy(table, self.of(table.name))
        self._analyze(table)

    def fill(self, table: WarehouseTable) -> int:
        """Copies a table's rows from the lake into it."""
        return self._copy(table, sql.Identifier(table.name))

    def _copy(self, table: WarehouseTable, into: sql.Identifier) -> int:
        batches = (batch for _, batch in self.versions[table.name].batches())
        return copy_rows(self.connection, table, batches, into=into)


def copy_rows(
    connection: psycopg.Connection,
    table: WarehouseTable,
    batches: Iterable[pa.RecordBatch],
    *,
    into: sql.Identifier,
) -> int:
    """Copies rows into a table of a star table's columns, and returns how many.

    The next rows are read and encoded while the server takes the ones before: at most two parts
    are held at a time.

    Raises:
        StarSchemaMismatch: A value does not fit its column.
    """
    copy_in = sql.SQL("copy {} ({}) from stdin (format binary)").format(into, names_of(table))
    parts = _encoded(table, batches)
    with (
        ThreadPoolExecutor(1) as ahead,
        connection.cursor() as cursor,
    ):
        with cursor.copy(copy_in) as copy:
            part: bytes | memoryview | None = binary_copy.HEADER
            while part is not None:
                following = ahead.submit(next, parts, None)
                copy.write(part)
                part = following.result()
            copy.write(binary_copy.TRAILER)
        return cursor.rowcount


def names_of(table: WarehouseTable, prefix: str | None = None) -> sql.Composed:
    """Returns a table's column names, as a list of SQL."""
    parts = ((prefix, column.name) if prefix else (column.name,) for column in table.columns)
    return sql.SQL(", ").join(sql.Identifier(*part) for part in parts)


def _encoded(table: WarehouseTable, batches: Iterable[pa.RecordBatch]) -> Iterator[memoryview]:
    types = [column.type for column in table.columns]
    for batch in batches:
        try:
            yield from binary_copy.encode(batch, types)
        except pa.ArrowException as error:
            raise StarSchemaMismatch(
                f"{table.name} has values in the lake that the warehouse has no room for: {error}; "
                "correct the table's SQL file and rebuild, or change the column by a migration"
            ) from error
