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

from pipeline import warehouse_session
from pipeline.errors import (
    DatabaseRefused,
    InvalidSettings,
    PipelineError,
    SourceBusy,
    SourceUnavailable,
    WarehouseBusy,
    WarehouseUnavailable,
    first_line,
    unavailability,
)
from pipeline.refused_login import sqlstate_of
from pipeline.secret import Login, malformed_secret, read_login
from pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_MARK = "totesys.session"
_MARKED = "on"
_NO_OPTIONS = ("unsupported startup parameter", "command-line options")
"""What PgBouncer and RDS Proxy say of start-up options."""
_CONNECT_SECONDS = "10"
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
_REFUSAL_CODES = ("28", "3D", "42501")
"""SQLSTATEs of a refused login: the credentials or the host, the database, no right to connect."""


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
    """

    role: Role
    settings: DatabaseSettings

    def connect(self, client: "SecretsManagerClient") -> psycopg.Connection:
        """Opens a connection with the current credentials.

        Sessions at the warehouse have settings of their own. Those at the source have none: it may
        be behind a connection pooler, so each transaction has to set its own.

        Raises:
            SourceUnavailable: The source cannot be reached (WarehouseUnavailable likewise).
            DatabaseRefused: It refuses the credentials.
            InvalidSettings: The secret is missing or malformed, or the warehouse is behind a
                connection pooler.
            AccessRefused: The function may not read the secret.
        """
        login = read_login(self.role, self.settings, client)
        with translated_errors(self.role):
            try:
                connection = open_connection(Login(self._keywords(login), login.password))
            except (psycopg.ProgrammingError, psycopg.OperationalError) as error:
                if any(text in str(error) for text in _NO_OPTIONS):
                    raise self._pooled() from error
                if isinstance(error, psycopg.OperationalError) and _MALFORMED not in str(error):
                    raise
                reason = first_line(error)
                raise malformed_secret(self.role, self.settings.secret_arn, reason) from error
            if self.role is Role.WAREHOUSE:
                try:
                    self._complete_session(connection)
                except BaseException:
                    connection.close()
                    raise
            return connection

    def _keywords(self, login: Login) -> dict[str, str]:
        options = [login.keywords.get("options", "")]
        if self.role is Role.WAREHOUSE:
            options += [f"-c {_MARK}={_MARKED}", warehouse_session.start_up_options()]
        return {
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "totesys-pipeline",
            "client_encoding": "utf8",
            **login.keywords,
            "options": " ".join(filter(None, options)),
        }

    def _complete_session(self, connection: psycopg.Connection) -> None:
        """Fails if the start-up options were lost, and sets what an old server does not know."""
        connection.autocommit = True
        row = connection.execute("select pg_catalog.current_setting(%s, true)", [_MARK]).fetchone()
        if row != (_MARKED,):
            raise self._pooled()
        warehouse_session.complete(connection.cursor())
        connection.autocommit = False

    def _pooled(self) -> InvalidSettings:
        return InvalidSettings(
            f"the {self.role} database is behind a connection pooler or proxy that takes no "
            "start-up options, without which a load is not safe: give its secret the address of "
            "the server itself"
        )


def open_connection(login: Login) -> psycopg.Connection:
    """Opens a connection. The traceback of an error ends here: psycopg's frames have the password.

    The error of a login that the server refuses in words that are not known has its SQLSTATE.
    A statement is never prepared, because it does not outlive its transaction behind a pooler.

    Raises:
        psycopg.Error: The connection failed.
    """
    keywords: dict[str, Any] = dict(login.keywords)
    try:
        return psycopg.connect(**keywords, password=login.password, prepare_threshold=None)
    except psycopg.Error as error:
        may_answer = isinstance(error, psycopg.OperationalError)
        if may_answer and not isinstance(error, postgres.ConnectionTimeout) and not _refuses(error):
            error.sqlstate = sqlstate_of(login)
        raise error.with_traceback(None) from None


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
        if _refuses(error):
            raise DatabaseRefused(
                f"the {role} database refused the connection: {first_line(error)}; correct its "
                "secret, or its role's rights"
            ) from error
        raise _named(role, SourceUnavailable, WarehouseUnavailable)(
            f"the {role} database {unavailability(error.sqlstate)}: {first_line(error)}"
        ) from error
    except psycopg.Error as error:
        raise DatabaseRefused(
            f"the {role} database rejected a statement: {first_line(error)}"
        ) from error


def _refuses(error: psycopg.Error) -> bool:
    said = str(error)
    coded = (error.sqlstate or "").startswith(_REFUSAL_CODES)
    return coded or any(refusal in said for refusal in _REFUSALS)


def _named(
    role: Role, source: type[PipelineError], warehouse: type[PipelineError]
) -> type[PipelineError]:
    return source if role is Role.SOURCE else warehouse
