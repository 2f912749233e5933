"""Writes down what a verified run has proved."""

import dataclasses
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from lambdas.load.quality import Quality
from lambdas.load.verify import VerifiedTable
from pipeline.certificate import Certificate, CertifiedTable, digest_of_code
from pipeline.requests import LoadRequest

_ROOT = Path(__file__).parents[2]
_CODE = ("lambdas/load", "pipeline", "star_schema")


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
