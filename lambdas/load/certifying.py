"""Proves that a run is in the warehouse as the source gave it, and writes down what was proved."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from lambdas.load.captured_runs import wrong_runs
from lambdas.load.lake import Lake
from lambdas.load.quality import Quality
from lambdas.load.source_fingerprints import SourceFingerprints
from lambdas.load.verify import VerifiedTable, verify
from pipeline.certificate import Certificate, CertifiedTable, digest_of_code
from pipeline.errors import VerificationFailed
from pipeline.fingerprints import StarFingerprints
from pipeline.manifest import ManifestStore
from pipeline.reports import Reports
from pipeline.requests import LoadRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROOT = Path(__file__).parents[2]
_CODE = ("lambdas/load", "pipeline", "star_schema")


@dataclass(frozen=True)
class Proof:
    """What was found equal, and its certificate."""

    tables: tuple[VerifiedTable, ...]
    certificate: Certificate


def prove(
    connection: psycopg.Connection,
    lake: Lake,
    request: LoadRequest,
    found: Quality,
    *,
    bucket: str,
    client: "S3Client",
    seconds_left: Callable[[], float],
) -> Proof:
    """Compares source, star schema and warehouse after a load.

    Args:
        connection: The warehouse.
        lake: The star schema.
        request: The load.
        found: The rows that the warehouse does not show.
        bucket: The raw bucket, which has Ingest's report and the source's fingerprints.
        client: Amazon S3.
        seconds_left: How long the caller may still run.

    Raises:
        VerificationFailed: Rows differ, or there is no proof.
        StarSchemaMismatch: A lake table does not fit its warehouse table.
        ObjectStoreUnavailable: The lake or the fingerprints could not be read.
    """
    ingested = Reports(bucket, client).read(request.ingest_report)
    source = _source(ingested, bucket, client)
    tables = verify(connection, lake, source, sequence=request.sequence, seconds_left=seconds_left)
    if wrong := wrong_runs(connection, ManifestStore(bucket, client), request.sequence):
        sequences = ", ".join(map(str, wrong))
        raise VerificationFailed(
            f"captured_run is not as the raw zone has it for run {sequences}: "  # noqa: S608  # nosec B608
            f"run `delete from captured_run where sequence in ({sequences})`, and start the state "
            'machine again with {"verify": true}, which adds them'
        )
    at = ingested.get("snapshot_at", "")
    return Proof(tables, certificate_of(connection, request, at, tables, found))


def _source(ingested: dict[str, Any], bucket: str, client: "S3Client") -> SourceFingerprints | None:
    """Returns the fingerprints that Ingest's report names; None if it made none."""
    if ingested["fingerprints"] is None:
        return None
    tables = tuple(StarFingerprints.from_json(entry) for entry in ingested["fingerprints"])
    return SourceFingerprints(bucket, client, tables)


def certificate_of(
    connection: psycopg.Connection,
    request: LoadRequest,
    snapshot_at: str,
    verified: Sequence[VerifiedTable],
    found: Quality,
) -> Certificate:
    """Returns the certificate of a run that has just been verified.

    Args:
        connection: The warehouse.
        request: The load.
        snapshot_at: The instant of the source that was compared.
        verified: What was found equal.
        found: The rows that the warehouse does not show.
    """
    applied = connection.execute("select name, checksum from schema_migration order by name")
    return Certificate(
        sequence=request.sequence,
        run_id=request.run_id,
        snapshot_at=snapshot_at,
        verified_at=datetime.now(UTC).isoformat(timespec="seconds"),
        tables=tuple(_certified(table) for table in verified),
        exceptions=tuple(f"{one.table}: {one.rule} ({one.rows})" for one in found.broken_rules),
        code={
            "sha256": digest_of_code(_ROOT / folder for folder in _CODE),
            "function_version": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        },
        schema=dict(applied.fetchall()),
    )


def _certified(table: VerifiedTable) -> CertifiedTable:
    assert table.digests is not None  # noqa: S101 - verify gives them  # nosec B101
    return CertifiedTable(
        table=table.table,
        rows=table.rows,
        versions=table.versions,
        rows_quarantined=table.rows_quarantined,
        waiting=table.waiting,
        **dataclasses.asdict(table.digests),
    )
