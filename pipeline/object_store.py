"""The objects of one bucket of Amazon S3. S3's errors are translated here and nowhere else."""

import hashlib
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated_aws_errors
from pipeline.errors import AccessRefused, ObjectMissing, ObjectStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BINARY = "application/octet-stream"
_KEYS_AT_ONCE = 1000
_PIECE = 1024 * 1024
_ATTEMPTS = 5
_LONGEST_PAUSE = 0.2
"""Seconds between two attempts at a conditional PUT; doubled after each."""

Body = bytes | Path
"""What an object is written from: its bytes, or a file."""


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing."""

    key: str
    last_modified: datetime
    size: int
    etag: str = ""


class ObjectStore:
    """Reads and writes the objects of one bucket.

    Every method raises AccessRefused if a policy forbids the call, ObjectArchived if the object is
    in an archive, and ObjectStoreUnavailable if Amazon S3 does not answer or answers with another
    error.

    Args:
        bucket: The bucket's name.
        client: The S3 client.

    Attributes:
        bucket: The bucket's name.
    """

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self.bucket = bucket
        self._client = client

    def get(self, key: str) -> bytes:
        """Returns an object's bytes.

        Raises:
            ObjectMissing: The bucket has no such object.
        """
        with self._translated("read", key):
            try:
                return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    raise ObjectMissing(f"{self.address(key)} does not exist") from error
                raise

    def get_if_there(self, key: str) -> bytes | None:
        """Returns an object's bytes, or None if the bucket has no such object."""
        try:
            return self.get(key)
        except ObjectMissing:
            return None

    def put(self, key: str, body: Body, content_type: str = _BINARY) -> None:
        """Writes an object. It replaces an object of the same key."""
        with self._translated("write", key):
            self._put(key, body, content_type)

    def put_new(self, key: str, body: Body, content_type: str = _BINARY) -> str:
        """Writes an object if its key is free, and returns its ETag; empty if the key is taken.

        The AWS SDK repeats a PUT whose answer was lost. The repeated PUT then finds the object
        that the first one wrote, and this method returns no ETag.
        """
        pause = _LONGEST_PAUSE
        with self._translated("write", key):
            for _ in range(_ATTEMPTS):
                try:
                    return self._put(key, body, content_type, IfNoneMatch="*")
                except ClientError as error:
                    if code_of(error) == "PreconditionFailed":
                        return ""
                    # Nothing was written (Amazon S3 User Guide, "Conditional writes").
                    if code_of(error) != "ConditionalRequestConflict":
                        raise
                    time.sleep(random.uniform(0, pause))  # noqa: S311  # nosec B311
                    pause *= 2
        raise ObjectStoreUnavailable(
            f"could not write {self.address(key)}: other writers of the key were in the way "
            f"{_ATTEMPTS} times"
        )

    def put_if_absent(self, key: str, body: Body, content_type: str = _BINARY) -> bool:
        """Writes an object if its key is free, and returns whether the object is as given.

        The answer is also True if the key holds exactly these bytes: an earlier attempt wrote
        them, and its answer was lost.
        """
        return bool(self.put_new(key, body, content_type)) or self._holds(key, body)

    def keys(self, prefix: str, start_after: str = "") -> Iterator[StoredObject]:
        """Yields the objects below a prefix in the order of their keys.

        Args:
            prefix: What the keys begin with.
            start_after: Only objects with greater keys.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, StartAfter=start_after
        )
        with self._translated("list", prefix):
            for page in pages:
                for entry in page.get("Contents", []):
                    yield StoredObject(
                        entry["Key"], entry["LastModified"], entry["Size"], _unquoted(entry["ETag"])
                    )

    def find(self, key: str) -> StoredObject | None:
        """Returns an object as a listing has it, or None if the bucket has no such object."""
        return next((one for one in self.keys(key) if one.key == key), None)

    def sha256(self, key: str) -> str:
        """Returns the digest of an object's content, which is not held in memory."""
        digest = hashlib.sha256()
        with self._translated("read", key):
            stored = self._client.get_object(Bucket=self.bucket, Key=key)
            for piece in stored["Body"].iter_chunks(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects. A versioned bucket keeps their versions."""
        todo = list(keys)
        for first in range(0, len(todo), _KEYS_AT_ONCE):
            batch = todo[first : first + _KEYS_AT_ONCE]
            with self._translated("delete", batch[0]):
                answer = self._client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
                )
            for failed in answer.get("Errors", []):
                code = failed.get("Code", "")
                kind = AccessRefused if code == "AccessDenied" else ObjectStoreUnavailable
                raise kind(f"could not delete {self.address(failed.get('Key', ''))}: {code}")

    def address(self, key: str) -> str:
        """Returns an object's address, as messages name it."""
        return f"s3://{self.bucket}/{key}"

    def _translated(self, verb: str, key: str) -> AbstractContextManager[None]:
        return translated_aws_errors(f"{verb} {self.address(key)}")

    def _put(self, key: str, body: Body, content_type: str, **conditions: Any) -> str:
        with _opened(body) as content:
            answer = self._client.put_object(
                Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, **conditions
            )
        return _unquoted(answer["ETag"])

    def _holds(self, key: str, body: Body) -> bool:
        """Whether an object has exactly these bytes; neither is held in memory."""
        with self._translated("read", key):
            stored = self._client.get_object(Bucket=self.bucket, Key=key)
            size = body.stat().st_size if isinstance(body, Path) else len(body)
            if stored["ContentLength"] != size:
                return False
            if isinstance(body, bytes):
                return stored["Body"].read() == body
            with body.open("rb") as file:
                return all(
                    piece == file.read(len(piece)) for piece in stored["Body"].iter_chunks(_PIECE)
                )


def _unquoted(etag: str) -> str:
    return etag.strip('"')


def _opened(body: Body) -> "AbstractContextManager[bytes | IO[bytes]]":
    return body.open("rb") if isinstance(body, Path) else nullcontext(body)
