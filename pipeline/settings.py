"""Settings of the functions. template.yaml sets them as environment variables.

A function reads all its settings at once, by the class that is named after it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.errors import InvalidSettings

PORTS = range(1, 65536)
_READERS = range(1, 9)
_BYTES = _ROWS = range(2**63)
_MEMORY = range(128, 10_241)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""The values of libpq's sslmode, from the weakest to the strongest."""


@dataclass(frozen=True)
class Environment:
    """Environment variables. An empty one counts as not set.

    Every method raises InvalidSettings if the variable is malformed, or is not set and has no
    default.
    """

    variables: Mapping[str, str]

    def text(self, name: str, default: str | None = None) -> str:
        """Returns a variable as it is."""
        value = self.variables.get(name) or default
        if value is None:
            raise InvalidSettings(
                f"the environment variable {name} is not set: template.yaml sets it for every "
                "function that needs it, so redeploy the stack"
            )
        return value

    def choice(self, name: str, allowed: Iterable[str], default: str) -> str:
        """Returns a variable that has one of some values."""
        value = self.text(name, default)
        if value not in allowed:
            raise _malformed(name, value, f"is none of {', '.join(allowed)}")
        return value

    def number(self, name: str, allowed: range, default: int) -> int:
        """Returns a variable that is a whole number in a range."""
        value = self.text(name, str(default))
        if not value.isdecimal() or int(value) not in allowed:
            raise _malformed(
                name, value, f"is no whole number from {allowed.start} to {allowed.stop - 1}"
            )
        return int(value)

    def names(self, name: str, default: str) -> tuple[str, ...]:
        """Returns a variable that is a list of names, separated by commas."""
        parts = (part.strip() for part in self.text(name, default).split(","))
        return tuple(part for part in parts if part)


def _malformed(name: str, value: str, reason: str) -> InvalidSettings:
    return InvalidSettings(
        f"the environment variable {name} is {value!r}, which {reason}: correct the stack's "
        "parameter that sets it"
    )


@dataclass(frozen=True)
class DatabaseSettings:
    """What the stack says about a database. Its secret takes precedence.

    Attributes:
        secret_arn: The secret with the credentials.
        ssl_mode: libpq's sslmode.
        host: The server's name; empty if the secret has it.
        port: The server's port, unless the secret has it.
        name: The database's name; empty if the secret has it.
    """

    secret_arn: str
    ssl_mode: str = "verify-full"
    host: str = ""
    port: int = 5432
    name: str = ""

    @classmethod
    def read(cls, prefix: str, environment: Environment) -> Self:
        """Reads the settings whose names begin with a prefix, such as `SOURCE`."""
        return cls(
            secret_arn=environment.text(f"{prefix}_SECRET_ARN"),
            ssl_mode=environment.choice("DATABASE_SSL_MODE", SSL_MODES, cls.ssl_mode),
            host=environment.text(f"{prefix}_HOST", ""),
            port=environment.number(f"{prefix}_PORT", PORTS, cls.port),
            name=environment.text(f"{prefix}_DATABASE", ""),
        )


