"""Lake tables that somebody else rolled back, compacted, branched or wrote."""

import datetime
from typing import LiteralString
from urllib.parse import urlsplit

import boto3
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from pyiceberg.table import Table

from lambdas.load import merge
from lambdas.load.catalog import WarehouseTable
from lambdas.load.lake import Lake, Versions
from pipeline.errors import AccessRefused, StarSchemaMismatch
from tests.fixtures.lake import PAYMENT_DIMENSIONS, STAR, StarLake
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough
from tests.integration.load.disturbed_lake import DisturbedLake

pytestmark = AT_ONCE_AND_IN_STEPS


@pytest.fixture
def payments(star_lake: StarLake, load_through: LoadThrough) -> StarLake:
    """A lake with a payment of each of two runs, loaded."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 1})
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    load_through(2)
    return star_lake


def shown(connection: psycopg.Connection) -> list[tuple[int, bool]]:
    query = "select payment_record_id, paid from fact_payment order by 1"
    return connection.execute(query).fetchall()


def only_file(lake: StarLake, star: str) -> tuple[str, str, int]:
    """Returns the bucket, the key and the size of a star table's only data file."""
    (task,) = lake.table(star).scan().plan_files()
    place = urlsplit(task.file.file_path)
    return place.netloc, place.path[1:], task.file.file_size_in_bytes


def roll_back(table: Table) -> None:
    current = table.current_snapshot()
    assert current is not None
    assert current.parent_snapshot_id is not None
    table.manage_snapshots().rollback_to_snapshot(current.parent_snapshot_id).commit()


