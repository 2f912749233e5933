"""The raw zone's tables and partitions in the Glue Data Catalog, from the runs' manifests."""

import re
from collections.abc import Iterable

import awswrangler as wr

from pipeline.errors import SourceSchemaChanged
from pipeline.manifest import Manifest, ManifestStore
from pipeline.raw_types import athena_type

QUARANTINE = "raw_quarantine"
"""The table of the values that the raw zone cannot hold, and their folder in the raw bucket."""
_QUARANTINE_COLUMNS = dict.fromkeys(
    ("source_table", "primary_key", "column_name", "value", "reason", "source_row"), "string"
)
_PARTITIONS = {"year": "string", "month": "string", "day": "string"}
_DAY = re.compile(r"(?P<folder>.*/year=(?P<y>\d+)/month=(?P<m>\d+)/day=(?P<d>\d+)/)")
_CATALOGUED_THROUGH = "catalogued_through"
"""The Glue table's parameter that says which run's partitions it has, and all before."""


def catalogue_run(store: ManifestStore, sequence: int, bucket: str, database: str) -> list[str]:
    """Brings the catalogue's entries of every raw table to a run.

    Runs that were never catalogued, because their Publish failed, are made up for.

    Args:
        store: The manifests.
        sequence: The run.
        bucket: The raw bucket.
        database: The Glue database of the raw zone.

    Returns:
        The tables whose entries were written.

    Raises:
        ManifestInvalid: A column has a raw type that does not exist.
        SourceSchemaChanged: A column has another type than in the catalogue; the other tables'
            entries were written.
    """
    done: list[str] = []
    refused: list[str] = []
    for source in sorted(store.read(sequence).tables):
        try:
            if _catalogue_table(store, sequence, bucket, database, source):
                done.append(source)
        except SourceSchemaChanged as error:
            refused.append(str(error))
    if refused:
        raise SourceSchemaChanged("; ".join(refused))
    return done


def _catalogue_table(
    store: ManifestStore, sequence: int, bucket: str, database: str, source: str
) -> bool:
    """Brings one table's entries to a run, and returns whether there was anything to write."""
    table = wr.catalog.sanitize_table_name(source)
    held = wr.catalog.get_table_types(database=database, table=table)
    after = _catalogued_through(database, table) if held else 0
    # Further than there are runs: the raw zone has been begun again.
    runs = tuple(store.changes(source, after=after if after <= sequence else 0, through=sequence))
    _catalogue_quarantine(runs, source, bucket, database)
    partitions = _folders(bucket, (file for run in runs for file in run.tables[source].files))
    if not partitions:
        return False
    types = _athena_types(runs, source)
    if held and (retyped := [name for name in types if held.get(name, types[name]) != types[name]]):
        raise SourceSchemaChanged(
            f"{source}: {', '.join(retyped)} has another type than in the raw zone's catalogue: "
            f"delete the Glue table {database}.{table}, and the next run makes it anew"
        )
    wr.catalog.create_parquet_table(
        database=database,
        table=table,
        path=f"s3://{bucket}/raw/{source}/",
        columns_types=types,
        partitions_types=_PARTITIONS,
        mode="append",
    )
    wr.catalog.add_parquet_partitions(database=database, table=table, partitions_values=partitions)
    # Last, so that what fails before it is done again.
    wr.catalog.upsert_table_parameters(
        {_CATALOGUED_THROUGH: str(runs[0].sequence)}, database=database, table=table
    )
    return True


def _catalogued_through(database: str, table: str) -> int:
    parameters = wr.catalog.get_table_parameters(database=database, table=table)
    return int(parameters.get(_CATALOGUED_THROUGH, 0))


def _catalogue_quarantine(
    runs: Iterable[Manifest], source: str, bucket: str, database: str
) -> None:
    """Adds the values that runs could not hold of a source to the one table of all such values."""
    files = (file for run in runs for file in run.tables[source].quarantine_files)
    partitions = {folder: [source, *day] for folder, day in _folders(bucket, files).items()}
    if not partitions:
        return
    wr.catalog.create_parquet_table(
        database=database,
        table=QUARANTINE,
        path=f"s3://{bucket}/{QUARANTINE}/",
        columns_types=_QUARANTINE_COLUMNS,
        partitions_types={"source": "string", **_PARTITIONS},
        mode="append",
    )
    wr.catalog.add_parquet_partitions(
        database=database, table=QUARANTINE, partitions_values=partitions
    )


def _folders(bucket: str, files: Iterable[str]) -> dict[str, list[str]]:
    """Returns the folders of files, and the day that each one is for."""
    return {
        f"s3://{bucket}/{match['folder']}": [match["y"], match["m"], match["d"]]
        for file in files
        if (match := _DAY.match(file))
    }


def _athena_types(runs: tuple[Manifest, ...], source: str) -> dict[str, str]:
    """Returns every column that any of the runs has, with the type that the newest one has."""
    return {
        wr.catalog.sanitize_column_name(column.name): athena_type(column.raw_type)
        for run in reversed(runs)
        for column in run.tables[source].columns
    }
