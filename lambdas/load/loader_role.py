"""The load's role at the warehouse, which the first load makes.

The administrator's secret is read only where the warehouse refuses the load's own login. No other
statement is the administrator's.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from pipeline.database import Database, translated_errors
from pipeline.errors import DatabaseRefused
from pipeline.secret import Login, read_login

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_REPORTING = "totesys_reporting"
"""Who reports is granted this role, and a migration grants it the star schema."""


def connect(
    warehouse: Database, administrator: str, client: "SecretsManagerClient"
) -> psycopg.Connection:
    """Connects as the load's role. A warehouse that lacks the role gets it first.

    A role that exists stays as it is: its password and its rights are its owner's matter.

    Args:
        warehouse: The warehouse, as the load's role reaches it.
        administrator: The ARN of an administrator's secret; empty if there is none.
        client: The client of AWS Secrets Manager.

    Raises:
        DatabaseRefused: The warehouse refuses the load's role, and the role exists or there is no
            administrator; or it refuses the administrator.
        WarehouseUnavailable: The warehouse cannot be reached.
        InvalidSettings: A secret is missing or malformed.
        AccessRefused: The function may not read a secret.
    """
    try:
        return warehouse.connect(client)
    except DatabaseRefused:
        if not administrator or not _made(warehouse, administrator, client):
            raise
    return warehouse.connect(client)


def _made(warehouse: Database, administrator: str, client: "SecretsManagerClient") -> bool:
    """Makes the load's role as the administrator, and returns False if there is one."""
    login = read_login(warehouse.role, warehouse.settings, client)
    there = replace(
        warehouse.settings,
        secret_arn=administrator,
        host=login.host,
        port=int(login.keywords.get("port", warehouse.settings.port)),
        name=login.keywords.get("dbname", ""),
    )
    with (
        translated_errors(warehouse.role),
        Database(warehouse.role, there).connect(client) as connection,
    ):
        if _exists(connection, login.keywords["user"]):
            return False
        make_role(connection, login)
    return True


def make_role(connection: psycopg.Connection, login: Login) -> None:
    """Makes the load's role, with the rights that docs/operations.md lists.

    Args:
        connection: An administrator's connection to the warehouse's database.
        login: The load's login. Its password reaches the server, and its log, as a SCRAM verifier.
    """
    role = sql.Identifier(login.keywords["user"])
    database = sql.Identifier(connection.info.dbname)
    connection.execute(
        sql.SQL("create role {} login password {}").format(role, _verifier(connection, login))
    )
    connection.execute(
        sql.SQL("grant connect, create, temporary on database {} to {}").format(database, role)
    )
    connection.execute(sql.SQL("grant create, usage on schema public to {}").format(role))
    if not _exists(connection, _REPORTING):
        connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(_REPORTING)))


def _verifier(connection: psycopg.Connection, login: Login) -> sql.Literal:
    """Returns the password as the server stores it; null if the login has none."""
    if login.password is None:
        return sql.Literal(None)
    secret, user = login.password.encode(), login.keywords["user"].encode()
    return sql.Literal(connection.pgconn.encrypt_password(secret, user, b"scram-sha-256").decode())


def _exists(connection: psycopg.Connection, role: str) -> bool:
    found = connection.execute("select from pg_roles where rolname = %s", [role])
    return found.fetchone() is not None
