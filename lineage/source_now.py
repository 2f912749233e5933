"""A row as the source has it now, read and made as Ingest and Build would."""

from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceTable, read_tables
from lambdas.ingest.scope import Scope
from lambdas.ingest.snapshot_export import begin_for_export, export_snapshot
from lambdas.ingest.source_reader import SourceReader
from lineage.star_rows import Made, made_of
from lineage.values import unpadded
from pipeline.errors import SourceSchemaChanged
from pipeline.scratch import scratch_folder
from star_schema.sources import declared_source
from star_schema.tables import StarTable


def made_now(
    connection: psycopg.Connection, scope: Scope, star: StarTable, key: str
) -> Made | None:
    """Returns what the star table's SELECT makes of the source now; None without such a row.

    Args:
        connection: The source, without a transaction.
        scope: What is captured of it.
        star: The star table, which has a row source.
        key: The natural key, as text.

    Raises:
        SourceSchemaChanged: The source does not have a table of the star table.
        TableFailure: A table cannot be read.
    """
    connection.autocommit = True
    begin_for_export(connection)
    tables = {table.name: table for table in read_tables(connection, scope)}
    if missing := sorted(set(star.sources) - tables.keys()):
        raise SourceSchemaChanged(f"the source has no {', '.join(missing)}")
    snapshot = export_snapshot(connection)
    with (
        scratch_folder() as name,
        SourceReader.beside(connection, snapshot, Path(name)) as reader,
    ):
        rows = {}
        for source in star.sources:
            condition: sql.Composable = sql.SQL("true")
            if source == star.row_source:
                column = sql.Identifier(declared_source(source).natural_key)
                condition = sql.SQL("{}::text = {}").format(column, sql.Literal(key))
            rows[source] = _read(reader, tables[source], condition, Path(name))
    if not len(rows[str(star.row_source)]):
        return None
    return made_of(star, rows, key)


def _read(
    reader: SourceReader, table: SourceTable, condition: sql.Composable, folder: Path
) -> pa.Table:
    path = folder / "rows.parquet"
    parts = [
        pq.read_table(path)
        for _ in reader.take_chunk(
            table,
            table.columns,
            Chunk(0, None),
            condition,
            path=path,
            quarantine=folder / "not_held.parquet",
        )
    ]
    return unpadded(pa.concat_tables(parts), table.columns)
