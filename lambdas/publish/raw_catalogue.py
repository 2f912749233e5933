"""The raw zone's tables and partitions in the Glue Data Catalog, from the runs' manifests.

Each source table is one table there, and each of its columns one column: catalogue_names.py. What
a table or a column is called at the source is in its description.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

import awswrangler as wr

from lambdas.publish.catalogue_names import in_catalogue, in_files
from lambdas.publish.glue_tables import GlueColumn, GlueTable, GlueTables
from pipeline.errors import SourceSchemaChanged
from pipeline.manifest import Manifest, ManifestStore
from pipeline.raw_types import athena_type

QUARANTINE = "raw_quarantine"
"""The table of the values that the raw zone cannot hold, and their folder in the raw bucket."""
_QUARANTINE_COLUMNS = tuple(
    GlueColumn(name, "string")
    for name in ("source_table", "primary_key", "column_name", "value", "reason", "source_row")
)
_CAPTURED_ON = "captured_on"
"""The partition key: the day of a capture, in UTC. It is numbered in a table with such a column."""
_FORMER_KEYS = ("year", "month", "day")
_DAY = re.compile(r"(?P<folder>.*/year=(?P<y>\d+)/month=(?P<m>\d+)/day=(?P<d>\d+)/)")
_CATALOGUED_THROUGH = "catalogued_through"
"""The Glue table's parameter that says which run's partitions it has, and all before."""
_SOURCE_TABLE = "source_table"
"""The Glue table's parameter that names its source table."""


