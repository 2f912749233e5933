"""The raw zone's entries in the Glue Data Catalog."""

import awswrangler as wr
import boto3
import pytest

from pipeline.errors import ManifestInvalid
from pipeline.manifest import Column
from tests.integration.publish.conftest import DESIGN, RawZone


def test_a_run_brings_tables_and_the_days_of_their_files(raw_zone: RawZone) -> None:
    sequence = raw_zone.commit(design=DESIGN, staff=(Column("staff_id", "integer", "int32"),))

    assert raw_zone.catalogue(sequence) == ["design", "staff"]

    assert raw_zone.columns("design") == {"design_id": "int", "design_name": "string"}
    assert raw_zone.days("design") == {"2026-01-31": "raw/design/year=2026/month=01/day=31/"}
    entry = boto3.client("glue").get_table(DatabaseName=raw_zone.database, Name="staff")["Table"]
    assert entry["StorageDescriptor"]["Location"] == f"s3://{raw_zone.bucket}/raw/staff/"
    assert [(key["Name"], key["Type"]) for key in entry["PartitionKeys"]] == [
        ("captured_on", "date")
    ]
    assert entry["Description"] == "Captures of the source's table staff, as Parquet files"


def test_every_type_of_the_raw_zone_has_its_type_in_the_catalogue(raw_zone: RawZone) -> None:
    types = {
        "int16": "smallint",
        "int32": "int",
        "int64": "bigint",
        "bool": "boolean",
        "date32[day]": "date",
        "float": "float",
        "double": "double",
        "string": "string",
        "timestamp[us]": "timestamp",
        "timestamp[us, tz=UTC]": "timestamp",
        "decimal128(10, 2)": "decimal(10,2)",
        "decimal128(38, 0)": "decimal(38,0)",
    }
    columns = tuple(Column(f"c{number}", "", raw) for number, raw in enumerate(types))

    raw_zone.catalogue(raw_zone.commit(design=columns))

    assert list(raw_zone.columns("design").values()) == list(types.values())


def test_a_type_that_the_catalogue_has_no_name_for_is_named(
    raw_zone: RawZone,
) -> None:
    sequence = raw_zone.commit(design=(Column("size", "interval", "duration[us]"),))

    with pytest.raises(ManifestInvalid, match=r"duration\[us\]"):
        raw_zone.catalogue(sequence)


def test_cataloguing_a_run_again_changes_nothing(raw_zone: RawZone) -> None:
    first = raw_zone.commit(design=DESIGN)
    second = raw_zone.commit(day="2026-02-01", design=DESIGN)
    raw_zone.catalogue(first)
    raw_zone.catalogue(second)

    assert raw_zone.catalogue(second) == []
    assert raw_zone.catalogue(first) == ["design"]
    assert raw_zone.catalogue(second) == ["design"]

    assert set(raw_zone.days("design")) == {"2026-01-31", "2026-02-01"}
    assert raw_zone.columns("design") == {"design_id": "int", "design_name": "string"}


def test_only_tables_that_changed_are_written(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN, staff=DESIGN))

    assert raw_zone.catalogue(raw_zone.commit(staff=DESIGN)) == ["staff"]
    assert raw_zone.catalogue(raw_zone.commit()) == []


def test_runs_whose_publish_failed_are_made_up_for(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(day="2026-01-01", design=DESIGN))
    raw_zone.commit(day="2026-01-02", design=DESIGN, staff=DESIGN)
    raw_zone.commit(day="2026-01-03", design=DESIGN)
    last = raw_zone.commit(day="2026-01-04")

    assert raw_zone.catalogue(last) == ["design", "staff"]

    assert set(raw_zone.days("design")) == {"2026-01-01", "2026-01-02", "2026-01-03"}
    assert set(raw_zone.days("staff")) == {"2026-01-02"}


def test_a_run_that_only_saw_rows_go_has_no_entry(raw_zone: RawZone) -> None:
    assert raw_zone.catalogue(raw_zone.commit(files=0, design=DESIGN)) == []


def test_many_files_of_one_day_are_one_partition(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(files=3, design=DESIGN))

    assert len(raw_zone.days("design")) == 1


def test_more_days_than_one_request_takes_are_all_catalogued(raw_zone: RawZone) -> None:
    days = [f"2026-{month:02d}-{day:02d}" for month in range(1, 6) for day in range(1, 24)]
    for day in days:
        last = raw_zone.commit(day=day, design=DESIGN)

    raw_zone.catalogue(last)

    assert set(raw_zone.days("design")) == set(days)


