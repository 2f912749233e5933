"""Maintenance: few files, no old snapshots, no orphans, and not a row that changes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyiceberg.types import IntegerType, LongType
from pyspark.sql import SparkSession

from glue_jobs.build import lake
from glue_jobs.build.lake import LakeTable
from glue_jobs.build.maintenance import Maintained, Retention, maintain_tables
from pipeline.errors import TableMaintenanceFailed
from tests.integration.build.world import Beginning, Business, Star
from tests.oracle.star import Row

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUILT = ("dim_design", "fact_payment")
RUNS = 5
A_WEEK = Retention(snapshot_days=7, snapshots=1, orphan_days=2)
NOTHING_OLD = Retention(snapshot_days=0, snapshots=1, orphan_days=2)


@dataclass(frozen=True)
class Lake:
    """A star schema of several runs, with a file or more for each.

    Attributes:
        business: Whose it is.
        star: Its tables.
        spark: What maintains them.
        catalog: Where readers find them.
    """

    business: Business
    star: Star
    spark: SparkSession
    catalog: Catalog

    def table(self, name: str = "fact_payment") -> Table:
        """Returns a table as a reader of now finds it."""
        return self.catalog.load_table((self.star.database, name))

    def maintain(self, *tables: str, retention: Retention = A_WEEK) -> dict[str, Maintained]:
        """Maintains tables as a job of its own does: with nothing of a build in its memory."""
        self.spark.catalog.clearCache()
        done = maintain_tables(self.spark, self.star.database, tables or BUILT, retention)
        return {one.table: one for one in done}


@dataclass(frozen=True)
class Compacted:
    """A lake that was maintained, and what it was like before.

    Attributes:
        lake: The lake.
        done: What became of each table.
        rows: Each table's rows before.
        files: Each table's data files before.
        began: A reader's view of fact_payment, from before.
    """

    lake: Lake
    done: dict[str, Maintained]
    rows: dict[str, list[Row]]
    files: dict[str, set[str]]
    began: Table


@pytest.fixture(scope="module")
def new_lake(
    new_business: Callable[[], Business],
    new_star: Callable[[Business], Star],
    spark: SparkSession,
    lake_catalog: Catalog,
) -> Callable[[], Lake]:
    """Makes lakes that hold nothing yet."""

    def make() -> Lake:
        business = new_business()
        return Lake(business, new_star(business), spark, lake_catalog)

    return make


@pytest.fixture(scope="module")
def several_runs(new_lake: Callable[[], Lake]) -> Beginning:
    """Several runs that have been built one after another."""
    lake = new_lake()
    build_several_runs(lake)
    return Beginning(lake.business, lake.star)


@pytest.fixture
def worn(new_lake: Callable[[], Lake], several_runs: Beginning) -> Lake:
    """A lake of several runs that was never maintained."""
    lake = new_lake()
    several_runs.give(lake.business, lake.star)
    return lake


@pytest.fixture(scope="module")
def compacted(new_lake: Callable[[], Lake]) -> Compacted:
    """A lake that was maintained, with all its snapshots kept: tests change none of its rows."""
    lake = new_lake()
    build_several_runs(lake)
    rows = {name: lake.star.rows(name) for name in BUILT}
    files = {name: lake.star.files(name) for name in BUILT}
    began = lake.table()
    return Compacted(lake, lake.maintain(), rows, files, began)


@pytest.fixture
def no_minimum_age(spark: SparkSession) -> Iterator[None]:
    """Has Iceberg remove orphans of any age, by the setting that its own tests have."""
    conf = spark.sparkContext._jsc.sc().conf()
    conf.set("spark.testing", "true")
    yield
    conf.remove("spark.testing")


def build_several_runs(lake: Lake) -> None:
    """Has each run change payments and a design, and builds it."""
    for run in range(RUNS):
        lake.business.execute(
            "update payment set payment_amount = %s where payment_id %% 7 = %s", 100 + run, run
        )
        name = f"name {run}"
        lake.business.execute("update design set design_name = %s where design_id = 1", name)
        lake.business.run()
        lake.star.build(*BUILT)


def test_many_small_files_become_few_and_no_row_changes(compacted: Compacted) -> None:
    star = compacted.lake.star
    payments = compacted.done["fact_payment"]

    assert (payments.before.files, payments.after.files) == (RUNS, 1)
    assert payments.after.size < payments.before.size
    for name in BUILT:
        assert compacted.done[name].before.files == len(compacted.files[name])
        assert compacted.done[name].after.files == len(star.files(name))
        assert sorted(map(str, star.rows(name))) == sorted(map(str, compacted.rows[name]))
    assert star.differences(*BUILT) == []


def test_a_compacted_file_has_the_bounds_that_readers_leave_files_out_by(
    compacted: Compacted,
) -> None:
    held = compacted.lake.table()
    (task,) = held.scan().plan_files()
    rows = compacted.lake.star.rows("fact_payment")

    for name, kind in (
        ("payment_id", IntegerType()),
        ("payment_record_id", LongType()),
        ("_sequence", LongType()),
    ):
        number = held.schema().find_field(name).field_id
        bounds = tuple(
            from_bytes(kind, bound[number])
            for bound in (task.file.lower_bounds, task.file.upper_bounds)
        )
        values = [row[name] for row in rows]
        assert bounds == (min(values), max(values))
    keys = [row["payment_id"] for row in rows]
    assert keys == sorted(keys)
    assert not list(held.scan(row_filter=f"_sequence > {RUNS}").plan_files())


def test_rows_that_were_deleted_beside_their_file_are_gone_after(
    business: Business,
    star: Star,
    spark: SparkSession,
    lake_catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", 0)
    monkeypatch.setattr(lake, "MOST_DELETED", 1)
    business.run()
    star.build("dim_design")
    for run in (1, 2):  # each time a row of the first file
        business.execute("update design set design_name = 'new' where design_id = %s", run)
        business.run()
        star.build("dim_design")
    one = Lake(business, star, spark, lake_catalog)
    rows = star.rows("dim_design")

    before = total(one.table("dim_design"), "delete-files")
    done = one.maintain("dim_design")

    assert before == 1
    assert total(one.table("dim_design"), "delete-files") == 0
    assert done["dim_design"].after.files == 1
    assert sorted(map(str, star.rows("dim_design"))) == sorted(map(str, rows))
    assert total(one.table("dim_design"), "records") == len(rows)
    assert star.differences("dim_design") == []


def total(table: Table, of: str) -> int:
    """Returns a total of the current snapshot's summary."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return int(snapshot.summary[f"total-{of}"] or 0)


