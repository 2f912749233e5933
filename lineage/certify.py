"""Checks lake and warehouse against the certificate of a verified run: `make certify`.

The source has moved on since, so nothing is said of it: only a new verification proves it.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit

import boto3
import psycopg

from lambdas.load.catalog import WarehouseTable, read_star_tables
from lambdas.load.lake import Lake
from lambdas.load.position import positions
from lambdas.load.staging import TemporaryStaging
from lambdas.load.verify import digest_of, lake_rows, warehouse_rows
from lineage.places import places
from local.stack import NotUp
from pipeline import warehouse_schema
from pipeline.certificate import Certificate, CertifiedTable
from pipeline.database import Role
from pipeline.errors import InvalidInput, PipelineError, first_line
from pipeline.object_store import ObjectStore
from star_schema.tables import star_tables

_CHANGED_SINCE: LiteralString = """
select coalesce(
    pg_catalog.sum(
        (tables -> %(table)s ->> 'inserted')::bigint + (tables -> %(table)s ->> 'updated')::bigint
    ),
    0
)
from pipeline_run
where sequence > %(sequence)s
"""


class Outcome(StrEnum):
    """What a check found."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NO_LONGER_CHECKABLE = "no longer checkable"


@dataclass(frozen=True)
class Checked:
    """A star table of the lake or the warehouse, compared with the certificate."""

    table: str
    place: str
    outcome: Outcome
    reason: str = ""


def check(
    certificate: Certificate, lake: Lake, connection: psycopg.Connection
) -> Iterator[Checked]:
    """Yields for each star table whether lake and warehouse still have what was certified.

    Args:
        certificate: The certificate.
        lake: The star schema.
        connection: The warehouse, in autocommit mode. Nothing is written but temporary tables.
    """
    tables = {table.name: table for table in read_star_tables(connection, star_tables())}
    for certified in certificate.tables:
        if certified.table in tables:
            checking = _Checking(certificate, lake, connection)
            yield from checking.of(tables[certified.table], certified)
        else:
            reason = "the warehouse has no such table"
            yield Checked(certified.table, "warehouse", Outcome.DIFFERS, reason)
    for name in sorted(tables.keys() - {one.table for one in certificate.tables}):
        reason = "the certificate does not have it"
        yield Checked(name, "warehouse", Outcome.NO_LONGER_CHECKABLE, reason)


class _Checking:
    def __init__(
        self, certificate: Certificate, lake: Lake, connection: psycopg.Connection
    ) -> None:
        self._run = certificate.sequence
        self._lake = lake
        self._connection = connection
        self._positions = positions(connection)

    def of(self, table: WarehouseTable, certified: CertifiedTable) -> Iterator[Checked]:
        with self._connection.transaction(force_rollback=True):
            kept = self._lake.versions_then(
                table, through=self._run, snapshot=certified.snapshot or 0
            )
            versions = kept or self._lake.versions(table, after=0, through=self._run)
            staging = TemporaryStaging(self._connection, {table.name: versions})
            staging.prepare(table)
            lake = digest_of(self._connection, lake_rows(table, staging))
            is_same = lake == certified.lake
            if is_same or kept or table.is_fact:
                outcome = Outcome.EQUAL if is_same else Outcome.DIFFERS
                yield Checked(table.name, "lake", outcome)
            else:
                reason = "its snapshot has expired, and a dimension keeps the latest rows only"
                yield Checked(table.name, "lake", Outcome.NO_LONGER_CHECKABLE, reason)
            yield self._of_warehouse(table, certified, staging)

    def _of_warehouse(
        self, table: WarehouseTable, certified: CertifiedTable, staging: TemporaryStaging
    ) -> Checked:
        if self._positions.get(table.name, 0) < self._run:
            reason = f"it is loaded through run {self._positions.get(table.name, 0)} only"
            return Checked(table.name, "warehouse", Outcome.DIFFERS, reason)
        rows = warehouse_rows(
            self._connection,
            table,
            staging,
            self._positions.keys(),
            (certified.last_key or 0) if table.is_fact else None,
        )
        if digest_of(self._connection, rows) == certified.warehouse:
            return Checked(table.name, "warehouse", Outcome.EQUAL)
        if not table.is_fact and self._has_changed(table):
            reason = "later runs have changed it, and a dimension keeps the latest rows only"
            return Checked(table.name, "warehouse", Outcome.NO_LONGER_CHECKABLE, reason)
        return Checked(table.name, "warehouse", Outcome.DIFFERS)

    def _has_changed(self, table: WarehouseTable) -> bool:
        asked = {"table": table.name, "sequence": self._run}
        return self._connection.execute(_CHANGED_SINCE, asked).fetchone() != (0,)


def read_certificate(place: str) -> Certificate:
    """Reads a certificate from a file or from an `s3://` address.

    Raises:
        InvalidInput: There is none.
    """
    if place.startswith("s3://"):
        address = urlsplit(place)
        objects = ObjectStore(address.netloc, boto3.client("s3"))
        return Certificate.from_json(objects.get(address.path.lstrip("/")))
    try:
        return Certificate.from_json(Path(place).read_bytes())
    except OSError as error:
        raise InvalidInput(f"FILE={place} cannot be read: {error.strerror}") from error


def main() -> int:
    """Checks one certificate; returns 1 if something differs, 2 if it cannot be checked."""
    parser = argparse.ArgumentParser(prog="python -m lineage.certify")
    parser.add_argument("file", help="a certificate: a file, or its s3:// address")
    parser.add_argument("--env", default="", help="an environment of samconfig.toml")
    options = parser.parse_args()
    try:
        stack = places(options.env)
        certificate = read_certificate(options.file)
        if not certificate.is_as_written:
            sys.stdout.write("the certificate differs: it was changed after it had been written\n")
            return 1
        with stack.connect(Role.WAREHOUSE) as connection:
            connection.autocommit = True
            warehouse_schema.enter(connection.cursor())
            lake = Lake(stack.catalog(), stack.glue_database)
            found = list(check(certificate, lake, connection))
    except (NotUp, PipelineError, psycopg.Error) as error:
        sys.stderr.write(f"{first_line(error)}\n")
        return 2
    for one in found:
        reason = f": {one.reason}" if one.reason else ""
        sys.stdout.write(f"{one.table:22} {one.place:10} {one.outcome}{reason}\n")
    sys.stdout.write(
        f"Run {certificate.sequence} was proved equal to the source of {certificate.snapshot_at}. "
        'The source has moved on: only a new execution with {"verify": true} proves it.\n'
    )
    return int(any(one.outcome is Outcome.DIFFERS for one in found))


if __name__ == "__main__":
    sys.exit(main())
