"""The lock, as DynamoDB evaluates the expressions of the states that take and release it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from local.execution import free_lock
from tests.unit.state_machine.definition import (
    CONTEXT,
    DEFINITIONS,
    MAINTENANCE,
    STATES,
    evaluate,
    walk,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE = "PipelineTable"
Step = Callable[..., None]


@pytest.fixture
def dynamodb(moto_aws: None) -> "DynamoDBClient":
    """DynamoDB with the pipeline's table."""
    client: DynamoDBClient = boto3.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pipeline", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pipeline", "KeyType": "HASH"}],
    )
    return client


@pytest.fixture
def do(dynamodb: "DynamoDBClient") -> Step:
    """Makes the call of a state, as an execution of a name makes it."""

    def call(state: str, execution: str = "one", states: dict[str, Any] = STATES) -> None:
        context = {"Execution": {**CONTEXT["Execution"], "Id": execution}}
        arguments = evaluate(states[state]["Arguments"], {"through": 7}, {"context": context})
        dynamodb.update_item(**arguments | {"TableName": TABLE})

    return call


@pytest.fixture
def item(dynamodb: "DynamoDBClient") -> Callable[[], dict[str, str]]:
    """Reads the lock's item."""

    def read() -> dict[str, str]:
        found = dynamodb.get_item(TableName=TABLE, Key={"pipeline": {"S": "totesys"}})["Item"]
        return {name: str(*value.values()) for name, value in found.items()}

    return read


@pytest.fixture
def refused(dynamodb: "DynamoDBClient") -> Any:
    """A context in which DynamoDB refuses a call by its condition."""
    return pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException)


@pytest.mark.parametrize("states", [STATES, MAINTENANCE], ids=["pipeline", "maintenance"])
@pytest.mark.parametrize("release", ["ReleaseLock", "ReleaseLockAfterFailure"])
def test_a_release_whose_answer_was_lost_is_repeated_without_an_error(do, item, states, release):
    do("AcquireLock", states=states)
    do(release, states=states)
    do(release, states=states)
    assert not item().keys() & {"lock_owner", "lease_ends"}


def test_a_repeated_release_does_not_free_the_next_execution_s_lock(do, item, refused):
    do("AcquireLock")
    do("ReleaseLock")
    do("AcquireLock", "two")
    with refused:
        do("ReleaseLock")
    assert item()["lock_owner"] == "two"


def test_a_held_lock_is_neither_taken_nor_released_by_another(do, item, refused):
    do("AcquireLock")
    for state in ("AcquireLock", "ReleaseLock", "ReleaseLockAfterFailure"):
        with refused:
            do(state, "two")
    assert item()["lock_owner"] == "one"


@pytest.mark.parametrize("between", [0, 1])
def test_a_lock_that_was_freed_by_hand_cannot_be_released(do, refused, between):
    do("AcquireLock", "before")
    do("ReleaseLock", "before")
    do("AcquireLock")
    free_lock(TABLE)
    for _ in range(between):
        do("AcquireLock", "two")
        do("ReleaseLock", "two")
    with refused:
        do("ReleaseLock")


def test_a_lock_of_a_local_cloud_that_was_stopped_is_freed_and_its_run_is_kept(do, item):
    do("AcquireLock", "before")
    do("ReleaseLock", "before")
    do("AcquireLock")
    free_lock(TABLE)
    do("AcquireLock", "two")
    assert (item()["lock_owner"], item()["loaded_through"]) == ("two", "7")


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_a_lost_lock_is_told_by_its_own_name(machine):
    states = DEFINITIONS[machine]["States"]
    catch = states["ReleaseLock"]["Catch"][0]
    assert catch["ErrorEquals"] == ["DynamoDB.ConditionalCheckFailedException"]
    variables: dict[str, Any] = {}
    walk(states, "ReadInput" if machine == "pipeline" else "Begin", variables, {})
    context = {**CONTEXT, "State": {"Name": "ReleaseLock"}}
    variables |= evaluate(catch["Assign"], variables, {"context": context})

    assert walk(states, catch["Next"], variables)[0] == "Notify"

    assert variables["firstError"] == "LockLost"
    assert variables["message"].startswith(
        "ReleaseLock failed with LockLost: the lock was freed by hand, or taken by another"
    )
