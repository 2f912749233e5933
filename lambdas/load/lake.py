"""Reads the star schema's new versions from the Iceberg tables, as streams of record batches."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.expressions.parser import parse
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.table import FileScanTask, Table

from lambdas.load.catalog import WarehouseTable
from pipeline.aws_errors import translated_aws_errors
from pipeline.errors import AccessRefused, ObjectStoreUnavailable, StarSchemaMismatch

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

_QUARANTINE = "quarantine"
_NOT_KEPT = "not kept: "
_SEQUENCE = "_sequence"
_FIELD_ID = b"PARQUET:field_id"
_ROWS_AT_A_TIME = 8_192
_READ_BYTES = 512 * 1024
"""How much of a column a request to Amazon S3 brings: each column holds as much in memory."""


def glue_catalog(client: "S3Client", credentials: "Credentials | None" = None) -> Catalog:
    """Returns the Glue Data Catalog, with files read where the S3 client would read them.

    pyiceberg reads files by Arrow's own S3 client, which does not take its endpoint from the AWS
    SDK's settings: it is handed on. Its Glue client is the SDK's and needs no help.

    Args:
        client: Amazon S3.
        credentials: What to read files with, as long as they last. Arrow finds the same by itself,
            but anew for each table, which takes it 20 ms.
    """
    held = credentials.get_frozen_credentials() if credentials else None
    return load_catalog(
        "glue",
        type="glue",
        **{
            "s3.endpoint": client.meta.endpoint_url,
            "s3.region": client.meta.region_name,
            "s3.access-key-id": held and held.access_key,
            "s3.secret-access-key": held and held.secret_key,
            "s3.session-token": held and held.token,
        },
    )


@dataclass(frozen=True)
class Position:
    """How far a table's rows have been read.

    Attributes:
        files: Data files that were read to their end.
        rows: Rows that were read of the file after those.
    """

    files: int = 0
    rows: int = 0


_START = Position()


@dataclass(frozen=True)
class Versions:
    """The rows of a table that some runs brought, as they are in one snapshot of it.

    Attributes:
        table: The Iceberg table; None before any build has made it.
        files: The data files that may have such rows, in the order of their paths.
        names: The columns, in order.
        after: Only rows of later runs.
        through: Only rows of this run and earlier ones.
    """

    table: Table | None
    files: tuple[FileScanTask, ...]
    names: tuple[str, ...]
    after: int
    through: int

    @property
    def snapshot(self) -> int | None:
        """The Iceberg snapshot that they are in; None if the table has none."""
        held = self.table.current_snapshot() if self.table else None
        return held.snapshot_id if held else None

    @property
    def most_rows(self) -> int:
        """How many rows the files have: there are no more than that."""
        return sum(task.file.record_count for task in self.files)

    def batches(self, start: Position = _START) -> Iterator[tuple[Position, pa.RecordBatch]]:
        """Yields the rows, and how far each batch comes.

        They come in the same order whenever they are read, in memory that does not grow with them.

        Args:
            start: What was read before.

        Raises:
            ObjectStoreUnavailable: The lake could not be read.
        """
        if self.table is None:
            return
        with _translated_errors(".".join(self.table.name())):
            for number, task in enumerate(self.files[start.files :], start.files):
                rows = skip = start.rows if number == start.files else 0
                for batch in _rows_of_file(self.table, task, (*self.names, _SEQUENCE), skip):
                    rows += batch.num_rows
                    yield Position(number, rows), self._wanted(batch)

    def _wanted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        sequences = batch.column(_SEQUENCE)
        later = pc.greater(sequences, self.after)
        wanted = pc.and_(later, pc.less_equal(sequences, self.through))
        return batch.filter(wanted).select(self.names)


@dataclass(frozen=True)
class Lake:
    """The star schema's Glue database."""

    catalog: Catalog
    database: str

    def versions(self, table: WarehouseTable, *, after: int, through: int) -> Versions:
        """Looks up the rows of a table that runs brought, in the warehouse's columns and order.

        A table that no build has made yet has no rows.

        Args:
            table: The warehouse's table.
            after: Only rows of later runs.
            through: Only rows of this run and earlier ones.

        Raises:
            StarSchemaMismatch: The lake's table lacks a column of the warehouse's.
            ObjectStoreUnavailable: The lake could not be read.
        """
        names = tuple(column.name for column in table.columns)
        held = self._table(table.name)
        if held is None:
            return Versions(None, (), names, after, through)
        known = set(held.schema().column_names)
        if missing := [name for name in names if name not in known]:
            raise StarSchemaMismatch(
                f"{table.name} has no {', '.join(missing)} in the lake: add it to the table's SQL "
                "file and rebuild, or take it out of the warehouse by a migration"
            )
        condition = f"{_SEQUENCE} > {after} and {_SEQUENCE} <= {through}"
        with _translated_errors(table.name):
            files = held.scan(row_filter=condition).plan_files()
            in_order = sorted(files, key=lambda task: task.file.file_path)
        return Versions(held, tuple(in_order), names, after, through)

    def malformed(self, table: WarehouseTable, natural_key: str) -> frozenset[str]:
        """Returns the keys in the lake's quarantine that no later version has replaced.

        A row that was corrected to what the table showed before, or was deleted before any
        version of it had been loaded, leaves no version and is still among them.

        Args:
            table: A fact.
            natural_key: The name of its source's key.

        Raises:
            ObjectStoreUnavailable: The lake could not be read.
        """
        quarantine, facts = self._table(_QUARANTINE), self._table(table.name)
        if quarantine is None or facts is None:
            return frozenset()
        newest = _newest(quarantine, f"star_table = '{table.name}'", ("natural_key", "_sequence"))
        if not newest:
            return frozenset()
        keys = ", ".join(newest)
        replaced = _newest(facts, f"{natural_key} in ({keys})", (natural_key, "_sequence"))
        return frozenset(key for key, sequence in newest.items() if replaced.get(key, 0) < sequence)

    def reasons(self, *, after: int, through: int) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yields what is in the quarantine of some runs: a row's star table, the rules it breaks.

        Args:
            after: Only rows of later runs.
            through: Only rows of this run and earlier ones.

        Raises:
            ObjectStoreUnavailable: The lake could not be read.
        """
        quarantine = self._table(_QUARANTINE)
        if quarantine is None:
            return
        condition = f"_sequence > {after} and _sequence <= {through}"
        wanted = ("star_table", "broken_rules", "reason")
        names = tuple(name for name in wanted if name in quarantine.schema().column_names)
        for batch in _batches(quarantine, condition, names):
            for row in batch.to_pylist():
                yield row["star_table"], tuple(row.get("broken_rules") or _rules_of(row["reason"]))

    def _table(self, name: str) -> Table | None:
        with _translated_errors(name):
            try:
                return self.catalog.load_table((self.database, name))
            except NoSuchTableError:
                return None


def _rules_of(reason: str) -> Iterator[str]:
    """Returns the rules of a row that was put aside before `broken_rules` existed."""
    return (rule.removeprefix(_NOT_KEPT) for rule in reason.split("; "))


def _newest(table: Table, condition: str, names: tuple[str, str]) -> dict[str, int]:
    """Returns the newest run of each key: `names` are the columns of the key and of the run."""
    newest: dict[str, int] = {}
    for batch in _batches(table, condition, names):
        for row in batch.to_pylist():
            key, sequence = (row[name] for name in names)
            newest[str(key)] = max(newest.get(str(key), 0), sequence)
    return newest


def _batches(table: Table, condition: str, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Yields rows one data file after another: pyiceberg's own reader decodes them all ahead."""
    with _translated_errors(".".join(table.name())):
        scan = table.scan(row_filter=condition, selected_fields=names)
        reader = ArrowScan(table.metadata, table.io, scan.projection(), parse(condition))
        for task in scan.plan_files():
            for batch in reader.to_record_batches([task]):
                yield batch.select(names)


