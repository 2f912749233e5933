"""The stack in the local cloud: started, deployed, executed, looked at."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
from psycopg.conninfo import conninfo_to_dict

from local import spark_jars
from local.cloud.server import LocalCloud
from local.postgres import PostgresServer
from local.source.generate import create_and_fill

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".local"
JARS = STATE / "spark-jars"
STACK = "totesys"
_POLL_SECONDS = 0.3
_FINAL = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")


@dataclass(frozen=True)
class Stack:
    """What is up: the addresses that a person or a test needs."""

    endpoint_url: str
    state_machine_arn: str
    source_dsn: str
    warehouse_dsn: str
    raw_bucket: str
    lake_bucket: str
    glue_database: str


@dataclass(frozen=True)
class StateSeen:
    """One state of an execution that has ended: its name, seconds and retries."""

    name: str
    seconds: float
    retries: int


class LocalStack:
    """The local cloud, its databases and the deployed pipeline.

    Args:
        state: The folder of all state.
    """

    def __init__(self, state: Path = STATE) -> None:
        self._state = state
        self._cloud = LocalCloud(state / "cloud", JARS)
        self._source = PostgresServer(state / "postgres" / "source")
        self._warehouse = PostgresServer(state / "postgres" / "warehouse")
        self._file = state / "stack.json"

    def up(self, source_dsn: str | None = None) -> Stack:
        """Starts what is not running and deploys the stack.

        Args:
            source_dsn: The source; the generated one if not given.

        Raises:
            SystemExit: The lake was filled from another source.
        """
        spark_jars.fetch(JARS)
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        if source_dsn is None and not known.get("given"):
            self._source.start()
            source = self._source.create_database("totesys")
            if not _has_tables(source):
                create_and_fill(source)
        else:
            source = source_dsn or known["source_dsn"]
        if known and known["source_dsn"] != source:
            raise SystemExit(
                f"the local lake was filled from {known['source_dsn']}: run `make clean` to start "
                "anew with another source"
            )
        self._warehouse.start()
        warehouse = self._warehouse.create_database("warehouse")
        self._cloud.start()
        os.environ.update(self._cloud.environment())
        secrets = [_secret("source", source), _secret("warehouse", warehouse)]
        self._deploy(secrets)
        outputs = _outputs()
        stack = Stack(
            endpoint_url=self._cloud.endpoint_url,
            state_machine_arn=outputs["StateMachineArn"],
            source_dsn=source,
            warehouse_dsn=warehouse,
            raw_bucket=outputs["RawBucket"],
            lake_bucket=outputs["LakeBucket"],
            glue_database=outputs["GlueDatabase"],
        )
        self._file.write_text(json.dumps({**vars(stack), "given": source_dsn is not None}))
        return stack

    def current(self) -> Stack:
        """Returns the stack that is up.

        Raises:
            SystemExit: There is none.
        """
        if not self._file.exists() or not self._cloud.is_running():
            raise SystemExit("the local cloud is not up: run `make run`")
        os.environ.update(self._cloud.environment())
        known = json.loads(self._file.read_text())
        del known["given"]
        return Stack(**known)

    def down(self) -> None:
        """Stops what `up` started; its state stays."""
        self._cloud.stop()
        self._source.stop()
        self._warehouse.stop()

    def _deploy(self, secrets: list[str]) -> None:
        sam = ROOT / ".venv-sam" / "bin" / "sam"
        environment = os.environ | {"SAM_CLI_TELEMETRY": "0", "LAMBDA_DEPENDENCIES": "provided"}
        parameters = [
            f"SourceSecretArn={secrets[0]}",
            f"WarehouseSecretArn={secrets[1]}",
            "DatabaseSslMode=prefer",
        ]
        for command in (
            ["build", "--config-env", "local"],
            ["deploy", "--config-env", "local", "--parameter-overrides", *parameters],
        ):
            done = subprocess.run(  # noqa: S603
                [sam, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"sam {command[0]} failed:\n{done.stdout}{done.stderr}")


def execute(
    stack: Stack, document: str, report: Callable[[StateSeen], None]
) -> dict[str, Any]:
    """Executes the state machine once and waits for its end.

    Args:
        stack: The stack.
        document: The execution's input, JSON.
        report: Called with each state as it ends.

    Returns:
        The execution as DescribeExecution gives it.
    """
    client = boto3.client("stepfunctions")
    arn = client.start_execution(stateMachineArn=stack.state_machine_arn, input=document)[
        "executionArn"
    ]
    seen = 0
    entered: dict[str, float] = {}
    while True:
        execution = client.describe_execution(executionArn=arn)
        events = client.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        for event in events[seen:]:
            name = event.get("stateEnteredEventDetails", {}).get("name")
            if name:
                entered[name] = event["timestamp"].timestamp()
            name = event.get("stateExitedEventDetails", {}).get("name")
            if name:
                seconds = event["timestamp"].timestamp() - entered[name]
                report(StateSeen(name, seconds, 0))
        seen = len(events)
        if execution["status"] in _FINAL:
            return dict(execution)
        time.sleep(_POLL_SECONDS)


def _has_tables(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select to_regclass('public.sales_order') is not null").fetchone()
    return row == (True,)


def _secret(name: str, dsn: str) -> str:
    keywords = conninfo_to_dict(dsn)
    keywords["username"] = keywords.pop("user", "postgres")
    client = boto3.client("secretsmanager")
    identifier = f"{STACK}-{name}"
    text = json.dumps(keywords)
    try:
        return client.create_secret(Name=identifier, SecretString=text)["ARN"]
    except client.exceptions.ResourceExistsException:
        return client.put_secret_value(SecretId=identifier, SecretString=text)["ARN"]


def _outputs() -> dict[str, str]:
    stacks = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
