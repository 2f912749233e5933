"""Rollbacks, compactions, branches and commits of others: the build is right, or says why not."""

import functools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from glue_jobs.build import building, lake, quarantine
from glue_jobs.build.lake import LakeTable
from glue_jobs.build.maintenance import Retention, maintain_tables
from pipeline.errors import CommitConflict, TableBuildFailed, TableMaintenanceFailed
from pipeline.manifest import key_of
from pipeline.object_store import ObjectStore
from tests.integration.build.world import Beginning, Business, Star

TABLES = ("fact_payment", "dim_design")
COMMITS = ("append", "replace", "merge")
Commit = Callable[..., int]


def change(business: Business, run: int) -> None:
    """Changes a payment and a design, adds a malformed payment, and captures that as a run."""
    business.execute("update payment set payment_amount = %s where payment_id <= 3", run)
    business.execute("update payment set payment_date = %s where payment_id = 4", f"day {run}")
    business.execute("update design set design_name = %s where design_id <= 3", f"design {run}")
    business.run()


@pytest.fixture(scope="module")
def three_built_runs(
    new_business: Callable[[], Business], new_star: Callable[[Business], Star]
) -> Callable[[tuple[str, ...]], Beginning]:
    """Builds three runs of tables one after another, once for all tests of the same tables."""

    @functools.cache
    def build(tables: tuple[str, ...]) -> Beginning:
        business = new_business()
        star = new_star(business)
        for run in (1, 2, 3):
            change(business, run)
            star.build(*tables)
        return Beginning(business, star)

    return build


@pytest.fixture
def three_runs(
    business: Business,
    star: Star,
    three_built_runs: Callable[[tuple[str, ...]], Beginning],
    request: pytest.FixtureRequest,
) -> Business:
    """A business whose three runs have been built one after another, as far as the test looks."""
    is_of_one = "table" in request.fixturenames
    tables = (request.getfixturevalue("table"),) if is_of_one else TABLES
    three_built_runs(tables).give(business, star)
    return business


def before_commit(table_name: str, act: Callable[[], object], *, times: int = 1) -> Any:
    """Has something happen right before the first commits of a table."""
    left = iter(range(times))

    def acting(commit: Commit) -> Commit:
        def wrapper(table: LakeTable, *arguments: Any, **named: Any) -> int:
            if table.name == table_name and next(left, None) is not None:
                act()
            return commit(table, *arguments, **named)

        return wrapper

    replaced: dict[str, Any] = {name: acting(getattr(LakeTable, name)) for name in COMMITS}
    return patch.multiple(LakeTable, **replaced)


@pytest.mark.parametrize("table", TABLES)
def test_after_a_rollback_the_skipped_runs_are_applied_with_the_same_record_ids(
    three_runs: Business, star: Star, table: str
) -> None:
    before = star.rows(table)
    star.call("rollback_to_snapshot", table, str(star.snapshots(table)[-1]))

    star.build(table)

    assert star.differences(table) == []
    assert sorted(map(str, star.rows(table))) == sorted(map(str, before))
    change(three_runs, 4)
    assert star.build(table) == {table: 3}
    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_rollback_may_be_taken_back(three_runs: Business, star: Star, table: str) -> None:
    newest, *_, first = star.snapshots(table)
    star.call("rollback_to_snapshot", table, str(first))
    star.call("set_current_snapshot", table, str(newest))

    assert star.build(table) == {table: 0}
    assert star.differences(table) == []


def test_a_cherry_picked_run_is_refused_and_a_rebuild_corrects_it(
    three_runs: Business, star: Star
) -> None:
    newest, *_, first = star.snapshots("fact_payment")
    star.call("rollback_to_snapshot", "fact_payment", str(first))
    star.call("cherrypick_snapshot", "fact_payment", str(newest))

    said = (
        r"fact_payment: LakeTableChanged: fact_payment has rows of run 3, but its snapshots say "
        r"that it was built through run 1: .*\{\"rebuild\": true\}"
    )
    with pytest.raises(TableBuildFailed, match=said):
        star.build(*TABLES)

    star.build("fact_payment", rebuild=True)
    assert star.differences(*TABLES) == []