def test_what_one_execution_left_is_read_as_long_as_its_snapshot_is_kept(
    compacted: Compacted,
) -> None:
    lake = compacted.lake
    third = snapshot_of(lake.table(), "run-3")

    rows = lake.table().scan(snapshot_id=third).to_arrow().to_pylist()

    by_spark = lake.spark.sql(
        f"select count(*) from glue_catalog.{lake.star.database}.fact_payment version as of {third}"
    ).first()
    wanted = [row for row in compacted.rows["fact_payment"] if row["_sequence"] <= 3]
    assert sorted(map(str, rows)) == sorted(map(str, wanted))
    assert by_spark is not None
    assert by_spark[0] == len(wanted) < len(compacted.rows["fact_payment"])


def test_a_reader_that_began_before_still_finds_its_rows(compacted: Compacted) -> None:
    wanted = [row for row in compacted.rows["fact_payment"] if row["_sequence"] > 2]

    found = compacted.began.scan(row_filter="_sequence > 2").to_arrow()

    assert found.num_rows == len(wanted)


def test_a_table_with_nothing_to_do_gets_no_commit(compacted: Compacted) -> None:
    snapshots = [compacted.lake.table(name).snapshots() for name in BUILT]

    done = compacted.lake.maintain()

    assert [compacted.lake.table(name).snapshots() for name in BUILT] == snapshots
    assert [one.before == one.after for one in done.values()] == [True, True]


def test_a_small_table_takes_few_tasks(compacted: Compacted) -> None:
    scheduler = compacted.lake.spark.sparkContext._jsc.sc().taskScheduler()
    before = scheduler.nextTaskId()

    compacted.lake.maintain("fact_payment")

    assert scheduler.nextTaskId() - before < 200


def test_a_young_orphan_may_be_of_a_commit_under_way_and_stays(
    compacted: Compacted, s3: "S3Client"
) -> None:
    young = f"{compacted.lake.table().location()}/data/young.parquet"
    put(s3, young)

    done = compacted.lake.maintain("fact_payment")

    assert done["fact_payment"].orphans_removed == 0
    assert young in stored(s3, compacted.lake.table())
    s3.delete_object(Bucket=urlsplit(young).netloc, Key=urlsplit(young).path[1:])


