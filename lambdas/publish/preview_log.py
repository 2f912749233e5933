"""Previews in a log group of their own, which is short-lived and masks personal data."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.aws_errors import translated_aws_errors

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_LONGEST_ROW = 20_000
"""Characters of a row. A call takes 1 MiB (CloudWatch Logs API Reference, "PutLogEvents")."""


def log_previews(
    previews: Mapping[str, Sequence[str]], group: str, run_id: str, client: "CloudWatchLogsClient"
) -> None:
    """Writes the first rows of each star table, a row an event, into a stream of the run.

    Args:
        previews: The rows of each table as JSON.
        group: The log group.
        run_id: The run, after which the stream is named.
        client: The CloudWatch Logs client.

    Raises:
        ObjectStoreUnavailable: CloudWatch Logs did not answer.
        AccessRefused: A policy does not allow the call.
    """
    with translated_aws_errors(f"write log group {group}"):
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_stream(logGroupName=group, logStreamName=run_id)
        for table, rows in previews.items():
            now = int(time.time() * 1000)
            messages = [json.dumps({"table": table, "row": row[:_LONGEST_ROW]}) for row in rows]
            if messages:
                client.put_log_events(
                    logGroupName=group,
                    logStreamName=run_id,
                    logEvents=[{"timestamp": now, "message": message} for message in messages],
                )
