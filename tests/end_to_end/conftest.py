"""What the tests of the deployed stack share."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import boto3
import psycopg
import pytest

from local.deployment import STACK, put_secret
from local.execution import Execution, execute
from local.stack import Stack
from tests.end_to_end.notifications import Notifications
from tests.oracle.history import HistoryOracle

Run = Callable[..., Execution]


_LAST = {"test_commands.py": 1, "test_rights.py": 2}
"""Maintenance has more to do after the other tests, and the rights are judged by all calls."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the files; the tests of a file keep their order."""
    items.sort(key=lambda item: _LAST.get(item.path.name, 0))


@pytest.fixture(scope="session")
def history(stack: Stack) -> HistoryOracle:
    """What the warehouse has to hold, from the first execution on."""
    oracle = HistoryOracle()
    execute_and_observe(stack, oracle, {})
    return oracle


@pytest.fixture
def run(stack: Stack, history: HistoryOracle) -> Run:
    """Executes the state machine once, with an input by keywords."""

    def run_once(**document: object) -> Execution:
        return execute_and_observe(stack, history, document)

    return run_once


@pytest.fixture
def succeed(run: Run) -> Run:
    """Executes the state machine once, which has to succeed."""

    def run_once(**document: object) -> Execution:
        execution = run(**document)
        assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
        return execution

    return run_once


@pytest.fixture
def notifications(stack: Stack) -> Iterator[Notifications]:
    """What the stack's topic says from now on."""
    heard = Notifications(stack.notification_topic_arn)
    yield heard
    heard.close()


@pytest.fixture
def source_secret(stack: Stack) -> Iterator[Callable[[str], str]]:
    """Points the pipeline to another source, until the test's end."""
    yield lambda dsn: put_secret("source", dsn)
    put_secret("source", stack.source_dsn)


@pytest.fixture
def warehouse_secret(stack: Stack) -> Iterator[Callable[[str], str]]:
    """Points the pipeline to another warehouse, until the test's end."""
    yield lambda dsn: put_secret("warehouse", dsn)
    put_secret("warehouse", stack.warehouse_dsn)


@pytest.fixture
def maintenance_arguments(stack: Stack) -> Iterator[Callable[[dict[str, str]], None]]:
    """Changes arguments of the job that maintains the tables, until the test's end."""
    client, name = boto3.client("glue"), f"{STACK}-maintain-tables"
    deployed = client.get_job(JobName=name)["Job"]["DefaultArguments"]

    def change(arguments: dict[str, str]) -> None:
        client.update_job(JobName=name, JobUpdate={"DefaultArguments": deployed | arguments})

    yield change
    change({})


@pytest.fixture
def lock(stack: Stack) -> Callable[[], dict[str, object]]:
    """Reads the item that holds the lock and `loaded_through`."""

    def read() -> dict[str, object]:
        answer = boto3.client("dynamodb").get_item(
            TableName=stack.pipeline_table, Key={"pipeline": {"S": "totesys"}}
        )
        return dict(answer["Item"])

    return read


@pytest.fixture
def two_build_jobs(stack: Stack) -> AbstractContextManager[None]:
    """Has a small build take two jobs meanwhile, as a large one does."""
    client, arn = boto3.client("stepfunctions"), stack.state_machine_arn
    definition = client.describe_state_machine(stateMachineArn=arn)["definition"]
    large = definition.replace("build_jobs = 1 %", "build_jobs = 9 %")
    large = large.replace("build_jobs = 2 %", "build_jobs = 1 %")

    @contextmanager
    def meanwhile() -> Iterator[None]:
        client.update_state_machine(stateMachineArn=arn, definition=large)
        try:
            yield
        finally:
            client.update_state_machine(stateMachineArn=arn, definition=definition)

    return meanwhile()


def execute_and_observe(
    stack: Stack, history: HistoryOracle, document: dict[str, object]
) -> Execution:
    """Executes the state machine once, and has the oracle observe what was loaded."""
    execution = execute(stack.state_machine_arn, json.dumps(document))
    if execution.output.get("status") == "loaded":
        with psycopg.connect(stack.source_dsn) as source:
            history.observe(source, execution.output["run_id"])
    return execution
