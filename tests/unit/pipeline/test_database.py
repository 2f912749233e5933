"""Connections to the databases: the secret's form, and psycopg's errors in the pipeline's words."""

import json
import socket
import struct
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
from psycopg import errors as postgres

from pipeline.database import Database, Role, open_connection, translated_errors
from pipeline.errors import (
    DatabaseRefused,
    InvalidInput,
    InvalidSettings,
    ObjectStoreUnavailable,
    PipelineError,
    SourceBusy,
    SourceUnavailable,
    WarehouseBusy,
    WarehouseUnavailable,
)
from pipeline.secret import Login
from pipeline.settings import DatabaseSettings
from tests.fixtures.gateway import HOST, Gateway

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

ADDRESS = {"host": "127.0.0.1", "port": 5432, "username": "reader", "password": "s", "dbname": "t"}


@pytest.fixture
def secrets(moto_aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What psycopg is asked to connect to, in place of a connection."""
    keywords: dict[str, object] = {}
    monkeypatch.setattr(psycopg, "connect", lambda **given: keywords.update(given))
    return keywords


def database_of(
    secrets: "SecretsManagerClient", secret: str, ssl_mode: str = "require"
) -> Database:
    arn = secrets.create_secret(Name="source", SecretString=secret)["ARN"]
    return Database(Role.SOURCE, DatabaseSettings(arn, ssl_mode))


def test_a_secret_of_amazon_rds_is_libpqs_address(
    secrets: "SecretsManagerClient", asked: dict[str, object]
) -> None:
    of_rds = {**ADDRESS, "engine": "postgres", "dbInstanceIdentifier": "totesys"}

    database_of(secrets, json.dumps(of_rds)).connect(secrets)

    assert {"user": "reader", "host": "127.0.0.1", "dbname": "t"}.items() <= asked.items()
    assert not {"username", "engine", "dbInstanceIdentifier"} & asked.keys()


def test_tls_is_as_the_stack_says_unless_the_secret_says_otherwise(
    secrets: "SecretsManagerClient", asked: dict[str, object]
) -> None:
    database = database_of(secrets, json.dumps(ADDRESS), "verify-full")
    used = []
    for secret in (ADDRESS, {**ADDRESS, "sslmode": "disable"}):
        secrets.put_secret_value(
            SecretId=database.settings.secret_arn, SecretString=json.dumps(secret)
        )

        database.connect(secrets)

        used.append(asked["sslmode"])

    assert used == ["verify-full", "disable"]


def test_credentials_are_fetched_for_every_connection(
    secrets: "SecretsManagerClient", asked: dict[str, object]
) -> None:
    database = database_of(secrets, json.dumps(ADDRESS))
    database.connect(secrets)
    secrets.put_secret_value(
        SecretId=database.settings.secret_arn,
        SecretString=json.dumps({**ADDRESS, "password": "rotated"}),
    )

    database.connect(secrets)

    assert asked["password"] == "rotated"


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://reader@db.example/totesys",
        '"text"',
        "[]",
        '{"username": "reader", "password": "s"}',
        json.dumps({**ADDRESS, "port": "many"}),
        json.dumps({**ADDRESS, "sslmode": "sometimes"}),
        json.dumps({**ADDRESS, "colour": "blue"}),
    ],
)
def test_a_malformed_secret_is_refused_with_its_arn_and_without_its_content(
    secrets: "SecretsManagerClient", secret: str
) -> None:
    database = database_of(secrets, secret)

    with pytest.raises(InvalidSettings, match="not JSON with host") as refused:
        database.connect(secrets)

    assert database.settings.secret_arn in str(refused.value)
    assert "reader" not in str(refused.value)


def test_a_binary_secret_is_refused(secrets: "SecretsManagerClient") -> None:
    arn = secrets.create_secret(Name="source", SecretBinary=b"{}")["ARN"]

    with pytest.raises(InvalidSettings, match="no JSON"):
        Database(Role.WAREHOUSE, DatabaseSettings(arn)).connect(secrets)


def test_a_secret_that_does_not_exist_is_a_matter_of_settings(
    secrets: "SecretsManagerClient",
) -> None:
    with pytest.raises(InvalidSettings, match="there is no secret nowhere"):
        Database(Role.SOURCE, DatabaseSettings("nowhere")).connect(secrets)


def test_a_secrets_manager_that_refuses_for_now_is_worth_a_retry(
    secrets: "SecretsManagerClient",
) -> None:
    arn = secrets.create_secret(Name="source", SecretString=json.dumps(ADDRESS))["ARN"]
    secrets.delete_secret(SecretId=arn)

    with pytest.raises(ObjectStoreUnavailable, match="secret of the source"):
        Database(Role.SOURCE, DatabaseSettings(arn)).connect(secrets)


def test_a_secrets_manager_out_of_reach_is_worth_a_retry(
    unreachable_secrets: "SecretsManagerClient",
) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="secret of the source"):
        Database(Role.SOURCE, DatabaseSettings("any")).connect(unreachable_secrets)


@pytest.mark.parametrize(
    ("raised", "role", "expected"),
    [
        (postgres.QueryCanceled("statement timeout"), Role.SOURCE, SourceBusy),
        (postgres.LockNotAvailable("lock timeout"), Role.SOURCE, SourceBusy),
        (postgres.UndefinedTable("dropped since"), Role.SOURCE, SourceBusy),
        (postgres.UndefinedTable("never there"), Role.WAREHOUSE, DatabaseRefused),
        (postgres.DeadlockDetected("deadlock"), Role.WAREHOUSE, WarehouseBusy),
        (postgres.SerializationFailure("again"), Role.WAREHOUSE, WarehouseBusy),
        (postgres.AdminShutdown("terminating"), Role.SOURCE, SourceUnavailable),
        (psycopg.OperationalError("Connection refused"), Role.WAREHOUSE, WarehouseUnavailable),
        (
            psycopg.OperationalError('FATAL: database "x" does not exist'),
            Role.SOURCE,
            DatabaseRefused,
        ),
        (psycopg.OperationalError("FATAL: no pg_hba.conf entry"), Role.WAREHOUSE, DatabaseRefused),
        (postgres.InsufficientPrivilege("permission denied"), Role.SOURCE, DatabaseRefused),
        (postgres.SyntaxError("syntax error"), Role.SOURCE, DatabaseRefused),
        (psycopg.OperationalError(), Role.SOURCE, SourceUnavailable),
    ],
)
def test_an_error_of_the_driver_becomes_one_of_the_pipeline(
    raised: psycopg.Error, role: Role, expected: type[PipelineError]
) -> None:
    with (
        pytest.raises(expected, match=f"the {role} database") as translated,
        translated_errors(role),
    ):
        raise raised

    assert translated.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised", [postgres.DiskFull, postgres.TooManyConnections, postgres.ConfigurationLimitExceeded]
)
def test_a_server_without_resources_is_not_said_to_be_out_of_reach(
    raised: type[psycopg.Error],
) -> None:
    with (
        pytest.raises(WarehouseUnavailable, match="the warehouse database lacks resources: none"),
        translated_errors(Role.WAREHOUSE),
    ):
        raise raised("none left")


def test_only_the_first_line_of_the_servers_message_is_passed_on() -> None:
    with pytest.raises(DatabaseRefused) as translated, translated_errors(Role.SOURCE):
        raise postgres.CheckViolation("violates a check\nDETAIL: Failing row contains (secret).")

    assert "secret" not in str(translated.value)


def test_an_error_of_the_pipeline_passes_as_it_is() -> None:
    with pytest.raises(InvalidInput), translated_errors(Role.SOURCE):
        raise InvalidInput("no such table")


class Refusing(Gateway):
    """A server in another language, which refuses each login with an SQLSTATE."""

    def __init__(self, code: str) -> None:
        text = "Passwort-Authentifizierung für Benutzer »reader« fehlgeschlagen"
        fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode("latin-1")
        self._answer = b"E" + struct.pack("!i", 4 + len(fields)) + fields
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        client.recv(1024)
        client.sendall(self._answer)


@pytest.mark.parametrize(
    ("code", "becomes"),
    [
        ("28P01", DatabaseRefused),
        ("28000", DatabaseRefused),
        ("3D000", DatabaseRefused),
        ("42501", DatabaseRefused),
        ("53300", WarehouseUnavailable),
        ("57P03", WarehouseUnavailable),
    ],
)
def test_a_login_is_refused_by_its_sqlstate_in_any_language(
    code: str, becomes: type[PipelineError]
) -> None:
    server = Refusing(code)
    address = {"host": HOST, "port": str(server.port), "user": "reader", "sslmode": "disable"}

    try:
        with pytest.raises(PipelineError) as raised, translated_errors(Role.WAREHOUSE):
            open_connection(Login({**address, "dbname": "t", "gssencmode": "disable"}, "s"))
    finally:
        server.close()

    assert type(raised.value) is becomes


def test_a_server_that_does_not_answer_is_out_of_reach() -> None:
    server = Gateway()
    server.close()
    address = {"host": HOST, "port": str(server.port), "user": "reader", "dbname": "t"}

    with pytest.raises(SourceUnavailable, match="refused"), translated_errors(Role.SOURCE):
        open_connection(Login(address, "s"))
