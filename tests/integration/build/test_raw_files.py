"""Many small files, as a long history has them, are read once for all star tables."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from glue_jobs.build import raw_files
from glue_jobs.build.raw_files import RawFiles
from pipeline.errors import RawFilesChanged, TableBuildFailed
from pipeline.manifest import key_of
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

    def counted(session: SparkSession, schema: str, sizes: dict[str, int]):
        read.append(tuple(sizes))
        return rows(session, schema, sizes)

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
        sizes = {f"file://{file}": file.stat().st_size for file in files}
        rows = raw.read(spark, "id bigint", sizes)
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
        rows = raw.read(spark, "id bigint", {f"file://{tmp_path}/{name}": 0 for name in wanted})

        assert {tuple(row) for row in rows.collect()} == {(0, 10), (1, 11), (2, 11), (3, 112)}
        leaf = rows._jdf.queryExecution().analyzed().collectLeaves().head()
        assert leaf.relation().location().rootPaths().size() == looked_up


@pytest.mark.parametrize("many", [2, 100])
@pytest.mark.parametrize(
    ("sizes", "wrong"),
    [
        ({}, None),
        ({"28/11-0": 0}, None),
        ({"27/10-0": -1}, "27/10-0 has .* bytes, and .* were written"),
        ({"28/11-0": 1, "27/10-0": 2}, "^2 raw files .*27/10-0 .*28/11-0 "),
    ],
)
def test_a_file_of_another_size_than_was_written_is_not_read(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    sizes: dict[str, int],
    wrong: str | None,
) -> None:
    given: dict[str, int] = {}
    for name in ("27/10-0", "28/11-0"):
        file = tmp_path / name
        file.parent.mkdir()
        pq.write_table(pa.table({"id": pa.array([1], pa.int64())}), file)
        more = sizes.get(name)
        given[f"file://{file}"] = 0 if more == 0 else file.stat().st_size + (more or 0)
    monkeypatch.setattr(raw_files, "MANY_FILES", many)

    with RawFiles(spark) as raw:
        if wrong is None:
            assert raw.read(spark, "id bigint", given).count() == 2
        else:
            with pytest.raises(RawFilesChanged, match=wrong):
                raw.read(spark, "id bigint", given)


def emptied(content: bytes) -> bytes:
    return b""


def shortened(content: bytes) -> bytes:
    rows, file = pq.read_table(io.BytesIO(content)), io.BytesIO()
    pq.write_table(rows.slice(1), file)
    return file.getvalue()


def without_sizes(business: Business, sequence: int) -> None:
    """Makes a run's manifest one of a version that wrote no sizes."""
    document = json.loads(business.store.read(sequence).to_json())
    for capture in document["tables"].values():
        capture.pop("file_sizes", None)
        capture.pop("key_file_sizes", None)
    text = json.dumps(document).encode()
    business.client.put_object(Bucket=business.bucket, Key=key_of(sequence), Body=text)


@pytest.mark.parametrize(
    ("change", "has_sizes"), [(emptied, True), (emptied, False), (shortened, True)]
)
def test_raw_objects_that_were_replaced_stop_their_tables_and_the_others_go_on(
    business: Business, star: Star, change: Callable[[bytes], bytes], has_sizes: bool
) -> None:
    business.run()
    star.build("fact_payment", "dim_staff", "dim_currency")
    business.execute("delete from payment where payment_id = 1")
    business.execute("update department set location = 'Leeds'")
    business.execute("update currency set currency_code = 'CHF' where currency_id = 2")
    business.run()
    if not has_sizes:
        without_sizes(business, 2)
    tables, held = business.store.read(2).tables, {}
    for key in (*tables["payment"].key_files, *tables["department"].files):
        held[key] = business.client.get_object(Bucket=business.bucket, Key=key)["Body"].read()
        business.client.put_object(Bucket=business.bucket, Key=key, Body=change(held[key]))

    with pytest.raises(TableBuildFailed, match="2 of 3 star tables were not built") as failed:
        star.build("fact_payment", "dim_staff", "dim_currency")

    assert len(held) == 2
    for key in held:
        assert f"1 raw files are not those that Ingest wrote (s3://{business.bucket}/{key} has" in (
            str(failed.value)
        )
    for key, content in held.items():
        business.client.put_object(Bucket=business.bucket, Key=key, Body=content)
    star.build("fact_payment", "dim_staff", "dim_currency")
    assert star.differences("fact_payment", "dim_staff", "dim_currency") == []


def test_a_manifest_has_the_size_of_each_file(business: Business) -> None:
    business.run()
    business.execute("delete from payment where payment_id = 1")
    business.run()

    for capture in (business.store.read(run).tables["payment"] for run in (1, 2)):
        for keys, sizes in (
            (capture.files, capture.file_sizes),
            (capture.key_files, capture.key_file_sizes),
        ):
            found = [business.client.head_object(Bucket=business.bucket, Key=key) for key in keys]
            assert sizes == tuple(one["ContentLength"] for one in found)
    assert capture.key_file_sizes
