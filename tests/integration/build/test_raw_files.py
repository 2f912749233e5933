"""Many small files, as a long history has them, are read once for all star tables."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from glue_jobs.build import raw_files
from glue_jobs.build.raw_files import RawFiles
from tests.integration.build.world import Business, Star

OF_ONE_SOURCE = ("dim_date", "fact_purchase_order")
RUNS = 4


def kept(spark: SparkSession) -> set[int]:
    """Returns what the session keeps, and other tests have kept in it."""
    return set(spark.sparkContext._jsc.getPersistentRDDs())


@pytest.fixture
def before(spark: SparkSession) -> set[int]:
    """What was kept before the test."""
    return kept(spark)


def test_star_tables_of_one_source_share_the_reading_of_its_files(
    business: Business,
    star: Star,
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
    before: set[int],
) -> None:
    read: list[tuple[str, ...]] = []
    rows = raw_files._rows

    def counted(session: SparkSession, schema: str, paths: tuple[str, ...]):
        read.append(paths)
        return rows(session, schema, paths)

    monkeypatch.setattr(raw_files, "MANY_FILES", RUNS)
    monkeypatch.setattr(raw_files, "_rows", counted)
    for _ in range(RUNS):
        business.execute("update purchase_order set item_quantity = item_quantity + 1")
        business.run()
    star.build(*OF_ONE_SOURCE, rebuild=True)

    assert star.differences(*OF_ONE_SOURCE) == []
    many = [paths for paths in read if len(paths) >= RUNS]
    assert sum("/purchase_order/" in paths[0] for paths in many) == 1
    assert not kept(spark) - before
    assert not spark.catalog.listTables("global_temp")


@pytest.mark.parametrize(("more_bytes", "is_kept"), [(0, True), (-1, False)])
def test_the_rows_of_many_files_are_kept_if_the_files_are_small_together(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more_bytes: int,
    is_kept: bool,
    before: set[int],
) -> None:
    spark.range(1000).write.parquet(f"file://{tmp_path}/rows")
    parts = tuple((tmp_path / "rows").glob("*.parquet"))
    files = [part.rename(part.with_name(f"{run}-rows")) for run, part in enumerate(parts)]
    size = sum(file.stat().st_size for file in files)
    monkeypatch.setattr(raw_files, "MANY_FILES", len(files))
    monkeypatch.setattr(raw_files, "MOST_BYTES_KEPT", size + more_bytes)

    with RawFiles(spark) as raw:
        rows = raw.read(spark, "id bigint", tuple(f"file://{file}" for file in files))
        assert rows.agg({"id": "sum"}).collect() == [(sum(range(1000)),)]
        assert bool(kept(spark) - before) is is_kept
    assert not kept(spark) - before
    assert not spark.catalog.listTables("global_temp")


@pytest.mark.parametrize(
    ("others", "looked_up"), [((), 2), (("27/12-0",), 3), (("27/10-1", "28/9-0"), 4)]
)
def test_many_files_are_listed_by_their_folders_and_no_others_are_read(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    others: tuple[str, ...],
    looked_up: int,
) -> None:
    wanted = ("27/10-0", "27/11-0", "28/11-0", "28/112-0")
    for number, name in enumerate((*wanted, *others)):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"id": pa.array([number], pa.int64())}), file)
    monkeypatch.setattr(raw_files, "MANY_FILES", len(wanted))

    with RawFiles(spark) as raw:
        rows = raw.read(spark, "id bigint", tuple(f"file://{tmp_path}/{name}" for name in wanted))

        assert {tuple(row) for row in rows.collect()} == {(0, 10), (1, 11), (2, 11), (3, 112)}
        leaf = rows._jdf.queryExecution().analyzed().collectLeaves().head()
        assert leaf.relation().location().rootPaths().size() == looked_up
