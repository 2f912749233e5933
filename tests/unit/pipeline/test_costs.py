"""An execution's history gives its attempts, its transitions and its estimated cost."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.costs import ORCHESTRATION, Cost, cost_of
from pipeline.execution_history import Attempt, attempts_of, transitions_of
from pipeline.prices import prices

BEGIN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
MEMORY = {"Ingest": 2048}
RUN = {"Id": "jr_1", "ExecutionTime": 90, "MaxCapacity": 2.0, "WorkerType": "G.1X"}


def history(*steps: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns events that follow each other, ten seconds apart."""
    return [
        {
            "id": number,
            "previousEventId": number - 1,
            "type": kind,
            "timestamp": BEGIN + timedelta(seconds=10 * number),
            **details,
        }
        for number, (kind, details) in enumerate(steps, 1)
    ]


def scheduled(service: str) -> tuple[str, dict[str, Any]]:
    return "TaskScheduled", {"taskScheduledEventDetails": {"resourceType": service}}


RETRIED = history(
    ("ExecutionStarted", {}),
    ("TaskStateEntered", {"stateEnteredEventDetails": {"name": "Ingest"}}),
    scheduled("lambda"),
    ("TaskStarted", {}),
    ("TaskFailed", {"taskFailedEventDetails": {"error": "SourceBusy", "cause": "a lock"}}),
    scheduled("lambda"),
    ("TaskSucceeded", {"taskSucceededEventDetails": {"output": "{}"}}),
    ("TaskStateExited", {"stateExitedEventDetails": {"name": "Ingest"}}),
    ("ChoiceStateEntered", {"stateEnteredEventDetails": {"name": "IsIngestComplete"}}),
)


def cost(*attempts: Attempt, transitions: int = 0) -> Cost:
    return cost_of(attempts, transitions, MEMORY, prices())


def attempt(state: str, service: str, seconds: float = 1.0, output: str = "") -> Attempt:
    return Attempt(state, service, BEGIN, seconds, output=output)


def usd(name: str) -> float:
    return prices().by_name[name].usd


def test_every_attempt_is_told_with_its_state_service_seconds_and_error() -> None:
    failed, succeeded = attempts_of(RETRIED)

    assert failed == Attempt(
        "Ingest", "lambda", BEGIN + timedelta(seconds=30), 20.0, "SourceBusy", "a lock"
    )
    assert (succeeded.error, succeeded.seconds, succeeded.output) == ("", 10.0, "{}")


def test_a_retry_counts_as_a_transition() -> None:
    assert transitions_of(RETRIED) == 3


def test_a_function_costs_its_gb_seconds_and_its_request() -> None:
    found = cost(attempt("Ingest", "lambda", 10.0), attempt("Ingest", "lambda", 5.0))

    stage = found.stages[0]
    assert stage.units == {"lambda_gb_second": 30.0, "lambda_request": 2}
    assert found.usd == pytest.approx(30 * usd("lambda_gb_second") + 2 * usd("lambda_request"))


@pytest.mark.parametrize(
    ("run", "dpu_hours"),
    [
        (RUN, 2 * 90 / 3600),
        (RUN | {"ExecutionTime": 5}, 2 * 60 / 3600),
        (RUN | {"DPUSeconds": 45.5}, 45.5 / 3600),
        ({"ExecutionTime": 90, "NumberOfWorkers": 3, "WorkerType": "G.2X"}, 6 * 90 / 3600),
    ],
)
def test_a_job_costs_its_dpu_hours_by_its_own_figures(
    run: dict[str, Any], dpu_hours: float
) -> None:
    found = cost(attempt("BuildFacts", "glue", output=json.dumps(run)))

    assert found.stages[0].units["glue_dpu_hour"] == pytest.approx(dpu_hours)


@pytest.mark.parametrize("output", ["", "{", "[]", "{}", "Concurrent runs exceeded"])
def test_a_job_that_never_ran_costs_nothing(output: str) -> None:
    assert cost(attempt("BuildFacts", "glue", output=output)).usd == 0


def test_transitions_the_lock_and_notifications_are_the_state_machine_s() -> None:
    found = cost(attempt("AcquireLock", "dynamodb"), attempt("Notify", "sns"), transitions=9)

    (stage,) = found.stages
    assert stage.stage == ORCHESTRATION
    assert stage.units == {"states_transition": 9, "dynamodb_write": 1, "sns_email": 1}


def test_an_estimate_names_the_region_and_the_oldest_price_of_its_units() -> None:
    found = cost(attempt("Ingest", "lambda"), attempt("BuildFacts", "glue", output=json.dumps(RUN)))

    used = [prices().by_name[name] for stage in found.stages for name in stage.units]
    assert found.region == prices().region
    assert found.prices_of == min(price.read for price in used).isoformat()
    assert found.is_confirmed == all(price.confirmed for price in used)
    assert [stage.usd for stage in found.stages] == sorted(
        (stage.usd for stage in found.stages), reverse=True
    )
