"""The state machines' structure: time limits, retries, catches, and the ways through it."""

import inspect
import re
import shutil
from itertools import pairwise
from typing import Any

import pytest
from botocore.loaders import Loader
from jsonata import Jsonata

from pipeline import errors
from state_machine import render
from tests.unit.state_machine.definition import (
    DEFINITIONS,
    MAINTENANCE,
    PATHS,
    STATES,
    all_states,
    expressions,
    tasks,
)
from tests.unit.template.resources import STATE_MACHINE, of_type

LAMBDA_TRANSIENT = {
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}
"""Step Functions Developer Guide, "Handle transient Lambda service exceptions"."""
LAMBDA_NOT_READY = {
    "Lambda.ResourceNotReadyException",
    "Lambda.ResourceConflictException",
    "Lambda.ENINotReadyException",
    "Lambda.EC2ThrottledException",
}
"""A function in a VPC after two idle weeks, or during a deployment (Lambda API, "Invoke")."""
LAMBDA_KILLED = {"Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout"}
"""Out of time or memory: Ingest and Load go on from their progress, Publish would begin again."""
CALLS = {
    "Lambda": ("lambda", "Invoke"),
    "Glue": ("glue", "StartJobRun"),
    "DynamoDB": ("dynamodb", "UpdateItem"),
    "SNS": ("sns", "Publish"),
}
"""The call behind each prefix of error names, as botocore's service models have it."""
NOT_MODELLED = {
    "SdkClientException",
    "AWSLambdaException",
    "ClientExecutionTimeoutException",
    "ThrottlingException",
    "ThrottledException",
}
"""Errors of the AWS SDK for Java, which Step Functions calls by, and those common to all calls."""
AFTER_A_FAILURE = {"Explain", "Notify", "ReleaseLockAfterFailure", "TellOfFailure"}
AFTER_A_LOAD = {"Publish", "NotifyOfPublish"}
WAYS_TO_SUCCESS = {"pipeline": "Ingest", "maintenance": "Maintain"}
"""What each state machine does first with the lock in its hands."""


def _classes(base: type[Exception]) -> set[str]:
    return {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, base) and cls is not base
    }


def _retried(state: dict[str, Any]) -> set[str]:
    return {name for retrier in state["Retry"] for name in retrier["ErrorEquals"]}