def test_a_column_that_was_added_between_runs_appears(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN))
    added = Column("weight", "numeric(5,2)", "decimal128(5, 2)")

    raw_zone.catalogue(raw_zone.commit(design=(*DESIGN, added)))

    assert raw_zone.columns("design")["weight"] == "decimal(5,2)"


def test_a_column_that_was_dropped_stays_for_the_files_that_have_it(raw_zone: RawZone) -> None:
    raw_zone.commit(design=DESIGN)

    raw_zone.catalogue(raw_zone.commit(design=DESIGN[:1]))

    assert raw_zone.columns("design") == {"design_id": "int", "design_name": "string"}


def test_a_column_of_another_type_has_it_from_its_run_on(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(day="2026-01-01", design=DESIGN))
    retyped = (Column("design_id", "bigint", "int64"), DESIGN[1])

    assert raw_zone.catalogue(raw_zone.commit(day="2026-01-02", design=retyped)) == ["design"]

    assert raw_zone.columns("design")["design_id"] == "bigint"
    assert list(raw_zone.days("design")) == ["2026-01-02"]
    description = raw_zone.entry("design")["Description"]
    assert description.endswith("since run 2: a column had another type before")
    raw_zone.catalogue(raw_zone.commit(day="2026-01-03", design=retyped))
    assert sorted(raw_zone.days("design")) == ["2026-01-02", "2026-01-03"]
    assert raw_zone.entry("design")["Description"] == description


def test_a_column_that_changes_its_type_while_publish_fails_has_its_last_type(
    raw_zone: RawZone,
) -> None:
    raw_zone.catalogue(raw_zone.commit(day="2026-01-01", design=DESIGN))
    raw_zone.commit(day="2026-01-02", design=(Column("design_id", "text", "string"), DESIGN[1]))
    raw_zone.catalogue(raw_zone.commit(day="2026-01-03", design=DESIGN))

    assert raw_zone.columns("design")["design_id"] == "int"
    assert list(raw_zone.days("design")) == ["2026-01-03"]


def test_a_raw_zone_that_was_begun_again_is_catalogued_from_its_first_run(
    raw_zone: RawZone, new_raw_bucket: str
) -> None:
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        raw_zone.catalogue(raw_zone.commit(day=day, design=DESIGN))
    raw_zone.bucket, raw_zone.newest = new_raw_bucket, None

    assert raw_zone.catalogue(raw_zone.commit(day="2026-02-01", design=DESIGN)) == ["design"]

    assert "2026-02-01" in raw_zone.days("design")


def test_values_that_were_not_held_of_any_source_are_one_table_by_source_and_day(
    raw_zone: RawZone,
) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN))
    raw_zone.commit(not_held=2, design=DESIGN)
    sequence = raw_zone.commit(day="2026-02-01", not_held=1, design=DESIGN, currency=DESIGN)

    assert raw_zone.catalogue(sequence) == ["currency", "design"]

    assert list(raw_zone.columns("raw_quarantine")) == [
        "source_table",
        "primary_key",
        "column_name",
        "value",
        "reason",
        "source_row",
    ]
    assert raw_zone.days("raw_quarantine") == {
        "design-2026-01-31": "raw_quarantine/design/year=2026/month=01/day=31/",
        "design-2026-02-01": "raw_quarantine/design/year=2026/month=02/day=01/",
        "currency-2026-02-01": "raw_quarantine/currency/year=2026/month=02/day=01/",
    }


def test_there_is_no_table_of_values_that_were_not_held_where_all_are(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN))

    tables = raw_zone.glue.get_tables(DatabaseName=raw_zone.database)["TableList"]
    assert [table["Name"] for table in tables] == ["design"]


def test_columns_may_be_called_as_parts_of_a_date_and_as_the_partition(raw_zone: RawZone) -> None:
    names = ("year", "month", "day", "captured_on", "CAPTURED_ON_1")
    raw_zone.catalogue(raw_zone.commit(design=tuple(Column(n, "text", "string") for n in names)))

    entry = raw_zone.entry("design")

    assert list(raw_zone.columns("design")) == [name.lower() for name in names]
    assert [key["Name"] for key in entry["PartitionKeys"]] == ["captured_on_2"]
    assert list(raw_zone.days("design")) == ["2026-01-31"]


def test_a_new_column_called_as_the_partition_gives_the_partition_another_name(
    raw_zone: RawZone,
) -> None:
    raw_zone.catalogue(raw_zone.commit(day="2026-01-01", design=DESIGN))
    added = Column("captured_on", "date", "date32[day]")

    raw_zone.catalogue(raw_zone.commit(day="2026-01-02", design=(*DESIGN, added)))

    assert raw_zone.columns("design")["captured_on"] == "date"
    assert [key["Name"] for key in raw_zone.entry("design")["PartitionKeys"]] == ["captured_on_1"]
    assert set(raw_zone.days("design")) == {"2026-01-01", "2026-01-02"}


