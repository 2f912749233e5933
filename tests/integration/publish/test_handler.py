"""The Publish function, called as AWS Lambda calls it."""

import csv
import dataclasses
import io
import json
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, LiteralString

import boto3
import psycopg
import pytest
from botocore.exceptions import EndpointConnectionError
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lambdas.load.migrations import migrate, migrations
from lambdas.publish import s3_upload
from lambdas.publish.extracts import previews, write_extracts
from lambdas.publish.handler import handler
from lambdas.publish.warehouse import connect
from local.postgres import PostgresServer
from pipeline.answers import IngestAnswer, LoadAnswer
from pipeline.errors import (
    DatabaseRefused,
    ObjectStoreUnavailable,
    WarehouseBusy,
    WarehouseUnavailable,
)
from pipeline.reports import Reports
from pipeline.settings import PublishSettings
from star_schema.tables import star_tables
from tests.fixtures.lake import STAR
from tests.fixtures.postgres import NewDatabase
from tests.integration.load.invocation import Context, put_secret
from tests.integration.publish.conftest import DESIGN, RawZone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

INGESTED = IngestAnswer(True, 1, True, 1, 0.1, 0, 0.0, 1, snapshot_at="2026-01-31T11:59:00Z")
RUN = {
    "run_id": "run-1",
    "execution": "arn:aws:states:eu-west-2:000000000000:execution:totesys-pipeline:run-1",
    "ingested": INGESTED.to_json(),
    "through": 1,
    "publishes": True,
}
EXTRACTS = RUN | {"extracts": True}
SOURCES = {source: DESIGN for star in star_tables() for source in star.sources}


@pytest.fixture(scope="module")
def filled_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a warehouse's database with a few staff and transactions.

    It is dropped, as tests of other modules want a server without the role that it grants to.
    """
    name = "filled"
    with psycopg.connect(postgres_server.create_database(name), autocommit=True) as connection:
        migrate(connection, migrations())
        connection.execute(
            "insert into dim_staff "
            "select n, 'Ж, \"', '', 'None', null, 'a@b', n = 1, 'run-1' "
            "from generate_series(1, 12) as n"
        )
        connection.execute(
            "insert into load_position select name, 2 from unnest(%s::text[]) as star (name)",
            [list(STAR)],
        )
        connection.execute(
            "insert into dim_transaction values (1, 'SALE', 5, null, false, 'run-1')"
        )
        connection.execute(
            "insert into dim_date values ('2026-01-31', 2026, 1, 31, 6, 'S', 'J', 1, false, 'r')"
        )
        connection.execute(
            "insert into dim_location values (1, '', '', '', '', '', '', '', false, 'r')"
        )
        connection.execute("insert into dim_currency values (1, '', '', false, 'r')")
        connection.execute("insert into dim_payment_type values (1, '', false, 'r')")
        connection.execute(
            "insert into dim_counterparty values (1, '', '', '', '', '', '', '', '', false, 'r')"
        )
        connection.execute(
            "insert into fact_payment values (1, 1, '2026-01-31', '23:59:59.999999', '2026-01-31', "
            "'00:00', 1, 1, 1234567890123456789012345678.1234567891, 1, 1, true, '2026-01-31', "
            "false, 'r'), (2, 1, '2026-01-31', '10:00', '2026-01-31', '10:00', 1, 1, 3.1, 1, 1, "
            "false, '2026-01-31', false, 'r')"
        )
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def warehouse_dsn(new_database: NewDatabase, filled_database: str) -> str:
    """A warehouse of a few staff and transactions."""
    return new_database("warehouse", filled_database)


@pytest.fixture
def deployed(
    raw_zone: RawZone,
    warehouse_dsn: str,
    lake_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> RawZone:
    """A raw zone of one run, and the function's environment."""
    raw_zone.commit(design=DESIGN)
    monkeypatch.setenv("RAW_BUCKET", raw_zone.bucket)
    monkeypatch.setenv("LAKE_BUCKET", lake_bucket)
    monkeypatch.setenv("RAW_GLUE_DATABASE", raw_zone.database)
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", put_secret(warehouse_dsn))
    monkeypatch.setenv("DATABASE_SSL_MODE", "disable")
    boto3.client("logs").create_log_group(logGroupName=lake_bucket)
    monkeypatch.setenv("PREVIEW_LOG_GROUP", lake_bucket)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ToteSys/a")
    monkeypatch.setenv("ARTIFACTS_BUCKET", lake_bucket)
    return raw_zone


