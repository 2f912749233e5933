"""The Publish function: catalogues the raw zone, logs previews, writes extracts if asked."""

import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.publish.extracts import previews, write_extracts
from lambdas.publish.glue_tables import GlueTables
from lambdas.publish.preview_log import log_previews
from lambdas.publish.raw_catalogue import RawCatalogue
from lambdas.publish.warehouse import connect
from pipeline.answers import Names, PublishAnswer
from pipeline.manifest import ManifestStore
from pipeline.reports import Reports
from pipeline.requests import PublishRequest
from pipeline.settings import PublishSettings

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
    settings = PublishSettings.read()
    bucket = settings.raw_bucket
    client = boto3.client("s3")
    store = ManifestStore(bucket, client)
    tables = GlueTables(settings.raw_glue_database, boto3.client("glue"))
    catalogued = RawCatalogue(store, bucket, tables).catalogue(request.sequence)
    extracts: list[str] = []
    shown: dict[str, list[str]] = {}
    if request.extracts:
        with connect(settings.warehouse, boto3.client("secretsmanager")) as connection:
            shown = previews(connection)
            log_previews(shown, settings.preview_log_group, request.run_id, boto3.client("logs"))
            extracts = write_extracts(connection, settings.lake_bucket, client)
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