def test_tables_whose_names_are_alike_have_an_entry_each_that_names_them(
    raw_zone: RawZone,
) -> None:
    sources = ("design", "Design", "DESIGN", "sales order", "Zahlung_\u00dc", "\u652f\u6255\u3044")

    raw_zone.catalogue(raw_zone.commit(tables=dict.fromkeys(sources, DESIGN)))

    assert {entry["Parameters"]["source_table"]: entry["Name"] for entry in raw_zone.entries()} == {
        "design": "design",
        "DESIGN": "design_1",
        "Design": "design_2",
        "sales order": "sales order",
        "Zahlung_\u00dc": "zahlung_\u00fc",
        "\u652f\u6255\u3044": "\u652f\u6255\u3044",
    }
    for entry in raw_zone.entries():
        source = entry["Parameters"]["source_table"]
        location = entry["StorageDescriptor"]["Location"]
        assert location == f"s3://{raw_zone.bucket}/raw/{source}/"
        assert source in entry["Description"]


def test_a_table_called_as_the_quarantine_has_another_entry(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(not_held=1, raw_quarantine=DESIGN))

    assert list(raw_zone.columns("raw_quarantine_1")) == ["design_id", "design_name"]
    assert next(iter(raw_zone.columns("raw_quarantine"))) == "source_table"


def test_every_column_has_the_name_that_its_files_have(raw_zone: RawZone) -> None:
    names = ("createdAt", "two words", "\u00c4", "\u540d\u524d", 'a"b')

    raw_zone.catalogue(raw_zone.commit(design=tuple(Column(n, "text", "string") for n in names)))

    columns = raw_zone.entry("design")["StorageDescriptor"]["Columns"]
    assert [column["Name"] for column in columns] == [name.lower() for name in names]
    assert [column["Comment"] for column in columns] == [f"{name}: text" for name in names]


def test_columns_that_athena_cannot_tell_apart_are_named_and_not_in_the_catalogue(
    raw_zone: RawZone,
) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN))
    twin = Column("Design_Name", "text", "string")

    raw_zone.catalogue(raw_zone.commit(design=(*DESIGN, twin)))

    assert list(raw_zone.columns("design")) == ["design_id"]
    description = raw_zone.entry("design")["Description"]
    assert "Without Design_Name, design_name: Athena does not" in description


def test_a_column_that_is_renamed_by_case_alone_stays_one_column(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN))

    raw_zone.catalogue(raw_zone.commit(design=(DESIGN[0], Column("Design_Name", "text", "string"))))

    assert list(raw_zone.columns("design")) == ["design_id", "design_name"]


def test_entries_of_the_first_version_are_made_anew(raw_zone: RawZone) -> None:
    raw_zone.commit(day="2026-01-01", not_held=1, tables={"sales order": DESIGN, "design": DESIGN})
    last = raw_zone.commit(day="2026-01-02", design=DESIGN)
    partitions = {"year": "string", "month": "string", "day": "string"}
    for name, source, keys in (
        ("design", "design", partitions),
        ("sales_order", "sales order", partitions),
        ("raw_quarantine", "", {"source": "string"} | partitions),
    ):
        wr.catalog.create_parquet_table(
            database=raw_zone.database,
            table=name,
            path=f"s3://{raw_zone.bucket}/raw/{source}/",
            columns_types={"design_id": "int", "design_name": "string"},
            partitions_types=keys,
            parameters={"catalogued_through": "2"},
        )
        wr.catalog.add_parquet_partitions(
            database=raw_zone.database,
            table=name,
            partitions_values={f"s3://{raw_zone.bucket}/raw/{source}/x/": ["2026"] * len(keys)},
        )

    raw_zone.catalogue(last)

    assert {entry["Name"] for entry in raw_zone.entries()} == {
        "design",
        "raw_quarantine",
        "sales order",
    }
    assert set(raw_zone.days("design")) == {"2026-01-01", "2026-01-02"}
    assert set(raw_zone.days("sales order")) == {"2026-01-01"}
    assert set(raw_zone.days("raw_quarantine")) == {"design-2026-01-01", "sales order-2026-01-01"}


def test_parameters_that_somebody_added_stay(raw_zone: RawZone) -> None:
    raw_zone.catalogue(raw_zone.commit(design=DESIGN))
    wr.catalog.upsert_table_parameters(
        {"owner": "sales"}, database=raw_zone.database, table="design"
    )

    raw_zone.catalogue(raw_zone.commit(design=DESIGN))

    assert raw_zone.entry("design")["Parameters"]["owner"] == "sales"
