"""Connections to the two databases, and the one place where psycopg's errors are translated.

Credentials are fetched for every connection, since Amazon RDS rotates them. A secret is JSON in
the form that RDS itself writes (host, port, username, password, dbname; AWS Secrets Manager User
Guide, "JSON structure of AWS Secrets Manager secrets"); any other keyword that libpq knows is
handed on as it is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import errors as postgres

from pipeline.errors import (
    DatabaseRefused,
    InvalidSettings,
    ObjectStoreUnavailable,
    PipelineError,
    SourceBusy,
    SourceUnavailable,
    WarehouseBusy,
    WarehouseUnavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_KEYWORDS = {"username": "user"}
_NOT_FOR_LIBPQ = ("engine", "dbInstanceIdentifier", "dbClusterIdentifier", "masterarn")
_CONNECT_SECONDS = 10
EXACT_TEXT = (
    "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c bytea_output=hex "
    "-c extra_float_digits=1"
)
"""A role or a database can have settings of its own, in which values read otherwise."""
_WHEREABOUTS = ("host", "hostaddr", "service")
_MALFORMED = "connection is bad: invalid"
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
    "does not exist",
    "does not support SSL",
)
"""What libpq says of a refused connection, of which it gives no error code."""


class Role(StrEnum):
    """Which of the two databases."""

    SOURCE = "source"
    WAREHOUSE = "warehouse"


_GAVE_UP = (
    postgres.LockNotAvailable,
    postgres.QueryCanceled,
    postgres.DeadlockDetected,
    postgres.SerializationFailure,
)
# Ingest names nothing but what it has just read in the catalogue: it has gone in between.
_GONE_SINCE = (
    postgres.UndefinedTable,
    postgres.UndefinedColumn,
    postgres.UndefinedObject,
    postgres.ObjectNotInPrerequisiteState,
)
_BUSY = {Role.SOURCE: _GAVE_UP + _GONE_SINCE, Role.WAREHOUSE: _GAVE_UP}


@dataclass(frozen=True)
class Database:
    """How to reach a database.

    Attributes:
        role: Which one it is, for messages and for the errors' names.
        secret_arn: The secret with its address and credentials.
        ssl_mode: libpq's sslmode, unless the secret has its own.
        options: Settings of every session, in the form of libpq's `options`.
    """

    role: Role
    secret_arn: str
    ssl_mode: str
    options: str = EXACT_TEXT

    def connect(self, client: "SecretsManagerClient") -> psycopg.Connection:
        """Opens a connection with the credentials of this moment.

        Raises:
            SourceUnavailable: The source cannot be reached (WarehouseUnavailable likewise).
            DatabaseRefused: It refuses the credentials.
            InvalidSettings: The secret is missing or is not of the form.
        """
        keywords = self._keywords(self._secret(client))
        with translated_errors(self.role):
            try:
                return psycopg.connect(**keywords)
            except (psycopg.ProgrammingError, psycopg.OperationalError) as error:
                if isinstance(error, psycopg.OperationalError) and _MALFORMED not in str(error):
                    raise
                raise self._malformed(_first_line(error)) from error

    def _secret(self, client: "SecretsManagerClient") -> str:
        try:
            answer = client.get_secret_value(SecretId=self.secret_arn)
        except client.exceptions.ResourceNotFoundException as error:
            raise InvalidSettings(
                f"there is no secret {self.secret_arn} for the {self.role} database: give the "
                "stack the ARN of one that exists"
            ) from error
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreUnavailable(
                f"could not read the secret of the {self.role} database: {error}"
            ) from error
        return answer.get("SecretString", "")

    def _keywords(self, secret: str) -> dict[str, Any]:
        try:
            keywords = {
                _KEYWORDS.get(name, name): value
                for name, value in json.loads(secret).items()
                if name not in _NOT_FOR_LIBPQ
            }
        except (ValueError, AttributeError) as error:
            raise self._malformed("it is no JSON object") from error
        if not any(keywords.get(name) for name in _WHEREABOUTS):
            raise self._malformed("it names no host")
        return {
            "sslmode": self.ssl_mode,
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "totesys-pipeline",
            "client_encoding": "utf8",
            "options": self.options,
            **keywords,
        }

    def _malformed(self, reason: str) -> InvalidSettings:
        return InvalidSettings(
            f"the secret of the {self.role} database is not JSON with host, port, username, "
            f"password and dbname ({reason}): correct {self.secret_arn}"
        )


@contextmanager
def translated_errors(role: Role) -> Iterator[None]:
    """Turns psycopg's errors into the pipeline's.

    Raises:
        SourceUnavailable: The connection failed (WarehouseUnavailable likewise).
        SourceBusy: The server gave up a statement or a lock (WarehouseBusy likewise).
        DatabaseRefused: The server rejects the statement or the credentials.
    """
    try:
        yield
    except _BUSY[role] as error:
        raise _named(role, SourceBusy, WarehouseBusy)(
            f"the {role} database gave up: {_first_line(error)}"
        ) from error
    except (postgres.InvalidAuthorizationSpecification, postgres.InsufficientPrivilege) as error:
        raise DatabaseRefused(
            f"the {role} database refused: {_first_line(error)}; grant its role what "
            "docs/operations.md lists"
        ) from error
    except psycopg.OperationalError as error:
        if any(refusal in str(error) for refusal in _REFUSALS):
            raise DatabaseRefused(
                f"the {role} database refused the connection: {_first_line(error)}; correct its "
                "secret, or its role's rights"
            ) from error
        raise _named(role, SourceUnavailable, WarehouseUnavailable)(
            f"the {role} database cannot be reached: {_first_line(error)}"
        ) from error
    except psycopg.Error as error:
        raise DatabaseRefused(
            f"the {role} database rejected a statement: {_first_line(error)}"
        ) from error


def _named(
    role: Role, source: type[PipelineError], warehouse: type[PipelineError]
) -> type[PipelineError]:
    return source if role is Role.SOURCE else warehouse


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
