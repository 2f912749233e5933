"""Numbers and tables as the pages show them."""

import datetime
from decimal import Decimal
from typing import Any

import pytest

from dashboard.app import ago, moment, number
from dashboard.charts import Bar, months
from dashboard.figures import MOST_CURRENCIES, MOST_ROWS, figure
from dashboard.filters import Filters
from dashboard.queries import PAGES, QUERIES, page
from dashboard.warehouse import Row
from star_schema.tables import star_table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1234567.5"), "1,234,567.50"),
        (Decimal("0.1234567890"), "0.123456789"),
        (Decimal("1E+3"), "1,000.00"),
        (Decimal(-12345678901234567890), "-12,345,678,901,234,567,890.00"),
        (
            Decimal("123456789012345678901234567.8901234567"),
            "123,456,789,012,345,678,901,234,567.8901234567",
        ),
        (1234, "1,234"),
        (None, "none"),
        ("text", "text"),
        ("Ōsaka\u00a0\u202eKöln", "Ōsaka\u00a0\\u202eKöln"),
        (" ", "(empty)"),
    ],
)
def test_a_number_loses_no_place(value: Any, shown: str) -> None:
    assert number(value) == shown


def test_times_are_in_utc_and_ages_in_their_largest_unit() -> None:
    now = datetime.datetime.now(datetime.UTC)

    assert moment(datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)) == "2026-03-02 12:00 UTC"
    assert moment(None) == "unknown"
    assert ago(now - datetime.timedelta(days=2, hours=3)) == "2 days ago"
    assert ago(now - datetime.timedelta(hours=1, minutes=5)) == "1 hour ago"
    assert ago(now + datetime.timedelta(minutes=5)) == "0 minutes ago"


def rows(labels: int, currencies: int) -> list[Row]:
    return [
        {
            "id": label,
            "label": f"label {label}",
            "currency": f"C{currency}",
            "counted": label,
            "amount": Decimal(label * currency),
        }
        for label in range(1, labels + 1)
        for currency in range(1, currencies + 1)
    ]


def test_categories_beyond_the_first_and_further_currencies_are_told() -> None:
    sales = page("sales")
    chart = next(one for one in sales.charts if one.name == "by_staff")

    shown = figure(sales, chart, rows(MOST_ROWS + 3, MOST_CURRENCIES + 2), Filters(), "")

    assert len(shown.lines) == MOST_ROWS
    assert shown.hidden == 3
    assert shown.lines[0].label == f"label {MOST_ROWS + 3}"
    assert len(shown.columns) == 1 + MOST_CURRENCIES
    assert shown.notes == ("2 further currencies are counted, and have no column.",)
    whole = Filters(whole="by_staff")
    assert not figure(sales, chart, rows(MOST_ROWS + 3, 1), whole, "").hidden


def test_a_bar_is_as_long_as_its_part_of_the_largest_of_its_column() -> None:
    sales = page("sales")
    chart = next(one for one in sales.charts if one.name == "by_staff")

    shown = figure(sales, chart, rows(4, 1), Filters(), "")

    assert [cell.percent for line in shown.lines for cell in line.cells[1:]] == [100, 75, 50, 25]


def test_a_row_of_a_star_table_leads_to_its_life() -> None:
    sales = page("sales")
    chart = next(one for one in sales.charts if one.table)
    found: list[Row] = [{"sales_order_id": 1234, "units": 5}]

    (line,) = figure(sales, chart, found, Filters(), "").lines

    assert (line.label, line.address) == ("1234", "/trace/fact_sales_order/1234")


@pytest.mark.parametrize("name", ["sales", "purchases", "payments"])
def test_the_rows_of_a_page_begin_with_the_key_of_their_table(name: str) -> None:
    (chart,) = (one for one in page(name).charts if one.table)

    assert chart.query.split()[1] == f"{star_table(chart.table).natural_key},"


@pytest.mark.parametrize("name", PAGES)
def test_every_file_of_a_page_is_declared(name: str) -> None:
    declared = page(name)
    names = {source.name for source in declared.sources} | {one.name for one in declared.charts}

    assert {file.stem for file in (QUERIES / name).glob("*.sql")} <= names
    assert {chart.kind for chart in declared.charts} <= {"totals", "months", "breakdown", "table"}
    if declared.sources:
        sources = {source.name for source in declared.sources}
        assert {chart.source for chart in declared.charts} <= sources


@pytest.mark.parametrize(("height", "tick"), [("0.3", ">0.3<"), ("300000000", ">300M<")])
def test_a_drawing_writes_small_amounts_out_and_abbreviates_large_ones(
    height: str, tick: str
) -> None:
    drawn = months([Bar("2026-01", "paid", Decimal(height))], ["paid", "unpaid"])

    assert tick in drawn
    assert "var(--mark)" in drawn
