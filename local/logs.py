"""The stack's log groups, read from the local cloud."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import boto3

from local.deployment import STACK

_NEWEST_STREAMS = 3
_JOB_OUTPUT = f"/aws-glue/{STACK}/output"
_OF_A_TABLE = re.compile(r"(dim|fact|quarantine)\w* ")


def log_lines() -> Iterator[str]:
    """Yields the newest lines of each log group of the stack, by group and time."""
    client = boto3.client("logs")
    groups = [
        group["logGroupName"]
        for page in client.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
        if STACK in group["logGroupName"]
    ]
    for group in sorted(groups):
        streams = client.describe_log_streams(logGroupName=group)["logStreams"]
        newest = sorted(streams, key=lambda stream: stream.get("lastEventTimestamp", 0))
        for stream in newest[-_NEWEST_STREAMS:]:
            events = client.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
            for event in events:
                moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                yield f"{group} {moment:%H:%M:%S} {event['message'].rstrip()}"


def table_lines(job_run: str) -> Iterator[str]:
    """Yields the lines that a run of a Glue job printed about tables."""
    events = boto3.client("logs").get_log_events(
        logGroupName=_JOB_OUTPUT, logStreamName=job_run, startFromHead=True
    )["events"]
    for event in events:
        if _OF_A_TABLE.match(event["message"]):
            yield event["message"].rstrip()
