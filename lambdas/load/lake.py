"""The star schema's Iceberg tables: how far each has come, and its rows as record batches."""

import dataclasses
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Self

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.config import Config
from pyarrow.fs import ensure_s3_initialized
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import (
    NoSuchIcebergTableError,
    NoSuchPropertyException,
    NoSuchTableError,
)
from pyiceberg.expressions import (
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    In,
    LessThanOrEqual,
    Reference,
)
from pyiceberg.expressions.literals import literal
from pyiceberg.io import FileIO, load_file_io
from pyiceberg.io.pyarrow import (
    ArrowScan,
    _read_all_delete_files,
    pyarrow_to_schema,
    schema_to_pyarrow,
)
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.types import IcebergType

from lambdas.load.catalog import WarehouseTable
from pipeline.applied_run import APPLIED_THROUGH, BEGAN_AT, BUILT_ANEW
from pipeline.aws_errors import translated_aws_errors
from pipeline.errors import AccessRefused, ObjectStoreUnavailable, StarSchemaMismatch

if TYPE_CHECKING:
    from botocore.config import _RetryDict
    from botocore.credentials import Credentials
    from mypy_boto3_glue.type_defs import GetTablesResponseTypeDef
    from mypy_boto3_s3 import S3Client

_QUARANTINE = "quarantine"
_NOT_KEPT = "not kept: "
_RULES = ("broken_rules", "reason")
"""The columns with the rules: rows of builds before `broken_rules` have a text."""
_SEQUENCE = "_sequence"
_FIELD_ID = b"PARQUET:field_id"
_RETRIES: "_RetryDict" = {"max_attempts": 10, "mode": "standard"}
_ROWS_AT_A_TIME = 8_192
_READ_BYTES = 512 * 1024
"""How much of a column a request to Amazon S3 brings: each column holds as much in memory."""
_WHOLE_BYTES = 4 * 1024 * 1024
"""A data file of this size or less is read by one request, instead of one for each column."""


