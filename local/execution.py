"""Starts executions of the deployed state machine and follows them, by their history."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3

from pipeline.execution_history import FAILED_ATTEMPTS, read_history

_POLL_SECONDS = 0.2
_FINAL = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")


@dataclass(frozen=True)
class EnteredState:
    """A state that an execution is in.

    Attributes:
        name: Its name in the state machine.
        entered_at: When, in seconds since the epoch.
    """

    name: str
    entered_at: float


@dataclass(frozen=True)
class EndedState:
    """A state that an execution has left.

    Attributes:
        name: Its name in the state machine.
        kind: Its type: Task, Choice, Parallel and so on.
        seconds: How long it took.
        retries: How many further attempts it took.
        resource: What a Task called; empty for other kinds.
    """

    name: str
    kind: str
    seconds: float
    retries: int
    resource: str = ""


@dataclass(frozen=True)
class Execution:
    """An execution that has ended.

    Attributes:
        arn: Its ARN.
        status: SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        output: What the state machine returned; empty unless it succeeded.
        error: The failure's name; empty if it succeeded.
        cause: The failure's message; empty if it succeeded.
        states: The states that it went through, in the order of their end.
        seconds: How long it took.
    """

    arn: str
    status: str
    output: dict[str, Any]
    error: str
    cause: str
    states: tuple[EndedState, ...]
    seconds: float


def execute(
    state_machine_arn: str,
    document: str,
    *,
    on_progress: Callable[[list[EnteredState], list[EndedState]], None] | None = None,
) -> Execution:
    """Executes the state machine once, and returns when it has ended.

    Args:
        state_machine_arn: The state machine.
        document: The execution's input, JSON.
        on_progress: Called again and again with the states that the execution is in, and with
            those that have ended since the call before.
    """
    client = boto3.client("stepfunctions")
    arn = client.start_execution(stateMachineArn=state_machine_arn, input=document)["executionArn"]
    reported = 0
    while (described := client.describe_execution(executionArn=arn))["status"] not in _FINAL:
        if on_progress:
            inside, ended = states_of(read_history(client, arn))
            on_progress(inside, ended[reported:])
            reported = len(ended)
        time.sleep(_POLL_SECONDS)
    inside, ended = states_of(read_history(client, arn))
    if on_progress:
        on_progress(inside, ended[reported:])
    return Execution(
        arn=arn,
        status=described["status"],
        output=json.loads(described.get("output") or "{}")
        if described["status"] == "SUCCEEDED"
        else {},
        error=described.get("error", ""),
        cause=described.get("cause", ""),
        states=tuple(ended),
        seconds=(described["stopDate"] - described["startDate"]).total_seconds(),
    )


def free_lock(table: str) -> None:
    """Frees the pipeline's lock, for a cloud that was just started: no execution outlives one.

    Args:
        table: The DynamoDB table that has the lock.
    """
    boto3.client("dynamodb").update_item(
        TableName=table,
        Key={"pipeline": {"S": "totesys"}},
        UpdateExpression="REMOVE lock_owner, lease_ends",
    )


def states_of(events: list[Any]) -> tuple[list[EnteredState], list[EndedState]]:
    """Returns the states that an execution is in, and those that it has left.

    Args:
        events: The whole history so far, as GetExecutionHistory gives it.
    """
    by_id = {event["id"]: event for event in events}
    inside: dict[int, EnteredState] = {}
    ended: list[EndedState] = []
    for event in events:
        moment = event["timestamp"].timestamp()
        if "stateEnteredEventDetails" in event:
            inside[event["id"]] = EnteredState(event["stateEnteredEventDetails"]["name"], moment)
        elif "stateExitedEventDetails" in event:
            name = event["stateExitedEventDetails"]["name"]
            kind = event["type"].removesuffix("StateExited")
            failures, resource = 0, ""
            entry = by_id[event["previousEventId"]]
            while entry.get("stateEnteredEventDetails", {}).get("name") != name:
                if kind == "Task":  # what lies behind a Parallel's end is its branches'
                    failures += entry["type"] in FAILED_ATTEMPTS
                    resource = entry.get("taskScheduledEventDetails", {}).get("resource", resource)
                entry = by_id[entry["previousEventId"]]
            state = inside.pop(entry["id"])
            caught = failures and by_id[event["previousEventId"]]["type"] in FAILED_ATTEMPTS
            ended.append(
                EndedState(name, kind, moment - state.entered_at, failures - bool(caught), resource)
            )
    return list(inside.values()), ended
