"""How far the star tables in the lake have been built, by their own metadata.

A build names the run in the summary of the snapshot that it commits. The table's current snapshot
and its ancestors count, as they do for the build (docs/adr/0009). Source: Iceberg table spec,
"Table metadata fields" and "Snapshots".
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.applied_run import NEVER, AppliedRun
from pipeline.aws_errors import translated_aws_errors
from pipeline.errors import ObjectMissing
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

_READ_AT_ONCE = 8


def applied_runs(
    glue: "GlueClient", s3: "S3Client", database: str, names: Iterable[str]
) -> dict[str, AppliedRun | None]:
    """Returns the run through which each star table is built.

    Args:
        glue: The Glue Data Catalog.
        s3: Amazon S3.
        database: The star schema's Glue database.
        names: The star tables.

    Returns:
        NEVER for a table that no build has made; None where the metadata does not tell.

    Raises:
        AccessRefused: A policy does not allow to read the catalogue or the lake.
        ObjectStoreUnavailable: The catalogue or the lake did not answer.
    """
    with translated_aws_errors(f"read the tables of the Glue database {database}"):
        locations = dict(_metadata_locations(glue, database))
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        wanted = {name: locations.get(name) for name in names}
        found = pool.map(lambda place: _applied(s3, place) if place else NEVER, wanted.values())
        return dict(zip(wanted, found, strict=True))


def _metadata_locations(glue: "GlueClient", database: str) -> Iterator[tuple[str, str]]:
    for page in glue.get_paginator("get_tables").paginate(DatabaseName=database):
        for table in page["TableList"]:
            if location := table.get("Parameters", {}).get("metadata_location"):
                yield table["Name"], location


def _applied(s3: "S3Client", location: str) -> AppliedRun | None:
    place = urlsplit(location)
    try:
        content = ObjectStore(place.netloc, s3).get(place.path.lstrip("/"))
        text = gzip.decompress(content) if ".gz" in place.path else content
        return applied_in(json.loads(text))
    except (ObjectMissing, OSError, ValueError, KeyError):
        return None  # what is wrong with the table is for the build to say


def applied_in(metadata: dict[str, Any]) -> AppliedRun | None:
    """Returns the run that a table's metadata names: NEVER without rows, None if nothing tells."""
    snapshots = {snapshot["snapshot-id"]: snapshot for snapshot in metadata.get("snapshots", ())}
    current = snapshot = snapshots.get(metadata.get("current-snapshot-id"))
    while snapshot is not None:
        if applied := AppliedRun.named_in(snapshot["summary"]):
            return applied
        snapshot = snapshots.get(snapshot.get("parent-snapshot-id"))
    has_rows = current is not None and current["summary"].get("total-records") != "0"
    return None if has_rows else NEVER
