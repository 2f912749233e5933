"""The Load function: parses its request, loads, verifies if asked, returns what happened."""

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.load.lake import Lake, glue_catalog
from lambdas.load.load import load
from lambdas.load.quality import put_metrics, quality
from lambdas.load.source_fingerprints import SourceFingerprints
from lambdas.load.verify import verify
from pipeline.database import EXACT_TEXT, Database, Role, translated_errors
from pipeline.fingerprints import StarFingerprints
from pipeline.requests import LoadRequest
from pipeline.settings import required

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOGGER = Logger(service="load")
_SOON_GONE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
"""The server ends the session of a function that was killed, and with it its locks, in a minute."""


@_LOGGER.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Loads once, or as far as the time allows: `complete` in the answer says which.

    Args:
        event: run_id, sequence, rebuild, verify, and Ingest's fingerprints if verify is asked for.
        context: The invocation.

    Returns:
        LoadResult as JSON, with `quality` (Quality as JSON) and `verified`: the tables that were
        proved equal, or null; both are null until the load is complete.
    """

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    request = LoadRequest(
        run_id=event["run_id"],
        sequence=int(event["sequence"]),
        rebuild=bool(event.get("rebuild", False)),
    )
    warehouse = Database(
        Role.WAREHOUSE,
        required("WAREHOUSE_SECRET_ARN"),
        os.environ.get("DATABASE_SSL_MODE", "require"),
        f"{EXACT_TEXT} {_SOON_GONE}",
    )
    session = boto3.Session()
    s3 = session.client("s3")
    lake = Lake(glue_catalog(s3, session.get_credentials()), required("GLUE_DATABASE"))
    with (
        translated_errors(Role.WAREHOUSE),
        warehouse.connect(session.client("secretsmanager")) as connection,
    ):
        connection.autocommit = True
        result = load(connection, lake, request, seconds_left=seconds_left)
        found = quality(connection, lake, request.sequence) if result.complete else None
        verified = (
            verify(
                connection,
                lake,
                _source(event["fingerprints"], s3),
                sequence=request.sequence,
                seconds_left=seconds_left,
            )
            if result.complete and event.get("verify")
            else None
        )
    answer: dict[str, Any] = json.loads(
        json.dumps(
            {
                **dataclasses.asdict(result),
                "quality": found and dataclasses.asdict(found),
                "verified": verified and [dataclasses.asdict(table) for table in verified],
            }
        )
    )
    if found:
        put_metrics(found, result.facts_waiting, required("POWERTOOLS_METRICS_NAMESPACE"))
    _LOGGER.info("loaded", extra={"result": answer})
    return answer


def _source(
    fingerprints: list[dict[str, Any]] | None, client: "S3Client"
) -> SourceFingerprints | None:
    if fingerprints is None:
        return None
    tables = tuple(StarFingerprints.from_json(entry) for entry in fingerprints)
    return SourceFingerprints(required("RAW_BUCKET"), client, tables)
