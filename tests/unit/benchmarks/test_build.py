"""The build's limit makes the star in DuckDB, and stars are compared row by row."""

from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.build import exactness
from benchmarks.build.contenders.task import Report, Task, read_report, task, write_report
from benchmarks.build.statements import statements
from star_schema.tables import star_tables

AT = datetime(2024, 2, 28, 23, 59, 58, 123456)
ORDER = {
    "created_at": AT,
    "last_updated": AT,
    "staff_id": 1,
    "counterparty_id": 1,
    "currency_id": 1,
    "agreed_delivery_date": "2024-03-01",
    "agreed_payment_date": "2025-03-01",
    "agreed_delivery_location_id": 1,
}
ADDRESS = dict.fromkeys(
    ("address_line_1", "address_line_2", "district", "city", "postal_code", "country", "phone"), "x"
)
PAYMENT = {
    "created_at": AT,
    "last_updated": AT,
    "transaction_id": 1,
    "counterparty_id": 1,
    "payment_amount": "12.50",
    "currency_id": 1,
    "payment_type_id": 1,
    "paid": True,
}
SOURCES: dict[str, list[dict[str, object]]] = {
    "address": [{"address_id": 1, **ADDRESS}],
    "counterparty": [
        {"counterparty_id": 1, "counterparty_legal_name": "it's", "legal_address_id": 1}
    ],
    "currency": [{"currency_id": 1, "currency_code": "GBP"}],
    "department": [{"department_id": 1, "department_name": "d", "location": None}],
    "design": [{"design_id": 1, "design_name": "d", "file_location": "/", "file_name": "f"}],
    "payment": [
        {"payment_id": 7, "payment_date": "soon", **PAYMENT},
        {"payment_id": 9, "payment_date": "2024-02-29", **PAYMENT},
        {"payment_id": 3, "payment_date": "2024-02-29", **PAYMENT},
    ],
    "payment_type": [{"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"}],
    "purchase_order": [
        {
            "purchase_order_id": 1,
            "item_code": "A",
            "item_quantity": 1,
            "item_unit_price": "1.25",
            **ORDER,
        }
    ],
    "sales_order": [
        {"sales_order_id": 1, "design_id": 1, "units_sold": 1, "unit_price": "2.00", **ORDER}
    ],
    "staff": [
        {
            "staff_id": 1,
            "first_name": "a",
            "last_name": "b",
            "department_id": 1,
            "email_address": "c",
        }
    ],
    "transaction": [
        {
            "transaction_id": 1,
            "transaction_type": "SALE",
            "sales_order_id": 1,
            "purchase_order_id": None,
        }
    ],
}


@pytest.fixture
def duckdb_star(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> exactness.Star:
    files = {}
    for source, rows in SOURCES.items():
        files[source] = [tmp_path / f"{source}.raw"]
        pq.write_table(pa.Table.from_pylist(rows), files[source][0])
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        connection.execute(statements(files))
    return exactness.local_star(tmp_path)


def rows_of(star: exactness.Star, table: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(star[table][0]).to_pylist()
    return rows


def test_the_limit_makes_every_table_with_numbered_facts(duckdb_star: exactness.Star) -> None:
    payments = rows_of(duckdb_star, "fact_payment")

    assert {star.name for star in star_tables()} == set(duckdb_star)
    assert all(rows_of(duckdb_star, table) for table in duckdb_star)
    assert [(row["payment_record_id"], row["payment_id"]) for row in payments] == [(1, 3), (2, 9)]
    assert payments[0]["created_time"] == "23:59:58.123456"
    assert payments[0]["payment_date"] == date(2024, 2, 29)
    assert rows_of(duckdb_star, "dim_currency")[0]["currency_name"] == "Pound Sterling"


def test_the_limits_calendar_has_whole_years(duckdb_star: exactness.Star) -> None:
    days = rows_of(duckdb_star, "dim_date")

    assert [day["date_id"] for day in (days[0], days[-1])] == [
        date(2024, 1, 1),
        date(2025, 12, 31),
    ]
    assert len(days) == 366 + 365
    assert (days[0]["day_of_week"], days[0]["day_name"]) == (1, "Monday")
    assert (days[6]["day_of_week"], days[6]["month_name"]) == (7, "January")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([1, 2, 3], ()),
        ([3, 1, 2], ()),
        ([1, 2], ("t: 1 rows missing, 0 too many",)),
        ([1, 2, 4], ("t: 1 rows missing, 1 too many",)),
        ([1, 2, 3, 3], ("t: 0 rows missing, 1 too many",)),
    ],
)
def test_stars_that_differ_say_by_how_many_rows(
    tmp_path: Path, found: list[int], said: tuple[str, ...]
) -> None:
    def star(name: str, values: list[int]) -> exactness.Star:
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"value": values}), path)
        return {"t": [path]}

    assert exactness.differences(star("wanted", [1, 2, 3]), star("found", found)) == said


def test_a_contender_finds_its_task_and_leaves_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = Task(raw_bucket="raw", database="star", through=3, rebuild=True)
    report = Report(1.5, 2.5, 3, 4, 5)
    monkeypatch.setenv("BENCHMARK_TASK", todo.to_json())
    monkeypatch.setenv("BENCHMARK_FOLDER", str(tmp_path))

    assert task() == todo
    assert read_report(tmp_path) is None
    write_report(report)
    assert read_report(tmp_path) == report
