"""Executions of the deployed state machine, from the generated source to the warehouse.

The tests share one stack and go on from where the one before left it; each can run alone.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import boto3
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lineage.certify import read_certificate
from local.execution import Execution, execute
from local.source.activity import run_activity
from local.stack import Stack
from pipeline.execution_history import read_history
from pipeline.reports import Reports
from tests.end_to_end.conftest import Run, execute_and_observe
from tests.end_to_end.notifications import Notifications
from tests.fixtures.waiting import wait_until
from tests.oracle.comparison import current_differences, history_differences
from tests.oracle.history import HistoryOracle

FACTS = ("fact_payment", "fact_purchase_order", "fact_sales_order")


def facts(stack: Stack) -> dict[str, list[tuple[object, ...]]]:
    with psycopg.connect(stack.warehouse_dsn) as connection:
        return {
            fact: connection.execute(f"select * from {fact} order by 1".encode()).fetchall()
            for fact in FACTS
        }


def artifact(address: str) -> str:
    """Returns an object of the artifacts bucket."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()


def report(stack: Stack, answer: dict[str, Any]) -> dict[str, Any]:
    """Returns the report that an answer names."""
    return Reports(stack.raw_bucket, boto3.client("s3")).read(answer["report"])


def job_runs(stack: Stack) -> int:
    client = boto3.client("glue")
    jobs = client.get_jobs()["Jobs"]
    return sum(len(client.get_job_runs(JobName=job["Name"])["JobRuns"]) for job in jobs)


def differences(stack: Stack, history: HistoryOracle) -> list[str]:
    with (
        psycopg.connect(stack.source_dsn) as source,
        psycopg.connect(stack.warehouse_dsn) as warehouse,
    ):
        return current_differences(source, warehouse) + history_differences(history, warehouse)


def warehouse_name(stack: Stack) -> sql.Identifier:
    return sql.Identifier(str(conninfo_to_dict(stack.warehouse_dsn)["dbname"]))


def warehouse_server(stack: Stack) -> psycopg.Connection:
    """Connects to the warehouse's server, beside the warehouse."""
    server = make_conninfo(stack.warehouse_dsn, dbname="postgres")
    return psycopg.connect(server, autocommit=True)


@pytest.fixture(scope="module")
def business(stack: Stack, history: HistoryOracle) -> Execution:
    """The execution after a stretch of business; the database `backup` is the warehouse before."""
    with warehouse_server(stack) as server:
        copied = sql.SQL("create database backup template {}").format(warehouse_name(stack))
        server.execute(copied)
    run_activity(stack.source_dsn)
    execution = execute_and_observe(stack, history, {"verify": True})
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    return execution


def test_the_first_execution_brings_all_of_the_source(stack: Stack, history: HistoryOracle) -> None:
    assert differences(stack, history) == []


def test_after_a_stretch_of_business_the_warehouse_equals_the_source_and_its_history(
    stack: Stack, business: Execution, history: HistoryOracle
) -> None:
    output = business.output

    assert output["status"] == "loaded"
    assert "the warehouse equals the source" in output["message"]
    assert differences(stack, history) == []
    captured, loaded = (report(stack, output[stage]) for stage in ("ingested", "loaded"))
    assert any(one["seconds"] > 0 for one in captured["tables"] if one["rows"])
    assert all(one["seconds"] > 0 for one in loaded["tables"] if one["inserted"])
    assert loaded["builds"]["fact_payment"]["seconds"] > 0


@pytest.mark.usefixtures("business")
def test_a_warehouse_that_was_restored_is_named_although_the_source_is_quiet(
    stack: Stack, run: Run, succeed: Run, history: HistoryOracle
) -> None:
    with warehouse_server(stack) as server:
        server.execute(sql.SQL("drop database {} with (force)").format(warehouse_name(stack)))
        server.execute(sql.SQL("alter database backup rename to {}").format(warehouse_name(stack)))

    failed = run()

    assert failed.error == "StarTablesBehind"
    assert "an earlier state of it was restored" in failed.cause
    assert "the warehouse equals the source" in succeed(verify=True).output["message"]
    assert differences(stack, history) == []


