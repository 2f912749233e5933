"""A row has one fingerprint, wherever it is."""

import datetime
import decimal
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from pipeline.fingerprints import duckdb_fingerprint, postgres_fingerprint
from tests.oracle.fingerprints import canonical_text, fingerprint

# As the SELECTs give it, as the warehouse has it.
_COLUMNS = {
    "whole": ("INTEGER", "integer"),
    "wide": ("BIGINT", "bigint"),
    "amount": ("DECIMAL(38,10)", "numeric"),
    "units": ("DECIMAL(10,0)", "numeric"),
    "label": ("VARCHAR", "character varying"),
    "day": ("DATE", "date"),
    "paid": ("BOOLEAN", "boolean"),
    "moment": ("VARCHAR", "time without time zone"),
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_EXACT = decimal.Context(prec=38)
_ROWS = st.tuples(
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(1 - 10**38, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-10, _EXACT)),
    st.none() | st.integers(1 - 10**10, 10**10 - 1).map(Decimal),
    st.none() | _TEXT | st.sampled_from(["", "-", "1:-", "None", "null", "é", "e\u0301", "🦆"]),
    st.none() | st.dates(),
    st.none() | st.booleans(),
    st.none() | st.times(),
)


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def in_duckdb(connection: duckdb.DuckDBPyConnection, row: tuple[Any, ...]) -> Any:
    values = ", ".join(f"?::{kind} as {name}" for name, (kind, _) in _COLUMNS.items())
    expression = duckdb_fingerprint((name, kind) for name, (kind, _) in _COLUMNS.items())
    sent = [
        value.isoformat("microseconds")
        if isinstance(value, datetime.time)
        else str(value)
        if isinstance(value, Decimal)
        else value
        for value in row
    ]
    return connection.execute(f"select {expression} from (select {values})", sent).fetchone()


def in_postgres(connection: psycopg.Connection, row: tuple[Any, ...]) -> Any:
    columns = [(name, kind) for name, (_, kind) in _COLUMNS.items()]
    values = sql.SQL(", ").join(
        sql.SQL("%s::{} as {}").format(sql.SQL(kind), sql.Identifier(name))
        for name, kind in columns
    )
    query = sql.SQL("select {} from (select {}) as row").format(
        postgres_fingerprint(columns), values
    )
    return connection.execute(query, row).fetchone()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=_ROWS)
def test_a_row_s_fingerprint_is_the_same_in_duckdb_in_postgresql_and_in_plain_python(
    duck: duckdb.DuckDBPyConnection, empty_warehouse: psycopg.Connection, row: tuple[Any, ...]
) -> None:
    wanted = (fingerprint(list(row)),)

    assert in_duckdb(duck, row) == wanted
    assert in_postgres(empty_warehouse, row) == wanted


_LOOK_ALIKES = st.lists(st.none() | st.text("-:12a", max_size=3), min_size=3, max_size=3)


@given(one=_LOOK_ALIKES, other=_LOOK_ALIKES)
@example(one=[None, "", ""], other=["", None, ""])
@example(one=["-", "", ""], other=[None, "", ""])
@example(one=["a", "1:a", "a"], other=["a1:a", "1:a", ""])
def test_rows_of_as_many_columns_share_a_text_only_if_they_are_equal(
    one: list[str | None], other: list[str | None]
) -> None:
    assert (canonical_text(one) == canonical_text(other)) == (one == other)
