"""An execution of a state machine by its history: its states, their attempts and transitions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

SERVICES: Final = ("lambda", "glue", "dynamodb", "sns")
"""The services that the state machines call."""
FAILED_ATTEMPTS: Final = {
    "TaskFailed": "taskFailedEventDetails",
    "TaskTimedOut": "taskTimedOutEventDetails",
    "TaskStartFailed": "taskStartFailedEventDetails",
    "TaskSubmitFailed": "taskSubmitFailedEventDetails",
}
"""The events of an attempt that failed, and the field of each with the error."""

Event = Mapping[str, Any]
"""An event as GetExecutionHistory gives it."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a Task state.

    Attributes:
        state: The state's name.
        service: The service that was called: one of SERVICES, or empty.
        began_at: When it was scheduled.
        seconds: How long it took.
        error: The error's name; empty if the attempt succeeded.
        output: The service's answer, or the cause of the error: JSON, or text.
    """

    state: str
    service: str
    began_at: datetime
    seconds: float
    error: str = ""
    output: str = ""


def read_history(client: "SFNClient", arn: str) -> list[Event]:
    """Returns an execution's history so far.

    Raises:
        botocore.exceptions.ClientError: AWS Step Functions refused.
        botocore.exceptions.BotoCoreError: It could not be reached.
    """
    pages = client.get_paginator("get_execution_history").paginate(
        executionArn=arn, PaginationConfig={"PageSize": 1000}
    )
    return [event for page in pages for event in page["events"]]


def attempts_of(events: Iterable[Event]) -> Iterator[Attempt]:
    """Yields the attempts that have ended, in the order of their ends."""
    by_id = {event["id"]: event for event in events}
    for event in by_id.values():
        if event["type"] == "TaskSucceeded" or event["type"] in FAILED_ATTEMPTS:
            scheduled = event
            while scheduled["type"] != "TaskScheduled":
                scheduled = by_id[scheduled["previousEventId"]]
            told = event.get(FAILED_ATTEMPTS.get(event["type"], "taskSucceededEventDetails"), {})
            called = scheduled.get("taskScheduledEventDetails", {})
            began_at = scheduled["timestamp"]
            yield Attempt(
                _state_of(scheduled, by_id),
                _service(f"{called.get('resourceType', '')} {called.get('resource', '')}"),
                began_at,
                (event["timestamp"] - began_at).total_seconds(),
                str(told.get("error") or event["type"]) if event["type"] in FAILED_ATTEMPTS else "",
                str(told.get("output") or told.get("cause") or ""),
            )


def transitions_of(events: Iterable[Event]) -> int:
    """Returns the number of state transitions: every state entered, and every retry of one.

    Source: AWS Step Functions pricing: "retries are counted as additional state transitions".
    """
    kinds = [str(event["type"]) for event in events]
    entered = sum(kind.endswith("StateEntered") for kind in kinds)
    tasks = sum(kind == "TaskStateEntered" for kind in kinds)
    return entered + max(0, kinds.count("TaskScheduled") - tasks)


def _state_of(event: Event, by_id: Mapping[int, Event]) -> str:
    while "stateEnteredEventDetails" not in event:
        event = by_id[event["previousEventId"]]
    return str(event["stateEnteredEventDetails"]["name"])


def _service(called: str) -> str:
    return next((service for service in SERVICES if service in called), "")
