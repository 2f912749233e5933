"""The stack in the local cloud: start, deploy, describe, stop."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from local import spark_jars
from local.cloud.server import CloudMoved, LocalCloud, leave_other_places
from local.deployment import ROOT, code_digest, deploy, outputs, put_secret
from local.execution import free_lock
from local.postgres import PostgresServer
from local.private import write_private
from local.source.generate import create_and_fill

STATE = ROOT / ".local"
JARS = STATE / "spark-jars"
_WHEREABOUTS = ("host", "hostaddr", "port", "dbname", "service")

Step = Callable[[str], AbstractContextManager[None]]
"""Shows a step's name while its context is open."""


class NotUp(Exception):
    """The local cloud is not running."""


class StackInUse(Exception):
    """Another command starts, stops or deletes the stack."""


class SourceRefused(Exception):
    """The source cannot be reached, or the lake was filled from another source."""


@dataclass(frozen=True)
class Stack:
    """The names and addresses of a running stack."""

    endpoint_url: str
    state_machine_arn: str
    maintenance_state_machine_arn: str
    source_dsn: str
    warehouse_dsn: str
    raw_bucket: str
    lake_bucket: str
    glue_database: str
    raw_glue_database: str
    pipeline_table: str
    notification_topic_arn: str


@dataclass(frozen=True)
class GeneratedSource:
    """Parameters of the generated source: its size relative to the real one, and its seed."""

    scale: float = 1.0
    seed: int = 1