def test_an_execution_with_nothing_new_starts_no_job_and_adds_nothing(
    stack: Stack, succeed: Run
) -> None:
    before, runs = facts(stack), job_runs(stack)

    nothing = succeed()

    assert nothing.output["status"] == "nothing new"
    assert nothing.output["message"].startswith("Nothing new since run ")
    assert nothing.output["published"]["freshness_seconds"] < 60
    assert 0 < nothing.output["published"]["cost_usd"] < 0.01
    with psycopg.connect(stack.warehouse_dsn) as warehouse:
        kept = warehouse.execute("select complete_as_of::text from warehouse_freshness").fetchone()
    assert kept is not None
    as_of = nothing.output["ingested"]["snapshot_at"]
    assert datetime.fromisoformat(kept[0]) == datetime.fromisoformat(as_of)
    assert job_runs(stack) == runs
    assert facts(stack) == before


def test_verify_proves_that_the_warehouse_equals_the_source(stack: Stack, succeed: Run) -> None:
    output = succeed(verify=True).output

    assert "the warehouse equals the source" in output["message"]
    assert "; data as of " in output["message"]
    assert output["loaded"]["tables_verified"] == 11
    published = output["published"]
    certificate = read_certificate(published["certificate"])
    page = artifact(published["page"])
    assert certificate.snapshot_at == output["ingested"]["snapshot_at"]
    assert all(table.source in page for table in certificate.tables)
    verified = report(stack, output["loaded"])["verified"]
    assert {table["table"] for table in verified} >= {"fact_payment", "dim_transaction"}


def test_a_rebuild_gives_the_same_rows_with_the_same_record_ids_and_the_new_ones(
    stack: Stack, succeed: Run, history: HistoryOracle
) -> None:
    before = facts(stack)
    run_activity(stack.source_dsn)

    succeed(rebuild=True)

    for fact, rows in facts(stack).items():
        assert rows[: len(before[fact])] == before[fact]
    assert differences(stack, history) == []


def test_input_that_the_pipeline_does_not_know_is_refused_before_any_work(
    stack: Stack, run: Run, lock: Callable[[], dict[str, object]]
) -> None:
    before, runs = lock(), job_runs(stack)

    refused = run(full_refesh=True)

    assert (refused.status, refused.error) == ("FAILED", "InvalidInput")
    assert "full_refesh" in refused.cause
    assert (lock(), job_runs(stack)) == (before, runs)
    (named,) = re.findall(r"page: (s3://\S+\.html)", refused.cause)
    assert "Nothing was done: the input has full_refesh" in artifact(named)


def test_an_execution_that_finds_the_lock_held_is_skipped(stack: Stack, succeed: Run) -> None:
    with _held_lock(stack, ends_in=600):
        skipped = succeed()

    assert skipped.output["status"] == "skipped"
    assert [state.name for state in skipped.states if state.kind == "Task"] == ["AcquireLock"]


def test_a_lock_ends_with_its_lease(stack: Stack, succeed: Run) -> None:
    with _held_lock(stack, ends_in=-1):
        assert succeed().output["status"] == "nothing new"


def test_a_failing_ingest_ends_failed_notifies_and_releases_the_lock(
    stack: Stack,
    run: Run,
    notifications: Notifications,
    lock: Callable[[], dict[str, object]],
    source_secret: Callable[[str], str],
) -> None:
    source_secret(make_conninfo(stack.source_dsn, password="guessed"))

    failed = run()

    assert (failed.status, failed.error) == ("FAILED", "DatabaseRefused")
    assert failed.cause.startswith("Ingest failed with DatabaseRefused: ")
    assert "guessed" not in failed.cause
    assert notifications.heard() == [failed.cause]
    assert "lock_owner" not in lock()
    (named,) = re.findall(r"page: (s3://\S+\.html)", failed.cause)
    assert "Ingest failed with DatabaseRefused" in artifact(named)


