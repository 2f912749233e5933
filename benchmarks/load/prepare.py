"""Makes what is loaded: Iceberg tables in the local cloud, files for the peers, a warehouse.

It runs in a process of its own, with the local cloud's environment; the arguments are the numbers
of first and of changed rows, and the folder of the files.
"""

import sys
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

DIMENSIONS: Final = 1
"""The run that brings the dimensions."""
FIRST: Final = 2
"""The run that brings the first facts."""
CHANGED: Final = 3
"""The run that brings new versions of some of them."""
_BUCKET = "star"


def main(first_rows: int, changed_rows: int, folder: Path) -> None:
    """Prepares all of it, and loads the dimensions."""
    session = boto3.Session()
    session.client("s3").create_bucket(
        Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    session.client("glue").create_database(DatabaseInput={"Name": star.DATABASE})
    catalog = glue_catalog(session.client("s3"), session.get_credentials())
    with psycopg.connect(warehouse_url(), autocommit=True) as connection:
        migrate(connection, migrations())
        tables = {table.name: table for table in read_star_tables(connection)}
    for name in star.DIMENSION_ROWS:
        _create(catalog, tables[name]).append(star.dimension(tables[name]))
    facts = tables[TABLE]
    _create(catalog, facts)
    for name, sequence, first, rows in (
        ("first", FIRST, 1, first_rows),
        ("changed", CHANGED, first_rows + 1, changed_rows),
    ):
        path = folder / name
        _write(catalog, facts, path, sequence=sequence, first=first, rows=rows, orders=first_rows)
    ours.main(DIMENSIONS)


def _create(catalog: Catalog, table: WarehouseTable) -> Table:
    return catalog.create_table(
        (star.DATABASE, table.name),
        star.lake_schema(table),
        location=f"s3://{_BUCKET}/{table.name}",
    )


def _write(
    catalog: Catalog,
    facts: WarehouseTable,
    path: Path,
    *,
    sequence: int,
    first: int,
    rows: int,
    orders: int,
) -> None:
    """Writes facts to the lake, to Parquet files with and without times, and to a CSV file."""
    table = catalog.load_table((star.DATABASE, facts.name))
    typed, texts = path.with_suffix(".parquet"), path.with_suffix(".texts.parquet")
    schema = next(star.sales_orders(first, 1, orders)).schema
    with_texts = pa.schema(list(star.lake_schema(facts))[:-1])
    with pq.ParquetWriter(typed, schema) as typed_file, pq.ParquetWriter(texts, with_texts) as file:
        for part in star.sales_orders(first, rows, orders):
            in_lake = star.as_in_the_lake(part, facts, sequence)
            table.append(in_lake)
            typed_file.write_table(part)
            file.write_table(in_lake.drop_columns("_sequence"))
    with duckdb.connect() as connection:
        connection.execute(f"copy (from '{typed}') to '{path.with_suffix('.csv')}' (header false)")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
