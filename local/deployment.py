"""Deploys template.yaml into the local cloud by `sam build` and `sam deploy`."""

import getpass
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import boto3
from psycopg.conninfo import conninfo_to_dict

from pipeline.aws_errors import code_of

ROOT = Path(__file__).parents[1]
STACK = "totesys"
_SAM = ROOT / ".venv-sam" / "bin" / "sam"
_DEPLOYED = (
    "template.yaml",
    "samconfig.toml",
    "state_machine",
    "lambdas",
    "glue_jobs",
    "pipeline",
    "star_schema",
    "make",
)
_NOT_LIBPQ_NAMES = {"user": "username"}


class DeploymentFailed(Exception):
    """`sam build` or `sam deploy` failed. The message has its output."""


def put_secret(name: str, dsn: str) -> str:
    """Stores a database's address and credentials as a secret, and returns the secret's ARN."""
    keywords = {"username": getpass.getuser()} | {
        _NOT_LIBPQ_NAMES.get(keyword, keyword): value
        for keyword, value in conninfo_to_dict(dsn).items()
    }
    client = boto3.client("secretsmanager")
    identifier = f"{STACK}-{name}"
    text = json.dumps(keywords)
    try:
        return client.create_secret(Name=identifier, SecretString=text)["ARN"]
    except client.exceptions.ResourceExistsException:
        return client.put_secret_value(SecretId=identifier, SecretString=text)["ARN"]


def outputs() -> dict[str, str] | None:
    """Returns the deployed stack's outputs, or None if the stack does not exist.

    A stack whose deployment was interrupted or failed exists, with the outputs that it had before.
    """
    client = boto3.client("cloudformation")
    try:
        stack = client.describe_stacks(StackName=STACK)["Stacks"][0]
    except client.exceptions.ClientError as error:
        if code_of(error) != "ValidationError":
            raise
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def code_digest(parameters: Mapping[str, str]) -> str:
    """Returns a digest of the parameters and all deployed files. Equal digests deploy the same."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for name in _DEPLOYED:
        path = ROOT / name
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(f"{file.relative_to(ROOT)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def deploy(parameters: Mapping[str, str], build: Path) -> None:
    """Builds and deploys the stack.

    The packages contain no third-party code: the local cloud's Python has it installed.

    Args:
        parameters: The template's parameters.
        build: The output folder of `sam build`.

    Raises:
        DeploymentFailed: A command failed.
    """
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    # `sam` reads its configuration beside the template, and the built template is elsewhere.
    config = ("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local")
    template = str(build / "template.yaml")
    for command in (
        ["build", *config, "--build-dir", str(build)],
        ["deploy", *config, "--template-file", template, "--parameter-overrides", *overrides],
    ):
        _run_sam(command)


def _run_sam(command: list[str]) -> None:
    own = {"SAM_CLI_TELEMETRY": "0", "LAMBDA_DEPENDENCIES": "provided"}
    # `sam deploy` leaves a temporary folder for each function.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603
            [_SAM, *command],
            cwd=ROOT,
            env=os.environ | own | {"TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise DeploymentFailed(f"sam {command[0]} failed:\n{done.stdout}{done.stderr}")
