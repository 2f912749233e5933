"""Creates the input: Iceberg tables in the local cloud, files for the peers, a warehouse.

It runs in its own process, with the local cloud's environment. The arguments are the numbers of the
first facts, of all facts, of changed facts and of more facts, and the folder of the files.
"""

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import boto3
import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from benchmarks.load import star
from benchmarks.load.contenders import ours
from benchmarks.load.contenders.task import TABLE, warehouse_url
from lambdas.load.catalog import WarehouseTable, read_star_tables
from lambdas.load.lake import glue_catalog
from lambdas.load.migrations import migrate, migrations
from local.cloud.server import REGION
from star_schema.tables import star_tables

DIMENSIONS: Final = 1
"""The run that brings the dimensions."""
FIRST: Final = 2
"""The run that brings the first facts."""
ALL: Final = 3
"""The run that brings all others."""
CHANGED: Final = 4
"""The run that brings new versions of some of them."""
MANY: Final = 5
"""The run that brings new versions of many more."""
_BUCKET = "star"
_ROWS_A_LAKE_FILE = 2_000_000


def main(first_rows: int, all_rows: int, changed_rows: int, more_rows: int, folder: Path) -> None:
    """Creates the input, with every star table as a build does, and loads the dimensions."""
    session = boto3.Session()
    session.client("s3").create_bucket(
        Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    session.client("glue").create_database(DatabaseInput={"Name": star.DATABASE})
    catalog = glue_catalog(session.client("s3"), session.get_credentials())
    with psycopg.connect(warehouse_url(), autocommit=True) as connection:
        migrate(connection, migrations())
        tables = {table.name: table for table in read_star_tables(connection, star_tables())}
    in_lake = {name: _create(catalog, table) for name, table in tables.items()}
    for name in star.DIMENSION_ROWS:
        in_lake[name].append(star.dimension(tables[name]), _applied(1))
    facts = tables[TABLE]
    for sequence, first, rows in (
        (FIRST, 1, first_rows),
        (ALL, first_rows + 1, all_rows - first_rows),
        (CHANGED, all_rows + 1, changed_rows),
        (MANY, all_rows + changed_rows + 1, more_rows),
    ):
        for part in _parts(first, rows, all_rows, _ROWS_A_LAKE_FILE):
            in_lake[TABLE].append(star.as_in_the_lake(part, facts, sequence), _applied(sequence))
    for name, first, rows in (
        ("first", 1, first_rows),
        ("all", 1, all_rows),
        ("changed", all_rows + 1, changed_rows),
        ("many", all_rows + 1, changed_rows + more_rows),
    ):
        _write_files(folder / name, facts, star.sales_orders(first, rows, all_rows))
    ours.main(DIMENSIONS)


def _applied(sequence: int) -> dict[str, str]:
    """Returns what a build writes into the summary of its snapshot."""
    return {"applied-through": str(sequence)}


def _create(catalog: Catalog, table: WarehouseTable) -> Table:
    return catalog.create_table(
        (star.DATABASE, table.name),
        star.lake_schema(table),
        location=f"s3://{_BUCKET}/{table.name}",
    )


def _parts(first: int, rows: int, orders: int, at_a_time: int) -> Iterator[pa.Table]:
    """Yields sales orders in parts of any size."""
    for start in range(first, first + rows, at_a_time):
        some = star.sales_orders(start, min(at_a_time, first + rows - start), orders)
        yield pa.concat_tables(some)


def _write_files(path: Path, facts: WarehouseTable, parts: Iterator[pa.Table]) -> None:
    """Writes facts to Parquet files with and without times, and to a CSV file."""
    typed, texts = path.with_suffix(".parquet"), path.with_suffix(".texts.parquet")
    first = next(parts)
    with_texts = pa.schema(list(star.lake_schema(facts))[:-1])
    with (
        pq.ParquetWriter(typed, first.schema) as typed_file,
        pq.ParquetWriter(texts, with_texts) as file,
    ):
        for part in chain((first,), parts):
            typed_file.write_table(part)
            file.write_table(part.cast(with_texts))
    with duckdb.connect() as connection:
        connection.execute(f"copy (from '{typed}') to '{path.with_suffix('.csv')}' (header false)")


if __name__ == "__main__":
    first, every, changed, more = map(int, sys.argv[1:5])
    main(first, every, changed, more, Path(sys.argv[5]))
