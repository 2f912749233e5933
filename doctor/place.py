"""Where the doctor looks: the local stack, or a stack in an account of AWS.

Nothing is written. The session refuses every call of AWS but those that read, and transactions at
the databases are read-only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import boto3
import psycopg
from botocore.config import Config

from deployment.target import target
from doctor.finding import CannotLook
from lambdas.ingest.session import SETTINGS
from local.deployment import STACK
from local.stack import LocalStack, NotUp
from pipeline.database import Database, Role, translated_errors
from pipeline.errors import PipelineError, SourceUnavailable
from pipeline.secret import Login, read_login
from pipeline.settings import DatabaseSettings, IngestSettings, LoadSettings, PublishSettings
from star_schema.tables import StarTable, star_tables

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

LOCAL = "local"
_READING = ("BatchGet", "Describe", "Get", "Head", "List", "Lookup", "Query", "Scan")
_CREDENTIALS = ("signin", "sso", "sso-oidc", "sts")
"""The services that the SDK itself calls for credentials."""
_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
_STATEMENT_TIMEOUT, _LOCK_TIMEOUT = "15s", "1s"


class WriteRefused(Exception):
    """A check made a call that may write."""


class NoStack(CannotLook):
    """There is no stack of the name."""


class UnknownEnvironment(Exception):
    """samconfig.toml has no environment of a name."""


class Place:
    """One stack, seen through a session that can only read. What is read is kept for all checks.

    Args:
        name: `local`, or an environment of samconfig.toml.
        stack_name: The stack's name.
        local: The local stack; None in an account of AWS.
        region: The region; the SDK's own choice unless given.
        profile: The profile of the credentials; the SDK's own choice unless given.
    """

    def __init__(
        self,
        name: str,
        stack_name: str,
        local: LocalStack | None = None,
        region: str | None = None,
        profile: str | None = None,
    ) -> None:
        self.name = name
        self.stack_name = stack_name
        self.local = local
        self._region = region
        self._profile = profile
        self._clients: dict[str, Any] = {}
        self._passwords: set[str] = set()
        self._failures: dict[Role, PipelineError] = {}

    @classmethod
    def of(cls, name: str) -> Self:
        """Returns the place of an environment.

        Raises:
            UnknownEnvironment: samconfig.toml does not have it.
        """
        if name == LOCAL:
            return cls(LOCAL, STACK, LocalStack())
        try:
            where = target(name)
        except KeyError as error:
            raise UnknownEnvironment(f"samconfig.toml has no environment {name!r}") from error
        return cls(name, where.stack, None, where.region, where.profile)

    @property
    def is_local(self) -> bool:
        """Whether this is the local stack."""
        return self.local is not None

    @property
    def deploy(self) -> str:
        """The command that deploys the stack again."""
        return "make run" if self.is_local else f"make deploy ENV={self.name}"

    def deploy_with(self, parameters: str) -> str:
        """Returns the command that deploys the stack with other parameters."""
        return f"make deploy ENV={self.name} PARAMS='{parameters}'"

    @cached_property
    def session(self) -> boto3.Session:
        """AWS, or the local cloud.

        Raises:
            CannotLook: The local cloud is not running.
        """
        if self.local:
            try:
                self.local.current()  # it sets the local cloud's address and region
            except NotUp as error:
                raise CannotLook(str(error), "make run") from error
        # pyiceberg's client reads the environment.
        given = {"AWS_DEFAULT_REGION": self._region, "AWS_PROFILE": self._profile}
        os.environ.update({name: value for name, value in given.items() if value})
        session = boto3.Session()
        session.events.register("before-call", _refuse_writing)
        return session

    def client(self, service: Any) -> Any:
        """Returns the client of a service."""
        if service not in self._clients:
            self._clients[service] = self.session.client(service, config=_CONFIG)
        return self._clients[service]

    @cached_property
    def stack(self) -> "StackTypeDef":
        """The stack as AWS CloudFormation describes it.

        Raises:
            NoStack: There is no such stack.
        """
        client = self.client("cloudformation")
        try:
            stack: StackTypeDef = client.describe_stacks(StackName=self.stack_name)["Stacks"][0]
        except client.exceptions.ClientError as error:
            if "does not exist" in str(error):
                raise NoStack(f"there is no stack {self.stack_name}", self.deploy) from error
            raise
        return stack

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        return {one["OutputKey"]: one["OutputValue"] for one in self.stack.get("Outputs", [])}

    def output(self, name: str) -> str:
        """Returns an output.

        Raises:
            CannotLook: The stack does not have it.
        """
        if name not in self.outputs:
            raise CannotLook(f"the stack {self.stack_name} has no output {name}", self.deploy)
        return self.outputs[name]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The stack's parameters."""
        given = self.stack.get("Parameters", [])
        return {one["ParameterKey"]: one.get("ParameterValue", "") for one in given}

    @cached_property
    def _resources(self) -> dict[str, tuple[str, str]]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            one["LogicalResourceId"]: (one["ResourceType"], one.get("PhysicalResourceId", ""))
            for page in pages.paginate(StackName=self.stack["StackName"])
            for one in page["StackResourceSummaries"]
        }

    def resource(self, name: str) -> str:
        """Returns the physical id of a resource.

        Raises:
            CannotLook: The stack does not have it.
        """
        found = self._resources.get(name, ("", ""))[1]
        if not found:
            raise CannotLook(f"the stack {self.stack_name} has no {name}", self.deploy)
        return found

    def resources_of(self, kind: str) -> dict[str, str]:
        """Returns the logical ids of the resources of a type, by their physical ids."""
        return {
            physical: logical
            for logical, (found, physical) in self._resources.items()
            if found == kind and physical
        }

    def configuration(self, function: str) -> dict[str, Any]:
        """Returns the configuration of a function, as it is deployed.

        Raises:
            CannotLook: There is no such function.
        """
        name, client = f"{self.stack_name}-{function}", self.client("lambda")
        try:
            found: dict[str, Any] = client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException as error:
            raise CannotLook(f"there is no function {name}", self.deploy) from error
        return found

    def _variables(self, function: str) -> dict[str, str]:
        variables: dict[str, str] = (
            self.configuration(function).get("Environment", {}).get("Variables", {})
        )
        return variables

    @cached_property
    def ingest(self) -> IngestSettings:
        """The settings of Ingest."""
        return IngestSettings.read(self._variables("ingest"))

    @cached_property
    def load(self) -> LoadSettings:
        """The settings of Load."""
        return LoadSettings.read(self._variables("load"))

    @cached_property
    def publish(self) -> PublishSettings:
        """The settings of Publish."""
        return PublishSettings.read(self._variables("publish"))

    @cached_property
    def stars(self) -> tuple[StarTable, ...]:
        """The declared star tables."""
        return star_tables()

    def settings(self, role: Role) -> DatabaseSettings:
        """Returns what the stack says of a database."""
        return self.ingest.source if role is Role.SOURCE else self.load.warehouse

    def login(self, role: Role) -> Login:
        """Returns how the functions connect to a database."""
        login = read_login(role, self.settings(role), self.client("secretsmanager"))
        if login.password:
            self._passwords.add(login.password)
        return login

    def open(self, role: Role) -> psycopg.Connection:
        """Opens a connection to a database, whose transactions are read-only.

        Raises:
            PipelineError: It cannot be opened; no other attempt is made in this run.
        """
        if role in self._failures:
            raise self._failures[role]
        self.login(role)
        # An attempt that outlasts its check counts as failed for the others.
        self._failures[role] = SourceUnavailable(f"the {role} database has not answered")
        try:
            connection = Database(role, self.settings(role)).connect(self.client("secretsmanager"))
        except PipelineError as error:
            self._failures[role] = error
            raise
        del self._failures[role]
        connection.read_only = True
        return connection

    @contextmanager
    def connection(self, role: Role) -> Iterator[psycopg.Connection]:
        """Opens a connection with a read-only transaction, whose statements end soon.

        Raises:
            CannotLook: The database cannot be reached.
        """
        try:
            connection = self.open(role)
        except PipelineError as error:
            raise CannotLook(f"the {role} cannot be used: see {role}.reachable") from error
        with connection, translated_errors(role):
            connection.execute(
                "select pg_catalog.set_config('statement_timeout', %s, true), "
                "pg_catalog.set_config('lock_timeout', %s, true)",
                [_STATEMENT_TIMEOUT, _LOCK_TIMEOUT],
            )
            if role is Role.SOURCE:
                connection.execute(
                    "select pg_catalog.set_config('search_path', %s, true)",
                    [SETTINGS["search_path"]],
                )
            yield connection

    def without_passwords(self, text: str) -> str:
        """Returns a text in which no database's password stands."""
        for password in self._passwords:
            text = text.replace(password, "***")
        return text

    def copyable(self, fix: str) -> str:
        """Returns a statement or command as it can be copied here."""
        if self.local and fix.startswith("aws "):
            fix = f"aws --endpoint-url {self.local.cloud.endpoint_url} {fix.removeprefix('aws ')}"
        return self.without_passwords(fix)


def _refuse_writing(model: Any, **_: object) -> None:
    is_of_credentials = model.service_model.service_name in _CREDENTIALS
    if not is_of_credentials and not model.name.startswith(_READING):
        raise WriteRefused(f"{model.name} may write, and the doctor only reads")
