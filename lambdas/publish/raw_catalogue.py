"""The raw zone's tables and partitions in the Glue Data Catalog, from the runs' manifests.

Each source table is one table there, and each of its columns one column: catalogue_names.py. What
a table or a column is called at the source is in its description. The files have each column under
its own name, for which Athena looks without regard to case: columns of one table whose names differ
by case alone have none in the catalogue, and the table's description names them.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import awswrangler as wr

from lambdas.publish.catalogue_names import in_catalogue
from lambdas.publish.glue_tables import GlueColumn, GlueTable, GlueTables
from pipeline.manifest import Column, Manifest, ManifestStore
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
_LONGEST_DESCRIPTION = 2048
"""AWS Glue Web API Reference, "TableInput"."""
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
        """
        done: list[str] = []
        names = in_catalogue(sorted(self._store.read(sequence).tables), taken=[QUARANTINE])
        for source, name in names.items():
            self._remove_former(source)
            if self._catalogue_table(sequence, source, name):
                done.append(source)
        return done

    def _catalogue_table(self, sequence: int, source: str, name: str) -> bool:
        """Brings one table's entry to a run, and returns whether there was anything to write.

        A table has one type for a column. An entry whose column has another type now is made anew,
        with the runs since the change: Amazon Athena cannot read the files before it.
        """
        held = self._held(name, source)
        after = int(held.parameters.get(_CATALOGUED_THROUGH, 0)) if held else 0
        # Further than there are runs: the raw zone has been begun again.
        runs = self._changes(source, after if after <= sequence else 0, sequence)
        self._catalogue_quarantine(runs, source)
        alike = _alike(runs, source)
        found = _columns(alike, source)
        before = {column.name: column for column in held.columns} if held else {}
        hidden = {name.lower() for name in _left_out(alike, source)}
        columns = tuple(one for name, one in (before | found).items() if name not in hidden)
        key = in_catalogue([*(one.name for one in columns), _CAPTURED_ON])[_CAPTURED_ON]
        is_retyped = any(before.get(one.name, one).type != one.type for one in found.values())
        if held and (is_retyped or len(alike) < len(runs) or held.partition_keys[0].name != key):
            self._tables.delete(name)
            return self._catalogue_table(sequence, source, name)
        files = (file for run in alike for file in run.tables[source].files)
        partitions = {folder: [day] for folder, day in self._days(files).items()}
        if not partitions:
            return False
        table = GlueTable(
            name=name,
            description=held.description
            if held and not hidden
            else _description(source, runs, len(alike)),
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
        return self._store.all_changes(source, after=after, through=through)

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


def _readable(run: Manifest, source: str) -> tuple[Column, ...]:
    """Returns the columns of a capture that Athena can tell from its other columns."""
    columns = run.tables[source].columns
    names = Counter(column.name.lower() for column in columns)
    return tuple(column for column in columns if names[column.name.lower()] == 1)


def _alike(runs: tuple[Manifest, ...], source: str) -> tuple[Manifest, ...]:
    """Returns the newest runs in which each column of a table has one type.

    Args:
        runs: Runs that captured the table, the newest first.
        source: The table.
    """
    types: dict[str, str] = {}
    for number, run in enumerate(runs):
        for column in _readable(run, source):
            if types.setdefault(column.name.lower(), column.raw_type) != column.raw_type:
                return runs[:number]
    return runs


def _columns(runs: tuple[Manifest, ...], source: str) -> dict[str, GlueColumn]:
    """Returns every column that any of the runs has, by its name in the catalogue."""
    found: dict[str, GlueColumn] = {}
    for run in reversed(runs):
        columns = _readable(run, source)
        names = in_catalogue(column.name for column in columns)
        for column, name in zip(columns, names.values(), strict=True):
            comment = f"{column.name}: {column.source_type}"
            found[name] = GlueColumn(name, athena_type(column.raw_type), comment)
    return found


def _left_out(runs: Iterable[Manifest], source: str) -> list[str]:
    """Returns the columns that are not in the catalogue."""
    found = {
        column.name
        for run in runs
        for column in set(run.tables[source].columns) - set(_readable(run, source))
    }
    return sorted(found)


def _description(source: str, runs: tuple[Manifest, ...], alike: int) -> str:
    text = f"Captures of the source's table {source}, as Parquet files"
    if alike < len(runs):
        text += f", since run {runs[alike - 1].sequence}: a column had another type before"
    if others := _left_out(runs, source):
        text += f". Without {', '.join(others)}: Athena does not distinguish upper from lower case"
    return text[:_LONGEST_DESCRIPTION]
