"""Tiny state machines, functions and jobs, made in the local cloud for one test."""

import io
import json
import textwrap
import uuid
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from local.cloud.server import LocalCloud
from local.execution import Execution, execute

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

_ROLE = "arn:aws:iam::000000000000:role/any"

Json = dict[str, Any]


def _zip_of(files: dict[str, str]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, textwrap.dedent(text))
    return held.getvalue()


@pytest.fixture
def step_functions(local_cloud: LocalCloud) -> "SFNClient":
    """Step Functions of the local cloud."""
    return boto3.client("stepfunctions")


@pytest.fixture
def glue(local_cloud: LocalCloud) -> "GlueClient":
    """AWS Glue of the local cloud, which takes a time limit of no minutes too."""
    return boto3.client("glue", config=Config(parameter_validation=False))


@pytest.fixture
def new_machine(step_functions: "SFNClient") -> Callable[..., str]:
    """Makes state machines from their states (the first one starts), and gives their ARNs."""

    def make(states: Json, **fields: Any) -> str:
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
        return step_functions.create_state_machine(
            name=f"machine-{uuid.uuid4().hex[:12]}",
            definition=json.dumps({**definition, **fields}),
            roleArn=_ROLE,
        )["stateMachineArn"]

    return make


@pytest.fixture
def run_machine(new_machine: Callable[..., str]) -> Callable[..., Execution]:
    """Makes a state machine and executes it once."""

    def run(states: Json, document: Any = None, **fields: Any) -> Execution:
        return execute(new_machine(states, **fields), json.dumps(document or {}))

    return run


@pytest.fixture
def new_function(local_cloud: LocalCloud) -> Callable[..., str]:
    """Makes functions from a module with a `handler`, and gives their ARNs."""

    def make(source: str, **modules: str) -> str:
        files = {f"{name}.py": text for name, text in {"main": source, **modules}.items()}
        return boto3.client("lambda").create_function(
            FunctionName=f"function-{uuid.uuid4().hex[:12]}",
            Runtime="python3.13",
            Role=_ROLE,
            Handler="main.handler",
            Timeout=60,
            Code={"ZipFile": _zip_of(files)},
        )["FunctionArn"]

    return make


@pytest.fixture
def new_job(
    glue: "GlueClient", s3: "S3Client", new_bucket: Callable[[str], str]
) -> Callable[..., str]:
    """Makes jobs from a script and the modules that it imports, and gives their names."""

    def make(
        script: str,
        modules: dict[str, str] | None = None,
        arguments: dict[str, str] | None = None,
        timeout: int = 5,
        role: str = _ROLE,
    ) -> str:
        name = f"job-{uuid.uuid4().hex[:12]}"
        bucket = new_bucket("code")
        s3.put_object(Bucket=bucket, Key="job.py", Body=textwrap.dedent(script).encode())
        s3.put_object(Bucket=bucket, Key="modules.zip", Body=_zip_of(modules or {}))
        glue.create_job(
            Name=name,
            Role=role,
            Command={
                "Name": "glueetl",
                "PythonVersion": "3",
                "ScriptLocation": f"s3://{bucket}/job.py",
            },
            DefaultArguments={
                "--extra-py-files": f"s3://{bucket}/modules.zip",
                "--custom-logGroup-prefix": f"/{name}",
                **(arguments or {}),
            },
            GlueVersion="6.0",
            Timeout=timeout,
        )
        return name

    return make