class RawCatalogue:
    """The catalogue's entries of the raw zone.

    Args:
        store: The manifests.
        bucket: The raw bucket.
        tables: The tables of the raw zone's Glue database.
    """

    def __init__(self, store: ManifestStore, bucket: str, tables: GlueTables) -> None:
        self._store = store
        self._bucket = bucket
        self._tables = tables

    def catalogue(self, sequence: int) -> list[str]:
        """Brings the entries of every raw table to a run.

        Runs that were never catalogued, because their Publish failed, are made up for. Entries of
        another form are made anew.

        Args:
            sequence: The run.

        Returns:
            The source tables whose entries were written.

        Raises:
            ManifestInvalid: A column has a raw type that does not exist.
            SourceSchemaChanged: A column has another type than in the catalogue; the other tables'
                entries were written.
        """
        done: list[str] = []
        refused: list[str] = []
        names = in_catalogue(sorted(self._store.read(sequence).tables), taken=[QUARANTINE])
        for source, name in names.items():
            self._remove_former(source)
            try:
                if self._catalogue_table(sequence, source, name):
                    done.append(source)
            except SourceSchemaChanged as error:
                refused.append(str(error))
        if refused:
            raise SourceSchemaChanged("; ".join(refused))
        return done

    def _catalogue_table(self, sequence: int, source: str, name: str) -> bool:
        """Brings one table's entry to a run, and returns whether there was anything to write."""
        held = self._held(name, source)
        after = int(held.parameters.get(_CATALOGUED_THROUGH, 0)) if held else 0
        # Further than there are runs: the raw zone has been begun again.
        runs = self._changes(source, after if after <= sequence else 0, sequence)
        columns = _merged(held, _columns(runs, source), self._tables.database)
        key = in_catalogue([*(one.name for one in columns), _CAPTURED_ON])[_CAPTURED_ON]
        if held and held.partition_keys[0].name != key:
            self._tables.delete(name)
            return self._catalogue_table(sequence, source, name)
        self._catalogue_quarantine(runs, source)
        files = (file for run in runs for file in run.tables[source].files)
        partitions = {folder: [day] for folder, day in self._days(files).items()}
        if not partitions:
            return False
        table = GlueTable(
            name=name,
            description=f"Captures of the source's table {source}, as Parquet files",
            location=self._location(source),
            columns=columns,
            partition_keys=(GlueColumn(key, "date", "The day of the capture, in UTC"),),
            parameters={**(held.parameters if held else {}), _SOURCE_TABLE: source},
        )
        if held is None:
            self._tables.put(table, is_new=True)
        self._tables.add_partitions(name, partitions)
        # Last, so that what fails before it is done again.
        through = {_CATALOGUED_THROUGH: str(runs[0].sequence)}
        self._tables.put(replace(table, parameters=table.parameters | through), is_new=False)
        return True

    def _changes(self, source: str, after: int, through: int) -> tuple[Manifest, ...]:
        return tuple(self._store.changes(source, after=after, through=through))

    def _held(self, name: str, source: str) -> GlueTable | None:
        """Returns a source table's entry; one of another form or source is deleted."""
        held = self._tables.get(name)
        if held and (
            [key.type for key in held.partition_keys] != ["date"]
            or held.parameters.get(_SOURCE_TABLE) != source
            or held.location != self._location(source)
        ):
            self._tables.delete(name)
            return None
        return held

    def _remove_former(self, source: str) -> None:
        """Deletes the entry that the first version made of a source table."""
        name = wr.catalog.sanitize_table_name(source)
        held = self._tables.get(name)
        if held and tuple(key.name for key in held.partition_keys) == _FORMER_KEYS:
            self._tables.delete(name)

    def _catalogue_quarantine(self, runs: Iterable[Manifest], source: str) -> None:
        """Adds the values that runs could not hold of a source to the one table of such values."""
        files = (file for run in runs for file in run.tables[source].quarantine_files)
        partitions = {folder: [source, day] for folder, day in self._days(files).items()}
        if not partitions:
            return
        keys = (GlueColumn("source", "string"), GlueColumn(_CAPTURED_ON, "date"))
        held = self._tables.get(QUARANTINE)
        if held and [key.name for key in held.partition_keys] != [key.name for key in keys]:
            self._tables.delete(QUARANTINE)
            held = None
        if held is None:
            table = GlueTable(
                name=QUARANTINE,
                description="Values of the source that the raw zone cannot hold",
                location=f"s3://{self._bucket}/{QUARANTINE}/",
                columns=_QUARANTINE_COLUMNS,
                partition_keys=keys,
                parameters={},
            )
            self._tables.put(table, is_new=True)
        self._tables.add_partitions(QUARANTINE, partitions)

    def _days(self, files: Iterable[str]) -> dict[str, str]:
        """Returns the folders of files, and the day that each one is for."""
        return {
            f"s3://{self._bucket}/{match['folder']}": f"{match['y']}-{match['m']}-{match['d']}"
            for file in files
            if (match := _DAY.match(file))
        }

    def _location(self, source: str) -> str:
        return f"s3://{self._bucket}/raw/{source}/"


def _columns(runs: tuple[Manifest, ...], source: str) -> list[GlueColumn]:
    """Returns every column that any of the runs has, with the type that the newest one has."""
    found: dict[str, GlueColumn] = {}
    for run in reversed(runs):
        columns = run.tables[source].columns
        names = in_catalogue(in_files(column.name for column in columns).values())
        for column, name in zip(columns, names.values(), strict=True):
            comment = f"{column.name}: {column.source_type}"
            found[name] = GlueColumn(name, athena_type(column.raw_type), comment)
    return list(found.values())


def _merged(
    held: GlueTable | None, columns: list[GlueColumn], database: str
) -> tuple[GlueColumn, ...]:
    """Returns the columns of an entry and those of new runs.

    Raises:
        SourceSchemaChanged: A column has another type in the entry.
    """
    before = {column.name: column for column in held.columns} if held else {}
    retyped = [
        column.name for column in columns if before.get(column.name, column).type != column.type
    ]
    if held and retyped:
        raise SourceSchemaChanged(
            f"{held.parameters[_SOURCE_TABLE]}: {', '.join(retyped)} has another type than in the "
            f"raw zone's catalogue: delete the Glue table {database}.{held.name}, and the next run "
            "makes it anew"
        )
    return tuple((before | {column.name: column for column in columns}).values())