def _rows_of_file(
    table: Table, task: FileScanTask, names: tuple[str, ...], skip: int
) -> Iterator[pa.RecordBatch]:
    """Yields a data file's rows but the first ones, a few at a time.

    pyiceberg's own reader decodes all of a file before it yields the first of its rows. It is left
    to files that have deletes beside them, which other writers than the pipeline's make.
    """
    if task.delete_files:
        scan = table.scan(selected_fields=names)
        reader = ArrowScan(table.metadata, table.io, scan.projection(), AlwaysTrue())
        yield from _without(skip, reader.to_record_batches([task]))
        return
    with table.io.new_input(task.file.file_path).open() as stream:
        file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False)
        in_file = {
            int(field.metadata[_FIELD_ID]): field.name
            for field in file.schema_arrow
            if field.metadata and _FIELD_ID in field.metadata
        }
        kinds = schema_to_pyarrow(table.schema().select(*names))
        held = {name: in_file.get(table.schema().find_field(name).field_id) for name in names}
        columns = [column for column in held.values() if column]
        batches = file.iter_batches(_ROWS_AT_A_TIME, columns=columns, use_threads=False)
        for batch in _without(skip, batches):
            yield pa.record_batch(
                [
                    batch.column(column)
                    if column
                    else pa.nulls(batch.num_rows, kinds.field(name).type)
                    for name, column in held.items()
                ],
                names=list(names),
            )


def _without(skip: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields all rows but the first ones."""
    for batch in batches:
        if skip < batch.num_rows:
            yield batch.slice(skip)
        skip = max(0, skip - batch.num_rows)


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    doing = f"read {name} of the lake"
    with translated_aws_errors(doing):
        try:
            yield
        except OSError as error:
            # Arrow's own S3 client: its message has the code of S3.
            kind = AccessRefused if "ACCESS_DENIED" in str(error) else ObjectStoreUnavailable
            raise kind(f"could not {doing}: {error}") from error
