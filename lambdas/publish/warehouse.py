"""Connections to the warehouse by pg8000, the driver that AWS SDK for pandas works with."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import pg8000
from scramp import ScramException

from pipeline import warehouse_schema, warehouse_session
from pipeline.errors import (
    DatabaseRefused,
    InvalidSettings,
    PipelineError,
    WarehouseBusy,
    WarehouseUnavailable,
    unavailability,
)
from pipeline.secret import Login, read_login
from pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_CONNECT_SECONDS = 10
_EXTRACTS = 7_065_636_003
"""The advisory lock of who writes extracts: a number that nothing else uses."""
_PATIENCE_SECONDS = 60.0
_SECONDS_BETWEEN_LOCKS = 0.5
_BUSY = ("40", "55P03", "57014")
"""SQLSTATEs of what gave way to others: a conflict of transactions, a lock, a canceled query."""
_UNAVAILABLE = ("08", "53", "57")
"""Classes of SQLSTATE: connection exception, insufficient resources, operator intervention."""
_KNOWN = frozenset(
    {"application_name", "connect_timeout", "dbname", "host", "hostaddr", "options", "port"}
    | {"sslcert", "sslkey", "sslmode", "sslrootcert", "user"}
)
"""libpq's keywords that mean the same here."""


@contextmanager
def connect(
    settings: DatabaseSettings,
    client: "SecretsManagerClient",
    *,
    writes: bool = False,
    extracts: bool = False,
    patience: float = _PATIENCE_SECONDS,
) -> Iterator[pg8000.Connection]:
    """Opens a connection to the warehouse, in a transaction.

    All that it reads is of one instant, whatever is loaded meanwhile. Nothing is written unless the
    caller commits.

    Args:
        settings: The warehouse.
        client: AWS Secrets Manager.
        writes: Whether the transaction may write.
        extracts: Whether to keep others from writing extracts meanwhile, so that those of an
            earlier instant never replace those of a later one.
        patience: How many seconds to wait for others that do.

    Raises:
        WarehouseUnavailable: The warehouse cannot be reached, or dropped the connection.
        WarehouseBusy: A statement gave way to another session, or others still write extracts.
        DatabaseRefused: It refuses the credentials or a statement.
        InvalidSettings: The secret is missing or malformed, or several schemas have a warehouse.
    """
    login = read_login("warehouse", settings, client)
    if unknown := sorted(login.keywords.keys() - _KNOWN):
        raise InvalidSettings(
            f"extracts cannot be made: pg8000 does not know {', '.join(unknown)} of the "
            f"warehouse's secret; remove it from {settings.secret_arn}"
        )
    try:
        with _open(login) as connection:
            if extracts:
                _wait_for_others(connection, time.monotonic() + patience)
            else:
                _begin(connection, writes=writes)
            yield connection
    except pg8000.Error as error:
        raise _translated(error) from error
    except ssl.SSLCertVerificationError as error:
        raise DatabaseRefused(
            f"the warehouse's certificate was refused: {error.verify_message}; correct sslrootcert "
            f"or host in {settings.secret_arn}"
        ) from error
    except ScramException as error:
        raise DatabaseRefused(
            f"pg8000 cannot use the warehouse's password ({error}): give the role another one, "
            "without control characters"
        ) from error
    except OSError as error:
        raise WarehouseUnavailable(f"the warehouse database cannot be reached: {error}") from error


def _wait_for_others(connection: pg8000.Connection, deadline: float) -> None:
    """Begins a transaction that alone may write extracts, until its end.

    What it reads is of a later instant than what others had read who had the lock before.
    """
    while not _begin(connection, writes=False, lock=_EXTRACTS):
        connection.rollback()
        if time.monotonic() >= deadline:
            raise WarehouseBusy(
                "another execution still writes the extracts of the warehouse: nothing was written"
            )
        time.sleep(_SECONDS_BETWEEN_LOCKS)


def _begin(connection: pg8000.Connection, *, writes: bool, lock: int | None = None) -> bool:
    """Begins the transaction: of one instant, whatever the settings of the role are.

    Returns:
        Whether the transaction has the advisory lock, if it is to have one.
    """
    cursor = connection.cursor()
    mode = "read write" if writes else "read only"
    cursor.execute(f"set transaction isolation level repeatable read, {mode}")
    if lock is not None:
        # The first query, which the instant is that of.
        cursor.execute("select pg_catalog.pg_try_advisory_xact_lock(%s)", (lock,))
        if not cursor.fetchone()[0]:
            return False
    warehouse_session.set_local(cursor)
    warehouse_schema.enter(cursor, is_local=True)
    return True


def _open(login: Login) -> pg8000.Connection:
    try:
        connected = _socket(login)
        try:
            return pg8000.Connection(
                user=login.keywords["user"],
                password=login.password,
                database=login.keywords.get("dbname"),
                host=login.host,
                sock=connected,
                ssl_context=_ssl_context(login),
                application_name=login.keywords.get("application_name", "totesys-pipeline"),
                # pg8000 leaves the encoding to the role's settings, and an extract has its bytes.
                startup_params={"client_encoding": "UTF8"}
                | {name: value for name, value in login.keywords.items() if name == "options"},
            )
        except BaseException:
            connected.close()
            raise
    except (pg8000.Error, OSError, ScramException) as error:
        # The frames of pg8000 hold the password.
        raise error.with_traceback(None) from None


def _socket(login: Login) -> socket.socket:
    """Returns a connected socket: pg8000's own limit on time would hold for the reads as well."""
    keywords = login.keywords
    seconds = int(keywords.get("connect_timeout", _CONNECT_SECONDS)) or None
    if login.host.startswith("/"):
        return _unix_socket(f"{login.host}/.s.PGSQL.{keywords['port']}")
    address = (keywords.get("hostaddr") or login.host, int(keywords["port"]))
    connected = socket.create_connection(address, timeout=seconds)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.settimeout(None)
    return connected


def _unix_socket(path: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


def _ssl_context(login: Login) -> "ssl.SSLContext | Literal[False] | None":
    """Returns what libpq's keywords mean: False is no TLS; None is TLS if the server has it.

    Source: PostgreSQL documentation, "SSL Support" of libpq: with certificate authorities,
    `require` verifies as `verify-ca` does.
    """
    mode, authorities = login.keywords["sslmode"], login.keywords.get("sslrootcert")
    if mode == "disable" or login.host.startswith("/"):
        return False
    if mode in ("allow", "prefer"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if authorities else ssl.CERT_NONE
    if authorities == "system":
        context.load_default_certs()
    elif authorities:
        context.load_verify_locations(authorities)
    if "sslcert" in login.keywords:
        context.load_cert_chain(login.keywords["sslcert"], login.keywords.get("sslkey"))
    return context


def _translated(error: pg8000.Error) -> PipelineError:
    """Returns the pipeline's error for one of pg8000's, which hold PostgreSQL's own fields."""
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    reason = fields.get("M", str(error))
    if fields and fields["C"].startswith(_BUSY):
        return WarehouseBusy(f"the warehouse database gave up: {reason}")
    if not fields or fields["C"].startswith(_UNAVAILABLE):
        what = unavailability(fields.get("C"))
        return WarehouseUnavailable(f"the warehouse database {what}: {reason}")
    return DatabaseRefused(f"the warehouse database refused: {reason}")
