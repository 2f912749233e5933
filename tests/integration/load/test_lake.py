"""Rows as the lake's files have them."""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import DataScan, FileScanTask
from pyiceberg.types import IntegerType

from lambdas.load import lake
from lambdas.load.catalog import WarehouseColumn, WarehouseTable
from lambdas.load.lake import Position, Versions
from tests.fixtures.lake import StarLake, lake_schema, star_row

CURRENCY = WarehouseTable(
    "dim_currency",
    "currency_id",
    (
        WarehouseColumn("currency_id", "integer", True),
        WarehouseColumn("currency_code", "character varying", True),
    ),
    (),
    natural_key="currency_id",
    is_fact=False,
)
PAYMENT = WarehouseTable(
    "fact_payment", "payment_record_id", (), (), natural_key="run_id", is_fact=True
)
OF_PAYMENTS = {"star_table": "fact_payment", "_sequence": 1}
_MOST_BYTES = 24 * 1024 * 1024


def rows(versions: Versions, start: Position = Position()) -> list[tuple[object, ...]]:  # noqa: B008
    return [
        tuple(row.values()) for _, batch in versions.batches(start) for row in batch.to_pylist()
    ]


def test_a_file_that_is_older_than_a_column_has_nulls_in_it_and_a_renamed_one_keeps_its_values(
    star_lake: StarLake,
) -> None:
    star_lake.add_star_rows("dim_currency", {"currency_id": 1, "currency_code": "GBP"})
    with star_lake.table("dim_currency").update_schema() as change:
        change.add_column("places", IntegerType())
        change.rename_column("currency_code", "code")
    table = dataclasses.replace(
        CURRENCY,
        columns=(
            WarehouseColumn("places", "integer", False),
            WarehouseColumn("code", "character varying", True),
        ),
    )

    versions = star_lake.lake.versions(table, after=0, through=1)

    assert rows(versions) == [(None, "GBP")]
    assert next(versions.batches())[1].schema.field("places").type == pa.int32()


def test_a_file_without_ids_of_fields_is_read_by_the_names_that_the_table_maps(
    star_lake: StarLake,
) -> None:
    star_lake.add("dim_currency")
    table = star_lake.table("dim_currency")
    path = f"{table.location()}/data/added.parquet"
    row = star_row("dim_currency", currency_code="GBP")
    with table.io.new_output(path).create() as output:
        pq.write_table(pa.Table.from_pylist([row], schema=lake_schema("dim_currency")), output)
    table.add_files([path], snapshot_properties={"applied-through": "1"})

    versions = star_lake.lake.versions(CURRENCY, after=0, through=1)

    assert rows(versions) == [(1, "GBP")]


