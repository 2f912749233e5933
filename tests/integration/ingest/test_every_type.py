"""Every type of the server, in tables of every shape, arrives value by value, run after run."""

import random
import struct
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pipeline.manifest import Capture, Column, Manifest
from tests.integration.ingest.ingestion import Ingestion, not_taken

RUNS = 10
LITERALS = [
    *(
        "1",
        "0",
        "-7",
        "12.50",
        "1e300",
        "t",
        "f",
        "x",
        "A",
        " padded  ",
        "",
        'é 🦆 "q" \\ \',',
        "(1,2)",
    ),
    *("2024-02-29", "2024-02-29 23:59:59.999999", "0001-01-01", "23:59:59.123456+05:30", "04:05"),
    *(
        "1 mon 2 days 03:04:05.000006",
        "-1 year",
        "{}",
        "{1,2}",
        "{1,2,3}",
        "[1,2)",
        "(,5]",
        "empty",
    ),
    *("[2024-01-01,2024-02-01)", "{[1,2),[5,8)}", "{[2024-01-01,2024-02-01)}", "10.0.0.1/8", "::1"),
    *(
        "08:00:2b:01:02:03",
        "08:00:2b:01:02:03:04:05",
        "[(1,2),(3,4)]",
        "((1,2),(3,4))",
        "<(1,2),3>",
    ),
    *(
        '{"b": 1, "a": [null]}',
        "null",
        "$.a[*]",
        "a & !b",
        "a:1 'b c':2",
        "<a>x</a>",
        "101",
        "\\x00ff",
    ),
    *("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "10:20:10,14,15", "0/16B3748", "(0,1)", "pg_class"),
    *(
        "now",
        "lower(text)",
        "+(integer,integer)",
        "simple",
        "pg_catalog",
        "postgres",
        "=r/postgres",
    ),
    *("NaN", "Infinity", "-Infinity", "32767", "12345678901234567890.123456789"),
]
"""Texts of which each type is given those that it accepts."""
_TYPES = """
select format_type(oid, null), typarray <> 0
from pg_type
where typnamespace = 'pg_catalog'::regnamespace
    and typtype in ('b', 'r', 'm')
    and typcategory <> 'A'
order by typname
"""
_MODIFIED = (
    "character(4)",
    "character varying(9)",
    "numeric(9,2)",
    "numeric(50,3)",
    "bit(3)",
    "timestamp(3) without time zone",
    "time(2) without time zone",
    "interval(0)",
    "bpchar",
)
UNBOUNDED = ("NaN", "Infinity", "-Infinity")
HOLD_NO_UNBOUNDED = ("date", "timestamp", "numeric(9,2)")


@dataclass(frozen=True)
class Kind:
    """A type, and the texts that it accepts."""

    name: str
    array: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of the source that has columns of one type."""

    name: str
    kind: Kind
    columns: tuple[str, ...]


def kinds(connection: psycopg.Connection) -> Iterator[Kind]:
    """Yields the server's types, and some with a modifier."""
    types = connection.execute(_TYPES).fetchall()
    for name, has_array in [*types, *((name, True) for name in _MODIFIED)]:
        texts = tuple(
            text
            for text in accepted(connection, name, LITERALS)
            if text not in UNBOUNDED or not name.startswith(HOLD_NO_UNBOUNDED)
        )
        yield Kind(name, f"{name}[]" if has_array else name, texts)


def accepted(connection: psycopg.Connection, name: str, texts: list[str]) -> list[str]:
    """Returns those texts that are values of a type."""
    query = "select text from unnest(%s::text[]) as text where pg_input_is_valid(text, %s)"
    try:
        with connection.transaction(force_rollback=True):
            return [text for (text,) in connection.execute(query, [texts, name])]
    except psycopg.Error:
        # Some types fail on what they do not accept.
        each = ([text] for text in texts if len(texts) > 1)
        return [text for one in each for text in accepted(connection, name, one)]


SHAPES = {
    "plain {0}": ("create table {table} (id integer primary key, a {type}, b {array})",),
    'Odd "{0}" %s {{}}': (
        "create domain {inner} as {type}",
        "create domain {outer} as {inner}",
        "create type {composite} as (x {type}, y {array})",
        "create table {table} (id integer, a {outer}, b {composite}) partition by range (id)",
        "create table {leaf} partition of {table} for values from (0) to (50)",
        "create table {rest} partition of {table} default",
        "alter table {table} add primary key (id)",
    ),
    "parent of {0}": (
        'create table {table} (id integer primary key, a {type}, "A" {type})',
        "create table {leaf} (extra text, primary key (id)) inherits ({table})",
    ),
}


def create(connection: psycopg.Connection, kind: Kind) -> Iterator[Table]:
    """Creates a table of each shape for a type."""
    for shape, statements in SHAPES.items():
        name = shape.format(kind.name.replace(" ", "_"))
        related = {
            part: f"{part} {name}" for part in ("inner", "outer", "composite", "leaf", "rest")
        }
        names = {part: sql.Identifier("public", own) for part, own in related.items()}
        for statement in statements:
            connection.execute(
                sql.SQL(statement).format(
                    table=sql.Identifier("public", name),
                    type=sql.SQL(kind.name),
                    array=sql.SQL(kind.array),
                    **names,
                )
            )
        columns = ("a", "A") if "parent" in shape else ("a", "b")
        yield Table(name, kind, columns)


class Source:
    """Changes tables at random."""

    def __init__(self, connection: psycopg.Connection, tables: list[Table]) -> None:
        self._connection = connection
        self.tables = tables
        self._random = random.Random(13)
        self._next = 1

    def change(self, table: Table) -> None:
        """Inserts, updates and deletes some rows, and changes keys of some."""
        name = sql.Identifier("public", table.name)
        for _ in range(3):
            values = [self._value(table, column) for column in table.columns]
            id_, self._next = self._next % 97, self._next + 1
            columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            target = name
            if "parent" in table.name and self._random.random() < 0.5:
                target = sql.Identifier("public", f"leaf {table.name}")
            self._run(sql.SQL("delete from {} where id = {}").format(name, id_))
            self._run(
                sql.SQL("insert into {} (id, {}) values ({}, {})").format(
                    target, columns, id_, sql.SQL(", ").join(values)
                )
            )
        rows = sql.SQL("(select id from {} order by random() limit 1)").format(name)
        column = self._random.choice(table.columns)
        value = self._value(table, column)
        statements = [
            sql.SQL("update {} set {} = {} where id in {}").format(
                name, sql.Identifier(column), value, rows
            ),
            sql.SQL("delete from {} where id in {}").format(name, rows),
            sql.SQL("update {} set id = {} where id in {}").format(name, 1000 + self._next, rows),
        ]
        self._run(self._random.choice(statements))

    def _value(self, table: Table, column: str) -> sql.Composable:
        if not table.kind.texts or self._random.random() < 0.1:
            return sql.SQL("null")
        one, other = (sql.Literal(self._random.choice(table.kind.texts)) for _ in range(2))
        kind = sql.SQL(table.kind.name)
        if column != "b":
            return sql.SQL("{}::{}").format(one, kind)
        many = sql.SQL("array[{}::{}, null, {}::{}]").format(one, kind, other, kind)
        return sql.SQL("row({}::{}, {})").format(one, kind, many) if "Odd" in table.name else many

    def _run(self, statement: sql.Composed) -> None:
        self._connection.execute(statement)

    def rows(self, table: Table, columns: tuple[Column, ...]) -> dict[int, tuple[Any, ...]]:
        """Returns the rows by id, from the text that COPY prints."""
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
        query = sql.SQL("copy (select {} from {}) to stdout").format(
            names, sql.Identifier("public", table.name)
        )
        found: dict[int, tuple[Any, ...]] = {}
        with self._connection.cursor().copy(query) as copy:
            for row in copy.rows():
                typed = tuple(
                    parse(column, text) for column, text in zip(columns, row, strict=True)
                )
                found[int(row[0])] = typed
        return found


READERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text == "t",
    "date32[day]": date.fromisoformat,
    "timestamp[us]": datetime.fromisoformat,
    "timestamp[us, tz=UTC]": lambda text: datetime.fromisoformat(text).astimezone(UTC),
}


