"""Temporary tables: what came from the lake, before it is held against the warehouse."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pyarrow as pa
from psycopg import sql

from lambdas.load import binary_copy
from lambdas.load.catalog import WarehouseTable
from pipeline.errors import StarSchemaMismatch


def stage(
    connection: psycopg.Connection, table: WarehouseTable, batches: Iterable[pa.RecordBatch]
) -> None:
    """Copies rows into a temporary table of the same columns, without its constraints.

    Raises:
        StarSchemaMismatch: A value does not fit its column.
    """
    connection.execute(
        sql.SQL("create temporary table {} on commit drop as select * from {} with no data").format(
            sql.Identifier(f"stage_{table.name}"), sql.Identifier(table.name)
        )
    )
    copy_rows(connection, table, batches, into=stage_of(table.name))
    connection.execute(sql.SQL("analyze {}").format(stage_of(table.name)))


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


def stage_of(table: str) -> sql.Identifier:
    """Returns the name of a table's temporary table."""
    return sql.Identifier("pg_temp", f"stage_{table}")


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
