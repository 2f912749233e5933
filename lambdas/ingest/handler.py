"""The Ingest function: parses its request, ingests, reports, answers."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from pipeline.cold_start import uncollected

with uncollected():
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from lambdas.ingest.ingest import IngestResult, ingest
    from lambdas.ingest.lake_position import applied_runs
    from lambdas.ingest.scope import Scope
    from lambdas.ingest.tables_not_taken import failure, put_metric
    from lambdas.ingest.unbuilt import NOTHING, Unbuilt, unbuilt
    from pipeline.answers import IngestAnswer, Names
    from pipeline.aws_session import default_session
    from pipeline.database import Database, Role, translated_errors
    from pipeline.manifest import ManifestStore
    from pipeline.reports import Reports
    from pipeline.requests import IngestRequest
    from pipeline.scratch import remove_leftovers
    from pipeline.settings import IngestSettings
    from star_schema.tables import StarTable, joined_sources, star_tables

_LOGGER = Logger(service="ingest")


@_LOGGER.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Ingests once. `complete` in the answer is false if the time did not suffice.

    Args:
        event: An IngestRequest as JSON.
        context: The invocation.

    Returns:
        An IngestAnswer as JSON. Its report has what IngestResult has.
    """
    request = IngestRequest.from_json(event)
    settings = IngestSettings.read()
    remove_leftovers()
    source = Database(Role.SOURCE, settings.source)
    session = default_session()
    bucket, client = settings.raw_bucket, session.client("s3")
    store = ManifestStore(bucket, client)
    stars = star_tables()
    secrets = session.client("secretsmanager")
    with translated_errors(Role.SOURCE):
        result = ingest(
            request,
            connect=lambda: source.connect(secrets),
            bucket=bucket,
            client=client,
            joined=joined_sources(stars),
            stars=stars,
            readers=settings.readers,
            scope=Scope.of(settings.schemas, settings.tables_left_out, settings.columns_left_out),
            reread_limit_bytes=settings.reread_limit_bytes,
            seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
            store=store,
        )
    if not result.complete:
        return _answered(answer_of(request, result, stars, NOTHING, report=""))
    glue = session.client("glue")
    names = [star.name for star in stars]
    applied = {} if request.rebuild else applied_runs(glue, client, settings.glue_database, names)
    to_build = unbuilt(
        store, stars, applied, through=result.sequence, small_rows=settings.small_build_rows
    )
    report = Reports(bucket, client).write(request.run_id, "ingest", dataclasses.asdict(result))
    answer = answer_of(request, result, stars, to_build, report)
    put_metric(answer.tables_not_taken.count, settings.metrics_namespace)
    return _answered(answer)


def answer_of(
    request: IngestRequest,
    result: IngestResult,
    stars: Iterable[StarTable],
    to_build: Unbuilt,
    report: str,
) -> IngestAnswer:
    """Returns the answer for a result whose report has a key."""
    reasons = {one.table: one.not_taken for one in result.tables if one.not_taken}
    not_taken = [f"table {table} was not captured: {why}" for table, why in reasons.items()]
    return IngestAnswer(
        complete=result.complete,
        sequence=result.sequence,
        committed=result.committed,
        rows=result.rows,
        seconds=result.seconds,
        scanned_bytes=result.scanned_bytes,
        longest_query_seconds=result.longest_query_seconds,
        tables=len(result.tables),
        tables_not_taken=Names.of(reasons),
        failure=to_build.added_to(failure(request, reasons, stars)) if result.complete else None,
        unbuilt=Names.of(to_build.tables),
        build_jobs=to_build.jobs,
        warnings=Names.of([*not_taken, *result.warnings]),
        snapshot_at=result.snapshot_at,
        report=report,
    )


def _answered(answer: IngestAnswer) -> dict[str, Any]:
    document = answer.to_json()
    _LOGGER.info("ingested", extra={"result": document})
    return document
