"""The common rules decide as the oracle does, whatever text or amount stands in a column."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from star_schema.duckdb_sql import in_duckdb
from star_schema.sources import declared_source
from tests.oracle.star import MalformedError, business_date, exact_amount, is_in_calendar

DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31))
TEXTS = st.one_of(
    DAYS.map(date.isoformat),
    st.tuples(DAYS, st.sampled_from([" ", "\n", " 00:00:00", "+01", "T"])).map(
        lambda pair: pair[0].isoformat() + pair[1]
    ),
    st.from_regex(r"[0-9]{1,5}-[0-9]{1,2}-[0-9]{1,2}", fullmatch=True),
    st.sampled_from(["1899-12-31", "1900-01-01", "2199-12-31", "2200-01-01", "infinity", ""]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=12, max_value=10**20)


def kept(source: str, column: str, kind: str, values: list[Any]) -> list[bool]:
    """Returns for each value whether all rules that name its column are satisfied."""
    conditions = [
        f"coalesce({in_duckdb(rule.condition)}, false)"
        for rule in declared_source(source).rules.every
        if rule.demand.split(" ")[0] == column
    ]
    given = f"select unnest(?::varchar[])::{kind} as {column}"
    with duckdb.connect() as connection:
        found = connection.execute(f"select {' and '.join(conditions)} from ({given})", [values])
        return [row[0] for row in found.fetchall()]


def is_read(read: Callable[[Any], object], value: Any) -> bool:
    """Returns whether the oracle reads a value."""
    try:
        read(value)
    except MalformedError:
        return False
    return True


@settings(max_examples=15)
@given(st.lists(st.one_of(st.none(), TEXTS), min_size=1, max_size=30))
def test_dates_are_kept_as_the_oracle_reads_them(texts: list[str | None]) -> None:
    assert kept("payment", "payment_date", "varchar", texts) == [
        is_read(business_date, text) for text in texts
    ]


@settings(max_examples=15)
@given(st.lists(st.one_of(st.none(), AMOUNTS), min_size=1, max_size=30))
def test_amounts_are_kept_as_the_oracle_reads_them(amounts: list[Decimal | None]) -> None:
    texts = [None if amount is None else format(amount, "f") for amount in amounts]
    assert kept("payment", "payment_amount", "varchar", texts) == [
        is_read(exact_amount, amount) for amount in amounts
    ]


@settings(max_examples=15)
@given(st.lists(st.one_of(st.floats(), AMOUNTS.map(float)), min_size=1, max_size=30))
@example([1e7, 12345678.9, 1e16, 1e27, 1e28, 0.0001, 1e-10, 1e-11, 1.5e-10, -0.0, 2.5])
@example([-3.550477575228919e16, 1.2345678901234567e27])
def test_floating_point_amounts_are_kept_as_the_oracle_reads_what_they_print(
    amounts: list[float],
) -> None:
    texts = [repr(amount) for amount in amounts]
    assert kept("payment", "payment_amount", "double", texts) == [
        is_read(exact_amount, Decimal(text)) for text in texts
    ]


def test_a_moment_that_is_text_is_a_timestamp_without_a_zone() -> None:
    texts = ["2024-03-31 01:30:00.5", "2024-03-31", "soon", "", "2024-03-31 01:30:00+02", None]

    assert kept("sales_order", "last_updated", "varchar", texts) == [True, True, *[False] * 4]


@settings(max_examples=15)
@given(st.lists(st.datetimes(), min_size=1, max_size=30))
def test_moments_are_kept_within_the_calendar(moments: list[datetime]) -> None:
    assert kept("payment", "created_at", "timestamp", [str(moment) for moment in moments]) == [
        is_in_calendar(moment.date()) for moment in moments
    ]
