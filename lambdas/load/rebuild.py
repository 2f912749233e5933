"""Dimension rows that the lake does not have: a rebuild deletes those that no row refers to."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable
from lambdas.load.dependants import is_referred_to
from lambdas.load.first_load import NOT_ALLOWED
from pipeline.errors import StarSchemaMismatch

_MANY = 1_000
"""From how many rows on it takes longer to check each one than to check all facts once."""
_FOREIGN_KEYS: LiteralString = """
select
    conrelid::regclass::text,
    conname::text,
    pg_catalog.pg_get_constraintdef(oid),
    pg_catalog.obj_description(oid, 'pg_constraint')
from pg_constraint
where contype = 'f'
    and confrelid = pg_catalog.to_regclass(%s)
    and conrelid = any (%s::text[]::regclass[]::oid[])
    and conparentid = 0
order by oid
"""


def note_gone(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> sql.Identifier:
    """Locks the rows of a dimension that are neither staged nor waiting, and keeps their keys.

    While they are locked, nobody can add a row that refers to them.

    Returns:
        The temporary table with the keys, in a column of the key's name.
    """
    gone = sql.Identifier("pg_temp", f"gone_{table.name}")
    connection.execute(
        sql.SQL(
            "create temporary table {gone} on commit drop as "
            "select held.{key} from {held} as held "
            "where not exists (select from {stage} as stage where stage.{key} = held.{key}) "
            "and not exists (select from waiting_row as waiting "
            "where waiting.table_name = {name} and waiting.key = held.{key}::text) "
            "for update"
        ).format(
            gone=gone,
            held=table.rows,
            stage=stage,
            key=sql.Identifier(table.key),
            name=sql.Literal(table.name),
        )
    )
    return gone


def remove_gone(
    connection: psycopg.Connection,
    table: WarehouseTable,
    gone: sql.Identifier,
    stars: Collection[str],
) -> int:
    """Deletes the rows that have gone; marks those that another row refers to as deleted.

    Args:
        connection: The warehouse.
        table: The dimension.
        gone: The temporary table with the keys.
        stars: The star tables.

    Returns:
        The number of rows that were marked.

    Raises:
        StarSchemaMismatch: A trigger of somebody else prevents it.
    """
    parts = {
        "held": table.rows,
        "gone": gone,
        "key": sql.Identifier(table.key),
        "is_referred_to": is_referred_to(connection, table),
    }
    is_many = sql.SQL("select count(*) > {} from {}").format(_MANY, gone)
    many = connection.execute(is_many).fetchone() == (True,)
    with _without_foreign_keys(connection, table, stars) if many else nullcontext():
        connection.execute(
            sql.SQL(
                "delete from {held} as held using {gone} as gone "
                "where gone.{key} = held.{key} and not {is_referred_to}"
            ).format(**parts)
        )
    if table.attached:
        _check_gone(connection, table, sql.SQL("not {is_referred_to}").format(**parts), gone)
    marked = connection.execute(
        sql.SQL(
            "update {held} as held set is_deleted = true from {gone} as gone "
            "where gone.{key} = held.{key} and not held.is_deleted"
        ).format(**parts)
    ).rowcount
    if table.attached:
        _check_gone(connection, table, sql.SQL("not held.is_deleted"), gone)
    return marked


def _check_gone(
    connection: psycopg.Connection,
    table: WarehouseTable,
    condition: sql.Composable,
    gone: sql.Identifier,
) -> None:
    query = sql.SQL(
        "select exists (select from {held} as held join {gone} as gone "
        "on gone.{key} = held.{key} where {condition})"
    ).format(held=table.rows, gone=gone, key=sql.Identifier(table.key), condition=condition)
    if connection.execute(query).fetchone() == (True,):
        raise StarSchemaMismatch(
            f"{', '.join(table.attached)} of {table.name} keeps rows that a rebuild deletes or "
            "marks as deleted: drop what does, then rebuild"
        )


@contextmanager
def _without_foreign_keys(
    connection: psycopg.Connection, table: WarehouseTable, stars: Collection[str]
) -> Iterator[None]:
    """Drops the star tables' foreign keys to a dimension, and creates them again.

    The facts have no index on these columns, so PostgreSQL reads a whole fact table for each row
    that is deleted. To create the foreign key again reads it once.
    """
    names = [sql.Identifier(name).as_string(connection) for name in (table.name, *sorted(stars))]
    keys = connection.execute(_FOREIGN_KEYS, [names[0], names[1:]]).fetchall()
    parts = [
        [sql.SQL(fact), sql.Identifier(name), sql.SQL(definition), sql.Literal(comment)]
        for fact, name, definition, comment in keys
    ]
    try:
        with connection.transaction():
            for fact, name, *_ in parts:
                connection.execute(sql.SQL("alter table {} drop constraint {}").format(fact, name))
    except NOT_ALLOWED:
        # PostgreSQL has to check each row.
        parts = []
    yield
    restore = "alter table {0} add constraint {1} {2}; comment on constraint {1} on {0} is {3}"
    for part in parts:
        connection.execute(sql.SQL(restore).format(*part))
