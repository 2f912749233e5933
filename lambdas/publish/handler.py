"""The Publish function: catalogues the raw zone, writes extracts, tells of the execution."""

import time
from typing import Any

from pipeline.cold_start import uncollected

with uncollected():
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from botocore.config import Config

    from lambdas.publish.extracts import previews, write_extracts
    from lambdas.publish.glue_tables import GlueTables
    from lambdas.publish.keeping import keep
    from lambdas.publish.message import message_of
    from lambdas.publish.observing import as_report, figures_of, observe, put_metrics
    from lambdas.publish.preview_log import log_previews
    from lambdas.publish.raw_catalogue import RawCatalogue
    from lambdas.publish.warehouse import connect
    from pipeline.answers import Names, PublishAnswer
    from pipeline.aws_session import default_session
    from pipeline.manifest import ManifestStore
    from pipeline.reports import Reports
    from pipeline.requests import PublishRequest
    from pipeline.settings import PublishSettings

_LOGGER = Logger(service="publish")
_SOON = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
"""A network without a way to AWS Step Functions costs a run its cost and timeline, not its time."""


@_LOGGER.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001
    """Publishes a loaded run, and tells how fresh the warehouse is and what the execution costs.

    Args:
        event: A PublishRequest as JSON.
        context: The invocation.

    Returns:
        A PublishAnswer as JSON. Its report has the names of all tables and extracts.
    """
    began = time.monotonic()
    request = PublishRequest.from_json(event)
    settings = PublishSettings.read()
    session = default_session()
    bucket, client = settings.raw_bucket, session.client("s3")
    secrets = session.client("secretsmanager")
    store = ManifestStore(bucket, client)
    catalogued: list[str] = []
    extracts: list[str] = []
    shown: dict[str, list[str]] = {}
    if request.publishes and request.ingested:
        tables = GlueTables(settings.raw_glue_database, session.client("glue"))
        catalogued = RawCatalogue(store, bucket, tables).catalogue(request.ingested.sequence)
    if request.extracts:
        with connect(settings.warehouse, secrets, extracts=True) as connection:
            shown = previews(connection)
            log_previews(shown, settings.preview_log_group, request.run_id, session.client("logs"))
            extracts = write_extracts(connection, settings.lake_bucket, client)
    states = session.client("stepfunctions", config=_SOON)
    observed = observe(request, settings, store, states, secrets, seconds=time.monotonic() - began)
    put_metrics(observed, settings.metrics_namespace)
    kept = keep(request, observed, settings, client)
    report = {
        "catalogued": catalogued,
        "extracts": extracts,
        "previews": list(shown),
        **as_report(observed),
    }
    answer = PublishAnswer(
        seconds=round(time.monotonic() - began, 3),
        tables_catalogued=len(catalogued),
        extracts=Names.of(extracts),
        previews=len(shown),
        **figures_of(observed),
        message=message_of(request, observed),
        page=kept.page,
        certificate=kept.certificate,
        failure=observed.failure,
        report=Reports(bucket, client).write(request.run_id, "publish", report),
    ).to_json()
    _LOGGER.info("published", extra={"result": answer})
    return answer
