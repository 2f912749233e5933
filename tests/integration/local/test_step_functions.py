"""Executions in the local cloud behave as AWS documents them."""

import json
from itertools import pairwise
from pathlib import Path

import boto3
import pytest

from local.execution import execute
from tests.fixtures.waiting import wait_until

SUCCEED = {"Type": "Succeed"}
RETRY_BUSY = {"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 3, "BackoffRate": 1}
FAILS_TWICE = """
class Busy(Exception):
    pass

def handler(event, context):
    if event["attempt"] < event["failures"]:
        raise Busy(f"attempt {event['attempt']}")
    return event["attempt"]
"""


def invoke(function, *, failures=0, **fields):
    """Returns a state that invokes the function, which fails as often as told."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {
            "FunctionName": function,
            "Payload": {
                "attempt": "{% $states.context.State.RetryCount %}",
                "failures": failures,
            },
        },
        **fields,
    }


def branch(**states):
    """Returns a branch of a Parallel state."""
    return {"StartAt": next(iter(states)), "States": states}


def events_of(client, execution):
    """Returns an execution's history."""
    return client.get_execution_history(executionArn=execution, maxResults=1000)["events"]


def delays(events):
    """Returns the seconds between each failed attempt and the one after it."""
    return [
        (after["timestamp"] - before["timestamp"]).total_seconds()
        for before, after in pairwise(events)
        if (before["type"], after["type"]) == ("TaskFailed", "TaskScheduled")
    ]


def test_a_succeed_state_s_output_is_the_execution_s(run_machine):
    done = run_machine(
        {"Done": {"Type": "Succeed", "Output": {"sum": "{% $states.input.a + 1 %}"}}}, {"a": 2}
    )
    assert (done.status, done.output) == ("SUCCEEDED", {"sum": 3})


def test_every_expression_of_an_assign_reads_the_variables_as_they_were(run_machine):
    done = run_machine(
        {
            "Before": {"Type": "Pass", "Assign": {"a": 1, "b": 2}, "Next": "Swap"},
            "Swap": {"Type": "Pass", "Assign": {"a": "{% $b %}", "b": "{% $a %}"}, "Next": "Done"},
            "Done": {"Type": "Succeed", "Output": {"a": "{% $a %}", "b": "{% $b %}"}},
        }
    )
    assert done.output == {"a": 2, "b": 1}


def test_branches_read_outer_variables_and_keep_their_own(run_machine):
    def own(name):
        return branch(
            Assign={"Type": "Pass", "Assign": {"mine": name}, "Next": "Read"},
            Read={"Type": "Pass", "Output": "{% $outer & $mine %}", "End": True},
        )

    done = run_machine(
        {
            "Before": {"Type": "Pass", "Assign": {"outer": "o"}, "Next": "Both"},
            "Both": {"Type": "Parallel", "Branches": [own("a"), own("b")], "Next": "Done"},
            "Done": {
                "Type": "Succeed",
                "Output": {"read": "{% $states.input %}", "leaked": "{% $exists($mine) %}"},
            },
        }
    )
    assert done.output == {"read": ["oa", "ob"], "leaked": False}


def test_a_parallel_state_has_arguments_output_and_variables(run_machine):
    def times(factor):
        output = f"{{% $states.input.n * {factor} %}}"
        return branch(Times={"Type": "Pass", "Output": output, "End": True})

    done = run_machine(
        {
            "Both": {
                "Type": "Parallel",
                "Arguments": {"n": "{% $states.input.n + 1 %}"},
                "Branches": [times(10), times(100)],
                "Output": {"sum": "{% $sum($states.result) %}"},
                "Assign": {"first": "{% $states.result[0] %}"},
                "Next": "Done",
            },
            "Done": {
                "Type": "Succeed",
                "Output": {"sum": "{% $states.input.sum %}", "first": "{% $first %}"},
            },
        },
        {"n": 1},
    )
    assert done.output == {"sum": 220, "first": 20}


def test_a_failing_branch_fails_the_parallel_state_which_may_catch_it(run_machine, new_function):
    function = new_function(FAILS_TWICE)
    done = run_machine(
        {
            "Both": {
                "Type": "Parallel",
                "Branches": [
                    branch(Fine=invoke(function, End=True)),
                    branch(Broken=invoke(function, failures=1, End=True)),
                ],
                "Catch": [
                    {
                        "ErrorEquals": ["Busy"],
                        "Assign": {"error": "{% $states.errorOutput.Error %}"},
                        "Next": "Done",
                    }
                ],
                "Next": "Done",
            },
            "Done": {"Type": "Succeed", "Output": {"error": "{% $error %}"}},
        }
    )
    assert done.output == {"error": "Busy"}


def waits_for(job):
    """Returns a state that waits for a job, and would go on at `Caught` whatever failed."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::glue:startJobRun.sync",
        "Arguments": {"JobName": job},
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
        "End": True,
    }


def test_a_failing_branch_stops_the_others_and_the_job_that_one_waits_for(
    run_machine, new_function, new_job, glue, raw_bucket
):
    job = new_job("import time; time.sleep(600)")
    waits = waits_for(job)
    retry = RETRY_BUSY | {"JitterStrategy": "NONE", "MaxAttempts": 1}
    done = run_machine(
        {
            "Both": {
                "Type": "Parallel",
                "Branches": [
                    branch(Job=waits, Caught=SUCCEED),
                    branch(
                        Broken=invoke(
                            new_function(FAILS_TWICE), failures=9, Retry=[retry], End=True
                        )
                    ),
                ],
                "Next": "Done",
            },
            "Done": SUCCEED,
        }
    )
    assert (done.status, done.error) == ("FAILED", "Busy")
    (run,) = glue.get_job_runs(JobName=job)["JobRuns"]
    assert run["JobRunState"] == "STOPPED"


def test_a_branch_that_catches_its_own_failure_stops_no_other(run_machine, new_function):
    function = new_function(FAILS_TWICE)
    catch = [
        {
            "ErrorEquals": ["States.ALL"],
            "Output": {"caught": "{% $states.errorOutput.Error %}"},
            "Next": "Caught",
        }
    ]
    done = run_machine(
        {
            "Both": {
                "Type": "Parallel",
                "Branches": [
                    branch(
                        Broken=invoke(function, failures=1, Catch=catch, End=True), Caught=SUCCEED
                    ),
                    branch(
                        First=invoke(function, Next="Second"), Second=invoke(function, End=True)
                    ),
                ],
                "Next": "Done",
            },
            "Done": {"Type": "Succeed", "Output": "{% $states.input[0] %}"},
        }
    )
    assert done.output == {"caught": "Busy"}


def test_retries_wait_no_longer_than_their_longest_delay(run_machine, new_function, step_functions):
    retry = RETRY_BUSY | {"BackoffRate": 60, "MaxDelaySeconds": 2, "MaxAttempts": 2}
    done = run_machine(
        {"Try": invoke(new_function(FAILS_TWICE), failures=2, Retry=[retry], End=True)}
    )
    assert done.status == "SUCCEEDED"
    assert delays(events_of(step_functions, done.arn)) == pytest.approx([1, 2], abs=0.3)


def test_retries_with_full_jitter_wait_at_random(run_machine, new_function, step_functions):
    retry = RETRY_BUSY | {"MaxDelaySeconds": 2, "MaxAttempts": 5, "JitterStrategy": "FULL"}
    done = run_machine(
        {"Try": invoke(new_function(FAILS_TWICE), failures=5, Retry=[retry], End=True)}
    )
    waited = delays(events_of(step_functions, done.arn))
    assert len(waited) == 5
    assert min(waited) < 0.98
    assert max(waited) - min(waited) > 0.01


def test_an_execution_that_outlasts_its_time_limit_is_timed_out_and_an_event_says_so(
    new_machine, step_functions
):
    arn = new_machine({"Wait": {"Type": "Wait", "Seconds": 20, "End": True}}, TimeoutSeconds=1)
    queue = boto3.client("sqs").create_queue(QueueName=arn.rpartition(":")[2])["QueueUrl"]
    events = boto3.client("events")
    pattern = {"source": ["aws.states"], "detail": {"stateMachineArn": [arn]}}
    events.put_rule(Name="ended", EventPattern=json.dumps(pattern))
    queue_arn = f"arn:aws:sqs:eu-west-2:000000000000:{queue.rpartition('/')[2]}"
    events.put_targets(Rule="ended", Targets=[{"Id": "queue", "Arn": queue_arn}])

    started = step_functions.start_execution(stateMachineArn=arn)["executionArn"]

    wait_until(
        lambda: step_functions.describe_execution(executionArn=started)["status"] != "RUNNING"
    )
    described = step_functions.describe_execution(executionArn=started)
    assert (described["status"], described["error"]) == ("TIMED_OUT", "States.Timeout")
    assert events_of(step_functions, started)[-1]["type"] == "ExecutionTimedOut"
    sqs = boto3.client("sqs")
    told: list[str] = []
    while "TIMED_OUT" not in told:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10, MaxNumberOfMessages=10)
        assert answer.get("Messages"), f"no event of the end: {told}"
        told += [json.loads(message["Body"])["detail"]["status"] for message in answer["Messages"]]
    assert "FAILED" not in told


def test_a_stopped_execution_stays_aborted_though_its_task_fails_later(
    new_machine, new_function, run_machine, step_functions, new_bucket, s3
):
    bucket = new_bucket("gate")
    function = new_function(f"""
        import boto3
        def handler(event, context):
            boto3.client("s3").get_waiter("object_exists").wait(
                Bucket={bucket!r}, Key="open", WaiterConfig={{"Delay": 0.2, "MaxAttempts": 100}})
            raise ValueError("late")
        """)
    arn = new_machine({"Slow": invoke(function, End=True)})
    started = step_functions.start_execution(stateMachineArn=arn)["executionArn"]

    def types():
        return [event["type"] for event in events_of(step_functions, started)]

    wait_until(lambda: "TaskScheduled" in types())
    step_functions.stop_execution(executionArn=started)
    s3.put_object(Bucket=bucket, Key="open")
    wait_until(lambda: "TaskFailed" in types())

    run_machine({"Done": SUCCEED})
    assert step_functions.describe_execution(executionArn=started)["status"] == "ABORTED"
    assert "ExecutionFailed" not in types()


def test_a_stopped_execution_stops_the_job_that_it_waits_for(
    new_machine, new_job, step_functions, glue
):
    job = new_job("import time; time.sleep(600)")
    waits = waits_for(job)
    arn = new_machine(
        {
            "Both": {
                "Type": "Parallel",
                "Branches": [branch(Job=waits, Caught=SUCCEED)],
                "End": True,
            }
        }
    )
    started = step_functions.start_execution(stateMachineArn=arn)["executionArn"]
    wait_until(lambda: glue.get_job_runs(JobName=job)["JobRuns"])

    step_functions.stop_execution(executionArn=started)

    def state():
        (run,) = glue.get_job_runs(JobName=job)["JobRuns"]
        return run["JobRunState"]

    wait_until(lambda: state() == "STOPPED")
    assert step_functions.describe_execution(executionArn=started)["status"] == "ABORTED"


def test_a_stopped_execution_makes_no_further_attempt(
    new_machine, new_function, run_machine, step_functions
):
    retry = RETRY_BUSY | {"IntervalSeconds": 1, "MaxAttempts": 9}
    function = new_function(FAILS_TWICE)
    arn = new_machine({"Try": invoke(function, failures=99, Retry=[retry], End=True)})
    started = step_functions.start_execution(stateMachineArn=arn)["executionArn"]

    def types():
        return [event["type"] for event in events_of(step_functions, started)]

    wait_until(lambda: "TaskFailed" in types())
    step_functions.stop_execution(executionArn=started)
    wait_until(lambda: types().count("TaskScheduled") > 1)

    run_machine({"Try": invoke(function, End=True)})
    assert types().count("TaskFailed") == 1


def test_the_history_is_a_chain_in_which_every_branch_s_states_are_found(
    run_machine, new_function, step_functions
):
    function = new_function(FAILS_TWICE)
    retry = RETRY_BUSY | {"JitterStrategy": "FULL", "MaxDelaySeconds": 2}
    done = run_machine(
        {
            "First": invoke(function, failures=1, Retry=[retry], Next="Both"),
            "Both": {
                "Type": "Parallel",
                "Branches": [
                    branch(Left=invoke(function, failures=2, Retry=[retry], End=True)),
                    branch(Right=invoke(function, Next="Again"), Again=invoke(function, End=True)),
                ],
                "Next": "Done",
            },
            "Done": SUCCEED,
        }
    )

    states = {state.name: state for state in done.states}
    assert {name: (state.kind, state.retries) for name, state in states.items()} == {
        "First": ("Task", 1),
        "Left": ("Task", 2),
        "Right": ("Task", 0),
        "Again": ("Task", 0),
        "Both": ("Parallel", 0),
        "Done": ("Succeed", 0),
    }
    assert all(states[name].resource.endswith("lambda:invoke") for name in ("First", "Left"))
    assert states["Right"].seconds + states["Again"].seconds <= states["Both"].seconds
    assert states["Left"].seconds <= states["Both"].seconds <= done.seconds

    events = events_of(step_functions, done.arn)
    by_id = {event["id"]: event for event in events}
    assert events[0]["type"] == "ExecutionStarted"
    for event in events[1:]:
        assert by_id[event["previousEventId"]]["timestamp"] <= event["timestamp"]
        assert event["previousEventId"] < event["id"]


def test_a_caught_failure_is_no_retry(run_machine, new_function):
    done = run_machine(
        {
            "Try": invoke(
                new_function(FAILS_TWICE),
                failures=9,
                Retry=[RETRY_BUSY | {"MaxAttempts": 1, "JitterStrategy": "FULL"}],
                Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Done"}],
                End=True,
            ),
            "Done": SUCCEED,
        }
    )
    assert [(state.name, state.retries) for state in done.states] == [("Try", 1), ("Done", 0)]


def test_progress_is_told_while_an_execution_runs(new_machine, new_function):
    inside: list[str] = []
    ended: list[str] = []
    retry = RETRY_BUSY | {"MaxAttempts": 1}
    arn = new_machine(
        {"Try": invoke(new_function(FAILS_TWICE), failures=1, Retry=[retry], End=True)}
    )

    def progress(now, new):
        inside.extend(state.name for state in now)
        ended.extend(state.name for state in new)

    execute(arn, "{}", on_progress=progress)
    assert set(inside) == {"Try"}
    assert ended == ["Try"]


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ('{"errorMessage": "no \\"right\\""}', 'no "right"'),
        ('{"errorMessage": "cut of', '{"errorMessage": "cut of'),
        ("{not JSON}", "{not JSON}"),
        ("plain text", "plain text"),
        (None, "no reason was given"),
    ],
)
def test_the_pipeline_tells_of_any_cause(run_machine, cause, told):
    path = Path(__file__).parents[3] / "state_machine" / "pipeline.asl.json"
    deployed = json.loads(path.read_text())["States"]
    telling = {name: deployed[name] for name in ("Explain", "Tell", "IsAllTold")}
    failure = {"stage": "Load", "Error": "Some"} | ({"Cause": cause} if cause else {})
    begun = {"failures": [failure, failure], "message": "", "firstError": ""}

    done = run_machine(
        {
            "Begin": {"Type": "Pass", "Assign": begun, "Next": "Explain"},
            **telling,
            "Notify": {"Type": "Succeed", "Output": {"message": "{% $message %}"}},
        }
    )

    assert done.output == {"message": f"Load failed with Some: {told}. " * 2}, done.cause
