"""The Load function: parses its request, loads, verifies if asked, reports, answers."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.cold_start import uncollected

with uncollected():
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from lambdas.load.captured_runs import record_runs, refuse_other_runs
    from lambdas.load.lake import Lake, glue_catalog
    from lambdas.load.load import LoadResult, load
    from lambdas.load.loader_role import connect
    from lambdas.load.plan import source_changed
    from lambdas.load.quality import Quality, put_metrics, quality
    from pipeline.answers import Failure, LoadAnswer, Names
    from pipeline.aws_session import default_session
    from pipeline.database import Database, Role, translated_errors
    from pipeline.errors import PermanentError, StarSchemaMismatch, StarTablesBehind
    from pipeline.manifest import ManifestStore
    from pipeline.reports import Reports
    from pipeline.requests import LoadRequest
    from pipeline.settings import LoadSettings
    from star_schema.tables import star_tables

if TYPE_CHECKING:
    from lambdas.load.verify import VerifiedTable

_LOGGER = Logger(service="load")


@_LOGGER.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Loads once, or as far as the time allows.

    Args:
        event: A LoadRequest as JSON.
        context: The invocation.

    Returns:
        A LoadAnswer as JSON. Its report has what LoadResult, Quality and VerifiedTable have.
    """

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    request = LoadRequest.from_json(event)
    settings = LoadSettings.read()
    warehouse = Database(Role.WAREHOUSE, settings.warehouse)
    session = default_session()
    s3 = session.client("s3")
    bucket = settings.raw_bucket
    lake = Lake(glue_catalog(s3, session.get_credentials()), settings.glue_database)
    with (
        translated_errors(Role.WAREHOUSE),
        connect(
            warehouse, settings.administrator_secret_arn, session.client("secretsmanager")
        ) as connection,
    ):
        connection.autocommit = True
        store = ManifestStore(bucket, s3)
        if not request.rebuild:
            refuse_other_runs(connection, store, request.sequence)
        result = load(
            connection,
            lake,
            request,
            source_changed(store),
            seconds_left=seconds_left,
            is_overtaken=lambda: store.has_later(request.sequence),
        )
        if not result.complete:
            return _answered(LoadAnswer(complete=False, sequence=request.sequence, through=0))
        record_runs(connection, store, request.sequence, anew=request.rebuild)
        found = quality(connection, lake, request)
        proof, failure = None, failure_of(result) or found.failure
        if request.verify and not result.problems:
            # Most loads are not verified, and start 10 ms sooner without it.
            from lambdas.load.certifying import prove  # noqa: PLC0415

            try:
                proof = prove(
                    connection,
                    lake,
                    request,
                    found,
                    bucket=bucket,
                    client=s3,
                    seconds_left=seconds_left,
                )
            except PermanentError as error:
                failure = Failure(type(error).__name__, str(error))
    verified = proof.tables if proof else None
    put_metrics(found, result, settings.metrics_namespace)
    report = {
        **dataclasses.asdict(result),
        "quality": dataclasses.asdict(found),
        "verified": verified and [dataclasses.asdict(table) for table in verified],
        "certificate": proof and proof.certificate.to_json(),
    }
    key = Reports(bucket, s3).write(request.run_id, "load", report)
    return _answered(answer_of(result, found, verified, failure, key))


def answer_of(
    result: LoadResult,
    found: Quality,
    verified: "Sequence[VerifiedTable] | None",
    failure: Failure | None,
    report: str,
) -> LoadAnswer:
    """Returns the answer for a complete load whose report has a key."""
    return LoadAnswer(
        complete=True,
        sequence=result.sequence,
        through=result.through,
        rows=result.rows,
        seconds=result.seconds,
        facts_waiting=result.facts_waiting,
        rows_quarantined=found.rows_quarantined,
        broken_rules=Names.of(
            f"{broken.table}: {broken.rule} ({broken.rows})" for broken in found.broken_rules
        ),
        tables_verified=None if verified is None else len(verified),
        failure=failure,
        report=report,
    )


def failure_of(result: LoadResult) -> Failure | None:
    """Returns a failure if star tables were not loaded, or not through the run asked for."""
    if result.problems:
        return Failure(
            StarSchemaMismatch.__name__,
            f"{len(result.problems)} of {len(star_tables())} star tables were not loaded, and the "
            f"others were: {'; '.join(result.problems)}",
        )
    if result.through < result.sequence:
        return Failure(
            StarTablesBehind.__name__,
            f"run {result.sequence} is loaded but for star tables that were not built, or that "
            "wait for a table that was not captured. Every star table is loaded through run "
            f"{result.through}, where the next execution continues",
        )
    return None


def _answered(answer: LoadAnswer) -> dict[str, Any]:
    document = answer.to_json()
    _LOGGER.info("loaded", extra={"result": document})
    return document