@pytest.mark.parametrize("whole_bytes", [0, lake._WHOLE_BYTES])
def test_reading_goes_on_after_any_row(
    star_lake: StarLake, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(lake, "_WHOLE_BYTES", whole_bytes)
    numbers = range(20_000)
    star_lake.add_star_rows("dim_currency", *({"currency_id": number} for number in numbers[:3]))
    star_lake.add_star_rows("dim_currency", *({"currency_id": number} for number in numbers[3:]))
    versions = star_lake.lake.versions(CURRENCY, after=0, through=1)
    everything = rows(versions)
    assert sorted(everything) == [(number, "currency_code") for number in numbers]
    assert versions.most_rows == len(numbers)

    before = 0
    for position, batch in versions.batches():
        before += batch.num_rows
        assert rows(versions, position) == everything[before:]
    assert rows(versions, Position(0, 2)) == everything[2:]


def test_only_the_rows_of_some_runs_are_read(star_lake: StarLake) -> None:
    star_lake.add_star_rows("dim_currency", {"currency_id": 1})
    star_lake.add(
        "dim_currency",
        *(
            {"currency_id": run, "currency_code": "X", "currency_name": "X", "run_id": "r"}
            | {"is_deleted": False, "_sequence": run}
            for run in (2, 3, 4)
        ),
    )

    versions = star_lake.lake.versions(CURRENCY, after=1, through=3)

    assert rows(versions) == [(2, "X"), (3, "X")]
    assert versions.most_rows == 3


def test_manifests_are_read_only_of_a_table_with_rows_of_later_runs(
    star_lake: StarLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    star_lake.add_star_rows("dim_currency", {"currency_id": 1}, sequence=2)
    table = star_lake.table("dim_currency")
    # A compaction of another engine, of whose snapshot an ancestor says the run.
    table.overwrite(table.scan().to_arrow())
    scanned: list[object] = []
    plan_files = DataScan.plan_files

    def noted(scan: DataScan) -> Iterable[FileScanTask]:
        scanned.append(scan)
        return plan_files(scan)

    monkeypatch.setattr(DataScan, "plan_files", noted)

    assert star_lake.lake.versions(CURRENCY, after=2, through=3).files == ()
    assert scanned == []
    assert len(star_lake.lake.versions(CURRENCY, after=1, through=3).files) == 1
    assert len(scanned) == 1


def test_malformed_rows_are_found_by_a_key_of_any_text(star_lake: StarLake) -> None:
    texts = ("it's", "A-17, B", "None", "")
    star_lake.add_star_rows("fact_payment", {"run_id": texts[0]}, sequence=2)
    star_lake.add("quarantine", *({"natural_key": text} | OF_PAYMENTS for text in texts))

    malformed = star_lake.lake.malformed(PAYMENT, PAYMENT.natural_key)

    assert malformed == set(texts[1:])


def test_the_newest_build_of_the_wanted_runs_says_what_it_wrote_and_how_long_it_took(
    star_lake: StarLake,
) -> None:
    star_lake.add_star_rows("dim_currency", {"currency_id": 1})
    of_an_earlier_version = star_lake.lake.versions(CURRENCY, after=0, through=1)
    assert of_an_earlier_version.newest_build is None
    table = star_lake.table("dim_currency")
    began = time.time_ns() // 1_000_000 - 2_500
    said = {"applied-through": "2", "build-began-at-ms": str(began)}
    table.append(table.scan().to_arrow(), said)

    build = star_lake.lake.versions(CURRENCY, after=1, through=2).newest_build

    assert build is not None
    assert build.rows == 1
    assert 2.5 <= build.seconds < 60
    assert star_lake.lake.versions(CURRENCY, after=2, through=2).newest_build is None


def test_rows_that_are_deleted_beside_a_file_are_left_out(star_lake: StarLake) -> None:
    star_lake.add_star_rows("dim_currency", *({"currency_id": number} for number in (1, 2, 3)))
    versions = star_lake.lake.versions(CURRENCY, after=0, through=1)

    left = without(star_lake, versions, [1])

    assert rows(left) == [(1, "currency_code"), (3, "currency_code")]
    assert rows(left, Position(0, 1)) == [(3, "currency_code")]


def without(star_lake: StarLake, versions: Versions, places: list[int]) -> Versions:
    """Returns the rows of one data file without some, whose places are in a delete file."""
    (task,) = versions.files
    path = f"{task.file.file_path}.deletes.parquet"
    deleted = pa.table(
        {"file_path": [task.file.file_path] * len(places), "pos": pa.array(places, pa.int64())}
    )
    with PyArrowFileIO(star_lake.lake.catalog.properties).new_output(path).create() as output:
        pq.write_table(deleted, output)
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        record_count=len(places),
    )
    return dataclasses.replace(versions, files=(FileScanTask(task.file, delete_files={deletes}),))


@pytest.mark.parametrize("gone", [[], [*range(0, 1_000_000, 1_000), 999_999]])
def test_memory_does_not_grow_with_a_file(star_lake: StarLake, gone: list[int]) -> None:
    many = 1_000_000
    numbers = pa.array(range(many), pa.int32())
    texts = numbers.cast(pa.string())
    star_lake.add("dim_currency")
    star_lake.table("dim_currency").append(
        pa.table(
            {
                "currency_id": numbers,
                "currency_code": texts,
                "currency_name": texts,
                "is_deleted": pa.array([False]).take(pa.array([0] * many)),
                "run_id": texts,
                "_sequence": pa.array([1], pa.int64()).take(pa.array([0] * many)),
            }
        )
    )
    versions = star_lake.lake.versions(CURRENCY, after=0, through=1)
    versions = without(star_lake, versions, gone) if gone else versions

    with counted_memory() as pool:
        read = sum(batch.num_rows for _, batch in versions.batches())

    assert read == many - len(gone)
    assert 0 < pool.max_memory() < _MOST_BYTES


@contextmanager
def counted_memory() -> Iterator[pa.MemoryPool]:
    """Has Arrow allocate from a pool of its own, which knows its peak."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)
