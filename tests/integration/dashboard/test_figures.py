"""The figures of the pages, compared with plain Python, and read as the reporting role."""

import datetime
import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest

from dashboard.filters import Filters
from dashboard.queries import PAGES, page
from dashboard.warehouse import Connect, Freshness, Reading, Row, reading
from tests.integration.dashboard.world import (
    BEFORE,
    COMPLETE_AS_OF,
    COUNTRIES,
    FIRST_DAY,
    NOW,
    PAYMENTS,
    SALES,
    Fact,
    latest,
    newest,
    totals,
)

CHOICES: dict[str, tuple[tuple[str, ...], Callable[[Fact], str]]] = {
    "currency": (("1", "3"), lambda fact: str(fact.values["currency_id"])),
    "country": (("Poland", ""), lambda fact: COUNTRIES[fact.values["counterparty_id"]]),
    "counterparty": (("1", "2"), lambda fact: str(fact.values["counterparty_id"])),
    "staff": (("2",), lambda fact: str(fact.values["sales_staff_id"])),
    "design": (("1", "2", "3", "4", "5", "6"), lambda fact: str(fact.values["design_id"])),
}
COMBINATIONS = [names for size in (0, 1, 2, 5) for names in itertools.combinations(CHOICES, size)]


def charts(connect: Connect, name: str, filters: Filters) -> dict[str, list[Row]]:
    wanted = page(name)
    with reading(connect) as read:
        return read.charts(wanted, filters.parameters(wanted.filters, NOW))


def found(rows: list[Row]) -> dict[str, tuple[int, Decimal]]:
    return {row["currency"]: (row["counted"], Decimal(row["amount"])) for row in rows}


def summed(rows: list[Row]) -> dict[str, tuple[int, Decimal]]:
    sums: dict[str, tuple[int, Decimal]] = {}
    for row in rows:
        count, amount = sums.get(row["currency"], (0, Decimal(0)))
        sums[row["currency"]] = (count + row["counted"], amount + Decimal(row["amount"]))
    return sums


@pytest.mark.parametrize("as_of", [None, BEFORE], ids=["now", "history"])
@pytest.mark.parametrize("names", COMBINATIONS, ids=" and ".join)
def test_filters_that_are_chosen_together_hold_together(
    connect: Connect, names: tuple[str, ...], as_of: datetime.date | None
) -> None:
    end = FIRST_DAY + datetime.timedelta(days=40)
    values = tuple((name, text) for name in names for text in CHOICES[name][0])
    facts = [
        fact
        for fact in latest(SALES, run=1 if as_of else 2)
        if fact.values["created_date"] <= end
        and all(CHOICES[name][1](fact) in CHOICES[name][0] for name in names)
    ]

    rows = charts(connect, "sales", Filters(values, end=end, as_of=as_of))

    expected = totals(facts, "unit_price", "units_sold")
    assert found(rows["totals"]) == expected
    for chart in ("by_month", "by_counterparty", "by_country", "by_staff", "by_design"):
        assert summed(rows[chart]) == expected


def test_history_shows_the_facts_as_a_run_knew_them_and_nothing_before_the_first(
    connect: Connect,
) -> None:
    for as_of, run in ((None, 2), (NOW, 2), (BEFORE, 1), (BEFORE - datetime.timedelta(1), 0)):
        rows = charts(connect, "payments", Filters(as_of=as_of))
        known = latest(PAYMENTS, run)
        assert found(rows["totals"]) == totals(known, "payment_amount")
        unpaid = [fact for fact in known if not fact.values["paid"]]
        assert summed(rows["unpaid_by_age"]) == totals(unpaid, "payment_amount")


def test_two_counterparties_of_one_name_are_two(connect: Connect) -> None:
    rows = charts(connect, "sales", Filters())["by_counterparty"]

    assert {row["id"] for row in rows} == {1, 2, 3}


