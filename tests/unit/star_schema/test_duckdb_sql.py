"""Spark SQL that DuckDB reads otherwise, unless it is told."""

import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from sqlglot.errors import SqlglotError

from star_schema.duckdb_sql import in_duckdb
from star_schema.sources import declared_source
from star_schema.tables import star_tables

MONDAY = datetime.date(2026, 11, 16)


def answer(spark_sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(in_duckdb(spark_sql)).fetchall()


def test_days_of_the_week_count_from_monday() -> None:
    days = ", ".join(f"weekday(date'{MONDAY + datetime.timedelta(days=n)}')" for n in range(7))

    assert answer(f"select {days}") == [(0, 1, 2, 3, 4, 5, 6)]


def test_a_sequence_of_days_has_both_its_ends() -> None:
    days = "sequence(make_date(2026, 2, 27), make_date(2026, 3, 1))"

    assert answer(f"select explode({days}) as day") == [
        (datetime.date(2026, 2, 27),),
        (datetime.date(2026, 2, 28),),
        (datetime.date(2026, 3, 1),),
    ]


def test_a_cast_that_fails_is_an_error_as_in_ansi_mode() -> None:
    with pytest.raises(duckdb.ConversionException):
        answer("select cast('2026-02-30' as date)")

    assert answer("select try_cast('2026-02-30' as date)") == [(None,)]


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0.01",
        "99999999.0123456789",
        "100000000",
        "-" + "9" * 28 + ".0123456789",
        "1.50000000000",
    ],
)
def test_text_becomes_a_wide_decimal_exactly(number: str) -> None:
    assert answer(f"select cast('{number}' as decimal(38, 10))") == [(Decimal(number),)]


def test_text_that_is_no_number_is_an_error() -> None:
    with pytest.raises(duckdb.ConversionException):
        answer("select cast('1,5' as decimal(38, 10))")


def test_times_have_microseconds_and_names_are_english() -> None:
    moment = "timestamp_ntz'2026-11-16 01:02:03.000004'"

    assert answer(
        f"select date_format({moment}, 'HH:mm:ss.SSSSSS'), date_format({moment}, 'EEEE MMMM')"
    ) == [("01:02:03.000004", "Monday November")]


def test_every_select_and_every_rule_has_an_equivalent() -> None:
    for star in star_tables():
        assert in_duckdb(star.select).startswith(("SELECT", "WITH"))
        for source in star.sources:
            assert all(in_duckdb(rule.condition) for rule in declared_source(source).rules.every)


def test_what_is_no_sql_is_an_error() -> None:
    with pytest.raises(SqlglotError):
        in_duckdb("select from where (")
