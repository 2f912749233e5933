"""The fingerprints of the source's star rows, which Ingest wrote to the raw bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.fingerprints import StarFingerprints
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class SourceFingerprints:
    """The fingerprints of one run.

    Attributes:
        bucket: The raw bucket.
        client: The S3 client.
        tables: The fingerprints of each star table.
    """

    bucket: str
    client: "S3Client"
    tables: tuple[StarFingerprints, ...]

    def of(self, table: str) -> StarFingerprints | None:
        """Returns the fingerprints of a star table; None if there are none."""
        return next((one for one in self.tables if one.table == table), None)

    def rows(self, fingerprints: StarFingerprints) -> Iterator[pa.RecordBatch]:
        """Yields key, fingerprint and waits_in of every row, one file at a time.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer.
            ObjectMissing: A file has expired.
        """
        objects = ObjectStore(self.bucket, self.client)
        for key in fingerprints.files:
            content = objects.get(key)
            yield from pq.ParquetFile(pa.BufferReader(content)).iter_batches()
