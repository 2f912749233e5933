"""A source, a raw zone, and the ingests between them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import EndpointConnectionError

from lambdas.ingest.continuity import REREAD_LIMIT_BYTES
from lambdas.ingest.ingest import Connect, IngestResult, ingest
from lambdas.ingest.scope import DEFAULT_SCOPE, Scope
from pipeline.manifest import Capture, Manifest, ManifestStore
from pipeline.requests import IngestRequest
from star_schema.tables import StarTable

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
        stars: The star tables, for fingerprints.
    """

    dsn: str
    bucket: str
    client: "S3Client"
    joined: frozenset[str] = frozenset()
    stars: tuple[StarTable, ...] = ()

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
        run_id: str = "a-run",
        is_last_attempt: bool = True,
        reread_limit_bytes: int = REREAD_LIMIT_BYTES,
        scope: Scope = DEFAULT_SCOPE,
        seconds_left: Callable[[], float] = lambda: 1000.0,
    ) -> IngestResult:
        """Ingests once."""
        return ingest(
            IngestRequest(run_id, full_refresh, verify=verify, is_last_attempt=is_last_attempt),
            connect=connect or self.connect,
            bucket=self.bucket,
            client=self.client,
            joined=self.joined,
            stars=self.stars,
            readers=readers,
            reread_limit_bytes=reread_limit_bytes,
            scope=scope,
            seconds_left=seconds_left,
        )

    def joining(self, *tables: str) -> "Ingestion":
        """Returns the same for a star schema that joins these tables."""
        return replace(self, joined=frozenset(tables))

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

    @contextmanager
    def before_put(self, prefix: str, then: Callable[[], object]) -> Iterator[None]:
        """Does something else before the first object under a prefix is put."""
        is_done = False

        def before(params: dict[str, Any], **_: object) -> None:
            nonlocal is_done
            if not is_done and f"/{self.bucket}/{prefix}" in params["url"]:
                is_done = True
                then()

        self.client.meta.events.register("before-call.s3.PutObject", before)
        try:
            yield
        finally:
            self.client.meta.events.unregister("before-call.s3.PutObject", before)

    @contextmanager
    def failing_puts(self, first: int) -> Iterator[None]:
        """Has every put of an object fail, from the one of that number on."""
        puts = 0

        def refuse(**_: object) -> None:
            nonlocal puts
            puts += 1
            if puts > first:
                raise EndpointConnectionError(endpoint_url="https://s3")

        self.client.meta.events.register("before-call.s3.PutObject", refuse)
        try:
            yield
        finally:
            self.client.meta.events.unregister("before-call.s3.PutObject", refuse)

    def at_snapshot(
        self, then: Callable[[psycopg.Connection], object]
    ) -> Callable[[], psycopg.Connection]:
        """Connects so that something else is done once a run has taken its snapshot."""

        class Connection(psycopg.Connection[Any]):
            def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
                cursor = super().execute(query, *args, **kwargs)
                if "pg_export_snapshot" in str(query):
                    then(self)
                return cursor

        return lambda: Connection.connect(self.dsn)

    def objects(self) -> dict[str, str]:
        """Returns the raw bucket's keys with their contents' digests."""
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"]: entry["ETag"] for entry in found}


Encoded = Callable[[str], AbstractContextManager[Ingestion]]
"""Makes a source whose database has another encoding, and drops it."""


def not_taken(result: IngestResult) -> dict[str, str]:
    """Returns why a run did not take some tables."""
    return {table.table: table.not_taken for table in result.tables if table.not_taken}


def captures(result: IngestResult) -> dict[str, tuple[Capture, int]]:
    """Returns how a run took each table, and how many rows."""
    return {table.table: (table.capture, table.rows) for table in result.tables}