class LocalStack:
    """The local cloud, its databases and the deployed pipeline.

    Args:
        state: The folder of the state.

    Attributes:
        cloud: The local cloud.
    """

    def __init__(self, state: Path = STATE) -> None:
        self._cloud_folder = state / "cloud"
        self.cloud = LocalCloud(self._cloud_folder, JARS)
        self._state = state
        self._databases = state / "postgres"
        self._source = PostgresServer(self._databases / "source")
        self._warehouse = PostgresServer(self._databases / "warehouse")
        self._build = state / "sam"
        self._file = state / "stack.json"

    def up(
        self, step: Step, *, source_dsn: str | None = None, generated: GeneratedSource | None = None
    ) -> Stack:
        """Starts what is not running, and deploys the stack if code or parameters changed.

        Args:
            step: Shows each step.
            source_dsn: A PostgreSQL database as the source; the generated one if not given.
            generated: Parameters of the generated source, if it does not exist yet.

        Raises:
            SourceRefused: The source cannot be reached, or the lake was filled from another one.
            DeploymentFailed: `sam` failed.
            StackInUse: Another command starts, stops or deletes the stack.
        """
        with self._alone():
            return self._up(step, source_dsn, generated)

    def _up(self, step: Step, source_dsn: str | None, generated: GeneratedSource | None) -> Stack:
        known = self._known()
        if known and not source_dsn and known["is_given"]:
            source_dsn = str(known["source_dsn"])
        if source_dsn:
            source_dsn = _with_environment(source_dsn)
            _connect_once(source_dsn)
        leave_other_places(os.environ)
        _refuse_another(known, source_dsn)
        if not JARS.exists():
            with step("fetching Spark's jars"):
                spark_jars.fetch(JARS)
        with step("starting the databases"):
            source = source_dsn or self._generated_source(generated or GeneratedSource())
            self._warehouse.start()
            warehouse = self._warehouse.create_database("warehouse")
        was_running = self.cloud.is_running()
        with step("starting the local cloud"):
            self.cloud.start()
        self.cloud.enter()
        if known and outputs() is None:
            # A kill loses the stack, not the objects. A new lake needs a new warehouse.
            self._warehouse.drop_database("warehouse")
            warehouse = self._warehouse.create_database("warehouse")
            known = {}
        if known and not was_running:
            free_lock(str(known["pipeline_table"]))
        parameters = {
            "SourceSecretArn": put_secret("source", source),
            "WarehouseSecretArn": put_secret("warehouse", warehouse),
            "DatabaseSslMode": "prefer",
        }
        digest = code_digest(parameters)
        if known.get("code_digest") != digest:
            if known:  # what is deployed is not known while it changes
                self._remember({**known, "code_digest": ""})
            with step("deploying the stack (sam build, sam deploy)"):
                deploy(parameters, self._build)
        stack = self._stack(source, warehouse)
        self._remember({**asdict(stack), "is_given": bool(source_dsn), "code_digest": digest})
        return stack

    def current(self) -> Stack:
        """Returns the running stack.

        Raises:
            NotUp: No stack is running.
        """
        known = self._known()
        try:
            is_up = known and self.cloud.is_running()
        except CloudMoved as error:
            raise NotUp(str(error)) from error
        if not is_up:
            raise NotUp("the local cloud is not running: start it with `make run`")
        self.cloud.enter()
        return Stack(**{field.name: str(known[field.name]) for field in fields(Stack)})

    @property
    def has_generated_source(self) -> bool:
        """Whether the source is the generated one. The local commands write to no other."""
        return not self._known().get("is_given", False)

    @property
    def deployed_digest(self) -> object:
        """The digest of what was deployed: local.deployment.code_digest. None without a stack."""
        return self._known().get("code_digest")

    def down(self) -> None:
        """Stops what `up` started, and keeps its state.

        Raises:
            StackInUse: Another command starts, stops or deletes the stack.
        """
        with self._alone():
            self._stop()

    def clean(self) -> None:
        """Stops what `up` started and deletes its state. Spark's jars are kept.

        Raises:
            StackInUse: Another command starts, stops or deletes the stack.
        """
        with self._alone():
            self._stop()
            for folder in (self._cloud_folder, self._databases, self._build):
                shutil.rmtree(folder, ignore_errors=True)
            for file in (self._file, self._state / "build.toml"):  # `sam build` writes the second
                file.unlink(missing_ok=True)

    def _stop(self) -> None:
        self.cloud.stop()
        self._source.stop()
        self._warehouse.stop()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from starting, stopping or deleting the stack meanwhile."""
        self._state.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._state, os.O_RDONLY)
        try:
            _lock(folder)
            yield
        finally:
            os.close(folder)

    def _known(self) -> dict[str, object]:
        known: dict[str, object] = json.loads(self._file.read_text()) if self._file.exists() else {}
        return known

    def _remember(self, known: dict[str, object]) -> None:
        write_private(self._file, json.dumps(known))

    def _generated_source(self, generated: GeneratedSource) -> str:
        self._source.start()
        source = self._source.create_database("totesys")
        if not _has_tables(source):
            create_and_fill(source, scale=generated.scale, seed=generated.seed)
        return source

    def _stack(self, source: str, warehouse: str) -> Stack:
        deployed = outputs() or {}
        return Stack(
            endpoint_url=self.cloud.endpoint_url,
            state_machine_arn=deployed["StateMachineArn"],
            maintenance_state_machine_arn=deployed["MaintenanceStateMachineArn"],
            source_dsn=source,
            warehouse_dsn=warehouse,
            raw_bucket=deployed["RawBucket"],
            lake_bucket=deployed["LakeBucket"],
            glue_database=deployed["GlueDatabase"],
            raw_glue_database=deployed["RawGlueDatabase"],
            pipeline_table=deployed["PipelineTable"],
            notification_topic_arn=deployed["NotificationTopicArn"],
        )


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StackInUse(
            "another `make run`, `make down` or `make clean` is under way in this folder: "
            "wait for its end"
        ) from error


def _with_environment(dsn: str) -> str:
    """Adds what libpq takes from the environment of a shell, which no function will have."""
    given: dict[str, Any] = {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val and option.envvar and option.envvar.decode() in os.environ
    }
    try:
        return make_conninfo(**(given | conninfo_to_dict(dsn))) if given else dsn
    except psycopg.ProgrammingError as error:
        raise SourceRefused(f"SOURCE_DSN cannot be used: {error}") from error


def _connect_once(dsn: str) -> None:
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.Error as error:
        raise SourceRefused(f"SOURCE_DSN cannot be used: {str(error).strip()}") from error


def _refuse_another(known: dict[str, object], source_dsn: str | None) -> None:
    if not known or not source_dsn:
        return
    if _whereabouts(source_dsn) != _whereabouts(str(known["source_dsn"])):
        raise SourceRefused(
            "the local lake was filled from another source: delete it with `make clean`, then "
            "start again with `make run SOURCE_DSN=…`"
        )


def _whereabouts(dsn: str) -> dict[str, str]:
    keywords = conninfo_to_dict(dsn)
    return {name: str(keywords[name]) for name in _WHEREABOUTS if name in keywords}


def _has_tables(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select to_regclass('public.sales_order') is not null").fetchone()
    return row == (True,)
