"""The binary COPY format, read back from a real server by generated rows."""

import datetime
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from lambdas.load import binary_copy
from lambdas.load.catalog import WarehouseColumn, WarehouseTable
from lambdas.load.staging import copy_rows
from pipeline.errors import StarSchemaMismatch

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "smallint": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "integer": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "bigint": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "boolean": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "time without time zone": (pa.time64("us"), st.times()),
    "timestamp without time zone": (pa.timestamp("us"), st.datetimes()),
    "timestamp with time zone": (
        pa.timestamp("us", "UTC"),
        st.datetimes(timezones=st.just(datetime.UTC)),
    ),
    "real": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "double precision": (pa.float64(), st.floats(allow_nan=False)),
    "character varying(3)": (pa.string(), st.text("ab", max_size=3)),
    "character varying": (pa.string(), TEXTS),
    "text": (pa.large_string(), TEXTS),
}
REFERENCE = settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))


def copied(
    connection: psycopg.Connection, batches: Sequence[pa.RecordBatch], types: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Returns what the server has of rows that were copied into a new table."""
    names = batches[0].schema.names
    table = WarehouseTable(
        "copied",
        names[0],
        tuple(WarehouseColumn(*column, False) for column in zip(names, types, strict=True)),
        (),
        natural_key=names[0],
        is_fact=False,
    )
    connection.execute("drop table if exists copied")
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
    connection.execute(f"create table copied (place serial, {columns})".encode())
    count = copy_rows(connection, table, batches, into=sql.Identifier("copied"))
    rows = connection.execute(
        sql.SQL("select {} from copied order by place").format(
            sql.SQL(", ").join(map(sql.Identifier, names))
        ),
        prepare=False,  # the table is another one each time
    ).fetchall()
    assert count == len(rows)
    return rows


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Rows of some types in some order, most with nulls, some without."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    values = [
        draw(st.sampled_from([KINDS[kind][1], st.none() | KINDS[kind][1], st.none()]))
        for kind in kinds
    ]
    return kinds, draw(st.lists(st.tuples(*values), min_size=1, max_size=12))


def single(value: float | None) -> float | None:
    """Returns the single that PostgreSQL's shortest text of it stands for."""
    return None if value is None else struct.unpack("f", struct.pack("f", value))[0]


@example(table=(["real"], [(97582928.0,)]))
@given(table=tables())
@REFERENCE
def test_every_type_arrives_as_it_is_wherever_the_nulls_are(
    empty_warehouse: psycopg.Connection, table: tuple[list[str], list[tuple[Any, ...]]]
) -> None:
    kinds, rows = table
    columns = zip(*rows, strict=True)
    batch = pa.record_batch(
        [pa.array(column, KINDS[kind][0]) for kind, column in zip(kinds, columns, strict=True)],
        names=[f"c{place}" for place in range(len(kinds))],
    )

    held = copied(empty_warehouse, [batch, batch.slice(len(rows) // 2)], kinds)
    assert [
        tuple(
            single(value) if kind == "real" else value
            for kind, value in zip(kinds, row, strict=True)
        )
        for row in held
    ] == rows + rows[len(rows) // 2 :]


@st.composite
def decimals(draw: st.DrawFn) -> tuple[pa.DataType, list[Decimal | None]]:
    """Decimals of any precision and scale that Iceberg has."""
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    short = st.integers(-min(10**precision - 1, 10**6), min(10**precision - 1, 10**6))
    unscaled = short | st.integers(-(10**precision) + 1, 10**precision - 1)
    values = st.none() | unscaled.map(
        lambda value: Decimal((value < 0, Decimal(abs(value)).as_tuple().digits, -scale))
    )
    return pa.decimal128(precision, scale), draw(st.lists(values, min_size=1, max_size=12))


def trimmed(value: Decimal | None) -> str | None:
    if value is None:
        return None
    text = format(abs(value), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"-{text}" if value < 0 else text


@given(table=decimals())
@REFERENCE
def test_a_numeric_of_any_scale_is_written_without_the_zeros_at_its_end(
    empty_warehouse: psycopg.Connection, table: tuple[pa.DataType, list[Decimal | None]]
) -> None:
    kind, values = table
    batch = pa.record_batch([pa.array(values, kind)], names=["amount"])

    copied(empty_warehouse, [batch], ["numeric"])

    texts = "select amount::text from copied order by place"
    stored = empty_warehouse.execute(texts, prepare=False).fetchall()
    assert [row[0] for row in stored] == [trimmed(value) for value in values]
    # Equal to what the server makes of the text itself, in its index's order and its hash too.
    same = empty_warehouse.execute(
        "select bool_and(amount = amount::text::numeric "
        "and hash_numeric(amount) = hash_numeric(amount::text::numeric)) from copied",
        prepare=False,
    )
    assert same.fetchone() in [(True,), (None,)]


def test_a_batch_of_any_size_is_written_in_parts_that_fit_into_memory(
    empty_warehouse: psycopg.Connection,
) -> None:
    texts = ["x" * 1_000_000, *(str(number) for number in range(20_000)), "ж" * 3_000_000]
    batch = pa.record_batch([pa.array(texts)], names=["note"])

    parts = list(binary_copy.encode(batch, ["text"]))
    rows = copied(empty_warehouse, [batch], ["text"])

    assert rows == [(text,) for text in texts]
    assert len(parts) > 1
    assert max(map(len, parts)) < 7_000_000


def test_times_as_the_lake_keeps_them_keep_their_microseconds(
    empty_warehouse: psycopg.Connection,
) -> None:
    texts = ["00:00:00.000000", None, "23:59:59.999999", "09:30:00"]
    batch = pa.record_batch([pa.array(texts)], names=["at"])

    assert copied(empty_warehouse, [batch], ["time without time zone"]) == [
        (text and datetime.time.fromisoformat(text),) for text in texts
    ]


def test_no_rows_are_copied_from_nothing(empty_warehouse: psycopg.Connection) -> None:
    batch = pa.record_batch([pa.array([], pa.int32())], names=["number"])

    assert copied(empty_warehouse, [batch], ["integer"]) == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([2**31]), "integer"),
        (pa.array([1.5]), "numeric"),
        (pa.array(["noon"]), "time without time zone"),
        (pa.array([1]), "point"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused_by_the_columns_name(
    empty_warehouse: psycopg.Connection, values: pa.Array, kind: str
) -> None:
    batch = pa.record_batch([values], names=["reading"])

    with pytest.raises(StarSchemaMismatch, match=r"copied has a value in the lake .*: reading: "):
        copied(empty_warehouse, [batch], [kind])
