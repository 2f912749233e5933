"""Where the parts of a deployed stack are: by its outputs and parameters."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import boto3
import psycopg
from pyiceberg.catalog.glue import GlueCatalog

from lambdas.ingest.scope import Scope
from lambdas.load.lake import glue_catalog
from local.deployment import STACK
from local.stack import LocalStack
from pipeline.aws_errors import translated_aws_errors
from pipeline.database import Database, Role
from pipeline.errors import InvalidSettings
from pipeline.manifest import ManifestStore
from pipeline.settings import DatabaseSettings, Environment

SAMCONFIG = Path(__file__).parents[1] / "samconfig.toml"


@dataclass(frozen=True)
class Places:
    """The parts of a stack, and how to reach them with the caller's own credentials.

    Attributes:
        session: The AWS session.
        outputs: The stack's outputs.
        parameters: The stack's parameters.
    """

    session: boto3.Session
    outputs: dict[str, str]
    parameters: dict[str, str]

    def output(self, name: str) -> str:
        """Returns an output of the stack.

        Raises:
            InvalidSettings: The stack is of an earlier version, which had no such output.
        """
        if name not in self.outputs:
            raise InvalidSettings(f"the stack has no output {name}: deploy this version of it")
        return self.outputs[name]

    @property
    def raw_bucket(self) -> str:
        """The raw bucket."""
        return self.output("RawBucket")

    @property
    def glue_database(self) -> str:
        """The star schema's Glue database."""
        return self.output("GlueDatabase")

    @property
    def scope(self) -> Scope:
        """What is captured of the source."""
        given = Environment(self.parameters)
        return Scope.of(
            given.names("SourceSchemas", "public"),
            given.names("SourceTablesLeftOut", "_prisma_migrations"),
            given.names("SourceColumnsLeftOut", ""),
        )

    def store(self) -> ManifestStore:
        """Returns the manifests."""
        return ManifestStore(self.raw_bucket, self.session.client("s3"))

    def catalog(self) -> GlueCatalog:
        """Returns the Glue Data Catalog, which also reads the raw zone's files."""
        return glue_catalog(self.session.client("s3"), self.session.get_credentials())

    def settings(self, role: Role) -> DatabaseSettings:
        """Returns what the stack says about one of the databases."""
        prefix = role.capitalize()
        given = Environment(self.parameters)
        return DatabaseSettings(
            secret_arn=given.text(f"{prefix}SecretArn"),
            ssl_mode=given.text("DatabaseSslMode", DatabaseSettings.ssl_mode),
            host=given.text(f"{prefix}Host", ""),
            port=int(given.text(f"{prefix}Port", "5432")),
            name=given.text(f"{prefix}Database", ""),
        )

    def connect(self, role: Role) -> psycopg.Connection:
        """Opens a connection to one of the databases, by its secret."""
        return Database(role, self.settings(role)).connect(self.session.client("secretsmanager"))


def places(environment: str) -> Places:
    """Returns the parts of a stack.

    Args:
        environment: An environment of samconfig.toml; empty for the local stack.

    Raises:
        NotUp: The local stack is not running.
        InvalidSettings: There is no such environment, or it is not deployed.
        AccessRefused: The caller may not read the stack.
    """
    if not environment:
        LocalStack().current()
        return deployed(STACK)
    known = tomllib.loads(SAMCONFIG.read_text())
    if environment not in known:
        raise InvalidSettings(f"samconfig.toml has no environment {environment}: see ENV= there")
    wanted = known[environment]["deploy"]["parameters"]
    return deployed(wanted["stack_name"], wanted.get("region"))


def deployed(stack: str, region: str | None = None) -> Places:
    """Returns the parts of a stack by its name in CloudFormation."""
    with translated_aws_errors(f"read the stack {stack}"):
        session = boto3.Session(region_name=region)
        client = session.client("cloudformation")
        found = client.describe_stacks(StackName=stack)["Stacks"][0]
    return Places(
        session,
        {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])},
        {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])},
    )
