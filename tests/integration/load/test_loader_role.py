"""The first load makes its own role as an administrator who is no superuser, as on Amazon RDS."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, LiteralString

import boto3
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lambdas.load.loader_role import connect
from lambdas.load.migrations import migrate, migrations
from local.postgres import PostgresServer
from pipeline.database import Database, Role
from pipeline.errors import DatabaseRefused
from pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

LOADER, ADMINISTRATOR = "totesys loader", "totesys_admin"
PASSWORD = "it's \\ a 50% Pässword"
Connects = Callable[..., psycopg.Connection]
_ROLES: LiteralString = "select rolname, rolsuper, rolcreaterole, rolcreatedb from pg_roles"


@pytest.fixture
def superuser(warehouse_dsn: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection to a database that an administrator owns, as Amazon RDS makes it."""
    roles = [sql.Identifier(name) for name in (LOADER, "totesys_reporting", ADMINISTRATOR)]
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        for role in roles[:2]:
            connection.execute(sql.SQL("drop role if exists {}").format(role))
        connection.execute(
            sql.SQL("create role {} login createrole createdb password {}").format(
                roles[2], sql.Literal(PASSWORD)
            )
        )
        connection.execute(
            sql.SQL("alter database {} owner to {}").format(
                sql.Identifier(connection.info.dbname), roles[2]
            )
        )
        yield connection
        connection.execute(
            sql.SQL("alter database {} owner to current_user").format(
                sql.Identifier(connection.info.dbname)
            )
        )
        existing = {row[0] for row in connection.execute(_ROLES)}
        for name in (LOADER, "totesys_reporting", ADMINISTRATOR):
            if name in existing:
                role = sql.Identifier(name)
                connection.execute(sql.SQL("drop owned by {} cascade").format(role))
                connection.execute(sql.SQL("drop role {}").format(role))


@pytest.fixture
def secrets(moto_aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


@pytest.fixture
def connects(
    superuser: psycopg.Connection, warehouse_dsn: str, secrets: "SecretsManagerClient"
) -> Connects:
    """Connects as Load does, with an administrator unless the test says otherwise."""
    address = conninfo_to_dict(warehouse_dsn)
    loader = {"username": LOADER, "password": PASSWORD, "sslmode": "disable"}
    loader |= {name: str(address[name]) for name in ("host", "port", "dbname")}
    managed_by_rds = {"username": ADMINISTRATOR, "password": PASSWORD}

    def arn(secret: dict[str, str]) -> str:
        return secrets.create_secret(Name=uuid.uuid4().hex, SecretString=json.dumps(secret))["ARN"]

    def connect_as_load(
        administrator: dict[str, str] | None = managed_by_rds, **changes: str
    ) -> psycopg.Connection:
        settings = DatabaseSettings(arn(loader | changes), ssl_mode="disable")
        chosen = arn(administrator) if administrator else ""
        return connect(Database(Role.WAREHOUSE, settings), chosen, secrets)

    return connect_as_load


def test_the_first_load_makes_its_role_which_owns_the_star_schema_and_nothing_more(
    connects: Connects, superuser: psycopg.Connection
) -> None:
    with connects() as connection:
        connection.autocommit = True
        assert migrate(connection, migrations())

    owners = superuser.execute(
        "select distinct tableowner::text from pg_tables where schemaname = 'public'"
    ).fetchall()
    assert owners == [(LOADER,)]
    rights = {row[0]: row[1:] for row in superuser.execute(_ROLES)}
    assert rights[LOADER] == rights["totesys_reporting"] == (False, False, False)
    reads = "select has_table_privilege('totesys_reporting', 'fact_payment', 'select')"
    assert superuser.execute(reads).fetchone() == (True,)


def test_later_loads_read_no_administrators_secret(connects: Connects) -> None:
    connects().close()

    with connects(administrator={"username": "nobody", "password": "no"}) as connection:
        assert connection.info.user == LOADER


def test_the_password_reaches_the_server_as_a_verifier(
    connects: Connects, superuser: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    # Of the administrator's statements the server logs all.
    superuser.execute(
        sql.SQL("alter role {} set log_statement = 'all'").format(sql.Identifier(ADMINISTRATOR))
    )

    connects().close()

    log = postgres_server.log.read_text()
    assert "SCRAM-SHA-256$" in log
    assert "50% P" not in log


def test_a_role_that_exists_keeps_its_password(
    connects: Connects, superuser: psycopg.Connection
) -> None:
    connects().close()

    with pytest.raises(DatabaseRefused, match="authentication failed"):
        connects(password="another")
    connects().close()


def test_without_an_administrator_a_missing_role_is_refused(
    connects: Connects, superuser: psycopg.Connection
) -> None:
    with pytest.raises(DatabaseRefused, match="authentication failed"):
        connects(administrator=None)
    assert LOADER not in {row[0] for row in superuser.execute(_ROLES)}


def test_an_administrator_who_may_make_no_roles_is_named(
    connects: Connects, superuser: psycopg.Connection
) -> None:
    superuser.execute(sql.SQL("alter role {} nocreaterole").format(sql.Identifier(ADMINISTRATOR)))

    with pytest.raises(DatabaseRefused, match="permission denied to create role"):
        connects()
