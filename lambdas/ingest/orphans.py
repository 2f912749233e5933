"""Lists the orphan files of the raw zone, and removes them: `python -m lambdas.ingest.orphans`.

A run that failed before its manifest was written, or that was planned again, leaves files that no
manifest names. Nothing reads them. Files of runs after the newest manifest are none: if manifests
were deleted, they may be restored. An object whose key Ingest does not give is of somebody else: it
is named and kept.
"""

import argparse
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Unnamed:
    """The keys of objects that no manifest names.

    Attributes:
        orphans: Files of runs, by their keys.
        of_others: Objects that Ingest did not write, by theirs.
    """

    orphans: tuple[str, ...]
    of_others: tuple[str, ...]


def unnamed(bucket: str, client: "S3Client", *, written_before: datetime) -> Unnamed:
    """Returns the objects beside the raw zone's files that no manifest names.

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
    found = {
        entry.key: run_of(entry.key)
        for prefix in (RawZone.ROWS, RawZone.KEYS, RawZone.QUARANTINE)
        for entry in objects.keys(f"{prefix}/")
        if entry.key not in named and entry.last_modified < written_before
    }
    return Unnamed(
        orphans=tuple(key for key, run in found.items() if 0 < run <= runs),
        of_others=tuple(key for key, run in found.items() if not run),
    )


def main(arguments: list[str]) -> int:
    """Prints the orphans of a raw bucket, one per line; --remove deletes them.

    Objects of others are printed to the standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lambdas.ingest.orphans",
        description=f"Lists the files of the raw zone that no manifest in {RUNS_PREFIX} names.",
    )
    parser.add_argument("bucket", help="the raw bucket")
    parser.add_argument("--remove", action="store_true", help="delete them")
    options = parser.parse_args(arguments)
    client = boto3.client("s3")
    found = unnamed(options.bucket, client, written_before=datetime.now(UTC) - _OLD_ENOUGH)
    sys.stdout.writelines(f"{key}\n" for key in found.orphans)
    sys.stderr.writelines(f"kept, as Ingest did not write it: {key}\n" for key in found.of_others)
    if options.remove:
        ObjectStore(options.bucket, client).delete(found.orphans)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