def test_a_failing_load_ends_failed_notifies_and_releases_the_lock(
    stack: Stack,
    run: Run,
    notifications: Notifications,
    lock: Callable[[], dict[str, object]],
    warehouse_secret: Callable[[str], str],
) -> None:
    warehouse_secret(make_conninfo(stack.warehouse_dsn, password="guessed"))

    failed = run(verify=True)

    assert (failed.status, failed.error) == ("FAILED", "DatabaseRefused")
    assert failed.cause.startswith("Load failed with DatabaseRefused: ")
    assert "guessed" not in failed.cause
    assert notifications.heard() == [failed.cause]
    assert "lock_owner" not in lock()


def test_a_failing_maintenance_ends_failed_notifies_and_releases_the_lock(
    stack: Stack,
    notifications: Notifications,
    lock: Callable[[], dict[str, object]],
    maintenance_arguments: Callable[[dict[str, str]], None],
    history: HistoryOracle,
) -> None:
    maintenance_arguments({"--snapshot_days": "a week"})

    failed = execute(stack.maintenance_state_machine_arn, "{}")

    assert (failed.status, failed.error) == ("FAILED", "InvalidInput")
    assert "--snapshot_days is 'a week'" in failed.cause
    assert notifications.heard() == [failed.cause]
    assert "lock_owner" not in lock()


def test_a_failing_star_table_waits_while_the_others_are_loaded_and_the_execution_fails(
    stack: Stack,
    run: Run,
    succeed: Run,
    notifications: Notifications,
    lock: Callable[[], dict[str, object]],
    two_build_jobs: AbstractContextManager[None],
) -> None:
    through = lock()["loaded_through"]

    def assert_that_designs_alone_fail(jobs: list[str]) -> None:
        with psycopg.connect(stack.source_dsn) as source:
            source.execute("update payment set paid = not paid where payment_id = 1")
        failed = run()
        assert (failed.status, failed.error) == ("FAILED", "TableBuildFailed")
        assert "dim_design: SourceSchemaChanged: " in failed.cause
        assert notifications.heard() == [failed.cause]
        assert "lock_owner" not in lock()
        assert lock()["loaded_through"] == through
        ended = [state.name for state in failed.states if state.kind == "Task"]
        assert sorted(ended[ended.index("Ingest") + 1 : ended.index("Load")]) == jobs
        assert ended.index("Load") < ended.index("Publish")
        with (
            psycopg.connect(stack.source_dsn) as source,
            psycopg.connect(stack.warehouse_dsn) as warehouse,
        ):
            query = "select paid from {} where payment_id = 1"
            paid = source.execute(query.format("payment").encode()).fetchone()
            assert warehouse.execute(query.format("current_payment").encode()).fetchone() == paid

    with psycopg.connect(stack.source_dsn, autocommit=True) as source:
        source.execute("alter table design rename column file_name to file_title")
        try:
            with two_build_jobs:
                assert_that_designs_alone_fail(["BuildDimensions", "BuildFacts"])
            assert_that_designs_alone_fail(["BuildStar"])
        finally:
            source.execute("alter table design rename column file_title to file_name")
    # The source is quiet now, and the table's build is tried again.
    again = succeed()
    assert again.output["status"] == "loaded"
    assert again.output["ingested"]["unbuilt"] == {"count": 1, "first": ["dim_design"]}
    assert "the warehouse equals the source" in succeed(verify=True).output["message"]


def test_a_star_table_that_the_load_refuses_starts_no_job_again(
    stack: Stack, run: Run, succeed: Run
) -> None:
    with psycopg.connect(stack.warehouse_dsn, autocommit=True) as warehouse:
        warehouse.execute("alter table dim_design rename column file_name to file_title")
        try:
            with psycopg.connect(stack.source_dsn) as source:
                source.execute("update design set design_name = 'Ash' where design_id = 1")
            assert run().error == "StarSchemaMismatch"
            runs = job_runs(stack)
            assert run().error == "StarSchemaMismatch"
            assert job_runs(stack) == runs
        finally:
            warehouse.execute("alter table dim_design rename column file_title to file_name")
    assert succeed().output["status"] == "loaded"
    assert job_runs(stack) == runs


