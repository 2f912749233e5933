"""Ingest's own extract; the argument is the number of readers."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url
from lambdas.ingest.discovery import read_tables
from lambdas.ingest.extract import extract

_BEGIN = "begin isolation level repeatable read read only"


def extract_table(url: str, folder: Path, readers: int) -> None:
    """Writes the table to Parquet files, one for each reader's range of its pages.

    Args:
        url: The source database.
        folder: Where the files go.
        readers: How many connections read at the same time, all in one snapshot.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_BEGIN)
        table = next(table for table in read_tables(connection) if table.name == TABLE)
        found = connection.execute(
            "select pg_export_snapshot(), pg_relation_size(%s::oid)"
            " / current_setting('block_size')::int",
            [table.oid],
        ).fetchone()
        assert found is not None  # noqa: S101 - a SELECT without FROM gives one row
        snapshot, pages = found

        def read(reader: int) -> None:
            first, end = (f"({pages * part // readers},0)" for part in (reader, reader + 1))
            pages_of_reader = sql.SQL("ctid >= {}::tid").format(first)
            if reader + 1 < readers:
                pages_of_reader += sql.SQL(" and ctid < {}::tid").format(end)
            with psycopg.connect(url, autocommit=True) as own:
                own.execute(_BEGIN)
                own.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
                path = folder / f"{reader}.parquet"
                extract(own, table, table.columns, pages_of_reader, path)

        with ThreadPoolExecutor(readers) as pool:
            list(pool.map(read, range(readers)))


if __name__ == "__main__":
    extract_table(source_url(), output_folder(), int(sys.argv[1]))
