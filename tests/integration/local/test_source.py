"""The generated source is like real copies of the database, and business happens in it."""

import itertools
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from local.postgres import PostgresServer
from local.source.activity import run_activity
from local.source.generate import create_and_fill

ROWS = {
    "address": 30,
    "counterparty": 20,
    "currency": 3,
    "department": 8,
    "design": 250,
    "staff": 20,
    "payment_type": 4,
    "sales_order": 5000,
    "purchase_order": 2200,
    "transaction": 7200,
    "payment": 7200,
}
ORDERS = ("sales_order", "purchase_order", "transaction", "payment")

Query = Callable[[str], list[tuple[Any, ...]]]


def rows_of(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """Returns a query's rows."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def content(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Returns all rows of all tables."""
    return {table: rows_of(dsn, f"select * from {table} order by 1") for table in ROWS}


@pytest.fixture(scope="module")
def business(postgres_server: PostgresServer) -> str:
    """The database of a generated business of the real size, which tests only read."""
    dsn = postgres_server.create_database("business")
    create_and_fill(dsn)
    return dsn


@pytest.fixture
def query(business: str) -> Query:
    """Reads from the generated business."""
    return lambda text: rows_of(business, text)


@pytest.mark.parametrize("table", ROWS)
def test_a_table_has_as_many_rows_as_the_real_one(query, table):
    assert query(f"select count(*) from {table}") == [(ROWS[table],)]


def test_the_same_seed_and_scale_give_the_same_rows(new_database):
    one, same, other = (new_database("totesys") for _ in range(3))
    create_and_fill(one, scale=0.02, seed=7)
    create_and_fill(same, scale=0.02, seed=7)
    create_and_fill(other, scale=0.02, seed=8)
    first, again, another = content(one), content(same), content(other)
    assert again == first
    assert {table for table in ROWS if another[table] != first[table]} == set(ORDERS)


@pytest.mark.parametrize(("scale", "orders"), [(0.1, (500, 220)), (0, (1, 1))])
def test_orders_are_as_many_as_the_scale_says(source_dsn, scale, orders):
    create_and_fill(source_dsn, scale=scale)
    counts = "select (select count(*) from sales_order), (select count(*) from purchase_order)"
    assert rows_of(source_dsn, counts) == [orders]


@pytest.mark.parametrize("table", ["design", "sales_order", "purchase_order"])
def test_identities_have_gaps_and_go_on_after_the_last_one(query, table):
    [(count, last, following)] = query(f"""
        select count(*), max({table}_id), nextval(pg_get_serial_sequence('{table}', '{table}_id'))
        from {table}""")
    assert count < last < following


def test_many_rows_share_a_last_updated_and_some_were_updated_later(query):
    [(most,)] = query(
        "select count(*) from purchase_order group by last_updated order by 1 desc limit 1"
    )
    assert most >= 31
    assert query("select count(*) > 100 from sales_order where last_updated > created_at") == [
        (True,)
    ]


def test_last_updated_has_milliseconds(query):
    [(milliseconds,)] = query("""
        select count(*) from sales_order
        where extract(milliseconds from last_updated)::numeric % 1000 <> 0""")
    assert milliseconds > 0


@pytest.mark.parametrize(
    ("table", "column", "text"),
    [
        ("address", "address_line_2", ""),
        ("address", "address_line_2", "null"),
        ("address", "district", "None"),
        ("department", "manager", "null"),
        ("department", "manager", "None"),
        ("department", "manager", ""),
        ("counterparty", "delivery_contact", ""),
    ],
)
def test_empty_text_and_the_words_for_nothing_stand_beside_nulls(query, table, column, text):
    assert query(f"select distinct true from {table} where {column} is null")
    assert query(f"select distinct true from {table} where {column} = '{text}'")


@pytest.mark.parametrize(
    ("table", "column", "pattern"),
    [
        ("address", "address_line_1", "''"),
        ("address", "address_line_1", '"'),
        ("address", "address_line_1", ","),
        ("address", "address_line_1", "[東У]"),
        ("address", "postal_code", "^0"),
        ("address", "phone", "^0"),
        ("staff", "last_name", "''"),
        ("counterparty", "counterparty_legal_name", '"'),
        ("counterparty", "counterparty_legal_name", ","),
        ("design", "design_name", "木"),
    ],
)
def test_text_is_as_awkward_as_real_text(query, table, column, pattern):
    assert query(f"select distinct true from {table} where {column} ~ '{pattern}'")


def test_business_dates_are_dates_as_text_over_more_than_a_year(query):
    for table, column in itertools.product(
        ("sales_order", "purchase_order"), ("agreed_delivery_date", "agreed_payment_date")
    ):
        [(malformed, days)] = query(f"""
            select
                count(*) filter (where {column} !~ '^\\d{{4}}-\\d\\d-\\d\\d$'),
                max({column}::date) - min({column}::date)
            from {table}""")
        assert malformed == 0
        assert days > 365


def test_each_order_has_one_transaction_and_one_payment_of_its_own_kind(query):
    kinds = query("""
        select transaction_type, payment_type_name, count(*), count(distinct transaction_id),
            count(sales_order_id), count(purchase_order_id)
        from transaction
        join payment using (transaction_id)
        join payment_type using (payment_type_id)
        group by 1, 2
        order by 1, 2""")
    by_kind = {row[:2]: row[2:] for row in kinds}
    assert set(by_kind) == {
        ("PURCHASE", "PURCHASE_PAYMENT"),
        ("PURCHASE", "PURCHASE_REFUND"),
        ("SALE", "SALES_RECEIPT"),
        ("SALE", "SALES_REFUND"),
    }
    for (kind, _), (payments, transactions, sales, purchases) in by_kind.items():
        assert payments == transactions == (sales if kind == "SALE" else purchases)
        assert (purchases if kind == "SALE" else sales) == 0
    assert sum(counts[0] for counts in by_kind.values()) == ROWS["transaction"]


def test_amounts_are_in_the_real_ranges_and_numeric_without_a_precision(query):
    [ranges] = query("""
        select
            min(units_sold) >= 1000 and max(units_sold) <= 100000,
            min(unit_price) >= 2 and max(unit_price) <= 4
        from sales_order""")
    assert ranges == (True, True)
    unbounded = query("""
        select count(*) from information_schema.columns
        where table_schema = 'public' and data_type = 'numeric' and numeric_precision is null""")
    assert unbounded == [(3,)]


def test_some_payments_are_still_to_be_paid_and_some_were_paid_later(query):
    [(unpaid, paid_later)] = query("""
        select count(*) filter (where not paid),
            count(*) filter (where paid and last_updated > created_at)
        from payment""")
    assert unpaid > 0
    assert paid_later > 0


def test_every_kind_of_business_touches_rows_each_time(source_dsn):
    create_and_fill(source_dsn, scale=0.02)
    for _ in range(30):
        done = run_activity(source_dsn).rows
        assert min(done.values()) > 0, done


def test_a_stretch_of_business_is_what_its_summary_says(source_dsn):
    create_and_fill(source_dsn, scale=0.05)
    before = content(source_dsn)

    done = run_activity(source_dsn).rows

    after = content(source_dsn)
    added = {table: len(after[table]) - len(before[table]) for table in ROWS}
    assert {table: rows for table, rows in added.items() if rows} == {
        "design": done["new_designs"],
        "sales_order": done["new_sales_orders"] - done["orders_deleted"],
        "transaction": done["new_sales_orders"] - done["orders_deleted"],
        "payment": done["new_sales_orders"] - done["payments_deleted"],
    }
    for table, kind in (
        ("department", "departments_renamed"),
        ("address", "addresses_corrected"),
    ):
        assert len(set(after[table]) - set(before[table])) == done[kind]


def test_silent_edits_leave_last_updated_as_it_was(source_dsn):
    create_and_fill(source_dsn, scale=0.05)
    text = "select sales_order_id, last_updated, staff_id from sales_order order by 1 limit 10"
    before = {row[0]: row[1:] for row in rows_of(source_dsn, text)}

    edited = run_activity(source_dsn).rows["silent_edits"]

    after = {row[0]: row[1:] for row in rows_of(source_dsn, text)}
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    # The order that the same stretch deletes is the first one, and may be one of the edited.
    assert edited - 1 <= len(changed) <= edited
    assert all(before[key][0] == after[key][0] for key in changed)