def test_a_table_that_cannot_be_captured_costs_no_other_table(
    stack: Stack, run: Run, succeed: Run, lock: Callable[[], dict[str, object]]
) -> None:
    through = lock()["loaded_through"]
    with psycopg.connect(stack.source_dsn, autocommit=True) as source:
        source.execute("create table note (note_id integer primary key)")
        source.execute("insert into note select generate_series(1, 2000)")
        source.execute("update design set design_name = 'Oak' where design_id = 1")
        unreadable = "add column broken integer generated always as ({0} / ({0} - {0})) virtual"
        source.execute(f"alter table note {unreadable.format('note_id')}".encode())
        source.execute(f"alter table payment {unreadable.format('payment_id')}".encode())
        try:
            failed = run(verify=True)
            source.execute("alter table payment drop column broken")
            unneeded = succeed()
        finally:
            source.execute("alter table payment drop column if exists broken")
            source.execute("drop table note")

    assert (failed.status, failed.error) == ("FAILED", "TablesNotTaken")
    assert "payment: " in failed.cause
    assert "fact_payment wait" in failed.cause
    assert "not proved equal" in failed.cause
    assert lock()["loaded_through"] != through
    assert unneeded.output["ingested"]["tables_not_taken"] == {"count": 1, "first": ["note"]}
    assert "note" in unneeded.output["message"]
    with psycopg.connect(stack.warehouse_dsn) as warehouse:
        oak = "select design_name from dim_design where design_id = 1"
        assert warehouse.execute(oak.encode()).fetchone() == ("Oak",)
    assert "the warehouse equals the source" in succeed(verify=True).output["message"]


def test_a_transient_failure_is_retried_and_then_succeeds(
    stack: Stack, succeed: Run, source_secret: Callable[[str], str]
) -> None:
    source_secret(make_conninfo(stack.source_dsn, port=1))
    mended = threading.Thread(target=_once_failed, args=(stack, source_secret))
    mended.start()

    execution = succeed()
    mended.join()

    (ingest,) = (state for state in execution.states if state.name == "Ingest")
    assert ingest.retries >= 1


def test_a_failing_publish_is_told_of_and_the_load_stands(
    stack: Stack,
    succeed: Run,
    notifications: Notifications,
    warehouse_secret: Callable[[str], str],
) -> None:
    warehouse_secret(make_conninfo(stack.warehouse_dsn, password="guessed"))

    execution = succeed(extracts=True)

    assert "publishing failed" in execution.output["message"]
    (message,) = notifications.heard()
    assert "loaded the warehouse, but could not publish" in message


def test_extracts_are_written_when_the_input_asks_for_them(stack: Stack, succeed: Run) -> None:
    published = succeed(extracts=True).output["published"]

    assert f"s3://{stack.lake_bucket}/extracts/fact_payment.csv" in published["extracts"]["first"]
    body = boto3.client("s3").get_object(Bucket=stack.lake_bucket, Key="extracts/dim_currency.csv")[
        "Body"
    ]
    assert body.read().decode().splitlines()[0].startswith("currency_id,currency_code,")


@contextmanager
def _held_lock(stack: Stack, *, ends_in: int) -> Iterator[None]:
    """Holds the lock as another execution would."""
    client = boto3.client("dynamodb")
    key = {"pipeline": {"S": "totesys"}}
    client.update_item(
        TableName=stack.pipeline_table,
        Key=key,
        UpdateExpression="SET lock_owner = :other, lease_ends = :ends",
        ExpressionAttributeValues={
            ":other": {"S": "another"},
            ":ends": {"N": str(int(time.time()) + ends_in)},
        },
    )
    yield
    client.update_item(
        TableName=stack.pipeline_table,
        Key=key,
        UpdateExpression="REMOVE lock_owner, lease_ends",
    )


def _once_failed(stack: Stack, source_secret: Callable[[str], str]) -> None:
    """Mends the source's address as soon as the running execution has failed to use it."""
    client = boto3.client("stepfunctions")

    def has_failed() -> bool:
        running = client.list_executions(
            stateMachineArn=stack.state_machine_arn, statusFilter="RUNNING"
        )["executions"]
        return any(
            event["type"] == "TaskFailed"
            for execution in running
            for event in read_history(client, execution["executionArn"])
        )

    wait_until(has_failed)
    source_secret(stack.source_dsn)
