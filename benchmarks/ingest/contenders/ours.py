"""The reader and writer of Ingest. The argument is the number of readers."""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import psycopg

from benchmarks.absent import hide
from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url
from lambdas.ingest.chunks import Chunk, chunks_of
from lambdas.ingest.discovery import read_tables
from lambdas.ingest.selection import Selection
from lambdas.ingest.source_reader import SourceReader
from pipeline.database import login_of


def extract_table(url: str, folder: Path, readers: int) -> None:
    """Writes the table to Parquet files, one for each chunk, as a run does before the upload.

    Args:
        url: The source database.
        folder: The output folder.
        readers: The number of concurrent connections, which share one snapshot.
    """
    numbers = count()
    with psycopg.connect(url, autocommit=True) as connection, tempfile.TemporaryDirectory() as own:
        connection.execute("begin isolation level repeatable read read only")
        table = next(table for table in read_tables(connection) if table.name == TABLE)
        exported = connection.execute("select pg_export_snapshot()").fetchone()
        assert exported is not None  # noqa: S101 - a SELECT without FROM gives one row
        free: SimpleQueue[SourceReader] = SimpleQueue()
        for _ in range(readers):
            free.put(SourceReader(login_of(connection), exported[0], Path(own)))

        def take(chunk: Chunk) -> None:
            number, reader = next(numbers), free.get()
            path, values = folder / f"{number}.parquet", folder / f"{number}.values.parquet"
            rows = Selection(table, table.columns, chunk.condition, table.leaf(chunk.leaf))
            reader.take(rows, path, values)
            free.put(reader)

        with ThreadPoolExecutor(readers) as pool:
            list(pool.map(take, chunks_of(table)))
        while not free.empty():
            free.get().close()


if __name__ == "__main__":
    hide("numpy", "pandas", "pyarrow")
    extract_table(source_url(), output_folder(), int(sys.argv[1]))
