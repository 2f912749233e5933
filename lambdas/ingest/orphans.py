"""Lists the orphan files of the raw zone, and removes them: `python -m lambdas.ingest.orphans`.

A run that failed before its manifest was written, or that was planned again, leaves files that no
manifest names. Nothing reads them. Files of runs after the newest manifest are none: if manifests
were deleted, they may be restored.
"""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3

from lambdas.ingest.raw_zone import RawZone, run_of
from pipeline.manifest import RUNS_PREFIX, ManifestStore
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_OLD_ENOUGH = timedelta(days=1)
"""Age from which a file is an orphan. A younger file may belong to a run in progress."""


def orphans(bucket: str, client: "S3Client", *, written_before: datetime) -> list[str]:
    """Returns the keys of files that no manifest names.

    Args:
        bucket: The raw bucket.
        client: The S3 client.
        written_before: Files that were written later are not listed.
    """
    store = ManifestStore(bucket, client)
    newest = store.newest()
    runs = newest.sequence if newest else 0
    named: set[str] = set()
    for sequence in range(1, runs + 1):
        for table in store.read(sequence).tables.values():
            named.update(table.files, table.key_files, table.quarantine_files)
    objects = ObjectStore(bucket, client)
    return [
        entry.key
        for prefix in (RawZone.ROWS, RawZone.KEYS, RawZone.QUARANTINE)
        for entry in objects.keys(f"{prefix}/")
        if entry.key not in named
        and entry.last_modified < written_before
        and run_of(entry.key) <= runs
    ]


def main(arguments: list[str]) -> int:
    """Prints the orphans of a raw bucket, one per line; --remove deletes them."""
    parser = argparse.ArgumentParser(
        prog="python -m lambdas.ingest.orphans",
        description=f"Lists the files of the raw zone that no manifest in {RUNS_PREFIX} names.",
    )
    parser.add_argument("bucket", help="the raw bucket")
    parser.add_argument("--remove", action="store_true", help="delete them")
    options = parser.parse_args(arguments)
    client = boto3.client("s3")
    found = orphans(options.bucket, client, written_before=datetime.now(UTC) - _OLD_ENOUGH)
    sys.stdout.writelines(f"{key}\n" for key in found)
    if options.remove:
        ObjectStore(options.bucket, client).delete(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
