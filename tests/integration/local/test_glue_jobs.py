"""Glue jobs in the local cloud run their script, and end as it ends."""

import json
import os
import signal

import boto3
import pytest

from tests.fixtures.waiting import wait_until

PRINTS = """
import sys, greeting
from pyspark import SparkConf, SparkContext
print(greeting.TEXT, sys.argv[sys.argv.index("--name") + 1])
SparkContext._ensure_initialized()
print(SparkConf().toDebugString().replace("=", " "))
"""
FAILS = """
class TableBuildFailed(Exception):
    pass
print("begun")
raise TableBuildFailed("dim_date: no dates\\nand a second line")
"""
WAITS = """
import boto3, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
boto3.client("s3").get_waiter("object_exists").wait(
    Bucket=arguments["--bucket"], Key="open", WaiterConfig={"Delay": 0.2, "MaxAttempts": 200})
"""
OF_THE_JVM = """
from py4j.java_gateway import JavaObject
from pyspark import SparkConf, SparkContext
SparkContext._ensure_initialized()
java = SparkContext._jvm.java.lang
server = JavaObject("GATEWAY_SERVER", SparkContext._gateway._gateway_client)
print(java.ProcessHandle.current().pid(), java.System.getProperty("aws.accessKeyId"),
      SparkConf().get("spark.sql.shuffle.partitions", "as by default"),
      "objects of others" if server.getGateway().getBindings().size() > 100 else "clean", sep=": ")
held = [java.Object() for _ in range(200)]
"""
LEAVES_SPARK = OF_THE_JVM + "SparkContext()"


def build(job, **arguments):
    """Returns a state machine's states that run the job and wait for its end."""
    return {
        "Build": {
            "Type": "Task",
            "Resource": "arn:aws:states:::glue:startJobRun.sync",
            "Arguments": {"JobName": job, "Arguments": arguments},
            "End": True,
        }
    }


def lines_of(group, stream):
    """Returns the lines that a run has logged."""
    events = boto3.client("logs").get_log_events(
        logGroupName=group, logStreamName=stream, startFromHead=True
    )["events"]
    return [event["message"] for event in events]


@pytest.fixture
def jvm_of(run_machine):
    """Runs a job of `OF_THE_JVM`, and gives its JVM's process id and the rest of the line."""

    def run(job):
        done = run_machine(build(job))
        assert done.status == "SUCCEEDED", done.cause
        pid, _, rest = lines_of(f"/{job}/output", done.output["Id"])[-1].partition(": ")
        return int(pid), rest

    return run


def test_a_job_runs_with_its_modules_arguments_and_settings_and_logs_its_output(
    run_machine, new_job
):
    conf = "spark.sql.ansi.enabled=true --conf spark.sql.shuffle.partitions=7"
    job = new_job(PRINTS, {"greeting.py": "TEXT = 'hello'"}, {"--conf": conf})

    done = run_machine(build(job, **{"--name": "Zoë"}))

    assert done.status == "SUCCEEDED", done.cause
    assert (done.output["JobName"], done.output["JobRunState"]) == (job, "SUCCEEDED")
    assert [state.resource for state in done.states] == ["arn:aws:states:::glue:startJobRun.sync"]
    lines = lines_of(f"/{job}/output", done.output["Id"])
    assert lines[0] == "hello Zoë"
    assert "spark.sql.ansi.enabled true" in lines
    assert "spark.sql.shuffle.partitions 7" in lines


def test_a_run_may_bring_its_own_script(run_machine, new_job, s3, raw_bucket):
    s3.put_object(Bucket=raw_bucket, Key="other.py", Body=b"print('the other')")
    job = new_job("print('never')")

    done = run_machine(build(job, **{"--scriptLocation": f"s3://{raw_bucket}/other.py"}))

    assert lines_of(f"/{job}/output", done.output["Id"]) == ["the other"]


def test_a_failing_job_fails_its_state_with_the_error_s_own_line(run_machine, new_job):
    job = new_job(FAILS)

    done = run_machine(build(job))

    assert (done.status, done.error) == ("FAILED", "States.TaskFailed")
    run = json.loads(done.cause)
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"] == "TableBuildFailed: dim_date: no dates"
    assert lines_of(f"/{job}/output", run["Id"])[0] == "begun"


def test_a_job_that_outlasts_its_time_limit_is_ended(run_machine, new_job, raw_bucket):
    done = run_machine(build(new_job(WAITS, timeout=0), **{"--bucket": raw_bucket}))
    assert done.error == "States.TaskFailed"
    assert json.loads(done.cause)["JobRunState"] == "TIMEOUT"


def test_a_second_run_of_a_job_is_refused_while_the_first_one_runs(
    run_machine, new_job, glue, s3, raw_bucket
):
    job = new_job(WAITS)
    arguments = {"--bucket": raw_bucket}
    first = glue.start_job_run(JobName=job, Arguments=arguments)["JobRunId"]

    refused = run_machine(build(job, **arguments))
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
        glue.start_job_run(JobName=job, Arguments=arguments)

    assert (refused.status, refused.error) == ("FAILED", "Glue.ConcurrentRunsExceededException")
    assert job in refused.cause
    s3.put_object(Bucket=raw_bucket, Key="open")
    wait_until(lambda: glue.get_job_run(JobName=job, RunId=first)["JobRun"].get("CompletedOn"))
    assert run_machine(build(job, **arguments)).status == "SUCCEEDED"


@pytest.mark.parametrize("missing", ["job.py", "modules.zip"])
def test_a_job_whose_code_is_not_there_fails(run_machine, new_job, glue, s3, missing):
    job = new_job("print('never')")
    bucket = glue.get_job(JobName=job)["Job"]["Command"]["ScriptLocation"].split("/")[2]
    s3.delete_object(Bucket=bucket, Key=missing)

    done = run_machine(build(job))

    assert done.error == "States.TaskFailed"
    assert json.loads(done.cause)["ErrorMessage"]


def test_an_unknown_job_fails_by_name(run_machine):
    assert run_machine(build("no-such-job")).error == "Glue.EntityNotFoundException"


def test_the_next_job_has_the_jvm_of_the_last_one_and_nothing_else_of_it(new_job, jvm_of):
    first = new_job(OF_THE_JVM, arguments={"--conf": "spark.sql.shuffle.partitions=7"}, role="one")
    second = new_job(OF_THE_JVM, role="other")

    pid, own = jvm_of(first)

    assert own == "one: 7: clean"
    assert jvm_of(second) == (pid, "other: as by default: clean")


def test_a_jvm_that_ended_while_it_waited_is_replaced(new_job, jvm_of):
    job = new_job(OF_THE_JVM)
    pid, _ = jvm_of(job)

    os.kill(pid, signal.SIGKILL)

    assert jvm_of(job)[0] != pid


def test_no_job_follows_one_that_left_spark_s_context(new_job, jvm_of):
    pid, _ = jvm_of(new_job(LEAVES_SPARK))

    assert jvm_of(new_job(OF_THE_JVM))[0] != pid