def test_an_unpaid_payment_is_as_old_as_the_day_of_the_facts_says(connect: Connect) -> None:
    def ages(as_of: datetime.date | None) -> dict[int, int]:
        sums: dict[int, int] = {}
        for row in charts(connect, "payments", Filters(as_of=as_of))["unpaid_by_age"]:
            sums[row["id"]] = sums.get(row["id"], 0) + row["counted"]
        return sums

    def age(fact: Fact, day: datetime.date) -> int:
        days = (day - fact.values["payment_date"]).days
        return sum(days >= bound for bound in (1, 31, 91, 181, 366, 731))

    for as_of, run, day in ((None, 2, NOW), (BEFORE, 1, BEFORE)):
        expected: dict[int, int] = {}
        for fact in latest(PAYMENTS, run):
            if not fact.values["paid"]:
                expected[age(fact, day)] = expected.get(age(fact, day), 0) + 1
        assert ages(as_of) == expected


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters((("currency", "1"), ("country", "O'Hara")), NOW, NOW, BEFORE),
    ],
    ids=["no filter", "filters"],
)
def test_the_sql_beside_a_chart_is_what_made_it(
    connect: Connect, name: str, filters: Filters
) -> None:
    wanted = page(name)
    parameters = filters.parameters(wanted.filters, NOW)
    with reading(connect) as read:
        together = read.charts(wanted, parameters)
        texts = {
            chart.name: read.as_text(wanted.query_of(chart), parameters) for chart in wanted.charts
        }

    with connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        for chart, text in texts.items():
            alone: list[dict[str, Any]] = cursor.execute(text.encode()).fetchall()
            assert [str(row.get("amount")) for row in alone] == [
                str(row.get("amount")) for row in together[chart]
            ]
            assert len(alone) == len(together[chart])


def test_the_newest_rows_are_those_of_the_selection_at_the_chosen_time(connect: Connect) -> None:
    for filters, run in ((Filters(), 2), (Filters(as_of=BEFORE), 1)):
        shown = {
            name: [row[key] for row in charts(connect, name, filters)["newest"]]
            for name, key in (("sales", "sales_order_id"), ("payments", "payment_id"))
        }
        assert shown == {"sales": newest(SALES, run), "payments": newest(PAYMENTS, run)}


def test_a_page_shows_one_instant_of_the_warehouse_and_writes_nothing(connect: Connect) -> None:
    with reading(connect) as read:
        connection = read._connection
        setting = connection.execute("select current_setting('transaction_isolation')")
        assert setting.fetchone() == ("repeatable read",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("create table mine ()")


def test_what_waits_is_told_without_the_content_of_the_rows(connect: Connect) -> None:
    rows = charts(connect, "waiting", Filters())["waiting"]

    assert [(row["table_name"], row["rule"], row["rows"]) for row in rows] == [
        ("fact_payment", "dim_currency has no currency_id", 1)
    ]
    with reading(connect) as read, pytest.raises(psycopg.errors.InsufficientPrivilege):
        read._connection.execute("select content from waiting_row")


def test_a_policy_that_hides_rows_is_an_error_and_no_smaller_figure(
    connect: Connect, warehouse_url: str
) -> None:
    with psycopg.connect(warehouse_url, autocommit=True) as owner:
        owner.execute("alter table fact_payment enable row level security")
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                charts(connect, "payments", Filters())
        finally:
            owner.execute("alter table fact_payment disable row level security")


def freshness_after(warehouse_url: str, change: LiteralString) -> Freshness:
    with (
        psycopg.connect(warehouse_url) as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute(change)
        return Reading(connection).freshness()


def test_the_warehouse_is_as_fresh_as_the_newest_execution_that_found_nothing_new(
    connect: Connect,
) -> None:
    with reading(connect) as read:
        freshness = read.freshness()

    assert freshness.complete_as_of == COMPLETE_AS_OF
    assert (freshness.through, freshness.tables_behind, freshness.day) == (2, 0, NOW)


@pytest.mark.parametrize(
    ("change", "run_day"),
    [
        ("delete from warehouse_freshness", NOW),
        ("update load_position set sequence = 1 where table_name = 'dim_staff'", BEFORE),
    ],
    ids=["before the first execution that writes it", "after a table has fallen back"],
)
def test_a_warehouse_that_is_not_known_to_be_complete_has_its_snapshot_only(
    warehouse_url: str, change: LiteralString, run_day: datetime.date
) -> None:
    freshness = freshness_after(warehouse_url, change)

    assert freshness.complete_as_of is None
    assert freshness.snapshot_at
    assert freshness.snapshot_at.date() == freshness.day == run_day


def test_an_instant_of_an_earlier_run_holds_until_publish_writes_the_next(
    warehouse_url: str,
) -> None:
    freshness = freshness_after(warehouse_url, "update load_position set sequence = 3")

    assert freshness.complete_as_of == COMPLETE_AS_OF
