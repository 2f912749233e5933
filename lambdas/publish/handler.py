"""The Publish function: catalogues the raw zone, logs previews, writes extracts if asked."""

import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.publish.extracts import connect, previews, write_extracts
from lambdas.publish.raw_catalogue import catalogue_run
from pipeline.answers import Names, PublishAnswer
from pipeline.manifest import ManifestStore
from pipeline.reports import Reports
from pipeline.requests import PublishRequest
from pipeline.settings import required

_LOGGER = Logger(service="publish")


@_LOGGER.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001
    """Publishes a loaded run.

    Args:
        event: A PublishRequest as JSON.
        context: The invocation.

    Returns:
        A PublishAnswer as JSON. Its report has the names of all tables and extracts.
    """
    began = time.monotonic()
    request = PublishRequest.from_json(event)
    bucket = required("RAW_BUCKET")
    client = boto3.client("s3")
    store = ManifestStore(bucket, client)
    catalogued = catalogue_run(store, request.sequence, bucket, required("RAW_GLUE_DATABASE"))
    extracts: list[str] = []
    shown: dict[str, list[str]] = {}
    if request.extracts:
        with connect(
            required("WAREHOUSE_SECRET_ARN"),
            os.environ.get("DATABASE_SSL_MODE", "require"),
            boto3.client("secretsmanager"),
        ) as connection:
            shown = previews(connection)
            for table, rows in shown.items():
                _LOGGER.info("preview", extra={"table": table, "rows": rows})
            extracts = write_extracts(connection, required("LAKE_BUCKET"), client)
    report = {"catalogued": catalogued, "extracts": extracts, "previews": list(shown)}
    answer = PublishAnswer(
        seconds=round(time.monotonic() - began, 3),
        tables_catalogued=len(catalogued),
        extracts=Names.of(extracts),
        previews=len(shown),
        report=Reports(bucket, client).write(request.run_id, "publish", report),
    ).to_json()
    _LOGGER.info("published", extra={"result": answer})
    return answer
