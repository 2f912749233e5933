"""Sessions at the warehouse have the pipeline's settings, or there is no session."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pipeline.database import Database, Role
from pipeline.errors import InvalidSettings
from pipeline.settings import DatabaseSettings
from tests.fixtures.pooler import Options, Pooler
from tests.integration.load.invocation import secret_text

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

SETTINGS = {
    "bytea_output": ("escape", "hex"),
    "datestyle": ("German", "ISO, MDY"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_read_only": ("on", "off"),
    "extra_float_digits": ("-15", "1"),
    "idle_in_transaction_session_timeout": ("5s", "0"),
    "idle_session_timeout": ("5s", "0"),
    "intervalstyle": ("iso_8601", "postgres"),
    "lock_timeout": ("5s", "0"),
    "row_security": ("on", "off"),
    "statement_timeout": ("5s", "0"),
    "synchronous_commit": ("off", "on"),
    "timezone": ("Asia/Kolkata", "UTC"),
    "transaction_timeout": ("5s", "0"),
}
"""What a database sets, and what a session has nevertheless."""


@pytest.fixture
def secrets(moto_aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


def warehouse_of(secrets: "SecretsManagerClient", dsn: str, **changes: object) -> Database:
    text = json.dumps({**json.loads(secret_text(dsn)), **changes})
    arn = secrets.create_secret(Name="warehouse", SecretString=text)["ARN"]
    return Database(Role.WAREHOUSE, DatabaseSettings(arn, "disable"))


def test_a_session_has_its_settings_whatever_those_of_the_database(
    secrets: "SecretsManagerClient", warehouse_dsn: str
) -> None:
    name = sql.Identifier(str(conninfo_to_dict(warehouse_dsn)["dbname"]))
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        for setting, (value, _) in SETTINGS.items():
            connection.execute(
                sql.SQL("alter database {} set {} to {}").format(
                    name, sql.Identifier(setting), sql.Literal(value)
                )
            )

    with warehouse_of(secrets, warehouse_dsn).connect(secrets) as connection:
        rows = connection.execute(
            "select lower(name), current_setting(name) from pg_settings "
            "where lower(name) = any (%s)",
            [list(SETTINGS)],
        ).fetchall()

    assert dict(rows) == {setting: expected for setting, (_, expected) in SETTINGS.items()}


def test_options_of_the_secret_stay_beside_those_of_the_pipeline(
    secrets: "SecretsManagerClient", warehouse_dsn: str
) -> None:
    database = warehouse_of(
        secrets, warehouse_dsn, options="-c search_path=mine -c timezone=Asia/Tokyo"
    )

    with database.connect(secrets) as connection:
        row = connection.execute(
            "select current_setting('search_path'), current_setting('timezone')"
        ).fetchone()

    assert row == ("mine", "UTC")


@pytest.mark.parametrize("options", Options)
def test_a_warehouse_behind_a_pooler_is_refused(
    secrets: "SecretsManagerClient",
    warehouse_dsn: str,
    new_pooler: Callable[..., Pooler],
    options: Options,
) -> None:
    pooler = new_pooler(options, int(str(conninfo_to_dict(warehouse_dsn)["port"])))
    database = warehouse_of(secrets, warehouse_dsn, port=pooler.port)

    with pytest.raises(InvalidSettings, match="behind a connection pooler"):
        database.connect(secrets)
