"""An installed stack of version 2703f70 is updated in place, and goes on where it was."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, LiteralString

import boto3
import psycopg
import pytest

from lambdas.load.lake import glue_catalog
from local import spark_jars
from local.execution import Execution, execute
from local.stack import JARS, LocalStack, Stack
from pipeline.manifest import Capture, ManifestStore
from tests.fixtures.installed import InstalledStack

RECORD_IDS = {
    "fact_sales_order": "sales_record_id",
    "fact_purchase_order": "purchase_record_id",
    "fact_payment": "payment_record_id",
}
_BUSINESS = """
-- One of the facts that wait gets its dimension row.
insert into staff (staff_id, first_name, last_name, department_id, email_address)
values (901, 'Ada', 'Late', 1, 'ada@example.com');
-- One of the rows that break a rule is corrected, and one that the raw zone could not hold.
update sales_order set agreed_payment_date = '2024-03-05' where sales_order_id = 900003;
update purchase_order set last_updated = current_timestamp where purchase_order_id = 7;
-- A new version, and a deletion.
update payment set paid = not paid where payment_id = 20;
update sales_order set units_sold = units_sold + 5 where sales_order_id = 30;
delete from payment where payment_id = 21;
"""
_VIEWS: LiteralString = """
select relname, pg_get_viewdef(oid), relacl::text, (
    select string_agg(attname || attacl::text, ' ' order by attnum)
    from pg_attribute where attrelid = view.oid and attacl is not null
)
from pg_class as view
where relnamespace = 'public'::regnamespace and relkind = 'v'
"""
_GRANTS: LiteralString = """
select relname, relacl::text from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r' and relacl is not null
union all
select rolname, pg_has_role(oid, 'totesys_reporting', 'member')::text
from pg_roles where rolname = 'analyst'
union all
select defaclobjtype::text, defaclacl::text from pg_default_acl
"""
_WAITED: LiteralString = "select table_name, record_id::text, first_attempt from fact_quarantine"
_WAITING: LiteralString = "select table_name, key, first_attempt from waiting_row"


@pytest.fixture
def updated(
    installed_stack: InstalledStack, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStack]:
    """The recorded stack; it is updated by `up`, as `make run` does."""
    spark_jars.fetch(JARS)
    # `up` sets these for the process: they are put back afterwards.
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    local = LocalStack(installed_stack.folder)
    yield local
    local.down()


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def facts(dsn: str, table: str) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row for row in rows(dsn, f"select * from {table}")}


def loaded_through(stack: Stack) -> str:
    answer = boto3.client("dynamodb").get_item(
        TableName=stack.pipeline_table, Key={"pipeline": {"S": "totesys"}}
    )
    return str(answer["Item"]["loaded_through"]["N"])


def quarantined(stack: Stack) -> list[dict[str, Any]]:
    table = glue_catalog(boto3.client("s3")).load_table((stack.glue_database, "quarantine"))
    found: list[dict[str, Any]] = table.scan().to_arrow().to_pylist()
    return sorted(found, key=lambda row: (row["_sequence"], row["star_table"], row["natural_key"]))


def executed(stack: Stack) -> Execution:
    execution = execute(stack.state_machine_arn, '{"verify": true}')
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    return execution


def test_an_installed_stack_is_updated_in_place_and_goes_on(updated: LocalStack) -> None:
    stack = updated.up(lambda _name: nullcontext())
    warehouse = stack.warehouse_dsn
    before = {table: facts(warehouse, table) for table in RECORD_IDS}
    views, grants = rows(warehouse, _VIEWS), rows(warehouse, _GRANTS)
    waited, refused = rows(warehouse, _WAITED), quarantined(stack)
    assert (len(waited), len(refused), loaded_through(stack)) == (3, 3, "3")
    with psycopg.connect(stack.source_dsn) as source:
        source.execute(_BUSINESS.encode())

    execution = executed(stack)

    assert (execution.output["status"], execution.output["sequence"]) == ("loaded", 5)
    assert "the warehouse equals the source" in execution.output["message"]
    assert loaded_through(stack) == "5"
    # The run was incremental, and what came before is read as it stands.
    store = ManifestStore(stack.raw_bucket, boto3.client("s3"))
    assert [store.read(sequence).sequence for sequence in range(1, 5)] == [1, 2, 3, 4]
    captures = store.read(5).tables
    assert captures["payment"].capture is Capture.CHANGES
    assert captures["sales_order"].capture is Capture.CHANGES
    # Every version keeps its record id, and new ones follow.
    for table, versions in before.items():
        after = facts(warehouse, table)
        assert versions.items() < after.items()
        released = {int(key) for name, key, _ in waited if name == table}
        assert min(after.keys() - versions.keys() - released) > max(versions)
    # What people were granted and what they built on the warehouse is as it was.
    assert set(views) <= set(rows(warehouse, _VIEWS))
    assert set(grants) <= set(rows(warehouse, _GRANTS))
    # What waits goes on waiting until it is corrected; what was corrected has arrived.
    still = {row[:2]: row[2] for row in rows(warehouse, _WAITING)}
    assert still.items() < {row[:2]: row[2] for row in waited}.items()
    assert sorted(table for table, _ in still) == ["fact_payment", "fact_sales_order"]
    current = "select sales_order_id from current_sales_order where sales_order_id > 900000"
    assert sorted(rows(warehouse, current)) == [(900001,), (900003,)]
    for old, now in zip(refused, quarantined(stack), strict=False):
        assert old.items() <= now.items()
    # The rows that were staged in part arrived once, and nothing of their staging is left.
    staged = "select to_regnamespace('pipeline_staging')::text"
    assert rows(warehouse, staged) == [(None,)]