class _Settings:
    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Reads the environment variables.

        Raises:
            InvalidSettings: A setting is missing or malformed.
        """
        return cls._of(Environment(variables))

    @classmethod
    def _of(cls, environment: Environment) -> Self:
        raise NotImplementedError


@dataclass(frozen=True)
class IngestSettings(_Settings):
    """Settings of Ingest.

    Attributes:
        source: The source.
        raw_bucket: The raw bucket.
        glue_database: The lake's Glue database.
        small_build_rows: How many captured rows one job builds.
        readers: How many connections read at once.
        metrics_namespace: The namespace of the metrics.
        schemas: The schemas that are captured.
        tables_left_out: Patterns of tables that are not captured.
        columns_left_out: Patterns of columns that are not captured.
        reread_limit_bytes: Size of a source from which a clean restart of its server does not
            cause whole captures.
    """

    source: DatabaseSettings
    raw_bucket: str
    glue_database: str
    small_build_rows: int
    readers: int
    metrics_namespace: str
    schemas: tuple[str, ...]
    tables_left_out: tuple[str, ...]
    columns_left_out: tuple[str, ...]
    reread_limit_bytes: int

    @classmethod
    def _of(cls, environment: Environment) -> Self:
        return cls(
            source=DatabaseSettings.read("SOURCE", environment),
            raw_bucket=environment.text("RAW_BUCKET"),
            glue_database=environment.text("GLUE_DATABASE"),
            small_build_rows=environment.number("SMALL_BUILD_ROWS", _ROWS, 1_000_000),
            readers=environment.number("READERS", _READERS, 2),
            metrics_namespace=environment.text("POWERTOOLS_METRICS_NAMESPACE"),
            schemas=environment.names("SOURCE_SCHEMAS", "public"),
            tables_left_out=environment.names("SOURCE_TABLES_LEFT_OUT", "_prisma_migrations"),
            columns_left_out=environment.names("SOURCE_COLUMNS_LEFT_OUT", ""),
            reread_limit_bytes=environment.number("REREAD_LIMIT_BYTES", _BYTES, 10 * 1024**3),
        )


@dataclass(frozen=True)
class LoadSettings(_Settings):
    """Settings of Load.

    Attributes:
        warehouse: The warehouse.
        raw_bucket: The raw bucket.
        glue_database: The lake's Glue database.
        metrics_namespace: The namespace of the metrics.
        administrator_secret_arn: The secret of an administrator of the warehouse, who makes the
            load's role; empty if there is none.
    """

    warehouse: DatabaseSettings
    raw_bucket: str
    glue_database: str
    metrics_namespace: str
    administrator_secret_arn: str = ""

    @classmethod
    def _of(cls, environment: Environment) -> Self:
        return cls(
            warehouse=DatabaseSettings.read("WAREHOUSE", environment),
            raw_bucket=environment.text("RAW_BUCKET"),
            glue_database=environment.text("GLUE_DATABASE"),
            metrics_namespace=environment.text("POWERTOOLS_METRICS_NAMESPACE"),
            administrator_secret_arn=environment.text("WAREHOUSE_ADMIN_SECRET_ARN", ""),
        )


@dataclass(frozen=True)
class PublishSettings(_Settings):
    """Settings of Publish.

    Attributes:
        warehouse: The warehouse.
        raw_bucket: The raw bucket.
        lake_bucket: The lake bucket.
        artifacts_bucket: The bucket of pages and certificates.
        raw_glue_database: The raw zone's Glue database.
        preview_log_group: The log group of the previews.
        metrics_namespace: The namespace of the metrics.
        memory: The memory of the function that each state invokes, in MB.
    """

    warehouse: DatabaseSettings
    raw_bucket: str
    lake_bucket: str
    artifacts_bucket: str
    raw_glue_database: str
    preview_log_group: str
    metrics_namespace: str
    memory: Mapping[str, int]

    @classmethod
    def _of(cls, environment: Environment) -> Self:
        return cls(
            warehouse=DatabaseSettings.read("WAREHOUSE", environment),
            raw_bucket=environment.text("RAW_BUCKET"),
            lake_bucket=environment.text("LAKE_BUCKET"),
            artifacts_bucket=environment.text("ARTIFACTS_BUCKET"),
            raw_glue_database=environment.text("RAW_GLUE_DATABASE"),
            preview_log_group=environment.text("PREVIEW_LOG_GROUP"),
            metrics_namespace=environment.text("POWERTOOLS_METRICS_NAMESPACE"),
            memory={
                stage: environment.number(f"{stage.upper()}_MEMORY", _MEMORY, 1024)
                for stage in ("Ingest", "Load", "Publish")
            },
        )


@dataclass(frozen=True)
class GlueCodeSettings(_Settings):
    """Settings of the custom resource that publishes the jobs' code."""

    artifacts_bucket: str

    @classmethod
    def _of(cls, environment: Environment) -> Self:
        return cls(environment.text("ARTIFACTS_BUCKET"))
