"""Sessions at the warehouse have the pipeline's settings, or there is no session."""

import json
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, LiteralString

import boto3
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dashboard.warehouse import connecting, reading
from lambdas.publish import warehouse as of_publish
from pipeline import warehouse_schema
from pipeline.database import Database, Role
from pipeline.errors import InvalidSettings
from pipeline.secret import read_login
from pipeline.settings import DatabaseSettings
from pipeline.warehouse_session import SETTINGS
from tests.fixtures.pooler import Options, Pooler
from tests.fixtures.waiting import wait_until
from tests.integration.load.invocation import secret_text

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

    Shown = Callable[[Database, SecretsManagerClient], dict[str, str]]
    Seen = Callable[[Database, SecretsManagerClient], tuple[object, ...]]

OTHERS = {
    "bytea_output": "escape",
    "datestyle": "German",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "exit_on_error": "on",
    "extra_float_digits": "-15",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "5s",
    "intervalstyle": "iso_8601",
    "lc_monetary": "POSIX",
    "lc_numeric": "POSIX",
    "lc_time": "POSIX",
    "lock_timeout": "5s",
    "quote_all_identifiers": "on",
    "restrict_nonsystem_relation_kind": "view",
    "row_security": "on",
    "standard_conforming_strings": "off",
    "statement_timeout": "5s",
    "synchronous_commit": "off",
    "tcp_keepalives_count": "9",
    "tcp_keepalives_idle": "90",
    "tcp_keepalives_interval": "90",
    "timezone": "Asia/Kolkata",
    "transaction_timeout": "5s",
    "transform_null_equals": "on",
}
"""What a database sets. A session has the pipeline's settings nevertheless."""
SHOWN: LiteralString = (
    "select lower(name), current_setting(name) from pg_settings where lower(name) = any (%s) "
    "union all select 'text', chr(1046)"
)


