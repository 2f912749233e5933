"""A star schema to load: dimensions and sales orders, generated from their numbers."""

import datetime
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from lambdas.load.catalog import WarehouseTable

DATABASE: Final = "benchmark_star"
DIMENSION_ROWS: Final = {
    "dim_date": 1100,
    "dim_staff": 20,
    "dim_location": 30,
    "dim_currency": 3,
    "dim_design": 250,
    "dim_counterparty": 20,
}
"""How many rows each dimension has that a sales order names."""
ROWS_AT_A_TIME: Final = 250_000
_FIRST_DAY = (datetime.date(2023, 1, 1) - datetime.date(1970, 1, 1)).days
_MICROSECONDS_A_DAY = 86_400_000_000
_RUN = "2026-11-20T09:30:00Z-benchmark"
_LAKE_TYPES: Final = {
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "character varying": pa.string(),
    "date": pa.date32(),
    "integer": pa.int32(),
    "numeric": pa.decimal128(38, 10),
    "time without time zone": pa.string(),
}


def lake_schema(table: WarehouseTable) -> pa.Schema:
    """Returns a table's schema in the lake."""
    columns = [pa.field(column.name, _LAKE_TYPES[column.type]) for column in table.columns]
    return pa.schema([*columns, pa.field("_sequence", pa.int64())])


def dimension(table: WarehouseTable) -> pa.Table:
    """Returns a dimension's rows, of run 1."""
    numbers = range(1, DIMENSION_ROWS[table.name] + 1)
    values = {
        "boolean": [False for _ in numbers],
        "character varying": [f"{table.name} {number}" for number in numbers],
        "date": [_FIRST_DAY + number - 1 for number in numbers],
        "integer": list(numbers),
    }
    columns = [
        pa.array(values[column.type], pa.int32() if column.type == "date" else None).cast(
            _LAKE_TYPES[column.type]
        )
        for column in table.columns
    ]
    return pa.Table.from_arrays(
        [*columns, pa.array([1 for _ in numbers])], schema=lake_schema(table)
    )


def sales_orders(first: int, rows: int, orders: int) -> Iterator[pa.Table]:
    """Yields sales orders in the warehouse's columns, with times of day as their type.

    Args:
        first: The number of the first record.
        rows: The number of records.
        orders: The number of orders that the records are versions of.
    """
    for start in range(first, first + rows, ROWS_AT_A_TIME):
        n = np.arange(start, min(start + ROWS_AT_A_TIME, first + rows), dtype=np.int64)
        at = n * 3_037_001
        yield pa.table(
            {
                "sales_record_id": n,
                "sales_order_id": _number(1 + n * 7919 % orders),
                "created_date": _date(n % 700),
                "created_time": _time(at),
                "last_updated_date": _date(n % 900),
                "last_updated_time": _time(at * 7),
                "sales_staff_id": _number(1 + n % 20),
                "counterparty_id": _number(1 + n * 7 % 20),
                "units_sold": _number(1000 + n * 7919 % 99_001),
                "unit_price": _decimal((200 + n * 31 % 20_001) * 10 ** (4 + n % 5)),
                "currency_id": _number(1 + n % 3),
                "design_id": _number(1 + n % 250),
                "agreed_payment_date": _date(n % 1000),
                "agreed_delivery_date": _date(n % 1100),
                "agreed_delivery_location_id": _number(1 + n % 30),
                "is_deleted": pa.array(n % 50 == 0),
                "run_id": pa.array([_RUN]).take(pa.array(np.zeros(len(n), np.int32))),
            }
        )


def as_in_the_lake(rows: pa.Table, table: WarehouseTable, sequence: int) -> pa.Table:
    """Returns facts as in the lake: with times as text, and with their run."""
    sequences = pa.array(np.full(len(rows), sequence, np.int64))
    return rows.append_column("_sequence", sequences).cast(lake_schema(table))


def _number(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.int32))


def _date(days: np.ndarray) -> pa.Array:
    return pa.array((_FIRST_DAY + days).astype(np.int32)).cast(pa.date32())


def _time(microseconds: np.ndarray) -> pa.Array:
    return pa.array(microseconds % _MICROSECONDS_A_DAY).cast(pa.time64("us"))


def _decimal(unscaled: np.ndarray) -> pa.Array:
    """Returns decimals with ten decimal places: 128 bits each, the lower half first."""
    halves = np.stack([unscaled, unscaled >> 63], axis=1)
    return pa.Array.from_buffers(
        pa.decimal128(38, 10), len(unscaled), [None, pa.py_buffer(halves.tobytes())]
    )
