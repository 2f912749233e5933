"""The Ingest function: parses its request, ingests, returns the result."""

import dataclasses
import json
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.ingest.ingest import ingest
from pipeline.database import EXACT_TEXT, Database, Role, translated_errors
from pipeline.requests import IngestRequest
from pipeline.settings import required
from star_schema.tables import joined_sources, star_tables

_LOGGER = Logger(service="ingest")
_GENTLE = (
    "-c default_transaction_read_only=on -c statement_timeout=10min -c lock_timeout=10s "
    "-c idle_in_transaction_session_timeout=15min"
)
"""Limits of a session at the source: it cannot write, and its waits and its idle time end."""


@_LOGGER.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Ingests once. `complete` in the answer is false if the time did not suffice.

    Args:
        event: The fields of IngestRequest.
        context: The invocation.

    Returns:
        IngestResult as JSON.
    """
    refresh = event.get("full_refresh", False)
    request = IngestRequest(
        run_id=event["run_id"],
        full_refresh=refresh if isinstance(refresh, bool) else tuple(refresh),
        verify=bool(event.get("verify", False)),
        loaded_through=int(event.get("loaded_through", 0)),
    )
    source = Database(
        Role.SOURCE,
        required("SOURCE_SECRET_ARN"),
        os.environ.get("DATABASE_SSL_MODE", "require"),
        f"{EXACT_TEXT} {_GENTLE}",
    )
    stars = star_tables()
    secrets = boto3.client("secretsmanager")
    with translated_errors(Role.SOURCE):
        result = ingest(
            request,
            connect=lambda: source.connect(secrets),
            bucket=required("RAW_BUCKET"),
            client=boto3.client("s3"),
            joined=joined_sources(stars),
            stars=stars,
            readers=int(os.environ.get("READERS", "2")),
            seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        )
    answer: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(result)))
    _LOGGER.info("ingested", extra={"result": answer})
    return answer
