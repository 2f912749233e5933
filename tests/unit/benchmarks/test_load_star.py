"""The star schema that the load benchmark makes."""

import datetime

import pyarrow as pa
import pytest

from benchmarks.load import star
from lambdas.load.catalog import WarehouseColumn, WarehouseTable

_REFERENCES = {
    "sales_staff_id": "dim_staff",
    "counterparty_id": "dim_counterparty",
    "currency_id": "dim_currency",
    "design_id": "dim_design",
    "agreed_delivery_location_id": "dim_location",
}


def test_parts_follow_each_other_and_end_where_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star, "ROWS_AT_A_TIME", 10)

    parts = list(star.sales_orders(5, 23, 23))

    assert [len(part) for part in parts] == [10, 10, 3]
    keys = pa.concat_tables(parts).column("sales_record_id").to_pylist()
    assert keys == list(range(5, 28))


def test_every_sales_order_names_rows_that_the_dimensions_have() -> None:
    orders = next(star.sales_orders(1, 5_000, 5_000)).to_pydict()

    for column, table in _REFERENCES.items():
        assert set(orders[column]) <= set(range(1, star.DIMENSION_ROWS[table] + 1))
    first = datetime.date(2023, 1, 1)
    days = {first + datetime.timedelta(day) for day in range(star.DIMENSION_ROWS["dim_date"])}
    for column in orders:
        if column.endswith("_date"):
            assert set(orders[column]) <= days


def test_in_the_lake_times_are_text_and_rows_name_their_run() -> None:
    rows = pa.table(
        {
            "key": pa.array([1], pa.int64()),
            "at": pa.array([datetime.time(9, 30, 0, 5)], pa.time64("us")),
        }
    )
    columns = (
        WarehouseColumn("key", "bigint", True),
        WarehouseColumn("at", "time without time zone", True),
    )

    table = WarehouseTable("fact", "key", columns, (), natural_key="key", is_fact=True)
    in_lake = star.as_in_the_lake(rows, table, 7)

    assert in_lake.to_pylist() == [{"key": 1, "at": "09:30:00.000005", "_sequence": 7}]
