"""Copies of a warehouse, and a digest to compare them after a load."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from benchmarks.load.contenders.task import KEY, TABLE
from lambdas.load.position import move, positions
from local.postgres import PostgresServer

_DIGEST: LiteralString = """
select
    (select count(*) from {table}),
    coalesce(sum(hashtextextended(row::text, 0)::numeric), 0)::text
from (select {columns} from {table} where {key} >= {first}) as row
"""
_RULES: LiteralString = """
select count(*)
from pg_constraint
where conrelid = %s::regclass and convalidated and contype in ('f', 'p', 'n')
"""


@dataclass(frozen=True)
class Digest:
    """A digest of a warehouse's facts.

    Attributes:
        rows: The number of rows.
        hashes: The sum of the hashes of the loaded rows. Numerics are hashed by value.
        rules: The number of the table's constraints that exist and are valid.
    """

    rows: int
    hashes: str
    rules: int


def copy_database(server: PostgresServer, template: str, name: str) -> str:
    """Copies a database, and returns the URL of the copy."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        connection.execute("checkpoint")
    return server.dsn(name)


def settle(url: str) -> None:
    """Vacuums a warehouse."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum (analyze)")


def await_run(url: str, sequence: int) -> None:
    """Records in a warehouse that it shows all runs before one."""
    with psycopg.connect(url) as connection:
        move(connection, dict.fromkeys(positions(connection), sequence - 1), {})


def take_digest(url: str, first: int) -> Digest:
    """Returns the digest of a warehouse's facts, without those before the first one."""
    with psycopg.connect(url) as connection:
        columns: list[tuple[str, str]] = connection.execute(
            "select attname::text, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
            [TABLE],
        ).fetchall()
        values = sql.SQL(", ").join(
            sql.SQL("trim_scale({0}) as {0}" if kind == "numeric" else "{0}").format(
                sql.Identifier(name)
            )
            for name, kind in columns
        )
        query = sql.SQL(_DIGEST).format(
            columns=values,
            table=sql.Identifier(TABLE),
            key=sql.Identifier(KEY),
            first=sql.Literal(first),
        )
        rows, hashes = connection.execute(query).fetchone() or (0, "")
        rules = connection.execute(_RULES, [TABLE]).fetchone() or (0,)
    return Digest(rows, hashes, rules[0])
