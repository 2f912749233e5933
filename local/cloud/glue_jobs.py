"""Glue jobs run on Spark, each in a process of its own.

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
import shlex
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

from local.cloud.class_archive import ClassArchive
from local.cloud.roles import role_credentials
from local.cloud.spark_home import spark_home

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NAMED_ERROR = re.compile(
    r"(?:\w+\.)*\w*(?:Error|Exception|Failed|Changed|Invalid\w*|Unavailable|Conflict): "
)
_BAD_REQUEST = 400
_STOPPED = "STOPPED"
_POLL_SECONDS = 0.1
# The data is small: the second compiler costs more than it gains. Without it Java reserves a small
# code cache, and a full code cache ends all compilation.
_JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=256m",
    "-XX:+UseSerialGC",
    # What a job's classes take: Java collects garbage each time that they fill a part of it.
    "-XX:MetaspaceSize=256m",
    "-Xshare:auto",
)
# Of the JVM that composes the command of the job's JVM.
_LAUNCHER_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
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
                    jars=jars,
                )
        except ClientError as error:
            run |= {"JobRunState": "FAILED", "ErrorMessage": f"--extra-py-files: {error}"}
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


def spark_settings(endpoint: str, jars: Path, java_options: tuple[str, ...] = ()) -> dict[str, str]:
    """Returns the Spark settings for what AWS Glue has built in.

    Args:
        endpoint: The local cloud's URL.
        jars: The folder of Spark's jars.
        java_options: Additional options of the JVM.
    """
    catalog = "spark.sql.catalog.glue_catalog"
    return {
        "spark.master": "local[2]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": " ".join(
            # Spark splits the options at spaces that are not quoted.
            f'"{option}"' if " " in option or "'" in option else option
            for option in (*_JAVA_OPTIONS, *java_options)
        ),
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Without a UI nobody reads a plan's text, which each query and each of its stages makes.
        "spark.sql.ui.explainMode": "simple",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": os.environ["AWS_DEFAULT_REGION"],
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.input.stream.type": "classic",
        f"{catalog}.s3.endpoint": endpoint,
        f"{catalog}.glue.endpoint": endpoint,
        f"{catalog}.s3.path-style-access": "true",
        f"{catalog}.client.region": os.environ["AWS_DEFAULT_REGION"],
    }


def settings_of(conf: str) -> dict[str, str]:
    """Returns the Spark settings of a job's `--conf`, which separates them by ` --conf `."""
    pairs = (setting.strip().partition("=") for setting in conf.split(" --conf "))
    return {name: value for name, _, value in pairs if name}


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
    jars: Path,
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
    home = spark_home(jars)
    archive = ClassArchive(jars, home)
    settings = spark_settings(endpoint, jars, archive.options()) | settings_of(
        arguments.get("--conf", "")
    )
    defaults = folder / "spark-defaults.conf"
    defaults.write_text(
        "".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8"
    )
    environment = os.environ | {
        **credentials,
        "AWS_ENDPOINT_URL": endpoint,
        # Not by SPARK_CONF_DIR, which would be on the class path: an archive is for one class path.
        "PYSPARK_SUBMIT_ARGS": shlex.join(["--properties-file", str(defaults), "pyspark-shell"]),
        "PYTHONPATH": os.pathsep.join(packages),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(home),
        "SPARK_LAUNCHER_OPTS": _LAUNCHER_OPTIONS,
    }
    argv = [part for name, value in arguments.items() for part in (name, str(value))]
    deadline = time.monotonic() + 60 * minutes
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
        is_in_time = True
        while process.poll() is None and is_in_time:
            is_in_time = not is_stopped() and time.monotonic() <= deadline
            time.sleep(_POLL_SECONDS)
        if not is_in_time:
            process.kill()
    archive.end(process.pid, is_kept=process.returncode == 0)
    return process.returncode if is_in_time else None


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
