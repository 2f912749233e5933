"""Compares two star schemas, value by value."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import duckdb
from pyarrow import parquet
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan

from lambdas.load.lake import glue_catalog
from star_schema.tables import star_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Star = Mapping[str, list[Path]]
"""The Parquet files of each star table."""


def iceberg_star(client: "S3Client", database: str, folder: Path) -> Star:
    """Fetches the current data files of the tables of a Glue database, without deleted rows."""
    catalog = glue_catalog(client)
    found: dict[str, list[Path]] = {}
    for star in star_tables():
        table = catalog.load_table((database, star.name))
        scan = table.scan()
        reader = ArrowScan(table.metadata, table.io, scan.projection(), AlwaysTrue())
        found[star.name] = []
        for task in scan.plan_files():
            path = _fetched(client, task.file.file_path, folder / star.name)
            if task.delete_files:
                parquet.write_table(reader.to_table([task]), path)
            found[star.name].append(path)
    return found


def parquet_star(client: "S3Client", bucket: str, prefix: str, folder: Path) -> Star:
    """Fetches folders of Parquet files, one for each star table."""
    return {
        star.name: [
            _fetched(client, f"s3://{bucket}/{entry['Key']}", folder / star.name)
            for page in client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=f"{prefix}/{star.name}/"
            )
            for entry in page.get("Contents", [])
            if entry["Key"].endswith(".parquet")
        ]
        for star in star_tables()
    }


def local_star(folder: Path) -> Star:
    """Returns the files that DuckDB wrote, one for each star table."""
    return {star.name: [folder / f"{star.name}.parquet"] for star in star_tables()}


def differences(wanted: Star, found: Star, *, where: str = "true") -> tuple[str, ...]:
    """Returns, for each table that differs, the number of rows that only one star schema has.

    Args:
        wanted: One star schema. Its columns are compared.
        found: The other.
        where: The condition on the other's rows.
    """
    said = []
    with duckdb.connect() as connection:
        for table, paths in wanted.items():
            files = connection.read_parquet([str(path) for path in paths])
            columns = [
                f"{name}::{kind} as {name}"
                for name, kind in zip(files.columns, files.types, strict=True)
                if name != "_sequence"
            ]
            select = f"select {', '.join(columns)} from read_parquet"  # noqa: S608
            one = f"{select}({_list(paths)})"
            other = f"{select}({_list(found[table])}) where {where}"
            if _digest(connection, one) != _digest(connection, other):
                missing = len(connection.sql(f"{one} except all {other}"))
                surplus = len(connection.sql(f"{other} except all {one}"))
                said.append(f"{table}: {missing} rows missing, {surplus} too many")
    return tuple(said)


def _digest(connection: duckdb.DuckDBPyConnection, select: str) -> tuple[object, ...] | None:
    """Returns the number of rows and the sum of their hashes."""
    query = f"select count(*), sum(hash(made)::hugeint) from ({select}) as made"  # noqa: S608
    return connection.sql(query).fetchone()


def _list(paths: list[Path]) -> str:
    return str([str(path) for path in paths])


def _fetched(client: "S3Client", location: str, folder: Path) -> Path:
    place = urlsplit(location)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(place.path).name
    client.download_file(place.netloc, place.path.lstrip("/"), str(path))
    return path