@pytest.fixture
def secrets(moto_aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


def warehouse_of(secrets: "SecretsManagerClient", dsn: str, **changes: object) -> Database:
    text = json.dumps({**json.loads(secret_text(dsn)), **changes})
    arn = secrets.create_secret(Name="warehouse", SecretString=text)["ARN"]
    return Database(Role.WAREHOUSE, DatabaseSettings(arn, "disable"))


def alter(dsn: str, settings: Mapping[str, str]) -> None:
    name = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting, value in settings.items():
            connection.execute(
                sql.SQL("alter database {} set {} to {}").format(
                    name, sql.Identifier(setting), sql.Literal(value)
                )
            )


def is_sleeping(observer: psycopg.Connection, session: int) -> bool:
    query = "select wait_event = 'PgSleep' from pg_stat_activity where pid = %s"
    return observer.execute(query, [session]).fetchone() == (True,)


def shown_to_load(database: Database, secrets: "SecretsManagerClient") -> dict[str, str]:
    with database.connect(secrets) as connection:
        return dict(connection.execute(SHOWN, [list(SETTINGS)]).fetchall())


def shown_to_publish(database: Database, secrets: "SecretsManagerClient") -> dict[str, str]:
    with of_publish.connect(database.settings, secrets) as connection:
        cursor = connection.cursor()
        cursor.execute(SHOWN, [list(SETTINGS)])
        return dict(cursor.fetchall())


def shown_to_the_dashboard(database: Database, secrets: "SecretsManagerClient") -> dict[str, str]:
    opened = connecting(read_login("warehouse", database.settings, secrets))()
    with reading(lambda: opened):
        return dict(opened.execute(SHOWN, [list(SETTINGS)]).fetchall())


@pytest.mark.parametrize("shown", [shown_to_load, shown_to_publish, shown_to_the_dashboard])
def test_a_session_has_its_settings_whatever_those_of_the_database(
    secrets: "SecretsManagerClient", warehouse_dsn: str, shown: "Shown"
) -> None:
    assert OTHERS.keys() == SETTINGS.keys()
    alter(warehouse_dsn, OTHERS | {"client_encoding": "LATIN1"})
    database = warehouse_of(secrets, warehouse_dsn)

    settings = shown(database, secrets)

    own = {"statement_timeout": "30s"} if shown is shown_to_the_dashboard else {}
    expected = SETTINGS | {"text": "Ж"} | own
    assert settings == expected


def load_sees(database: Database, secrets: "SecretsManagerClient") -> tuple[object, ...]:
    with database.connect(secrets) as connection:
        connection.execute(OF_OTHERS)
        warehouse_schema.enter(connection.cursor())
        return connection.execute(SEEN).fetchall()[0]


def publish_sees(database: Database, secrets: "SecretsManagerClient") -> tuple[object, ...]:
    with of_publish.connect(database.settings, secrets, writes=True) as connection:
        cursor = connection.cursor()
        cursor.execute(OF_OTHERS)
        cursor.execute(SEEN)
        found = tuple(cursor.fetchone())
        connection.commit()
        cursor.execute("show search_path")
        assert cursor.fetchone() == [PATH]
        return found


def the_dashboard_sees(database: Database, secrets: "SecretsManagerClient") -> tuple[object, ...]:
    opened = connecting(read_login("warehouse", database.settings, secrets))()
    opened.execute(OF_OTHERS)
    opened.commit()
    with reading(lambda: opened):
        return opened.execute(SEEN).fetchall()[0]


PATH = '"$user", public'
OF_OTHERS: LiteralString = (
    "create temporary table schema_migration (); "
    "create temporary table pipeline_run as select 'theirs' as name; "
    "create temporary table pg_settings as select 'theirs' as name; "
    "create domain pg_temp.int8 as text"
)
SEEN: LiteralString = (
    "select name, exists (select from pg_settings where name = 'work_mem'), "
    "pg_typeof(7::int8)::text from pipeline_run"
)


@pytest.mark.parametrize("seen", [load_sees, publish_sees, the_dashboard_sees])
def test_temporary_tables_and_types_of_a_pooled_session_are_not_taken_for_the_warehouse_s(
    secrets: "SecretsManagerClient", warehouse_dsn: str, seen: "Seen"
) -> None:
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(
            "create schema ours; create table ours.schema_migration (); "
            "create table ours.pipeline_run as select 'ours' as name"
        )

    assert seen(warehouse_of(secrets, warehouse_dsn), secrets) == ("ours", True, "bigint")


def test_a_role_whose_foreign_keys_are_not_checked_is_refused(
    secrets: "SecretsManagerClient", warehouse_dsn: str
) -> None:
    alter(warehouse_dsn, {"session_replication_role": "replica"})

    with pytest.raises(InvalidSettings, match="session_replication_role = replica"):
        warehouse_of(secrets, warehouse_dsn).connect(secrets)


def test_the_locks_of_a_client_that_has_gone_end_while_its_statement_runs(
    secrets: "SecretsManagerClient", warehouse_dsn: str
) -> None:
    database = warehouse_of(secrets, warehouse_dsn)
    with (
        database.connect(secrets) as gone,
        psycopg.connect(warehouse_dsn, autocommit=True) as other,
        ThreadPoolExecutor() as pool,
    ):
        gone.execute("select pg_advisory_lock(1)")
        running = pool.submit(gone.execute, "select pg_sleep(600)")
        wait_until(lambda: is_sleeping(other, gone.info.backend_pid))

        with socket.socket(fileno=os.dup(gone.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)

        other.execute("set statement_timeout = '20s'")
        other.execute("select pg_advisory_lock(1)")
        with pytest.raises(psycopg.OperationalError):
            running.result()


def test_a_load_s_session_ends_with_what_a_client_does_not_acknowledge(
    secrets: "SecretsManagerClient", warehouse_dsn: str
) -> None:
    alter(warehouse_dsn, {"client_connection_check_interval": "0", "tcp_user_timeout": "9"})

    with warehouse_of(secrets, warehouse_dsn).connect(secrets) as connection:
        row = connection.execute(
            "select current_setting('client_connection_check_interval'), "
            "current_setting('tcp_user_timeout')"
        ).fetchone()

    assert row == ("2s", "60000")


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
