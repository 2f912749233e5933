"""An object of Amazon S3 that is written as its bytes come, and appears whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.aws_errors import translated_aws_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 * 1024 * 1024
"""What is held in memory. An object has at most 10,000 parts (Amazon S3 User Guide, "Amazon S3
multipart upload limits"): this makes 160 GB."""


class S3Upload:
    """A multipart upload, as a stream to write to."""

    def __init__(self, bucket: str, key: str, upload_id: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._client = client
        self._held = bytearray()
        self._parts: list[CompletedPartTypeDef] = []

    def write(self, data: bytes) -> None:
        """Takes some bytes, and sends a part once there are enough."""
        self._held += data
        if len(self._held) >= PART_BYTES:
            self._send()

    def complete(self) -> None:
        """Sends what is left, and lets the object appear."""
        self._send()
        self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id,
            MultipartUpload={"Parts": self._parts},
        )

    def abort(self) -> None:
        """Forgets what was sent: an object of the same key stays as it was."""
        self._client.abort_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id
        )

    def _send(self) -> None:
        number = len(self._parts) + 1
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=bytes(self._held),
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._held.clear()


@contextmanager
def s3_upload(bucket: str, key: str, client: "S3Client") -> Iterator[S3Upload]:
    """Gives a stream to write an object to, which appears if the block ends without an error.

    Raises:
        ObjectStoreUnavailable: Amazon S3 did not take the object.
    """
    with translated_aws_errors(f"write s3://{bucket}/{key}"):
        upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType="text/csv")[
            "UploadId"
        ]
        upload = S3Upload(bucket, key, upload_id, client)
        try:
            yield upload
            upload.complete()
        except BaseException:
            upload.abort()
            raise