def extract_of(s3: "S3Client", bucket: str, table: str) -> str:
    body = s3.get_object(Bucket=bucket, Key=f"extracts/{table}.csv")["Body"].read()
    return body.decode()


def test_a_run_is_catalogued_and_nothing_is_extracted_unasked(deployed: RawZone) -> None:
    answer = handler(RUN, Context())

    assert answer["tables_catalogued"] == 1
    assert (answer["extracts"], answer["previews"]) == ({"count": 0, "first": []}, 0)
    report = Reports(deployed.bucket, deployed.client).read(answer["report"])
    assert (report["catalogued"], report["extracts"]) == (["design"], [])
    assert list(deployed.days("design")) == ["2026-01-31"]


def test_every_star_table_is_extracted_and_its_first_rows_are_logged(
    deployed: RawZone,
    lake_bucket: str,
    s3: "S3Client",
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = EXTRACTS
    answer = handler(event, Context())

    assert answer["previews"] == 11
    assert answer["extracts"]["first"] == [
        f"s3://{lake_bucket}/extracts/{name}.csv" for name in sorted(STAR)
    ]
    for name, columns in STAR.items():
        header = next(csv.reader(io.StringIO(extract_of(s3, lake_bucket, name))))
        assert header == [column.name for column in columns]
    logged = boto3.client("logs").get_log_events(
        logGroupName=lake_bucket, logStreamName="run-1", startFromHead=True
    )["events"]
    previews = [json.loads(one["message"]) for one in logged]
    staff = [json.loads(one["row"]) for one in previews if one["table"] == "dim_staff"]
    assert len(staff) == 10
    assert staff[0]["first_name"] == 'Ж, "'
    (transaction, *_) = (one["row"] for one in previews if one["table"] == "dim_transaction")
    assert json.loads(transaction)["purchase_order_id"] is None
    assert "dim_design" not in {one["table"] for one in previews}
    assert "Ж" not in "".join(str(vars(record)) for record in caplog.records)
    assert handler(event, Context())["previews"] == 11


def test_extracts_keep_digits_microseconds_nulls_and_empty_text_in_any_schema(
    deployed: RawZone, warehouse_dsn: str, lake_bucket: str, s3: "S3Client"
) -> None:
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute('alter schema public rename to "The Warehouse"; create schema public')
        database = sql.Identifier(connection.info.dbname)
        for setting in ("datestyle = 'German, DMY'", "client_encoding = 'ISO_8859_5'"):
            connection.execute(
                sql.SQL("alter database {} set {}").format(database, sql.SQL(setting))
            )

    handler(EXTRACTS, Context())

    staff = extract_of(s3, lake_bucket, "dim_staff").splitlines()
    assert len(staff) == 13
    assert staff[1] == '1,"Ж, ""","",None,,a@b,t,run-1'
    assert extract_of(s3, lake_bucket, "dim_transaction").splitlines()[1] == "1,SALE,5,,f,run-1"
    payments = list(csv.DictReader(io.StringIO(extract_of(s3, lake_bucket, "fact_payment"))))
    assert [payment["payment_amount"] for payment in payments] == [
        "1234567890123456789012345678.1234567891",
        "3.1",
    ]
    assert payments[0]["created_time"] == "23:59:59.999999"
    assert payments[0]["created_date"] == "2026-01-31"


@pytest.mark.parametrize("start", "=+-@\t\r")
def test_text_that_a_spreadsheet_would_take_for_a_formula_is_extracted_as_it_is(
    deployed: RawZone,
    warehouse_dsn: str,
    lake_bucket: str,
    s3: "S3Client",
    start: str,
) -> None:
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute("update dim_location set phone = %s", [f"{start}44 20"])
        connection.execute("update fact_payment set payment_amount = -0.01")

    handler(EXTRACTS, Context())

    (location,) = csv.DictReader(
        io.StringIO(extract_of(s3, lake_bucket, "dim_location"), newline="")
    )
    assert location["phone"] == f"{start}44 20"
    payments = csv.DictReader(io.StringIO(extract_of(s3, lake_bucket, "fact_payment")))
    assert [payment["payment_amount"] for payment in payments] == ["-0.01", "-0.01"]


@pytest.fixture
def large_locations(warehouse_dsn: str) -> int:
    """Locations of 48 MB in all; gives how many."""
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(
            "insert into dim_location select n, repeat(chr(65 + n % 26), 10000), '', '', '', '', "
            "'', '', false, '' from generate_series(2, 4800) as n"
        )
    return 4800


def test_a_table_of_any_size_is_extracted_in_the_memory_of_a_few_parts(
    deployed: RawZone,
    lake_bucket: str,
    s3: "S3Client",
    large_locations: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 * 1024 * 1024)
    tracemalloc.start()
    try:
        handler(EXTRACTS, Context())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 25 * 1024 * 1024
    locations = list(csv.reader(io.StringIO(extract_of(s3, lake_bucket, "dim_location"))))
    assert len(locations) == 1 + large_locations
    assert {len(row[1]) for row in locations[2:]} == {10_000}


def test_an_extract_that_breaks_off_leaves_the_one_before_and_no_parts(
    deployed: RawZone,
    warehouse_dsn: str,
    lake_bucket: str,
    s3: "S3Client",
    large_locations: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 * 1024 * 1024)
    s3.put_object(Bucket=lake_bucket, Key="extracts/dim_location.csv", Body=b"before")
    client = boto3.client("s3")

    def break_off(model: Any, **_: object) -> None:
        with psycopg.connect(warehouse_dsn, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

    client.meta.events.register("before-call.s3.UploadPart", break_off)
    secrets = boto3.client("secretsmanager")
    with (
        pytest.raises(WarehouseUnavailable),
        connect(PublishSettings.read().warehouse, secrets) as connection,
    ):
        write_extracts(connection, lake_bucket, client)

    assert extract_of(s3, lake_bucket, "dim_location") == "before"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=lake_bucket)


def test_an_object_store_that_fails_in_the_middle_of_an_extract_is_worth_a_retry(
    deployed: RawZone, lake_bucket: str
) -> None:
    client = boto3.client("s3")

    def fail(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    client.meta.events.register("before-call.s3.UploadPart", fail)
    secrets = boto3.client("secretsmanager")
    with (
        pytest.raises(ObjectStoreUnavailable, match="could not write s3://"),
        connect(PublishSettings.read().warehouse, secrets) as connection,
    ):
        write_extracts(connection, lake_bucket, client)


def test_a_warehouse_is_reached_over_its_unix_socket_as_well(
    deployed: RawZone, socket_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", put_secret(socket_dsn))

    answer = handler(EXTRACTS, Context())

    assert answer["previews"] == 11


def test_a_warehouse_that_cannot_be_reached_is_worth_a_retry(
    deployed: RawZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_arn = put_secret("postgresql://user:password@127.0.0.1:1/warehouse")
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", secret_arn)

    with pytest.raises(WarehouseUnavailable, match="cannot be reached"):
        handler(EXTRACTS, Context())


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_a_warehouse_without_tls_is_not_spoken_to_where_tls_is_required(
    deployed: RawZone, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("DATABASE_SSL_MODE", mode)

    with pytest.raises(WarehouseUnavailable, match="SSL"):
        handler(EXTRACTS, Context())


def test_credentials_that_are_refused_are_for_somebody_to_correct(
    deployed: RawZone, warehouse_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_arn = put_secret(make_conninfo(warehouse_dsn, password="guessed"))
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", secret_arn)

    with pytest.raises(DatabaseRefused, match="password authentication failed"):
        handler(EXTRACTS, Context())


def test_extracts_are_of_one_instant_whatever_is_loaded_meanwhile(
    deployed: RawZone, warehouse_dsn: str
) -> None:
    secrets = boto3.client("secretsmanager")
    with connect(PublishSettings.read().warehouse, secrets) as connection:
        before = previews(connection)
        with psycopg.connect(warehouse_dsn, autocommit=True) as loading:
            loading.execute("update dim_staff set first_name = 'another'")

        assert previews(connection) == before


def test_extracts_of_an_earlier_instant_replace_none_of_a_later_one(
    deployed: RawZone, warehouse_dsn: str, lake_bucket: str, s3: "S3Client"
) -> None:
    settings, secrets = PublishSettings.read().warehouse, boto3.client("secretsmanager")
    with ThreadPoolExecutor() as pool:
        with connect(settings, secrets, extracts=True) as early:
            with pytest.raises(WarehouseBusy, match="another execution still writes the extracts"):
                connect(settings, secrets, extracts=True, patience=0.0).__enter__()
            previews(early)
            with psycopg.connect(warehouse_dsn, autocommit=True) as loading:
                loading.execute("update dim_staff set first_name = 'another'")
            late = pool.submit(handler, EXTRACTS, Context())
            write_extracts(early, lake_bucket, s3)
            assert "another" not in extract_of(s3, lake_bucket, "dim_staff")
        late.result()

    assert extract_of(s3, lake_bucket, "dim_staff").count("another") == 12


def test_a_warehouse_that_drops_the_connection_is_worth_a_retry(
    deployed: RawZone, warehouse_dsn: str
) -> None:
    def read_from_a_terminated_backend() -> None:
        client = boto3.client("secretsmanager")
        with (
            connect(PublishSettings.read().warehouse, client) as connection,
            psycopg.connect(warehouse_dsn, autocommit=True) as other,
        ):
            other.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
            previews(connection)

    with pytest.raises(WarehouseUnavailable, match="cannot be reached"):
        read_from_a_terminated_backend()


def test_a_warehouse_that_has_too_many_connections_is_worth_a_retry(deployed: RawZone) -> None:
    def be_refused() -> None:
        client = boto3.client("secretsmanager")
        with connect(PublishSettings.read().warehouse, client) as connection:
            connection.cursor().execute(
                "do $$ begin raise 'too many' using errcode = 'too_many_connections'; end $$"
            )

    with pytest.raises(WarehouseUnavailable, match="lacks resources: too many"):
        be_refused()


def kept(dsn: str) -> tuple[object, ...] | None:
    """Returns what the warehouse says of its freshness."""
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        return connection.execute(
            "select to_char(complete_as_of, 'HH24:MI'), sequence from warehouse_freshness"
        ).fetchone()


def test_the_warehouse_keeps_through_which_instant_it_is_complete(
    deployed: RawZone, warehouse_dsn: str
) -> None:
    assert handler(RUN, Context())["data_as_of"] == ""
    deployed.commit(day="2026-02-01", tables=SOURCES)
    ingested = dataclasses.replace(INGESTED, sequence=2, snapshot_at="2026-02-01T11:00:00Z")
    nothing_new = dataclasses.replace(ingested, snapshot_at="2026-02-01T11:15:00Z")

    loaded = handler(RUN | {"ingested": ingested.to_json(), "through": 2}, Context())
    assert loaded["data_as_of"] == "2026-02-01T11:00:00+00:00"
    assert kept(warehouse_dsn) == ("11:00", 2)

    idle = {"ingested": nothing_new.to_json(), "through": 2, "publishes": False}
    assert "data as of 2026-02-01 11:15:00 UTC" in handler(RUN | idle, Context())["message"]
    assert kept(warehouse_dsn) == ("11:15", 2)

    failed = {"ingested": None, "through": 2, "publishes": False, "failure": "Ingest failed. "}
    assert handler(RUN | failed, Context())["data_as_of"] == "2026-02-01T11:15:00+00:00"
    assert kept(warehouse_dsn) == ("11:15", 2)


@pytest.mark.parametrize(
    ("reached", "wanted"), [(3, ("11:00", 3)), (2, ("10:00", 2))], ids=["loaded", "lost"]
)
def test_a_late_publish_leaves_what_a_later_execution_has_written_and_the_warehouse_has(
    deployed: RawZone, warehouse_dsn: str, reached: int, wanted: tuple[str, int]
) -> None:
    for day in ("2026-02-01", "2026-02-02"):
        deployed.commit(day=day, tables=SOURCES)
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute("update load_position set sequence = %s", [reached])
        connection.execute(
            "insert into warehouse_freshness (complete_as_of, sequence) "
            "values ('2026-02-02T11:00:00Z', 3)"
        )
    ingested = dataclasses.replace(INGESTED, sequence=2, snapshot_at="2026-02-01T10:00:00Z")

    handler(RUN | {"ingested": ingested.to_json(), "through": 2}, Context())

    assert kept(warehouse_dsn) == wanted


LOST: dict[str, LiteralString] = {
    "an earlier state": "update load_position set sequence = 1",
    "an earlier state of one table": "update load_position set sequence = 1 "
    "where table_name = 'dim_design'",
    "no position of one table": "delete from load_position where table_name = 'fact_payment'",
    "another, empty one": "drop schema public cascade; create schema public",
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("publishes", [True, False], ids=["after a load", "nothing new"])
def test_a_warehouse_that_has_lost_what_was_loaded_is_no_fresh_one(
    deployed: RawZone, warehouse_dsn: str, lost: str, *, publishes: bool
) -> None:
    deployed.commit(day="2026-02-01", tables=SOURCES)
    ingested = dataclasses.replace(INGESTED, sequence=2).to_json()
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(LOST[lost])

    answer = handler(RUN | {"ingested": ingested, "through": 2, "publishes": publishes}, Context())

    assert answer["failure"]["error"] == "StarTablesBehind"
    assert '{"verify": true}' in answer["failure"]["cause"]
    assert (answer["data_as_of"], answer["freshness_seconds"]) == ("", None)


def test_a_warehouse_that_another_stack_has_loaded_is_no_fresh_one(
    deployed: RawZone, warehouse_dsn: str
) -> None:
    deployed.commit(day="2026-02-01", tables=SOURCES)
    ingested = dataclasses.replace(INGESTED, sequence=2).to_json()
    request = RUN | {"ingested": ingested, "through": 2, "publishes": False}
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        connection.execute("insert into captured_run values (2, 'run-2', now())")
        assert handler(request, Context())["failure"] is None
        connection.execute("update captured_run set run_id = 'of another stack'")

    answer = handler(request, Context())

    assert "execution of another stack" in answer["failure"]["cause"]
    assert answer["data_as_of"] == ""


def test_a_warehouse_of_before_positions_is_for_the_next_load_to_migrate(
    deployed: RawZone, warehouse_dsn: str
) -> None:
    deployed.commit(day="2026-02-01", tables=SOURCES)
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute("drop table load_position")

    ingested = dataclasses.replace(INGESTED, sequence=2).to_json()
    assert handler(RUN | {"ingested": ingested, "through": 2}, Context())["failure"] is None


def test_what_gives_way_to_another_session_is_worth_a_retry(
    deployed: RawZone, warehouse_dsn: str
) -> None:
    def write_what_another_session_writes() -> None:
        client = boto3.client("secretsmanager")
        with (
            connect(PublishSettings.read().warehouse, client, writes=True) as connection,
            psycopg.connect(warehouse_dsn, autocommit=True) as other,
        ):
            connection.cursor().execute("select from load_position")
            other.execute("update load_position set sequence = 3")
            connection.cursor().execute("update load_position set sequence = 4")

    with pytest.raises(WarehouseBusy, match="could not serialize access"):
        write_what_another_session_writes()


def test_extracts_have_no_rows_of_tables_that_inherit(
    deployed: RawZone, warehouse_dsn: str, lake_bucket: str, s3: "S3Client"
) -> None:
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(
            "create table staff_of_theirs () inherits (dim_staff);"
            "insert into staff_of_theirs select * from only dim_staff"
        )

    handler(EXTRACTS, Context())

    assert len(extract_of(s3, lake_bucket, "dim_staff").splitlines()) == 13


def test_figures_that_cannot_be_had_are_named_and_cost_nothing_else(
    deployed: RawZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.commit(tables=SOURCES)
    ingested = dataclasses.replace(INGESTED, sequence=2).to_json()
    monkeypatch.setenv(
        "WAREHOUSE_SECRET_ARN", put_secret("postgresql://user:password@127.0.0.1:1/warehouse")
    )

    answer = handler(RUN | {"ingested": ingested, "through": 2}, Context())

    assert answer["tables_catalogued"] > 1
    assert (answer["data_as_of"], answer["cost_usd"]) == ("", None)
    assert "freshness is not known: the warehouse database cannot be reached" in answer["message"]
    assert "cost is not known: " in answer["message"]


def test_a_run_leaves_its_page_and_a_verified_one_its_certificate(
    deployed: RawZone, lake_bucket: str, s3: "S3Client"
) -> None:
    def kept(address: str) -> str:
        key = address.removeprefix(f"s3://{lake_bucket}/")
        return s3.get_object(Bucket=lake_bucket, Key=key)["Body"].read().decode()

    s3.put_object(Bucket=lake_bucket, Key="star/dim_date/data/a.parquet", Body=b"x" * 2048)
    answer = handler(RUN, Context())
    assert answer["page"] == f"s3://{lake_bucket}/runs/run-1.html"
    assert answer["certificate"] == ""
    assert "2.0 KiB" in kept(answer["page"])

    certificate = {
        "verified_at": "then",
        "snapshot_at": "before",
        "tables": [],
        "code": {"sha256": "ab", "function_version": ""},
        "schema": {},
        "exceptions": [],
    }
    load = {"tables": [], "quality": {"broken_rules": []}, "certificate": certificate}
    report = Reports(deployed.bucket, deployed.client).write("run-1", "load", load)
    loaded = LoadAnswer(True, 1, 1, report=report).to_json()
    answer = handler(RUN | {"loaded": loaded}, Context())
    assert answer["certificate"] == f"s3://{lake_bucket}/certificates/run-1.json"
    assert json.loads(kept(answer["certificate"])) == certificate
    assert "Proved at then for the source of before" in kept(answer["page"])

    failed = RUN | {"ingested": None, "publishes": False, "failure": "Ingest failed with <b>. "}
    assert "Ingest failed with &lt;b&gt;" in kept(handler(failed, Context())["page"])
