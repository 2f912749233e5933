"""What the source's role needs, what it may not do, and what a source that refuses looks like."""

import dataclasses
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import boto3
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from lambdas.ingest.discovery import Source
from lambdas.ingest.handler import handler
from lambdas.ingest.session import SETTINGS, begin
from local.cloud.server import LocalCloud
from local.source.generate import create_and_fill
from pipeline.database import Role, translated_errors
from pipeline.errors import (
    DatabaseRefused,
    InvalidSettings,
    ManifestInvalid,
    SourceBusy,
    SourceUnavailable,
)
from pipeline.manifest import RUNS_PREFIX, Capture, key_of
from pipeline.object_store import ObjectStore
from tests.integration.ingest.ingestion import Ingestion, captures, not_taken

Invoke = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """What is read of an invocation."""

    function_name: str = "ingest"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:eu-west-2:000000000000:function:ingest"
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        """Returns how long the invocation may go on."""
        return 900_000


@pytest.fixture
def invoke(
    ingestion: Ingestion, local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> Invoke:
    """Invokes the function with a secret and an event, beside a lake without tables."""
    database = f"star_{uuid.uuid4().hex}"
    boto3.client("glue").create_database(DatabaseInput={"Name": database})
    monkeypatch.setenv("GLUE_DATABASE", database)

    def call(secret: str | dict[str, Any], **event: object) -> dict[str, Any]:
        text = secret if isinstance(secret, str) else json.dumps(secret)
        arn = boto3.client("secretsmanager").create_secret(
            Name=f"source-{uuid.uuid4().hex}", SecretString=text
        )["ARN"]
        monkeypatch.setenv("SOURCE_SECRET_ARN", arn)
        monkeypatch.setenv("RAW_BUCKET", ingestion.bucket)
        monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ToteSys/test")
        monkeypatch.setenv("DATABASE_SSL_MODE", "disable")
        return handler({"run_id": "an-execution", **event}, Context())  # type: ignore[arg-type]

    return call


def secret_of(dsn: str, **changes: object) -> dict[str, Any]:
    address = conninfo_to_dict(dsn)
    return {"username": address.pop("user"), **address, **changes}


def test_the_function_ingests_reports_and_answers(
    ingestion: Ingestion, invoke: Invoke, capsys: pytest.CaptureFixture[str]
) -> None:
    create_and_fill(ingestion.dsn, scale=0.01)

    answer = invoke(secret_of(ingestion.dsn), full_refresh=["design"], verify=True)

    assert (answer["complete"], answer["sequence"], answer["committed"]) == (True, 1, True)
    assert answer["tables"] == 11
    body = boto3.client("s3").get_object(Bucket=ingestion.bucket, Key=answer["report"])["Body"]
    report = json.loads(body.read())
    (design,) = (table for table in report["tables"] if table["table"] == "design")
    assert (design["capture"], design["rows"], design["not_taken"]) == ("whole", 250, "")
    (design,) = (one for one in report["fingerprints"] if one["table"] == "dim_design")
    assert design["columns"] == ["design_id", "design_name", "file_location", "file_name"]
    assert len(ingestion.files(tuple(design["files"]))) == 250
    assert ingestion.manifest().run_id == "an-execution"
    assert '"TablesNotTaken":[0.0]' in capsys.readouterr().out


def test_the_function_goes_on_from_the_run_it_is_told_of(
    ingestion: Ingestion, invoke: Invoke
) -> None:
    ingestion.execute("create table a (id integer)")
    invoke(secret_of(ingestion.dsn))
    ingestion.execute("insert into a values (1)")

    assert invoke(secret_of(ingestion.dsn), loaded_through=1)["sequence"] == 2


def test_a_rebuild_goes_on_from_the_runs_that_are_left(
    ingestion: Ingestion, invoke: Invoke
) -> None:
    ingestion.execute("create table a (id integer)")
    invoke(secret_of(ingestion.dsn))
    ingestion.execute("insert into a values (1)")
    invoke(secret_of(ingestion.dsn), loaded_through=1)
    ingestion.client.delete_object(Bucket=ingestion.bucket, Key=key_of(2))

    with pytest.raises(ManifestInvalid, match=r"2\.json is missing"):
        invoke(secret_of(ingestion.dsn), loaded_through=2)

    answer = invoke(secret_of(ingestion.dsn), loaded_through=2, rebuild=True)

    assert (answer["sequence"], answer["committed"]) == (2, True)


def test_the_function_reads_no_manifest_twice_nor_the_one_that_it_writes(
    ingestion: Ingestion, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.execute("create table a (id integer)")
    invoke(secret_of(ingestion.dsn))
    ingestion.execute("insert into a values (1)")
    read: list[str] = []
    get = ObjectStore.get

    def noting(store: ObjectStore, key: str) -> bytes:
        read.append(key)
        return get(store, key)

    monkeypatch.setattr(ObjectStore, "get", noting)
    invoke(secret_of(ingestion.dsn), loaded_through=1)

    assert [key for key in read if key.startswith(RUNS_PREFIX)] == [key_of(1)]


def test_a_wrong_password_is_refused(ingestion: Ingestion, invoke: Invoke) -> None:
    with pytest.raises(DatabaseRefused, match="password authentication failed"):
        invoke(secret_of(ingestion.dsn, password="guessed"))


def test_a_database_that_does_not_exist_is_refused(ingestion: Ingestion, invoke: Invoke) -> None:
    with pytest.raises(DatabaseRefused, match='database "nowhere" does not exist'):
        invoke(secret_of(ingestion.dsn, dbname="nowhere"))


def test_a_server_that_does_not_answer_is_unavailable(ingestion: Ingestion, invoke: Invoke) -> None:
    with pytest.raises(SourceUnavailable, match="Connection refused"):
        invoke(secret_of(ingestion.dsn, port=1))


def test_a_malformed_secret_is_a_matter_of_settings(invoke: Invoke) -> None:
    with pytest.raises(InvalidSettings, match="not JSON with host"):
        invoke("postgresql://reader@db.example/totesys")


def test_a_locked_table_is_a_busy_source_once_the_statement_times_out(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.execute("create table a (id integer)")
    monkeypatch.setitem(SETTINGS, "statement_timeout", "50ms")

    with ingestion.connect() as locker:
        locker.execute("lock table a in access exclusive mode")
        with pytest.raises(
            SourceBusy, match=r"table a cannot be read now .57014: .*statement time"
        ):
            ingestion.run(is_last_attempt=False)

    assert not ingestion.objects()


def test_a_session_that_the_server_ends_makes_the_source_unavailable_or_busy(
    ingestion: Ingestion,
) -> None:
    ingestion.execute("create table a (id integer)", "insert into a values (1)")

    def end(snapshot: psycopg.Connection) -> None:
        with ingestion.connect() as administrator:
            administrator.execute(
                "select pg_terminate_backend(%s, 5000)", [snapshot.info.backend_pid]
            )

    with pytest.raises((SourceUnavailable, SourceBusy)), translated_errors(Role.SOURCE):
        ingestion.run(connect=ingestion.at_snapshot(end))

    assert not ingestion.objects()


def test_sessions_at_the_source_are_named_cannot_write_and_do_not_wait_for_long(
    ingestion: Ingestion, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, str] = {}

    def look(connection: psycopg.Connection, *_: object) -> Source:
        begin(connection)
        for name in (
            "application_name",
            "transaction_read_only",
            "statement_timeout",
            "lock_timeout",
        ):
            row = connection.execute("select current_setting(%s)", [name]).fetchone()
            found[name] = row[0] if row else ""
        raise InvalidSettings("seen")

    monkeypatch.setattr("lambdas.ingest.ingest.read_source", look)
    with pytest.raises(InvalidSettings, match="seen"):
        invoke(secret_of(ingestion.dsn))

    assert found == {
        "application_name": "totesys-pipeline",
        "transaction_read_only": "on",
        "statement_timeout": "10min",
        "lock_timeout": "10s",
    }


def test_the_right_to_read_is_enough(ingestion: Ingestion, reader_dsn: str) -> None:
    create_and_fill(ingestion.dsn, scale=0.01)
    reader = dataclasses.replace(ingestion, dsn=reader_dsn)
    reader.run(readers=2)
    ingestion.execute("update design set design_name = 'Oak' where design_id = 1")

    result = reader.run(verify=True)

    assert captures(result)["design"] == (Capture.CHANGES, 1)
    assert len(result.tables) == 11


def test_the_session_cannot_write_even_where_a_tables_policy_would(
    ingestion: Ingestion, reader_dsn: str
) -> None:
    ingestion.execute(
        "create table a (id integer)",
        "create table trace (id integer)",
        """create function leave_a_trace() returns boolean language sql security definer
            begin atomic insert into public.trace values (1) returning true; end""",
        "create policy traced on a using (leave_a_trace())",
        "alter table a enable row level security",
        "insert into a values (1)",
    )

    result = ingestion.run(connect=lambda: psycopg.connect(reader_dsn))

    assert list(not_taken(result)) == ["a"]
    assert ingestion.taken("trace") == []


def test_values_read_the_same_whatever_the_databases_own_settings_are(
    ingestion: Ingestion,
) -> None:
    with psycopg.connect(ingestion.dsn, autocommit=True) as connection:
        for setting in (
            "datestyle to 'German'",
            "timezone to 'Asia/Kolkata'",
            "intervalstyle to 'iso_8601'",
            "bytea_output to 'escape'",
            "extra_float_digits to -15",
        ):
            connection.execute(
                f"""do $$ begin execute format('alter database %I set {setting.replace("'", "''")}',
                    current_database()); end $$""".encode()
            )
        connection.execute("create table a (at timestamp, span interval, bytes bytea, ratio float)")
        connection.execute(r"insert into a values ('2024-03-01 05:06:07.8', '1 day', '\x00', 0.1)")

    ingestion.run()

    assert ingestion.taken("a") == [
        {
            "at": datetime(2024, 3, 1, 5, 6, 7, 800000),
            "span": "1 day",
            "bytes": "\\x00",
            "ratio": 0.1,
        }
    ]
