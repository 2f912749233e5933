"""The state machine's structure: time limits, retries, catches, and the ways through it."""

import inspect
import re
from itertools import pairwise
from typing import Any

import pytest
from jsonata import Jsonata

from pipeline import errors
from tests.unit.state_machine.definition import (
    DEFINITION,
    PATH,
    STATES,
    all_states,
    expressions,
    tasks,
)

LAMBDA_TRANSIENT = {
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}
LAMBDA_KILLED = {"Lambda.Unknown", "Sandbox.Timedout"}
"""Out of time or memory: Ingest goes on from its progress, the others would do all of it again."""
AFTER_A_FAILURE = {"Notify", "ReleaseLockAfterFailure"}
AFTER_A_LOAD = {"Publish", "NotifyOfPublish"}


def _classes(base: type[Exception]) -> set[str]:
    return {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, base) and cls is not base
    }


def _retried(state: dict[str, Any]) -> set[str]:
    return {name for retrier in state["Retry"] for name in retrier["ErrorEquals"]}


def _of(resource: str) -> dict[str, dict[str, Any]]:
    return {name: state for name, state in tasks().items() if state["Resource"].endswith(resource)}


@pytest.mark.parametrize("name", tasks())
def test_every_task_has_a_time_limit(name):
    assert 0 < tasks()[name]["TimeoutSeconds"] <= DEFINITION["TimeoutSeconds"]


@pytest.mark.parametrize("name", tasks())
def test_every_retry_waits_at_random_and_for_a_bounded_time(name):
    for retrier in tasks()[name]["Retry"]:
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["MaxDelaySeconds"] > retrier["IntervalSeconds"]
        assert retrier["MaxAttempts"] > 0


@pytest.mark.parametrize("name", _of("lambda:invoke"))
def test_functions_are_retried_on_the_transient_errors_and_on_no_other(name):
    killed = LAMBDA_KILLED if name == "Ingest" else set()
    assert _retried(tasks()[name]) == LAMBDA_TRANSIENT | _classes(errors.TransientError) | killed


@pytest.mark.parametrize("name", tasks())
def test_permanent_errors_are_never_retried(name):
    permanent = _classes(errors.PermanentError)
    wide = {"States.ALL", "States.TaskFailed", "PermanentError", "PipelineError"}
    assert permanent
    assert not _retried(tasks()[name]) & (permanent | wide)


@pytest.mark.parametrize("name", _of("glue:startJobRun.sync"))
def test_jobs_are_retried_on_errors_of_glue_itself_alone(name):
    retried = _retried(tasks()[name])
    assert "Glue.ConcurrentRunsExceededException" in retried
    assert all(error.startswith("Glue.") for error in retried)


def test_whatever_fails_before_the_load_ends_is_explained_and_notified():
    branches = {
        name for state in STATES.values() for b in state.get("Branches", ()) for name in b["States"]
    }
    fallible = {name for name, state in all_states() if state["Type"] in ("Task", "Parallel")}
    for name in fallible - branches - AFTER_A_FAILURE - AFTER_A_LOAD:
        last = STATES[name]["Catch"][-1]
        assert last["ErrorEquals"] == ["States.ALL"]
        assert last["Next"] == "Explain"
        assert last["Assign"]["failure"]["stage"] == name


def test_a_failure_is_notified_then_unlocked_then_fails_whatever_happens_on_the_way():
    way = ["Explain", "Notify", "ReleaseLockAfterFailure", "Fail"]
    for name, following in pairwise(way):
        assert STATES[name]["Next"] == following
        assert all(catch["Next"] == following for catch in STATES[name].get("Catch", ()))
    assert STATES["Fail"]["Type"] == "Fail"


def test_a_failing_publish_is_reported_and_undoes_nothing():
    assert [catch["Next"] for catch in STATES["Publish"]["Catch"]] == ["NotifyOfPublish"]
    assert STATES["NotifyOfPublish"]["Next"] == "Succeed"
    assert [catch["Next"] for catch in STATES["NotifyOfPublish"]["Catch"]] == ["Succeed"]


def test_only_a_held_lock_is_skipped():
    skipping = [
        (name, catch["ErrorEquals"])
        for name, state in all_states()
        for catch in state.get("Catch", ())
        if catch["Next"] == "Skipped"
    ]
    assert skipping == [("AcquireLock", ["DynamoDB.ConditionalCheckFailedException"])]


def test_no_way_from_the_lock_to_success_avoids_its_release():
    seen, ahead = set(), ["Ingest"]
    while ahead:
        name = ahead.pop()
        if name in seen or name == "ReleaseLock":
            continue
        seen.add(name)
        state = STATES[name]
        ahead += [choice["Next"] for choice in state.get("Choices", ())]
        ahead += [state[key] for key in ("Next", "Default") if key in state]
    assert "Succeed" not in seen


def test_the_lease_is_as_long_as_an_execution_may_last():
    ends = STATES["AcquireLock"]["Arguments"]["ExpressionAttributeValues"][":ends"]["N"]
    assert f"+ {DEFINITION['TimeoutSeconds']})" in ends


def test_every_state_is_reached_and_every_next_exists():
    named = {DEFINITION["StartAt"]}
    for _, state in all_states():
        named |= {state[key] for key in ("Next", "Default") if key in state}
        named |= {entry["Next"] for key in ("Choices", "Catch") for entry in state.get(key, ())}
        named |= {branch["StartAt"] for branch in state.get("Branches", ())}
    assert named == {name for name, _ in all_states()}


@pytest.mark.parametrize("text", sorted(set(expressions())))
def test_every_expression_parses(text):
    Jsonata(text)


def test_every_substitution_is_one_that_the_template_makes():
    template = (PATH.parents[1] / "template.yaml").read_text()
    substitutions = set(re.findall(r"\$\{(\w+)\}", PATH.read_text()))
    block = template.partition("DefinitionSubstitutions:")[2].partition("Tracing:")[0]
    assert substitutions == set(re.findall(r"^\s+(\w+):", block, re.MULTILINE))
