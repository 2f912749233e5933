"""Temporary tables: what came from the lake, before it is held against the warehouse."""

import io
from collections.abc import Iterable

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from lambdas.load.catalog import WarehouseTable


def stage(
    connection: psycopg.Connection, table: WarehouseTable, batches: Iterable[pa.RecordBatch]
) -> None:
    """Copies rows into a temporary table of the same columns, without its constraints.

    Arrow writes a null as nothing and an empty string as "", which is how PostgreSQL's CSV tells
    them apart.
    """
    connection.execute(
        sql.SQL("create temporary table {} on commit drop as select * from {} with no data").format(
            sql.Identifier(f"stage_{table.name}"), sql.Identifier(table.name)
        )
    )
    copy_in = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        stage_of(table.name), names_of(table)
    )
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for batch in batches:
            buffer = io.BytesIO()
            csv.write_csv(_as_text(batch), buffer, csv.WriteOptions(include_header=False))
            copy.write(buffer.getbuffer())
    connection.execute(sql.SQL("analyze {}").format(stage_of(table.name)))


def stage_of(table: str) -> sql.Identifier:
    """Returns the name of a table's temporary table."""
    return sql.Identifier("pg_temp", f"stage_{table}")


def names_of(table: WarehouseTable, prefix: str | None = None) -> sql.Composed:
    """Returns a table's column names, as a list of SQL."""
    parts = ((prefix, column.name) if prefix else (column.name,) for column in table.columns)
    return sql.SQL(", ").join(sql.Identifier(*part) for part in parts)


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch with its decimals as text, which Arrow's CSV writer leaves exact."""
    columns = [
        column.cast(pa.string()) if pa.types.is_decimal(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
