"""Reads the star schema's new versions from the Iceberg tables, as streams of record batches."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions.parser import parse
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table

from lambdas.load.catalog import WarehouseTable
from pipeline.errors import ObjectStoreUnavailable, StarSchemaMismatch

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

_QUARANTINE = "quarantine"
_NOT_KEPT = "not kept: "


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
class Malformed:
    """A source row that the build could not turn into a fact.

    Attributes:
        natural_key: The source row's key.
        values: The source row's columns by name; numbers are exact.
    """

    natural_key: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Lake:
    """The star schema's Glue database."""

    catalog: Catalog
    database: str

    def versions(
        self, table: WarehouseTable, *, after: int, through: int
    ) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table that runs brought, in the warehouse's columns and order.

        A table that no build has made yet has no rows.

        Args:
            table: The warehouse's table.
            after: Only rows of later runs.
            through: Only rows of this run and earlier ones.

        Raises:
            StarSchemaMismatch: The lake's table lacks a column of the warehouse's.
            ObjectStoreUnavailable: The lake could not be read.
        """
        held = self._table(table.name)
        if held is None:
            return
        names = tuple(column.name for column in table.columns)
        known = set(held.schema().column_names)
        if missing := [name for name in names if name not in known]:
            raise StarSchemaMismatch(
                f"{table.name} has no {', '.join(missing)} in the lake: add it to the table's SQL "
                "file and rebuild, or take it out of the warehouse by a migration"
            )
        yield from _batches(held, f"_sequence > {after} and _sequence <= {through}", names)

    def malformed(self, table: WarehouseTable, natural_key: str) -> tuple[Malformed, ...]:
        """Returns the rows in the lake's quarantine that no later version has replaced.

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
            return ()
        newest: dict[int, tuple[int, dict[str, Any]]] = {}
        columns = ("natural_key", "source_row", "_sequence")
        for batch in _batches(quarantine, f"star_table = '{table.name}'", columns):
            for row in batch.to_pylist():
                key = int(row["natural_key"])
                values = json.loads(row["source_row"], parse_float=Decimal)
                newest[key] = max(
                    newest.get(key, (0, {})), (row["_sequence"], values), key=lambda seen: seen[0]
                )
        if not newest:
            return ()
        replaced: dict[int, int] = {}
        keys = ", ".join(str(key) for key in newest)
        for batch in _batches(facts, f"{natural_key} in ({keys})", (natural_key, "_sequence")):
            for row in batch.to_pylist():
                key = row[natural_key]
                replaced[key] = max(replaced.get(key, 0), row["_sequence"])
        return tuple(
            Malformed(key, values)
            for key, (sequence, values) in sorted(newest.items())
            if replaced.get(key, 0) < sequence
        )

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
        for batch in _batches(quarantine, condition, ("star_table", "reason")):
            for row in batch.to_pylist():
                rules = row["reason"].split("; ")
                yield row["star_table"], tuple(rule.removeprefix(_NOT_KEPT) for rule in rules)

    def _table(self, name: str) -> Table | None:
        with _translated_errors(name):
            try:
                return self.catalog.load_table((self.database, name))
            except NoSuchTableError:
                return None


def _batches(table: Table, condition: str, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Yields rows one data file after another: pyiceberg's own reader decodes them all ahead."""
    with _translated_errors(".".join(table.name())):
        scan = table.scan(row_filter=condition, selected_fields=names)
        reader = ArrowScan(table.metadata, table.io, scan.projection(), parse(condition))
        for task in scan.plan_files():
            for batch in reader.to_record_batches([task]):
                yield batch.select(names)


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        raise ObjectStoreUnavailable(f"could not read {name} of the lake: {error}") from error
