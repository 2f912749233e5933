"""The lock and the executions, as the doctor sees them."""

import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from doctor.finding import Status
from pipeline.manifest import Manifest, key_of
from tests.unit.doctor.answers import Refusal, look, parameters

NOW = datetime.now(UTC)
GONE = Refusal("ExecutionDoesNotExist")


def held(seconds: int, owner: str = "one") -> dict[str, Any]:
    ends = str(int(time.time()) + seconds)
    return {"Item": {"lock_owner": {"S": owner}, "lease_ends": {"N": ends}}}


def execution(status: str, hours: int) -> dict[str, Any]:
    began = NOW - timedelta(hours=hours)
    return {"name": f"{hours} h", "executionArn": "arn", "status": status, "startDate": began}


def ended(status: str, hours: int) -> dict[str, Any]:
    return {"output": json.dumps({"status": status}), "stopDate": NOW - timedelta(hours=hours)}


@pytest.mark.parametrize(
    ("item", "executions", "status", "message"),
    [
        ({}, [], Status.OK, "nobody holds the lock"),
        (
            held(3600),
            [{"status": "RUNNING", "startDate": NOW}],
            Status.OK,
            "execution one holds the lock and has been running for",
        ),
        (
            held(3600),
            [GONE, {"status": "RUNNING", "startDate": NOW}],
            Status.OK,
            "execution one holds the lock",
        ),
        (
            held(3600, "arn:aws:states:eu-west-2:0:execution:maintenance:one"),
            [{"status": "RUNNING", "startDate": NOW}],
            Status.OK,
            "maintenance:one holds the lock",
        ),
        (held(-60), [], Status.OK, "the next execution takes over"),
        (held(3600), [GONE, GONE], Status.FAULT, "one, which is not running, holds the lock"),
        (held(3600), [{"status": "ABORTED"}, GONE], Status.FAULT, "every execution is skipped"),
    ],
)
def test_a_lock_is_a_fault_if_nobody_runs_under_it(
    item: dict[str, Any], executions: list[Any], status: Status, message: str
) -> None:
    found = look(
        "runs.lock", {"dynamodb.GetItem": item, "stepfunctions.DescribeExecution": executions}
    )

    assert (found.status, message in found.message) == (status, True), found


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ("rate(1 hour)", Status.FAULT),
        ("rate(6 hours)", Status.OK),
        ("cron(0 6 * * ? *)", Status.OK),
    ],
)
def test_a_success_is_late_by_the_schedule_and_a_skipped_execution_is_none(
    expression: str, status: Status
) -> None:
    found = look(
        "runs.last_success",
        {
            "cloudformation.DescribeStacks": parameters(
                ScheduleState="ENABLED", ScheduleExpression=expression
            ),
            "stepfunctions.ListExecutions": {
                "executions": [
                    execution("RUNNING", 0),
                    execution("SUCCEEDED", 1),
                    execution("FAILED", 2),
                    execution("SUCCEEDED", 5),
                ]
            },
            "stepfunctions.DescribeExecution": [ended("skipped", 1), ended("loaded", 5)],
        },
    )

    assert (found.status, "5 hours ago" in found.message) == (status, True), found


def test_what_a_failed_execution_said_is_shown_whatever_was_skipped_since() -> None:
    found = look(
        "runs.last_execution",
        {
            "stepfunctions.ListExecutions": {
                "executions": [execution("SUCCEEDED", 1), execution("TIMED_OUT", 2)]
            },
            "stepfunctions.DescribeExecution": [ended("skipped", 1), {"error": "States.Timeout"}],
        },
    )

    assert found.status is Status.FAULT
    assert found.message == "the last execution, 2 h, is TIMED_OUT: States.Timeout"


def test_maintenance_that_never_ran_is_no_fault() -> None:
    found = look("runs.maintenance", {"stepfunctions.ListExecutions": {"executions": []}})

    assert found.status is Status.OK


def test_an_execution_under_way_is_waited_for_before_runs_are_compared() -> None:
    run = Manifest(1, "one", NOW.isoformat(), "server/1", 1000, tables={})

    found = look(
        "runs.loaded",
        {
            "dynamodb.GetItem": held(3600),
            "stepfunctions.DescribeExecution": {"status": "RUNNING", "startDate": NOW},
            "s3.ListObjectsV2": {
                "Contents": [{"Key": key_of(1), "LastModified": NOW, "Size": 1, "ETag": '"1"'}]
            },
            "s3.GetObject": {"Body": io.BytesIO(run.to_json().encode())},
        },
    )

    assert (found.status, found.message) == (Status.UNKNOWN, "an execution is under way")
