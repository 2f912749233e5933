"""The raw zone's tables and partitions in the Glue Data Catalog, from the runs' manifests."""

import re

import awswrangler as wr

from pipeline.manifest import Column, ManifestStore

_ATHENA_TYPES = {
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "bool": "boolean",
    "date32[day]": "date",
    "float": "float",
    "double": "double",
    "string": "string",
    "timestamp[us]": "timestamp",
    "timestamp[us, tz=UTC]": "timestamp",
}
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_PARTITIONS = {"year": "string", "month": "string", "day": "string"}
_DAY = re.compile(r"(?P<folder>.*/year=(?P<y>\d+)/month=(?P<m>\d+)/day=(?P<d>\d+)/)")


def catalogue_run(store: ManifestStore, sequence: int, bucket: str, database: str) -> list[str]:
    """Keeps the catalogue's entries of every table that a run has files of.

    Args:
        store: The manifests.
        sequence: The run.
        bucket: The raw bucket.
        database: The Glue database of the raw zone.

    Returns:
        The tables whose entries were written.
    """
    done: list[str] = []
    for table, capture in sorted(store.read(sequence).tables.items()):
        partitions = {
            f"s3://{bucket}/{match['folder']}": [match["y"], match["m"], match["d"]]
            for file in capture.files
            if (match := _DAY.match(file))
        }
        if not partitions:
            continue
        wr.catalog.create_parquet_table(
            database=database,
            table=table,
            path=f"s3://{bucket}/raw/{table}/",
            columns_types={column.name: _athena_type(column) for column in capture.columns},
            partitions_types=_PARTITIONS,
            mode="overwrite" if sequence == 1 else "append",
        )
        wr.catalog.add_parquet_partitions(
            database=database, table=table, partitions_values=partitions
        )
        done.append(table)
    return done


def _athena_type(column: Column) -> str:
    if match := _DECIMAL.fullmatch(column.raw_type):
        return f"decimal({match[1]},{match[2]})"
    return _ATHENA_TYPES[column.raw_type]
