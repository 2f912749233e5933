"""The keys of raw files, and the upload that never overwrites one."""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.object_store import ObjectStore
from pipeline.written_files import Written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KEY: Final = re.compile(
    r"[^/]+/.+/year=\d{4}/month=\d\d/day=\d\d/(\d{10})-\d{4,}\.parquet", re.DOTALL
)


class RawZone:
    """The raw files of one run: `<prefix>/<table>/year=…/month=…/day=…/<sequence>-<part>.parquet`.

    Attributes:
        ROWS: The prefix of captured rows.
        KEYS: The prefix of key sweeps.
        QUARANTINE: The prefix of values that their raw types cannot hold.
        FINGERPRINTS: The prefix of the fingerprints for `verify`; a lifecycle rule expires them.
    """

    ROWS = "raw"
    KEYS = "raw_keys"
    QUARANTINE = "raw_quarantine"
    FINGERPRINTS = "fingerprints"

    def __init__(self, bucket: str, client: "S3Client", sequence: int, taken_at: str) -> None:
        self._objects = ObjectStore(bucket, client)
        self._sequence = sequence
        self._next: dict[tuple[str, str], int] = {}
        self._day = datetime.fromisoformat(taken_at).strftime("year=%Y/month=%m/day=%d")

    def put(self, prefix: str, table: str, path: Path, first: int = 0) -> tuple[str, Written]:
        """Uploads a file under a free part number, and returns its key and what was written.

        A run that failed before its manifest was written, or a concurrent run, may have used part
        numbers of this sequence. Its files are not overwritten. An object with the same bytes is
        still another file: two chunks of a table without a key may hold equal rows.

        Args:
            prefix: The kind of file.
            table: The table.
            path: The file.
            first: The part number to try first, unless this object has given out a greater one.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not store the file.
        """
        part = max(first, self._next.get((prefix, table), 0))
        while True:
            key = f"{prefix}/{table}/{self._day}/{self._sequence:010d}-{part:04d}.parquet"
            part += 1
            if etag := self._objects.put_new(key, path):
                self._next[prefix, table] = part
                return key, Written(path.stat().st_size, etag, _sha256(path))

    def put_if_absent(self, key: str, path: Path) -> bool:
        """Uploads a file if its key is free, and returns whether the object is as given.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not store the file.
        """
        return self._objects.put_if_absent(key, path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_of(key: str) -> int:
    """Returns the run that wrote a raw file; 0 if `put` has given out no such key."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match else 0
