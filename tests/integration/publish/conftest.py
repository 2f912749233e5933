"""A raw zone of manifests, and its Glue database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from lambdas.publish.glue_tables import GlueTables
from lambdas.publish.raw_catalogue import RawCatalogue
from local.postgres import PostgresServer
from pipeline.manifest import Capture, Column, Manifest, ManifestStore, Statistics, TableCapture

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import TableTypeDef
    from mypy_boto3_s3 import S3Client

DESIGN = (Column("design_id", "integer", "int32"), Column("design_name", "text", "string"))


@dataclass
class RawZone:
    """Runs in a raw bucket, by their manifests alone: the catalogue reads no file."""

    bucket: str
    database: str
    client: "S3Client"
    glue: "GlueClient"
    newest: Manifest | None = None

    def commit(
        self,
        *,
        day: str = "2026-01-31",
        files: int = 1,
        not_held: int = 0,
        tables: Mapping[str, tuple[Column, ...]] | None = None,
        **plain: tuple[Column, ...],
    ) -> int:
        """Adds a run that captured tables, each with its columns; all others had not changed."""
        before = self.newest.tables if self.newest else {}
        sequence = self.newest.sequence + 1 if self.newest else 1
        captured = {
            name: self._capture(name, columns, sequence, day, files, not_held, before.get(name))
            for name, columns in {**(tables or {}), **plain}.items()
        }
        self.newest = Manifest(
            sequence, f"run-{sequence}", f"{day}T00:00:00Z", "1/1", 9, {**before, **captured}
        )
        self.store().commit(self.newest)
        return sequence

    def store(self) -> ManifestStore:
        return ManifestStore(self.bucket, self.client)

    def catalogue(self, sequence: int) -> list[str]:
        tables = GlueTables(self.database, self.glue)
        return RawCatalogue(self.store(), self.bucket, tables).catalogue(sequence)

    def entry(self, table: str) -> "TableTypeDef":
        """Returns a table's entry."""
        return self.glue.get_table(DatabaseName=self.database, Name=table)["Table"]

    def entries(self) -> "list[TableTypeDef]":
        """Returns the entries of all tables."""
        return self.glue.get_tables(DatabaseName=self.database)["TableList"]

    def columns(self, table: str) -> dict[str, str]:
        """Returns the catalogued columns of a table, with their types."""
        entry = self.glue.get_table(DatabaseName=self.database, Name=table)["Table"]
        return {one["Name"]: one["Type"] for one in entry["StorageDescriptor"]["Columns"]}

    def days(self, table: str) -> dict[str, str]:
        """Returns the catalogued partitions of a table, with their folders in the bucket."""
        pages = self.glue.get_paginator("get_partitions").paginate(
            DatabaseName=self.database, TableName=table
        )
        return {
            "-".join(one["Values"]): one["StorageDescriptor"]["Location"].removeprefix(
                f"s3://{self.bucket}/"
            )
            for page in pages
            for one in page["Partitions"]
        }

    @staticmethod
    def _capture(
        name: str,
        columns: tuple[Column, ...],
        sequence: int,
        day: str,
        files: int,
        not_held: int,
        last: TableCapture | None,
    ) -> TableCapture:
        year, month, date = day.split("-")
        return TableCapture(
            capture=Capture.CHANGES,
            rows=files,
            files=tuple(
                f"raw/{name}/year={year}/month={month}/day={date}/{sequence:010d}-{part:04d}.parquet"
                for part in range(files)
            ),
            key_files=(f"raw_keys/{name}/year={year}/month={month}/day={date}/keys.parquet",),
            not_held=not_held,
            quarantine_files=tuple(
                f"raw_quarantine/{name}/year={year}/month={month}/day={date}/{part}.parquet"
                for part in range(not_held)
            ),
            keys_swept=True,
            columns=columns,
            primary_key=(columns[0].name,),
            table_oid=1,
            horizon=1,
            statistics=Statistics(0, 0, 0, 0, None),
            content_digest=None,
            changed_in=sequence,
            previous_change=last.changed_in if last else 0,
        )


@pytest.fixture
def raw_zone(
    raw_bucket: str, new_glue_database: Callable[[], str], s3: "S3Client", glue: "GlueClient"
) -> RawZone:
    """A raw zone without runs."""
    return RawZone(raw_bucket, new_glue_database(), s3, glue)


@pytest.fixture
def new_raw_bucket(new_bucket: Callable[[str], str]) -> str:
    """Another empty bucket to be the raw zone."""
    return new_bucket("raw")


@pytest.fixture
def lake_bucket(new_bucket: Callable[[str], str]) -> str:
    """An empty bucket to be the lake."""
    return new_bucket("lake")


@pytest.fixture
def socket_dsn(postgres_server: PostgresServer, warehouse_dsn: str) -> str:
    """How to reach the warehouse over a unix socket."""
    return postgres_server.socket_dsn(str(conninfo_to_dict(warehouse_dsn)["dbname"]))
