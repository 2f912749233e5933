"""What Ingest found the source to make of the star tables: fingerprints in the raw bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import ObjectStoreUnavailable
from pipeline.fingerprints import StarFingerprints

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class SourceFingerprints:
    """The fingerprints of one run.

    Attributes:
        bucket: The raw bucket.
        client: The S3 client.
        tables: What there is of each star table.
    """

    bucket: str
    client: "S3Client"
    tables: tuple[StarFingerprints, ...]

    def of(self, table: str) -> StarFingerprints | None:
        """Returns what there is of a star table."""
        return next((one for one in self.tables if one.table == table), None)

    def rows(self, fingerprints: StarFingerprints) -> Iterator[pa.RecordBatch]:
        """Yields key, fingerprint and waits_in of every row; one file is held at a time.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer, or a file has gone.
        """
        for key in fingerprints.files:
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                content = answer["Body"].read()
            except (ClientError, BotoCoreError) as error:
                raise ObjectStoreUnavailable(
                    f"could not read s3://{self.bucket}/{key}: {error}"
                ) from error
            yield from pq.ParquetFile(pa.BufferReader(content)).iter_batches()