def glue_catalog(client: "S3Client", credentials: "Credentials | None" = None) -> GlueCatalog:
    """Returns the Glue Data Catalog, whose files are read with the S3 client's settings.

    pyiceberg reads files with Arrow's S3 client, which does not read the AWS SDK's settings.

    Args:
        client: Amazon S3.
        credentials: The credentials to read files with. Without them Arrow looks for credentials
            once for each table, which takes 20 ms.
    """
    held = credentials.get_frozen_credentials() if credentials else None
    # boto3's own session has read the description of AWS Glue if the process has loaded before.
    return GlueCatalog(
        "glue",
        boto3.client("glue", config=Config(retries=_RETRIES)),
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
        files: The number of data files that were read completely.
        rows: The number of rows that were read of the next file.
    """

    files: int = 0
    rows: int = 0


_START = Position()


@dataclass(frozen=True)
class TableBuild:
    """What the build of a table committed.

    Attributes:
        rows: Rows that it wrote into files, those of replaced files included.
        seconds: How long it took, until its snapshot.
    """

    rows: int
    seconds: float


@dataclass(frozen=True)
class Versions:
    """The rows of a table that a range of runs brought, in one snapshot of the table.

    Attributes:
        table: The Iceberg table; None if no build has made it.
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
        """The id of the snapshot; None if the table has none."""
        return next((one.snapshot_id for one in _lineage(self.table)), None)

    @property
    def applied_through(self) -> int | None:
        """The newest run that the snapshot shows: 0 without rows, None if nothing tells.

        A build writes the run into the summary of its snapshot. A compaction makes a newer snapshot
        that lacks it, and a rollback makes an older snapshot current. So the first summary counts
        that has a run among those of the snapshot and its ancestors.
        """
        return _applied_through(self.table)

    @property
    def built_anew(self) -> int | None:
        """The newest snapshot of a build that replaced all rows; None if none is known."""
        snapshots = _lineage(self.table)
        anew = (one.snapshot_id for one in snapshots if _summary(one).get(BUILT_ANEW) == "true")
        return next(anew, None)

    @property
    def newest_build(self) -> TableBuild | None:
        """The newest build of which the snapshot has rows; None if there is none, or it is old."""
        for snapshot in _lineage(self.table):
            told = _summary(snapshot)
            if BEGAN_AT in told and int(told[APPLIED_THROUGH]) > self.after:
                seconds = (snapshot.timestamp_ms - int(told[BEGAN_AT])) / 1000
                return TableBuild(int(told.get("added-records", 0)), round(max(0.0, seconds), 1))
        return None

    @property
    def types(self) -> dict[str, IcebergType | None]:
        """The columns' types; None for each before any build has made the table."""
        if self.table is None:
            return dict.fromkeys(self.names)
        schema = self.table.schema()
        return {name: schema.find_field(name).field_type for name in self.names}

    @property
    def most_rows(self) -> int:
        """The number of rows in the files: an upper bound."""
        return sum(task.file.record_count for task in self.files)

    def batches(self, start: Position = _START) -> Iterator[tuple[Position, pa.RecordBatch]]:
        """Yields the rows in batches, each with the position after it.

        The order is the same at every reading. Memory does not depend on the number of rows.

        Args:
            start: Where to start.

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
    """The star schema's Glue database.

    Attributes:
        catalog: The Glue Data Catalog.
        database: The database's name.
        locations: The address of each table's metadata, as it was when the database was listed.
            For other tables the catalogue is asked one by one; None for all.
    """

    catalog: GlueCatalog
    database: str
    locations: Mapping[str, str] | None = None

    def listed(self) -> Self:
        """Returns the lake as it is now: one request for all tables instead of one for each.

        Raises:
            ObjectStoreUnavailable: The catalogue could not be read.
        """
        with _translated_errors("the tables"), ThreadPoolExecutor(1) as pool:
            # Arrow takes 15 ms to start what reads from Amazon S3, without the interpreter's lock.
            starting = pool.submit(ensure_s3_initialized)
            locations = {
                entry["Name"]: entry.get("Parameters", {}).get("metadata_location", "")
                for page in self._pages()
                for entry in page["TableList"]
            }
            starting.result()
        return dataclasses.replace(self, locations=locations)

    def _pages(self) -> Iterator["GetTablesResponseTypeDef"]:
        """Yields the catalogue's tables: the AWS SDK takes 8 ms to make a paginator."""
        page = self.catalog.glue.get_tables(DatabaseName=self.database)
        yield page
        while token := page.get("NextToken"):
            page = self.catalog.glue.get_tables(DatabaseName=self.database, NextToken=token)
            yield page

    @cached_property
    def _io(self) -> FileIO:
        """The reader of all tables' files: each reader has connections of its own."""
        return load_file_io(self.catalog.properties)

    def versions(self, table: WarehouseTable, *, after: int, through: int) -> Versions:
        """Returns the rows of a table that a range of runs brought, in the warehouse's columns.

        A table that no build has made has no rows.

        Args:
            table: The warehouse's table.
            after: Only rows of later runs.
            through: Only rows of this run and earlier ones.

        Raises:
            StarSchemaMismatch: The lake's table lacks a column of the warehouse's.
            ObjectStoreUnavailable: The lake could not be read.
        """
        return self._versions(table, after, through, None)

    def versions_then(
        self, table: WarehouseTable, *, through: int, snapshot: int
    ) -> Versions | None:
        """Returns the rows that a snapshot of a table had; None if the snapshot has expired.

        Raises:
            StarSchemaMismatch: The lake's table lacks a column of the warehouse's.
            ObjectStoreUnavailable: The lake could not be read.
        """
        held = self._table(table.name)
        if held is None or held.snapshot_by_id(snapshot) is None:
            return None
        return self._versions(table, 0, through, snapshot)

    def _versions(
        self, table: WarehouseTable, after: int, through: int, snapshot: int | None
    ) -> Versions:
        names = tuple(column.name for column in table.columns)
        held = self._table(table.name)
        if held is None:
            return Versions(None, (), names, after, through)
        known = set(held.schema().column_names)
        if missing := [name for name in names if name not in known]:
            raise StarSchemaMismatch(
                f"{table.name} has no {', '.join(missing)} in the lake: declare the column and "
                "rebuild, or drop it from the warehouse by a migration"
            )
        nothing = Versions(held, (), names, after, through)
        built = _applied_through(held)
        if snapshot is None and built is not None and built <= after:
            # No row of the table is of a later run: the manifests need not be read.
            return nothing
        condition = _of_runs(after, through)
        with _translated_errors(table.name):
            files = held.scan(row_filter=condition, snapshot_id=snapshot).plan_files()
            in_order = sorted(files, key=lambda task: task.file.file_path)
        return dataclasses.replace(nothing, files=tuple(in_order))

    def malformed(self, table: WarehouseTable, natural_key: str) -> frozenset[str]:
        """Returns the keys in the lake's quarantine that have no later version.

        A row that was corrected to the version before leaves no version, and neither does a row
        that was deleted before it had one: both are among the keys.

        Args:
            table: A fact.
            natural_key: The name of its natural key.

        Raises:
            ObjectStoreUnavailable: The lake could not be read.
        """
        quarantine, facts = self._table(_QUARANTINE), self._table(table.name)
        if quarantine is None or facts is None:
            return frozenset()
        of_table = EqualTo(term=Reference("star_table"), value=literal(table.name))
        newest = _newest(quarantine, of_table, ("natural_key", _SEQUENCE))
        if not newest:
            return frozenset()
        keys = In(term=Reference(natural_key), values=set(map(literal, newest)))
        replaced = _newest(facts, keys, (natural_key, _SEQUENCE))
        return frozenset(key for key, sequence in newest.items() if replaced.get(key, 0) < sequence)

    def broken_rules(
        self, runs: Mapping[str, tuple[int, int]]
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yields the quarantined rows of ranges of runs: star table, and the rules it breaks.

        Args:
            runs: For each star table the run after which its range begins, and the last run of it.

        Raises:
            ObjectStoreUnavailable: The lake could not be read.
        """
        wanted = {table: (after, last) for table, (after, last) in runs.items() if after < last}
        quarantine = self._table(_QUARANTINE) if wanted else None
        if quarantine is None:
            return
        after = min(after for after, _ in wanted.values())
        through = max(last for _, last in wanted.values())
        kept = [name for name in _RULES if name in quarantine.schema().column_names]
        if not kept:
            raise StarSchemaMismatch(
                f"{_QUARANTINE} of the lake has neither {' nor '.join(_RULES)}: drop it, "
                'and start the state machine with {"rebuild": true}'
            )
        names = ("star_table", _SEQUENCE, *kept)
        condition = _of_runs(after, through)
        for batch in _batches(quarantine, condition, names):
            for row in batch.to_pylist():
                first, last = wanted.get(row["star_table"], (0, 0))
                if first < row[_SEQUENCE] <= last:
                    yield row["star_table"], _rules(row)

    def _table(self, name: str) -> Table | None:
        with _translated_errors(name):
            # AWS Lake Formation lists no table that this role may not read.
            if self.locations is None or name not in self.locations:
                try:
                    return self.catalog.load_table((self.database, name))
                except (NoSuchIcebergTableError, NoSuchPropertyException) as error:
                    raise self._no_iceberg_table(name) from error
                except NoSuchTableError:
                    return None
            if not (location := self.locations[name]):
                raise self._no_iceberg_table(name)
            metadata = FromInputFile.table_metadata(self._io.new_input(location))
            return Table((self.database, name), metadata, location, self._io, self.catalog)

    def _no_iceberg_table(self, name: str) -> StarSchemaMismatch:
        return StarSchemaMismatch(
            f"{name} of the Glue database {self.database} is no Iceberg table: drop it there, and "
            'start the state machine with {"rebuild": true}'
        )


def _of_runs(after: int, through: int) -> BooleanExpression:
    """Returns the condition of rows of a range of runs: to parse it from a text takes 2 ms."""
    sequence = Reference(_SEQUENCE)
    later = GreaterThan(term=sequence, value=literal(after))
    return And(left=later, right=LessThanOrEqual(term=sequence, value=literal(through)))


def _rules(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the rules that a quarantined row breaks."""
    if row.get("broken_rules"):
        return tuple(row["broken_rules"])
    reason = row.get("reason") or "a rule that the quarantine does not name"
    return tuple(rule.removeprefix(_NOT_KEPT) for rule in reason.split("; "))


def _newest(table: Table, condition: BooleanExpression, names: tuple[str, str]) -> dict[str, int]:
    """Returns the newest run of each key; `names` are the columns of the key and of the run."""
    newest: dict[str, int] = {}
    for batch in _batches(table, condition, names):
        for row in batch.to_pylist():
            key, sequence = (row[name] for name in names)
            newest[str(key)] = max(newest.get(str(key), 0), sequence)
    return newest


def _batches(
    table: Table, condition: BooleanExpression, names: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """Yields rows, one data file at a time; pyiceberg's own reader decodes all files ahead."""
    with _translated_errors(".".join(table.name())):
        scan = table.scan(row_filter=condition, selected_fields=names)
        reader = ArrowScan(table.metadata, table.io, scan.projection(), condition)
        for task in scan.plan_files():
            for batch in reader.to_record_batches([task]):
                yield batch.select(names)


def _rows_of_file(
    table: Table, task: FileScanTask, names: tuple[str, ...], skip: int
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a data file that are not deleted after the first `skip`, a few at a time.

    pyiceberg's own reader decodes a whole file before it yields a row.
    """
    deletes = _read_all_delete_files(table.io, [task]).get(task.file.file_path, [])
    with table.io.new_input(task.file.file_path).open() as stream:
        is_small = task.file.file_size_in_bytes <= _WHOLE_BYTES
        source = pa.BufferReader(stream.read()) if is_small else stream
        file = pq.ParquetFile(source, buffer_size=_READ_BYTES, pre_buffer=False)
        in_file = _names_by_id(table, file.schema_arrow)
        kinds = schema_to_pyarrow(table.schema().select(*names))
        held = {name: in_file.get(table.schema().find_field(name).field_id) for name in names}
        columns = [column for column in held.values() if column]
        batches = file.iter_batches(_ROWS_AT_A_TIME, columns=columns, use_threads=False)
        for batch in _without(skip, _left(batches, deletes)):
            yield pa.record_batch(
                [
                    batch.column(column)
                    if column
                    else pa.nulls(batch.num_rows, kinds.field(name).type)
                    for name, column in held.items()
                ],
                names=list(names),
            )


def _names_by_id(table: Table, schema: pa.Schema) -> dict[int, str]:
    """Returns the names that a data file gives the fields of its table, by the fields' ids."""
    named = {
        int(field.metadata[_FIELD_ID]): field.name
        for field in schema
        if field.metadata and _FIELD_ID in field.metadata
    }
    if named:
        return named
    # A file that was added as it was: the table maps its names.
    mapped = pyarrow_to_schema(schema, table.name_mapping())
    return {field.field_id: field.name for field in mapped.fields}


def _left(
    batches: Iterable[pa.RecordBatch], deletes: list[pa.ChunkedArray]
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a file without those at the places of its delete files."""
    places = pa.chunked_array([chunk for one in deletes for chunk in one.chunks], pa.int64())
    deleted = pc.unique(places).sort()
    start = 0
    for batch in batches:
        end = start + batch.num_rows
        first, last = (
            bisect_left(deleted, place, key=methodcaller("as_py")) for place in (start, end)
        )
        gone = deleted.slice(first, last - first)
        kept = pc.invert(pc.is_in(pa.array(range(start, end), pa.int64()), value_set=gone))
        yield batch.filter(kept) if len(gone) else batch
        start = end


def _without(skip: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields the rows after the first `skip`."""
    for batch in batches:
        if skip < batch.num_rows:
            yield batch.slice(skip)
        skip = max(0, skip - batch.num_rows)


def _lineage(table: Table | None) -> Iterator[Snapshot]:
    """Yields a table's current snapshot and its ancestors, the newest first."""
    current = table.current_snapshot() if table else None
    if table is not None and current is not None:
        yield from ancestors_of(current, table.metadata)


def _applied_through(table: Table | None) -> int | None:
    """Returns what `Versions.applied_through` is of a table."""
    summaries = [_summary(one) for one in _lineage(table)]
    told = next((one[APPLIED_THROUGH] for one in summaries if APPLIED_THROUGH in one), None)
    if told is not None:
        return int(told)
    return None if summaries and summaries[0].get("total-records") != "0" else 0


def _summary(snapshot: Snapshot) -> dict[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    doing = f"read {name} of the lake"
    with translated_aws_errors(doing):
        try:
            yield
        except FileNotFoundError as error:
            raise StarSchemaMismatch(
                f"could not {doing} ({error}): a file is missing. Restore it from its versions in "
                'the bucket, or start the state machine with {"rebuild": true}'
            ) from error
        except OSError as error:
            # Arrow's own S3 client: its message has the code of S3.
            kind = AccessRefused if "ACCESS_DENIED" in str(error) else ObjectStoreUnavailable
            raise kind(f"could not {doing}: {error}") from error
        except (ValueError, pa.ArrowException) as error:
            raise StarSchemaMismatch(
                f"could not {doing} ({error}): a file is damaged, or another engine wrote it in a "
                'form that Load does not read. Start the state machine with {"rebuild": true}'
            ) from error
