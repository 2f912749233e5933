"""Connections to the two databases, and the one place where psycopg's errors are translated.

Credentials are read for every connection, because Amazon RDS rotates them: pipeline/secret.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as postgres

from pipeline.errors import (
    DatabaseRefused,
    PipelineError,
    SourceBusy,
    SourceUnavailable,
    WarehouseBusy,
    WarehouseUnavailable,
    first_line,
)
from pipeline.secret import Login, malformed_secret, read_login
from pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

EXACT_TEXT = (
    "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c bytea_output=hex "
    "-c extra_float_digits=1"
)
"""A role or a database can have settings of its own, in which values read otherwise."""
_CONNECT_SECONDS = 10
_MALFORMED = "connection is bad: invalid"
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
    "does not exist",
    "does not support SSL",
    "certificate verify failed",
    "server certificate for",
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
        settings: What the stack says about it.
        options: Settings of every session, in the form of libpq's `options`.
    """

    role: Role
    settings: DatabaseSettings
    options: str = EXACT_TEXT

    def connect(self, client: "SecretsManagerClient") -> psycopg.Connection:
        """Opens a connection with the credentials of this moment.

        Raises:
            SourceUnavailable: The source cannot be reached (WarehouseUnavailable likewise).
            DatabaseRefused: It refuses the credentials.
            InvalidSettings: The secret is missing or malformed.
            AccessRefused: The function may not read the secret.
        """
        login = read_login(self.role, self.settings, client)
        with translated_errors(self.role):
            try:
                return self._open(login)
            except (psycopg.ProgrammingError, psycopg.OperationalError) as error:
                if isinstance(error, psycopg.OperationalError) and _MALFORMED not in str(error):
                    raise
                reason = first_line(error)
                raise malformed_secret(self.role, self.settings.secret_arn, reason) from error

    def _open(self, login: Login) -> psycopg.Connection:
        try:
            return psycopg.connect(**self._keywords(login), password=login.password)
        except psycopg.Error as error:
            # The frames of psycopg hold the password.
            raise error.with_traceback(None) from None

    def _keywords(self, login: Login) -> dict[str, Any]:
        return {
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "totesys-pipeline",
            "client_encoding": "utf8",
            "options": self.options,
            **login.keywords,
        }


def login_of(connection: psycopg.Connection) -> Login:
    """Returns how to connect once more to the server of a connection, and to no other server.

    A name may lead to several servers; the address of the connection leads to its own.
    """
    info = connection.info
    server = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}
    keywords = info.get_parameters() | {name: value for name, value in server.items() if value}
    return Login(keywords, info.password or None)


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
            f"the {role} database gave up: {first_line(error)}"
        ) from error
    except (postgres.InvalidAuthorizationSpecification, postgres.InsufficientPrivilege) as error:
        raise DatabaseRefused(
            f"the {role} database refused: {first_line(error)}; grant its role what "
            "docs/operations.md lists"
        ) from error
    except psycopg.OperationalError as error:
        if any(refusal in str(error) for refusal in _REFUSALS):
            raise DatabaseRefused(
                f"the {role} database refused the connection: {first_line(error)}; correct its "
                "secret, or its role's rights"
            ) from error
        raise _named(role, SourceUnavailable, WarehouseUnavailable)(
            f"the {role} database cannot be reached: {first_line(error)}"
        ) from error
    except psycopg.Error as error:
        raise DatabaseRefused(
            f"the {role} database rejected a statement: {first_line(error)}"
        ) from error


def _named(
    role: Role, source: type[PipelineError], warehouse: type[PipelineError]
) -> type[PipelineError]:
    return source if role is Role.SOURCE else warehouse