STATEMENTS = (
    "delete from {table} where {key} = 2",
    "delete from {table} where _sequence < 3",
    "update {table} set is_deleted = true where {key} = 2",
    "insert into {table} select * from {table} where {key} = 2",
    "delete from {table}",
)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("is_light", [False, True], ids=["files", "delete files"])
def test_rows_that_another_writer_changed_stop_their_table_until_a_rebuild(
    three_runs: Business, star: Star, spark: SparkSession, table: str, *, is_light: bool
) -> None:
    mode = "merge-on-read" if is_light else "copy-on-write"
    modes = ", ".join(f"'write.{what}.mode' = '{mode}'" for what in ("delete", "update"))
    star.alter(table, f"set tblproperties ({modes})")
    change(three_runs, 4)
    built, week = star.snapshots(table)[0], Retention(7, 20, 3)
    named = f"glue_catalog.{star.database}.{table}"
    key = f"{table.partition('_')[2]}_id"

    for statement in STATEMENTS:
        spark.newSession().sql(statement.format(table=named, key=key))
        with pytest.raises(TableBuildFailed, match=f"LakeTableChanged: another writer .*{table}"):
            star.build(table)
        with pytest.raises(TableMaintenanceFailed, match="another writer changed rows"):
            maintain_tables(spark, star.database, [table], week)
        star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")
        with pytest.raises(TableBuildFailed, match="another writer changed rows"):
            star.build(table)
        star.call("rollback_to_snapshot", table, str(built))

    assert star.build(table) == {table: 3}
    assert star.differences(table) == []
    spark.newSession().sql(STATEMENTS[0].format(table=named, key=key))
    star.build(table, rebuild=True)
    assert star.differences(table) == []
    maintain_tables(spark, star.database, [table], week)


@pytest.mark.parametrize("table", TABLES)
def test_tags_and_branches_say_nothing_of_the_table(
    three_runs: Business, star: Star, spark: SparkSession, table: str
) -> None:
    first = star.snapshots(table)[-1]
    star.alter(table, f"create tag kept as of version {first}")
    star.alter(table, f"create branch others as of version {first}")
    session = spark.newSession()
    session.conf.set("spark.sql.iceberg.snapshot-property.applied-through", "9")
    session.conf.set("spark.sql.iceberg.snapshot-property.run-id", "run-9")
    name = f"glue_catalog.{star.database}.{table}"
    session.table(f"{name}.branch_others").limit(1).writeTo(f"{name}.branch_others").append()
    change(three_runs, 4)

    assert star.build(table) == {table: 3}
    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("expired", [False, True], ids=["kept", "expired"])
def test_others_may_compact_a_table_and_expire_the_snapshots_that_name_the_run(
    three_runs: Business, star: Star, table: str, expired: bool
) -> None:
    files = star.files(table)
    star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")
    if expired:
        old = "older_than => timestamp '2999-01-01 00:00:00', retain_last => 1"
        star.call("expire_snapshots", table, old)
        assert len(star.snapshots(table)) == 1
    assert star.files(table) != files

    assert star.build(table) == {table: 0}
    change(three_runs, 4)
    assert star.build(table) == {table: 3}
    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("runs", [0, 1], ids=["first", "later"])
def test_two_builds_of_one_run_give_each_row_once(
    business: Business, star: Star, table: str, runs: int
) -> None:
    for run in range(runs):
        change(business, run)
        star.build(table)
    change(business, 7)
    barrier = threading.Barrier(2)

    with (
        before_commit(table, lambda: barrier.wait(60), times=2),
        ThreadPoolExecutor(2) as pool,
    ):
        builds = [pool.submit(star.build, table) for _ in range(2)]
        rows = sorted(build.result()[table] for build in builds)

    assert rows[0] == 0 < rows[1]
    assert star.differences(table) == []
    waiting = sorted(row["_sequence"] for row in star.rows("quarantine"))
    assert waiting == ([*range(1, runs + 2)] if table == "fact_payment" else [])


@pytest.mark.parametrize("table", TABLES)
def test_a_build_and_a_maintenance_at_the_same_time_both_succeed(
    three_runs: Business, star: Star, spark: SparkSession, table: str
) -> None:
    change(three_runs, 4)
    change(three_runs, 5)
    week = Retention(snapshot_days=7, snapshots=20, orphan_days=3)

    def maintain() -> None:
        star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")
        maintain_tables(spark, star.database, [table], week)

    with before_commit(table, maintain):
        star.build(table)

    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_maintenance_does_not_take_back_what_a_build_says_meanwhile(
    three_runs: Business, star: Star, spark: SparkSession, table: str
) -> None:
    star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")
    change(three_runs, 4)
    week = Retention(snapshot_days=7, snapshots=20, orphan_days=3)

    with before_commit(table, lambda: star.build(table)):
        maintain_tables(spark, star.database, [table], week)

    assert LakeTable(spark.newSession(), star.database, table).read_applied().through == 4
    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_build_that_a_rebuild_overtakes_adds_nothing(
    three_runs: Business, star: Star, table: str
) -> None:
    change(three_runs, 4)

    with before_commit(table, lambda: star.build(table, rebuild=True)):
        assert star.build(table) == {table: 0}

    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_rebuild_that_a_build_overtakes_is_made_again(
    three_runs: Business, star: Star, table: str
) -> None:
    change(three_runs, 4)

    with before_commit(table, lambda: star.build(table)):
        star.build(table, rebuild=True)

    assert star.differences(table) == []


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("times", [0, 1], ids=["before it", "before its commit"])
def test_a_rebuild_that_lingers_does_not_take_back_a_later_run(
    three_runs: Business, star: Star, table: str, times: int
) -> None:
    def overtake() -> None:
        change(three_runs, 4)
        star.build(table)

    if not times:
        overtake()
    said = f"{table}: RunConflict: .* through run 4, and this rebuild makes it through run 3"
    with before_commit(table, overtake, times=times), pytest.raises(TableBuildFailed, match=said):
        star.build(table, through=3, rebuild=True)

    assert star.build(table) == {table: 0}
    assert star.differences(table) == []
    waiting = sorted(row["_sequence"] for row in star.rows("quarantine"))
    assert waiting == ([1, 2, 3, 4] if table == "fact_payment" else [])