def _of(resource: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {name: state for name, state in tasks().items() if state["Resource"].endswith(resource)}


@pytest.mark.parametrize("name", tasks())
def test_every_task_has_a_time_limit(name):
    machine, _ = name
    assert 0 < tasks()[name]["TimeoutSeconds"] <= DEFINITIONS[machine]["TimeoutSeconds"]


@pytest.mark.parametrize("name", tasks())
def test_every_retry_waits_at_random_and_for_a_bounded_time(name):
    for retrier in tasks()[name]["Retry"]:
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["MaxDelaySeconds"] > retrier["IntervalSeconds"]
        assert retrier["MaxAttempts"] > 0


@pytest.mark.parametrize("name", _of("lambda:invoke"))
def test_functions_are_retried_on_the_transient_errors_and_on_no_other(name):
    killed = LAMBDA_KILLED if name in {("pipeline", "Ingest"), ("pipeline", "Load")} else set()
    transient = LAMBDA_TRANSIENT | LAMBDA_NOT_READY | _classes(errors.TransientError)
    assert _retried(tasks()[name]) == transient | killed


@pytest.mark.parametrize("name", tasks())
def test_every_retried_error_of_a_service_is_one_that_its_call_documents(name):
    for error in _retried(tasks()[name]):
        service, dot, plain = error.partition(".")
        if dot and service in CALLS and plain not in NOT_MODELLED | {"Unknown"}:
            model, call = CALLS[service]
            shapes = Loader().load_service_model(model, "service-2")["operations"][call]["errors"]
            documented = {shape["shape"] for shape in shapes}
            assert {plain, plain.removesuffix("Exception")} & documented, error


def test_the_last_attempt_of_ingest_is_told_so():
    retrier = next(one for one in STATES["Ingest"]["Retry"] if "SourceBusy" in one["ErrorEquals"])
    told = STATES["Ingest"]["Arguments"]["Payload"]["is_last_attempt"]
    assert f"RetryCount >= {retrier['MaxAttempts']} %" in told


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


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_whatever_fails_before_the_work_is_done_is_explained_and_notified(machine):
    states = DEFINITIONS[machine]["States"]
    branches = {
        name for state in states.values() for b in state.get("Branches", ()) for name in b["States"]
    }
    fallible = {name for name, state in all_states(states) if state["Type"] in ("Task", "Parallel")}
    for name in fallible - branches - AFTER_A_FAILURE - AFTER_A_LOAD:
        last = states[name]["Catch"][-1]
        assert last["ErrorEquals"] == ["States.ALL"]
        assert last["Next"] == ("Load" if name == "BuildStar" else "Explain")
        assert last["Assign"].keys() == {"failures"}


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_a_failure_is_notified_then_unlocked_then_fails_whatever_happens_on_the_way(machine):
    states = DEFINITIONS[machine]["States"]
    way = ["Explain", "Tell", "IsAllTold", "Notify", "ReleaseLockAfterFailure", "Fail"]
    if machine == "pipeline":
        way.insert(-1, "TellOfFailure")
    for name, following in pairwise(way):
        assert states[name].get("Next", states[name].get("Default")) == following
        assert all(catch["Next"] == following for catch in states[name].get("Catch", ()))
    assert states["Fail"]["Type"] == "Fail"


def test_a_branch_of_the_build_catches_its_own_failure():
    for branch in STATES["Build"]["Branches"]:
        (catch,) = branch["States"][branch["StartAt"]]["Catch"]
        assert catch["ErrorEquals"] == ["States.ALL"]
        assert branch["States"][catch["Next"]]["End"] is True


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_an_explanation_that_fails_is_caught(machine):
    explain = DEFINITIONS[machine]["States"]["Explain"]
    assert (explain["Type"], len(explain["Branches"])) == ("Parallel", 1)
    assert [catch["ErrorEquals"] for catch in explain["Catch"]] == [["States.ALL"]]


def test_a_failing_publish_is_reported_and_undoes_nothing():
    assert [catch["Next"] for catch in STATES["Publish"]["Catch"]] == ["NotifyOfPublish"]
    assert STATES["NotifyOfPublish"]["Next"] == "HasAnythingFailed"
    assert [catch["Next"] for catch in STATES["NotifyOfPublish"]["Catch"]] == ["HasAnythingFailed"]


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_only_a_held_lock_is_skipped(machine):
    skipping = [
        (name, catch["ErrorEquals"])
        for name, state in all_states(DEFINITIONS[machine]["States"])
        for catch in state.get("Catch", ())
        if catch["Next"] == "Skipped"
    ]
    assert skipping == [("AcquireLock", ["DynamoDB.ConditionalCheckFailedException"])]


@pytest.mark.parametrize(("machine", "first"), WAYS_TO_SUCCESS.items())
def test_no_way_from_the_lock_to_success_avoids_its_release(machine, first):
    states = DEFINITIONS[machine]["States"]
    assert states["AcquireLock"]["Next"] == first
    seen, ahead = set(), [first]
    while ahead:
        name = ahead.pop()
        if name in seen or name == "ReleaseLock":
            continue
        seen.add(name)
        state = states[name]
        ahead += [choice["Next"] for choice in state.get("Choices", ())]
        ahead += [state[key] for key in ("Next", "Default") if key in state]
    assert "Succeed" not in seen


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_the_lease_is_as_long_as_an_execution_may_last(machine):
    definition = DEFINITIONS[machine]
    acquire = definition["States"]["AcquireLock"]
    ends = acquire["Arguments"]["ExpressionAttributeValues"][":ends"]["N"]
    assert f"+ {definition['TimeoutSeconds']})" in ends


def test_maintenance_and_the_pipeline_keep_each_other_out_by_one_lock():
    one, other = (states["AcquireLock"]["Arguments"] for states in (STATES, MAINTENANCE))
    for field in ("TableName", "Key", "UpdateExpression", "ConditionExpression"):
        assert one[field] == other[field]
    # Executions of the same name in both machines are two.
    for states in (STATES, MAINTENANCE):
        for state in ("AcquireLock", "ReleaseLock", "ReleaseLockAfterFailure"):
            holder = states[state]["Arguments"]["ExpressionAttributeValues"][":me"]["S"]
            assert holder == "{% $states.context.Execution.Id %}"


def test_maintenance_waits_for_the_lock_and_still_ends_within_its_lease():
    (waiting,) = (
        retrier
        for retrier in MAINTENANCE["AcquireLock"]["Retry"]
        if "DynamoDB.ConditionalCheckFailedException" in retrier["ErrorEquals"]
    )
    longest = waiting["MaxAttempts"] * waiting["MaxDelaySeconds"]
    work = MAINTENANCE["Maintain"]["TimeoutSeconds"]
    assert longest + work < DEFINITIONS["maintenance"]["TimeoutSeconds"]


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_every_state_is_reached_and_every_next_exists(machine):
    definition = DEFINITIONS[machine]
    named = {definition["StartAt"]}
    for _, state in all_states(definition["States"]):
        named |= {state[key] for key in ("Next", "Default") if key in state}
        named |= {entry["Next"] for key in ("Choices", "Catch") for entry in state.get(key, ())}
        named |= {branch["StartAt"] for branch in state.get("Branches", ())}
    assert named == {name for name, _ in all_states(definition["States"])}


@pytest.mark.parametrize("text", sorted(set(expressions())))
def test_every_expression_parses_and_is_short(text):
    assert len(text) < 300
    Jsonata(text)


def test_the_committed_json_is_what_the_yaml_renders_to():
    assert {path.name for path in render.sources()} == {f"{name}.asl.yaml" for name in DEFINITIONS}
    assert render.stale() == []


def test_a_json_file_that_was_edited_by_hand_is_stale(tmp_path, monkeypatch):
    for path in (render.SHARED, *render.sources(), *PATHS.values()):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(render, "FOLDER", tmp_path)
    edited = tmp_path / "pipeline.asl.json"
    edited.write_text(edited.read_text().replace('"TimeoutSeconds": 30', '"TimeoutSeconds": 31'))
    assert render.stale() == ["pipeline.asl.json"]


def test_the_yaml_of_both_machines_is_short():
    texts = [path.read_text() for path in (render.SHARED, *render.sources())]
    assert sum(text.count("\n") for text in texts) < 420


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_every_substitution_is_one_that_the_template_makes(machine):
    substitutions = set(re.findall(r"\$\{(\w+)\}", PATHS[machine].read_text()))
    (made,) = (
        properties["DefinitionSubstitutions"]
        for properties in of_type(STATE_MACHINE).values()
        if properties["DefinitionUri"].endswith(PATHS[machine].name)
    )
    assert substitutions == set(made)


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_no_variable_hides_a_function(machine):
    assigned: set[str] = set()
    for _, state in all_states(DEFINITIONS[machine]["States"]):
        for part in (state, *state.get("Choices", ()), *state.get("Catch", ())):
            assigned |= part.get("Assign", {}).keys()
    called = {name for text in expressions() for name in re.findall(r"\$(\w+)\(", text)}
    assert called
    assert not assigned & called
