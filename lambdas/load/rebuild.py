"""Dimension rows that the lake does not have: a rebuild deletes those that no row refers to."""

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable
from lambdas.load.dependants import is_referred_to


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


def remove_gone(connection: psycopg.Connection, table: WarehouseTable, gone: sql.Identifier) -> int:
    """Deletes the rows that have gone; marks those that another row refers to as deleted.

    Returns:
        The number of rows that were marked.
    """
    parts = {
        "held": table.rows,
        "gone": gone,
        "key": sql.Identifier(table.key),
        "is_referred_to": is_referred_to(connection, table),
    }
    connection.execute(
        sql.SQL(
            "delete from {held} as held using {gone} as gone "
            "where gone.{key} = held.{key} and not {is_referred_to}"
        ).format(**parts)
    )
    return connection.execute(
        sql.SQL(
            "update {held} as held set is_deleted = true from {gone} as gone "
            "where gone.{key} = held.{key} and not held.is_deleted"
        ).format(**parts)
    ).rowcount