def test_a_rollback_after_which_the_build_gives_the_same_rows_changes_nothing(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    roll_back(payments.table("fact_payment"))
    payments.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    payments.add_star_rows("fact_payment", {"payment_record_id": 3}, sequence=3)

    assert load_through(3).rows == 1

    assert shown(warehouse) == [(1, False), (2, False), (3, False)]


def test_other_content_under_a_record_id_is_refused_and_a_rebuild_takes_it(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    payments.add_star_rows(
        "fact_payment", {"payment_record_id": 2, "paid": True}, {"payment_record_id": 3}, sequence=3
    )
    payments.add_star_rows("dim_transaction", {"transaction_id": 3}, sequence=3)

    with pytest.raises(StarSchemaMismatch, match=r"other content .* payment_record_id 2"):
        load_through(3)

    assert shown(warehouse) == [(1, False), (2, False)]
    rows = warehouse.execute("select transaction_id from dim_transaction order by 1")
    assert rows.fetchall() == [(1,), (3,)]


def test_other_content_than_that_of_a_waiting_fact_is_refused(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    waiting = {"payment_record_id": 3, "transaction_id": 7}
    payments.add_star_rows("fact_payment", waiting, sequence=3)
    assert load_through(3).facts_waiting == 1
    payments.add_star_rows("fact_payment", {**waiting, "paid": True}, sequence=4)

    with pytest.raises(StarSchemaMismatch, match=r"other content .* payment_record_id 3"):
        load_through(4)


def test_the_same_row_once_more_is_no_change(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    payments.add_star_rows("fact_payment", {"payment_record_id": 2, "run_id": "run-2"}, sequence=3)

    assert load_through(3).rows == 0


def test_a_row_that_comes_up_between_the_check_and_the_insert_is_no_change(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merge, "check_unchanged", lambda *_: True)
    again = {"payment_record_id": 2, "run_id": "run-2"}
    payments.add_star_rows("fact_payment", again, {"payment_record_id": 3}, sequence=3)

    assert load_through(3).rows == 1

    assert shown(warehouse) == [(1, False), (2, False), (3, False)]


def test_tags_branches_and_compactions_are_harmless(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    table = payments.table("fact_payment")
    current = table.current_snapshot()
    assert current is not None
    table.manage_snapshots().create_tag(current.snapshot_id, "audit").create_branch(
        current.snapshot_id, "what_if"
    ).commit()
    payments.add_star_rows("fact_payment", {"payment_record_id": 3}, sequence=3)
    table = payments.table("fact_payment")
    table.append(table.scan().to_arrow().slice(0, 1), {"applied-through": "9"}, branch="what_if")
    table = payments.table("fact_payment")
    # A compaction of another engine: the same rows in another file, and no word of any run.
    table.overwrite(table.scan().to_arrow())

    assert load_through(3).rows == 1

    assert shown(warehouse) == [(1, False), (2, False), (3, False)]
    assert warehouse.execute("select min(sequence) from load_position").fetchone() == (3,)


def build_anew(lake: StarLake, star: str, through: int) -> None:
    """Replaces the rows of a table by others, as a rebuild after a change of its SELECT does."""
    table = lake.table(star)
    rows = table.scan().to_arrow()
    changed = rows.set_column(
        rows.schema.get_field_index("run_id"),
        "run_id",
        pa.array(["anew"] * rows.num_rows, pa.string()),
    )
    table.overwrite(
        changed, snapshot_properties={"applied-through": str(through), "built-anew": "true"}
    )


KEYS = {"fact_payment": "payment_record_id", "dim_currency": "currency_id"}
REBUILT = pytest.mark.parametrize("star", KEYS)


@REBUILT
def test_a_rebuild_whose_load_failed_is_named_until_the_warehouse_is_rebuilt_as_well(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough, star: str
) -> None:
    def runs() -> set[str]:
        query = sql.SQL("select distinct run_id from {}").format(sql.Identifier(star))
        return {row[0] for row in warehouse.execute(query)}

    before = runs()
    build_anew(payments, star, 2)
    payments.add_star_rows("dim_transaction", {"transaction_id": 3}, sequence=3)
    for sequence in (2, 3):
        with pytest.raises(StarSchemaMismatch, match=f"^{star} was built anew in the lake"):
            load_through(sequence)

    assert runs() == before
    rows = warehouse.execute("select transaction_id from dim_transaction order by 1")
    assert rows.fetchall() == [(1,), (3,)]
    load_through(3, rebuild=True)
    assert runs() == {"anew"}
    payments.add_star_rows(star, {KEYS[star]: 4}, sequence=4)
    load_through(4)


@REBUILT
def test_a_warehouse_that_was_restored_to_before_a_rebuild_is_named(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough, star: str
) -> None:
    build_anew(payments, star, 2)
    load_through(2, rebuild=True)
    before = warehouse.execute("select table_name, sequence, built_anew from load_position")
    positions = before.fetchall()
    build_anew(payments, star, 2)
    load_through(2, rebuild=True)
    load_through(2)
    warehouse.execute("truncate load_position")
    warehouse.cursor().executemany("insert into load_position values (%s, %s, %s, 0)", positions)

    with pytest.raises(StarSchemaMismatch, match=f"^{star} was built anew in the lake"):
        load_through(3)


@REBUILT
def test_a_first_build_is_loaded_and_goes_on_also_when_its_snapshot_has_expired(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough, star: str
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    build_anew(star_lake, star, 1)
    load_through(1)
    star_lake.add_star_rows(star, {KEYS[star]: 2}, sequence=2)
    load_through(2)
    star_lake.table(star).maintenance.expire_snapshots().older_than(
        datetime.datetime.now() + datetime.timedelta(days=1)
    ).commit()
    star_lake.add_star_rows(star, {KEYS[star]: 3}, sequence=3)

    load_through(3)

    rows = warehouse.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(star)))
    assert rows.fetchone() == (3,)


@pytest.mark.parametrize(
    "lost",
    ["delete from fact_payment where payment_record_id = 2", "truncate fact_payment"],
)
@pytest.mark.parametrize("waits", [False, True], ids=["", "with a waiting row"])
def test_a_fact_that_has_lost_its_newest_rows_is_named_until_the_warehouse_is_rebuilt(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    lost: LiteralString,
    *,
    waits: bool,
) -> None:
    if waits:
        waiting = {"payment_record_id": 3, "transaction_id": 7}
        payments.add_star_rows("fact_payment", waiting, sequence=3)
    load_through(3)
    warehouse.execute("delete from waiting_row")
    warehouse.execute(lost)
    payments.add_star_rows("fact_payment", {"payment_record_id": 4}, sequence=4)
    payments.add_star_rows("dim_transaction", {"transaction_id": 7}, sequence=4)

    with pytest.raises(StarSchemaMismatch, match=r"^fact_payment was loaded through"):
        load_through(4)

    rows = warehouse.execute("select transaction_id from dim_transaction order by 1")
    assert rows.fetchall() == [(1,), (7,)]
    load_through(4, rebuild=True)
    ids = [1, 2, 3, 4] if waits else [1, 2, 4]
    assert shown(warehouse) == [(number, False) for number in ids]
    load_through(5)


def test_a_table_whose_history_says_nothing_is_refused(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows("dim_design", {})
    star_lake.add_star_rows("dim_currency", {})
    table = star_lake.table("dim_currency")
    rows = table.scan().to_arrow()
    star_lake.forget("dim_currency")
    star_lake.add("dim_currency")
    star_lake.table("dim_currency").append(rows)

    with pytest.raises(StarSchemaMismatch, match="no snapshot of dim_currency in the lake says"):
        load_through(1)

    assert warehouse.execute("select design_id from dim_design").fetchall() == [(1,)]


def test_a_file_that_is_no_parquet_costs_its_table_alone(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions("dim_currency")
    star_lake.with_own_files().add_star_rows("dim_design", {})
    bucket, key, size = only_file(star_lake, "dim_design")
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"ORC".ljust(size, b"\0"))

    with pytest.raises(StarSchemaMismatch, match=r"^could not read \S*dim_design of the lake \("):
        load_through(1)

    assert warehouse.execute("select currency_id from dim_currency").fetchall() == [(1,)]


def test_a_file_that_is_gone_costs_its_table_alone(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions("dim_currency")
    star_lake.with_own_files().add_star_rows("dim_design", {})
    bucket, key, _ = only_file(star_lake, "dim_design")
    boto3.client("s3").delete_object(Bucket=bucket, Key=key)

    with pytest.raises(StarSchemaMismatch, match=r"dim_design of the lake.*a file is missing"):
        load_through(1)

    assert warehouse.execute("select currency_id from dim_currency").fetchall() == [(1,)]


def test_a_table_that_the_role_may_not_read_costs_no_other(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions("dim_currency", "dim_design")

    def refuse() -> None:
        raise AccessRefused("grant it")

    with pytest.raises(StarSchemaMismatch, match="grant it"):
        load_through(1, lake=DisturbedLake.of(star_lake.lake, "dim_design", at_end=refuse))

    assert warehouse.execute("select currency_id from dim_currency").fetchall() == [(1,)]


def test_a_lake_whose_tables_the_role_may_not_look_up_is_named_by_what_refuses(
    star_lake: StarLake, load_through: LoadThrough, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_lake: Lake, table: WarehouseTable, **_: object) -> Versions:
        if table.name in refused:
            raise AccessRefused(f"may not read {table.name}")
        return found(star_lake.lake, table, after=0, through=1)

    found, refused = Lake.versions, {"dim_design"}
    star_lake.add_dimensions("dim_currency", "dim_design")
    monkeypatch.setattr(Lake, "versions", refuse)
    with pytest.raises(StarSchemaMismatch, match=r"^may not read dim_design$"):
        load_through(1)

    refused.update(STAR)
    with pytest.raises(AccessRefused):
        load_through(1)
