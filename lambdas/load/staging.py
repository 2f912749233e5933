"""Staging: the rows from the lake, before Load compares them with the warehouse."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pyarrow as pa
from psycopg import sql

from lambdas.load import binary_copy
from lambdas.load.catalog import WarehouseTable
from lambdas.load.column_types import is_text, misfit, staged_type
from lambdas.load.lake import Versions
from pipeline.errors import StarSchemaMismatch


class Staging(ABC):
    """The rows of one load, in a table for each star table, without constraints.

    Attributes:
        schema: The schema of those tables.
        connection: The warehouse.
        versions: The rows of each table in the lake, by its name.
    """

    schema: LiteralString

    def __init__(self, connection: psycopg.Connection, versions: Mapping[str, Versions]) -> None:
        """Stages nothing yet."""
        self.connection = connection
        self.versions = versions

    def of(self, table: str) -> sql.Identifier:
        """Returns the name of the table with a star table's staged rows."""
        return sql.Identifier(self.schema, f"stage_{table}")

    def shape(self, table: WarehouseTable) -> WarehouseTable:
        """Returns a star table with the types that its staged columns have.

        Raises:
            StarSchemaMismatch: A column's type in the lake does not fit the warehouse's.
        """
        lake = self.versions[table.name].types
        columns = tuple(
            dataclasses.replace(one, type=staged_type(table.name, one, lake[one.name]))
            for one in table.columns
        )
        return dataclasses.replace(table, columns=columns)

    def is_exact(self, table: WarehouseTable) -> bool:
        """Returns whether every value of the lake's types fits its column in the warehouse."""
        try:
            staged = self.shape(table).columns
        except StarSchemaMismatch:
            return False
        pairs = zip(table.columns, staged, strict=True)
        return all(misfit(column, source.type) is None for column, source in pairs)

    @abstractmethod
    def prepare(self, table: WarehouseTable) -> None:
        """Stages a table's rows, with their statistics, inside a transaction.

        Raises:
            StarSchemaMismatch: A value does not fit its column.
        """

    @abstractmethod
    def fill(self, table: WarehouseTable) -> int:
        """Copies the rows of a table that was not prepared into the table itself.

        Returns:
            The number of rows.

        Raises:
            StarSchemaMismatch: A value does not fit its column.
        """

    def _make(self, table: WarehouseTable, create: LiteralString) -> None:
        columns = (
            sql.SQL("{} {}").format(
                sql.Identifier(column.name),
                sql.SQL(column.type),
            )
            for column in self.shape(table).columns
        )
        self.connection.execute(
            sql.SQL(create).format(self.of(table.name), sql.SQL(", ").join(columns))
        )

    def _analyze(self, table: WarehouseTable) -> None:
        """Takes the statistics by which joins are planned: all columns take six times as long."""
        keys = {table.key: None, table.natural_key: None}
        columns = sql.SQL(", ").join(map(sql.Identifier, keys))
        self.connection.execute(sql.SQL("analyze {} ({})").format(self.of(table.name), columns))


class TemporaryStaging(Staging):
    """Staging in temporary tables of one transaction."""

    schema = "pg_temp"

    def prepare(self, table: WarehouseTable) -> None:
        """Copies a table's rows from the lake."""
        self._make(table, "create temporary table {} ({}) on commit drop")
        self._copy(self.shape(table), self.of(table.name))
        self._analyze(table)

    def fill(self, table: WarehouseTable) -> int:
        """Copies a table's rows from the lake into the table itself."""
        return self._copy(table, sql.Identifier(table.name))

    def _copy(self, shape: WarehouseTable, into: sql.Identifier) -> int:
        batches = (batch for _, batch in self.versions[shape.name].batches())
        return copy_rows(self.connection, shape, batches, into=into)


def copy_rows(
    connection: psycopg.Connection,
    table: WarehouseTable,
    batches: Iterable[pa.RecordBatch],
    *,
    into: sql.Identifier,
) -> int:
    """Copies rows into a table of these columns, and returns the number of rows.

    The next part is read and encoded while the server takes the part before, so at most two parts
    are in memory.

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
    """Returns a table's column names as a list in SQL."""
    parts = ((prefix, column.name) if prefix else (column.name,) for column in table.columns)
    return sql.SQL(", ").join(sql.Identifier(*part) for part in parts)


def are_equal(table: WarehouseTable) -> sql.Composed:
    """Returns the condition that the rows `held` and `stage` of a table are the same.

    Texts are compared byte by byte: others may give a column a collation that ignores case.
    """
    return sql.SQL("({}) is not distinct from ({})").format(
        *(
            sql.SQL(", ").join(
                sql.SQL('{} collate "C"' if is_text(one.type) else "{}").format(
                    sql.Identifier(row, one.name)
                )
                for one in table.columns
            )
            for row in ("held", "stage")
        )
    )


def _encoded(table: WarehouseTable, batches: Iterable[pa.RecordBatch]) -> Iterator[memoryview]:
    types = [column.type for column in table.columns]
    for batch in batches:
        try:
            yield from binary_copy.encode(batch, types)
        except pa.ArrowException as error:
            raise StarSchemaMismatch(
                f"{table.name} has a value in the lake that PostgreSQL cannot hold: {error}; "
                "correct the SELECT and rebuild, or change the column by a migration"
            ) from error
