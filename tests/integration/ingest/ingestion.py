"""A source, a raw zone, and the ingests between them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from lambdas.ingest.ingest import Connect, IngestRequest, IngestResult, ingest
from pipeline.manifest import Capture, Manifest, ManifestStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Row = dict[str, Any]


@dataclass(frozen=True)
class Ingestion:
    """What a test does to a source, and what it finds in the raw zone.

    Attributes:
        dsn: The source.
        bucket: The raw bucket.
        client: The S3 client.
        joined: The tables that the star schema joins.
    """

    dsn: str
    bucket: str
    client: "S3Client"
    joined: frozenset[str] = frozenset()

    def connect(self) -> psycopg.Connection:
        """Opens a connection to the source."""
        return psycopg.connect(self.dsn)

    def execute(self, *statements: LiteralString) -> None:
        """Runs statements at the source, each in a transaction of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def run(
        self,
        *,
        connect: Connect | None = None,
        full_refresh: bool | tuple[str, ...] = False,
        verify: bool = False,
        readers: int = 1,
    ) -> IngestResult:
        """Ingests once."""
        return ingest(
            IngestRequest("a-run", full_refresh, verify),
            connect=connect or self.connect,
            bucket=self.bucket,
            client=self.client,
            joined=self.joined,
            readers=readers,
        )

    def manifest(self) -> Manifest:
        """Returns the newest run's manifest."""
        newest = ManifestStore(self.bucket, self.client).newest()
        assert newest is not None
        return newest

    def taken(self, table: str) -> list[Row]:
        """Returns the rows of a table that the newest run took."""
        return self.files(self.manifest().tables[table].files)

    def swept(self, table: str) -> list[Row]:
        """Returns the keys of a table that the newest run swept."""
        assert self.manifest().tables[table].keys_swept
        return self.files(self.manifest().tables[table].key_files)

    def files(self, keys: tuple[str, ...]) -> list[Row]:
        """Returns the rows of Parquet files."""
        return [row for key in keys for row in self.file(key).to_pylist()]

    def file(self, key: str) -> pa.Table:
        """Returns a Parquet file."""
        body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return pq.read_table(pa.BufferReader(body))

    def objects(self) -> dict[str, str]:
        """Returns the raw bucket's keys with their contents' digests."""
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"]: entry["ETag"] for entry in found}


def captures(result: IngestResult) -> dict[str, tuple[Capture, int]]:
    """Returns how a run took each table, and how many rows."""
    return {table.table: (table.capture, table.rows) for table in result.tables}