def parse(column: Column, text: str | None) -> Any:
    """Returns what a text is in a column's raw type."""
    if text is None:
        return None
    kind = column.raw_type
    if kind.startswith("int"):
        return int(text)
    if kind.startswith("decimal"):
        return Decimal(text)
    if kind == "float":
        return repr(struct.unpack("f", struct.pack("f", float(text)))[0])
    if kind == "double":
        return repr(float(text))
    return READERS.get(kind, str)(text)


def shown(column: Column, value: Any) -> Any:
    """Returns a value of the raw zone so that NaN equals NaN, and -0.0 does not equal 0.0."""
    return repr(value) if isinstance(value, float) else value


def apply(
    ingestion: Ingestion, manifest: Manifest, state: dict[str, dict[int, tuple[Any, ...]]]
) -> Set[str]:
    """Applies what a run captured to the state of every table; returns what it captured."""
    captured = {
        name: entry
        for name, entry in manifest.tables.items()
        if entry.changed_in == manifest.sequence
    }
    for name, entry in captured.items():
        rows = {
            row[0]: tuple(shown(c, value) for c, value in zip(entry.columns, row, strict=True))
            for key in entry.files
            for row in zip(
                *(column.to_pylist() for column in ingestion.file(key).columns), strict=True
            )
        }
        before = {} if entry.capture is Capture.WHOLE else state.get(name, {})
        if entry.capture is not Capture.WHOLE and entry.keys_swept:
            keys = {row["id"] for row in ingestion.files(entry.key_files)}
            before = {key: row for key, row in before.items() if key in keys}
        state[name] = {**before, **rows}
    return captured.keys()


@pytest.mark.no_cover
def test_every_type_in_every_shape_follows_the_source(ingestion: Ingestion) -> None:
    options = "-c datestyle=ISO -c timezone=UTC -c extra_float_digits=1"
    with psycopg.connect(ingestion.dsn, autocommit=True, options=options) as connection:
        with connection.transaction():
            every = list(kinds(connection))
            tables = [table for kind in every for table in create(connection, kind)]
        source = Source(connection, tables)
        state: dict[str, dict[int, tuple[Any, ...]]] = {}
        for run in range(RUNS):
            changed = {
                table.name
                for number, table in enumerate(tables)
                if run == 0 or (number + run) % 3 == 0
            }
            with connection.transaction():
                for table in tables:
                    if table.name in changed:
                        source.change(table)

            result = ingestion.run(connect=lambda: psycopg.connect(ingestion.dsn, options=options))

            manifest = ingestion.manifest()
            captured = apply(ingestion, manifest, state)
            assert not_taken(result) == {}
            assert len(tables) > 200
            for table in tables:
                # A table is looked at again where it or what is known of it may be another.
                if table.name in changed | captured or run == RUNS - 1:
                    columns = manifest.tables[table.name].columns
                    assert state[table.name] == source.rows(table, columns), (run, table.name)
    assert sum(1 for kind in every if kind.texts) > 0.8 * len(every)
