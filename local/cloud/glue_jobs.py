"""Glue jobs run on Spark, each by a Python process of its own.

MiniStack runs a Spark job in a container or marks it as succeeded; here the job's script runs as
it is, with the job's own `--conf`, and with what AWS Glue has built in: the Iceberg and S3
libraries (`--datalake-formats`), the packages of `--extra-py-files`, log groups, and one run of a
job at a time (AWS Glue Developer Guide, "Using job parameters in AWS Glue jobs" and "Jobs"). A run
may bring its own `--scriptLocation`, and BatchStopJobRun ends it.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError
from ministack.services import glue

from local.cloud.job_jvms import JobJvms, JvmFailed
from local.cloud.roles import role_credentials
from local.cloud.spark_settings import settings_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NAMED_ERROR = re.compile(
    r"(?:\w+\.)*\w*(?:Error|Exception|Failed|Changed|Invalid\w*|Unavailable|Conflict): "
)
_BAD_REQUEST = 400
_STOPPED = "STOPPED"
_POLL_SECONDS = 0.1
_LOG_PREFIX = "--custom-logGroup-prefix"
_DEFAULT_LOG_PREFIX = "/aws-glue/jobs"
_DEFAULT_MINUTES = 2880
_EVENTS_AT_ONCE = 5_000
_EVENT_CHARACTERS = 50_000


class _Images:
    def get(self, name: str) -> str:
        """Returns the name of any image: no container is started."""
        return name


class _NoContainers:
    images = _Images()


def patch(endpoint: str, jars: Path, logs: Path) -> None:
    """Replaces how MiniStack runs a Spark job.

    Args:
        endpoint: The local cloud's URL.
        jars: The folder of Spark's jars.
        logs: The folder for the jobs' output, a file a run.
    """
    jvms = JobJvms(endpoint, jars)

    def execute(
        run: dict[str, Any],
        job: dict[str, Any],
        job_name: str,
        arguments: dict[str, str],
        script: str,
        _containers: object,
    ) -> None:
        log = logs / f"{job_name}-{run['Id']}.log"
        script = glue._resolve_script(arguments.get("--scriptLocation", "")) or script
        try:
            with tempfile.TemporaryDirectory() as folder:
                code = _run(
                    Path(folder),
                    [script, "--JOB_NAME", job_name],
                    arguments,
                    role=job["Role"],
                    log=log,
                    is_stopped=lambda: run["JobRunState"] == _STOPPED,
                    minutes=int(job.get("Timeout", _DEFAULT_MINUTES)),
                    endpoint=endpoint,
                    jvms=jvms,
                )
        except ClientError as error:
            run |= {"JobRunState": "FAILED", "ErrorMessage": f"--extra-py-files: {error}"}
            return
        except JvmFailed as error:
            run |= {"JobRunState": "FAILED", "ErrorMessage": str(error)}
            return
        if run["JobRunState"] != _STOPPED:
            run["JobRunState"] = (
                "SUCCEEDED" if code == 0 else "TIMEOUT" if code is None else "FAILED"
            )
        if code:
            run["ErrorMessage"] = _error_message(log)
        _put_logs(arguments.get(_LOG_PREFIX, _DEFAULT_LOG_PREFIX), run["Id"], log, endpoint)

    start = glue._start_job_run
    # A run that an earlier process of the local cloud did not end has ended with it.
    since = int(time.time())

    def start_job_run(data: dict[str, Any]) -> Any:
        runs = glue._job_runs.get(data.get("JobName"), [])
        if any(run["CompletedOn"] is None and run["StartedOn"] >= since for run in runs):
            error = {
                "__type": "ConcurrentRunsExceededException",
                "message": f"Concurrent runs exceeded for {data['JobName']}",
            }
            return _BAD_REQUEST, {}, json.dumps(error).encode()
        return start(data)

    resolve = glue._resolve_script
    # MiniStack reports a job without a script as succeeded.
    glue._resolve_script = lambda location: resolve(location) or location
    glue._get_docker = _NoContainers
    glue._execute_spark_docker = execute
    glue._start_job_run = start_job_run


def _run(
    folder: Path,
    script: list[str],
    arguments: dict[str, str],
    *,
    role: str,
    log: Path,
    is_stopped: Callable[[], bool],
    minutes: int,
    endpoint: str,
    jvms: JobJvms,
) -> int | None:
    """Runs the script and returns its exit code; None if it was stopped or exceeded its timeout."""
    credentials = role_credentials(role)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
    )
    packages = [
        _download(uri, folder, client)
        for uri in arguments.get("--extra-py-files", "").split(",")
        if uri
    ]
    deadline = time.monotonic() + 60 * minutes
    jvm = jvms.take(settings_of(arguments.get("--conf", "")), credentials)
    environment = os.environ | {
        **credentials,
        **jvm.environment(),
        "AWS_ENDPOINT_URL": endpoint,
        "PYTHONPATH": os.pathsep.join(packages),
        "PYSPARK_PYTHON": sys.executable,
    }
    argv = [part for name, value in arguments.items() for part in (name, str(value))]
    code = None
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen(  # noqa: S603
                [sys.executable, *script, *argv],
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            while process.poll() is None:
                if is_stopped() or time.monotonic() > deadline:
                    process.kill()
                    break
                time.sleep(_POLL_SECONDS)
            else:
                code = process.returncode
        # The JVM's part stands first: the error that a job ended by is the last one in the log.
        log.write_bytes(jvm.output() + log.read_bytes())
    finally:
        jvms.give_back(jvm, code)
    return code


def _put_logs(prefix: str, stream: str, log: Path, endpoint: str) -> None:
    """Writes a run's output to the job's log group."""
    client = boto3.client("logs", endpoint_url=endpoint)
    group = f"{prefix}/output"
    with contextlib.suppress(client.exceptions.ResourceAlreadyExistsException):
        client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for first in range(0, len(lines), _EVENTS_AT_ONCE):
        client.put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[
                {"timestamp": now, "message": line[:_EVENT_CHARACTERS]}
                for line in lines[first : first + _EVENTS_AT_ONCE]
            ],
        )


def _download(uri: str, folder: Path, client: "S3Client") -> str:
    place = urllib.parse.urlsplit(uri.strip())
    target = folder / Path(place.path).name
    client.download_file(place.netloc, place.path.lstrip("/"), str(target))
    return str(target)


def _error_message(log: Path) -> str:
    """Returns the last line that has an error's class name and message."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    named = [line for line in lines if _NAMED_ERROR.match(line)]
    return (named or lines or ["the job printed nothing"])[-1]