@pytest.mark.usefixtures("no_minimum_age")
def test_orphans_go_and_what_a_snapshot_or_another_table_has_stays(
    compacted: Compacted, s3: "S3Client"
) -> None:
    lake, place = compacted.lake, compacted.lake.table().location()
    orphans = {f"{place}/data/left.parquet", f"{place}/metadata/left.avro"}
    beside = f"{place}_of_another/data/held.parquet"
    for location in (*orphans, beside):
        put(s3, location)

    done = lake.maintain("fact_payment", retention=Retention(7, 1, 0))

    kept = stored(s3, lake.table())
    assert done["fact_payment"].orphans_removed == len(orphans)
    assert not orphans & kept
    assert beside in kept
    assert referenced(lake.table()) <= kept
    assert lake.star.differences("fact_payment") == []


def test_a_table_that_may_lose_no_file_keeps_its_snapshots(compacted: Compacted) -> None:
    table = f"glue_catalog.{compacted.lake.star.database}.fact_payment"
    snapshots = compacted.lake.table().snapshots()
    compacted.lake.spark.sql(f"alter table {table} set tblproperties ('gc.enabled' = 'false')")

    done = compacted.lake.maintain("fact_payment", retention=NOTHING_OLD)

    compacted.lake.spark.sql(f"alter table {table} unset tblproperties ('gc.enabled')")
    assert done["fact_payment"].snapshots_expired == 0
    assert compacted.lake.table().snapshots() == snapshots


def test_a_table_that_no_build_has_made_is_left_out(compacted: Compacted) -> None:
    assert compacted.lake.maintain("dim_staff") == {}


def test_the_job_prints_a_line_a_table(compacted: Compacted) -> None:
    line = " ".join(str(compacted.done["fact_payment"]).split())

    assert line.startswith(f"fact_payment files {RUNS} -> 1, bytes ")
    assert " 0 snapshots expired, 0 orphans removed " in line


def test_old_snapshots_go_with_their_files_and_the_build_goes_on_where_it_was(
    worn: Lake, s3: "S3Client"
) -> None:
    third, files = snapshot_of(worn.table(), "run-3"), worn.star.files("fact_payment")

    done = worn.maintain(retention=NOTHING_OLD)

    for name in BUILT:
        (snapshot,) = worn.table(name).snapshots()
        assert snapshot.snapshot_id != third
        assert snapshot.summary is not None
        assert snapshot.summary["applied-through"] == str(RUNS)
        assert snapshot.summary["run-id"] == f"run-{RUNS}"
    assert done["fact_payment"].snapshots_expired >= RUNS
    assert not files & stored(s3, worn.table())

    compact = worn.star.files("fact_payment")
    worn.business.execute("update payment set payment_amount = 1 where payment_id = 3")
    worn.business.execute("delete from payment where payment_id = 4")
    worn.business.run()
    assert worn.star.build(*BUILT) == {"fact_payment": 2, "dim_design": 0}
    assert compact < worn.star.files("fact_payment"), "what was there was not built again"
    assert worn.star.differences(*BUILT) == []


def test_so_many_snapshots_stay_however_old_they_are(worn: Lake) -> None:
    worn.maintain(retention=Retention(snapshot_days=0, snapshots=4, orphan_days=2))

    assert len(worn.table().snapshots()) == 4


def test_a_table_that_fails_is_named_and_the_others_are_maintained(
    worn: Lake, s3: "S3Client"
) -> None:
    files = worn.star.files("fact_payment")
    place = urlsplit(min(files))
    s3.delete_object(Bucket=place.netloc, Key=place.path[1:])

    with pytest.raises(TableMaintenanceFailed, match=r"^1 of 2 tables .*\(fact_payment: "):
        worn.maintain(retention=NOTHING_OLD)

    assert worn.star.files("fact_payment") == files
    assert len(worn.table("dim_design").snapshots()) == 1
    assert LakeTable(worn.spark, worn.star.database, "fact_payment").read_applied().through == RUNS


def snapshot_of(table: Table, run_id: str) -> int:
    (found,) = (
        snapshot.snapshot_id
        for snapshot in table.snapshots()
        if snapshot.summary is not None and snapshot.summary.get("run-id") == run_id
    )
    return int(found)


def put(s3: "S3Client", location: str) -> None:
    place = urlsplit(location)
    s3.put_object(Bucket=place.netloc, Key=place.path[1:], Body=b"left")


def stored(s3: "S3Client", table: Table) -> set[str]:
    """Returns the objects whose names begin as the table's folder does."""
    place = urlsplit(table.location())
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=place.path[1:])
    return {
        f"s3://{place.netloc}/{entry['Key']}"
        for page in pages
        for entry in page.get("Contents", [])
    }


def referenced(table: Table) -> set[str]:
    """Returns every file that a snapshot of the table needs, and the table's own metadata."""
    found = {table.metadata_location}
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found |= {
                entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)
            }
    return found