def test_a_rebuild_of_a_raw_zone_that_lost_runs_takes_the_later_ones_back(
    three_runs: Business, star: Star
) -> None:
    store = ObjectStore(three_runs.bucket, three_runs.client)
    store.delete([key_of(3)])

    star.build(*TABLES, through=2, rebuild=True)

    assert {row["_sequence"] for row in star.rows("quarantine")} == {1, 2}
    assert max(row["_sequence"] for row in star.rows("fact_payment")) == 2


@pytest.mark.parametrize("rebuild", [False, True], ids=["first build", "rebuild"])
def test_a_build_of_all_runs_that_lingers_leaves_what_later_runs_put_into_the_quarantine(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch, rebuild: bool
) -> None:
    change(business, 1)
    original = quarantine.put_into_quarantine

    def overtaken(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(building, "put_into_quarantine", original)
        change(business, 2)
        star.build("fact_payment")
        original(*arguments, **named)

    monkeypatch.setattr(building, "put_into_quarantine", overtaken)
    with suppress(TableBuildFailed):
        star.build("fact_payment", through=1, rebuild=rebuild)

    assert star.differences("fact_payment") == []
    assert sorted(row["_sequence"] for row in star.rows("quarantine")) == [1, 2]


@pytest.mark.parametrize("table", TABLES)
def test_the_snapshots_that_replaced_all_rows_say_so(
    three_runs: Business, star: Star, lake_catalog: Catalog, table: str
) -> None:
    star.build(table, rebuild=True)
    change(three_runs, 4)
    star.build(table)

    snapshots = lake_catalog.load_table((star.database, table)).snapshots()
    said = [one.summary and one.summary["built-anew"] for one in snapshots]
    assert said == ["true", "false", "false", "true", "false"]


@pytest.mark.parametrize("small_rows", [lake.SMALL_TABLE_ROWS, 0])
def test_a_column_of_others_stops_no_build(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch, small_rows: int
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", small_rows)
    change(business, 1)
    star.build(*TABLES)
    for table in TABLES:
        star.alter(table, "add column note string comment 'theirs'")
    change(business, 2)

    star.build(*TABLES)

    rows = {table: star.rows(table) for table in TABLES}
    assert {row.pop("note") for them in rows.values() for row in them} == {None}
    monkeypatch.setattr(star, "rows", rows.__getitem__)
    assert star.differences(*TABLES) == []


def test_what_java_says_is_the_reason(business: Business, star: Star) -> None:
    change(business, 1)
    star.build("dim_design")
    star.alter("dim_design", "set tblproperties ('commit.retry.num-retries' = 'many')")
    change(business, 2)

    with pytest.raises(TableBuildFailed, match=r'\(dim_design: .*For input string: "many"'):
        star.build("dim_design")


def test_a_table_of_a_newer_format_stops_its_own_build_alone(
    business: Business, star: Star
) -> None:
    change(business, 1)
    star.build(*TABLES)
    star.alter("quarantine", "set tblproperties ('format-version' = '3')")
    change(business, 2)

    with pytest.raises(
        TableBuildFailed,
        match=r"1 of 2 .*\(fact_payment: LakeTableChanged: quarantine has .* format version 3, .* "
        "Run aws glue delete-table --database-name .* --name quarantine, and",
    ):
        star.build(*TABLES)

    assert star.differences("dim_design") == []


def test_a_table_of_another_format_in_its_place_stops_its_own_build_alone(
    business: Business, star: Star
) -> None:
    change(business, 1)
    boto3.client("glue").create_table(
        DatabaseName=star.database,
        TableInput={"Name": "dim_design", "StorageDescriptor": {"Location": "s3://another/place"}},
    )

    with pytest.raises(
        TableBuildFailed,
        match=r"1 of 2 .*\(dim_design: LakeTableChanged: dim_design is no table of Iceberg .* "
        rf"aws glue delete-table --database-name {re.escape(star.database)} --name dim_design, and",
    ):
        star.build(*TABLES)

    assert star.differences("fact_payment") == []


def test_a_table_that_others_commit_to_at_each_attempt_is_named(
    three_runs: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(three_runs, 4)
    attempts = []

    def conflict(table: LakeTable, *arguments: object, **named: object) -> int:
        attempts.append(table.name)
        raise CommitConflict("another writer committed to it")

    monkeypatch.setattr(LakeTable, "merge", conflict)

    with pytest.raises(TableBuildFailed, match=r"1 of 2 .*\(dim_design: CommitConflict: another"):
        star.build(*TABLES)

    assert attempts == ["dim_design"] * lake.ATTEMPTS
    assert star.differences("fact_payment") == []
