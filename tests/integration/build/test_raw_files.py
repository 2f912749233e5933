"""Many small files, as a long history has them, are read once for all star tables."""

import hashlib
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from glue_jobs.build import raw_files
from glue_jobs.build.raw_files import RawFiles
from pipeline.errors import RawFilesChanged, TableBuildFailed
from pipeline.manifest import key_of
from pipeline.object_store import ObjectStore
from pipeline.written_files import Written
from tests.integration.build.world import Business, Star

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

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


@pytest.fixture
def objects(raw_bucket: str, s3: "S3Client") -> ObjectStore:
    return ObjectStore(raw_bucket, s3)


def put_numbers(objects: ObjectStore, *names: str) -> dict[str, Written]:
    """Puts files of one row each: the file's place."""
    for number, name in enumerate(names):
        file = io.BytesIO()
        pq.write_table(pa.table({"id": pa.array([number], pa.int64())}), file)
        objects.put(name, file.getvalue())
    return dict.fromkeys(names, Written())


@pytest.mark.parametrize(("more_bytes", "is_kept"), [(0, True), (-1, False)])
def test_the_rows_of_many_files_are_kept_if_the_files_are_small_together(
    spark: SparkSession,
    objects: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    more_bytes: int,
    is_kept: bool,
    before: set[int],
) -> None:
    files = put_numbers(objects, "27/1-0", "27/2-0", "27/3-0")
    size = sum(found.size for found in objects.keys(""))
    monkeypatch.setattr(raw_files, "MANY_FILES", len(files))
    monkeypatch.setattr(raw_files, "MOST_BYTES_KEPT", size + more_bytes)

    with RawFiles(spark, objects) as raw:
        rows = raw.read(spark, "id bigint", files)
        assert rows.agg({"id": "sum"}).collect() == [(3,)]
        assert bool(kept(spark) - before) is is_kept
    assert not kept(spark) - before
    assert not spark.catalog.listTables("global_temp")


@pytest.mark.parametrize(
    ("others", "looked_up"), [((), 2), (("27/12-0",), 3), (("27/10-1", "28/9-0"), 4)]
)
def test_many_files_are_listed_by_their_folders_and_no_others_are_read(
    spark: SparkSession,
    objects: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    others: tuple[str, ...],
    looked_up: int,
) -> None:
    wanted = ("27/10-0", "27/11-0", "28/11-0", "28/112-0")
    files = put_numbers(objects, *wanted, *others)
    monkeypatch.setattr(raw_files, "MANY_FILES", len(wanted))

    with RawFiles(spark, objects) as raw:
        rows = raw.read(spark, "id bigint", {name: files[name] for name in wanted})

        assert {tuple(row) for row in rows.collect()} == {(0, 10), (1, 11), (2, 11), (3, 112)}
        leaf = rows._jdf.queryExecution().analyzed().collectLeaves().head()
        assert leaf.relation().location().rootPaths().size() == looked_up


@pytest.mark.parametrize("many", [2, 100])
def test_files_that_are_missing_or_others_are_not_read_however_many_there_are(
    spark: SparkSession, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    files = put_numbers(objects, "27/10-0", "28/11-0")
    monkeypatch.setattr(raw_files, "MANY_FILES", many)
    files |= {"28/11-0": Written(1), "28/12-0": Written()}

    with (
        RawFiles(spark, objects) as raw,
        pytest.raises(
            RawFilesChanged, match=r"^2 raw .*28/11-0 has .* bytes, .*/28/12-0 is missing"
        ),
    ):
        raw.read(spark, "id bigint", files)


def emptied(content: bytes) -> bytes:
    return b""


def shortened(content: bytes) -> bytes:
    rows, file = pq.read_table(io.BytesIO(content)), io.BytesIO()
    pq.write_table(rows.slice(1), file)
    return file.getvalue()


def replaced(content: bytes) -> bytes:
    return content[::-1]


def as_earlier_versions(business: Business, sequence: int) -> None:
    """Makes a run's manifest one of a version that wrote nothing of the files but their keys."""
    document = json.loads(business.store.read(sequence).to_json())
    del document["sha256"]
    for capture in document["tables"].values():
        capture.pop("written", None)
        capture.pop("keys_written", None)
    text = json.dumps(document).encode()
    business.client.put_object(Bucket=business.bucket, Key=key_of(sequence), Body=text)


@pytest.mark.parametrize(
    ("changes", "is_earlier"),
    [
        ((emptied, replaced), False),
        ((emptied, emptied), True),
        ((shortened, shortened), False),
    ],
)
def test_raw_objects_that_were_replaced_stop_their_tables_and_the_others_go_on(
    business: Business,
    star: Star,
    changes: tuple[Callable[[bytes], bytes], ...],
    is_earlier: bool,
) -> None:
    business.run()
    star.build("fact_payment", "dim_staff", "dim_currency")
    business.execute("delete from payment where payment_id = 1")
    business.execute("update department set location = 'Leeds'")
    business.execute("update currency set currency_code = 'CHF' where currency_id = 2")
    business.run()
    if is_earlier:
        as_earlier_versions(business, 2)
    tables, held = business.store.read(2).tables, {}
    files = (*tables["payment"].key_files, *tables["department"].files)
    for key, change in zip(files, changes, strict=True):
        held[key] = business.client.get_object(Bucket=business.bucket, Key=key)["Body"].read()
        business.client.put_object(Bucket=business.bucket, Key=key, Body=change(held[key]))

    with pytest.raises(TableBuildFailed, match="2 of 3 star tables were not built") as failed:
        star.build("fact_payment", "dim_staff", "dim_currency")

    for key in held:
        assert f"1 raw files are not those that Ingest wrote (s3://{business.bucket}/{key} has" in (
            str(failed.value)
        )
    for key, content in held.items():
        business.client.put_object(Bucket=business.bucket, Key=key, Body=content)
    star.build("fact_payment", "dim_staff", "dim_currency")
    assert star.differences("fact_payment", "dim_staff", "dim_currency") == []


def test_a_manifest_has_what_was_written_as_each_file(business: Business) -> None:
    business.run()
    business.execute("delete from payment where payment_id = 1")
    business.run()

    for capture in (business.store.read(run).tables["payment"] for run in (1, 2)):
        for key, written in (capture.written_files | capture.written_key_files).items():
            found = business.client.get_object(Bucket=business.bucket, Key=key)
            content = found["Body"].read()
            assert written.size == len(content)
            assert written.sha256 == hashlib.sha256(content).hexdigest()
            assert f'"{written.etag}"' == found["ETag"]
    assert capture.keys_written
