"""Brings staged rows into their tables: what is new is added, what differs is changed."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable
from lambdas.load.staging import Staging, names_of


def write(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> tuple[int, int]:
    """Adds the staged rows of new keys and updates those that differ, and returns how many.

    Rows that do not differ are left out before the upsert: PostgreSQL locks, and so writes, every
    row that `on conflict` meets, changed or not.
    """
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column.name))
        for column in table.columns
        if column.name != table.key
    )
    row = connection.execute(
        sql.SQL(
            "with written as ("
            "insert into {table} ({names}) select {stage_names} from {stage} as stage "
            "where not exists (select from {table} as held where held.{key} = stage.{key} "
            "and ({held_names}) is not distinct from ({stage_names})) "
            "on conflict ({key}) do update set {changes} "
            "returning {table}.xmax = 0 as is_new) "
            "select count(*) filter (where is_new), count(*) filter (where not is_new) from written"
        ).format(
            table=sql.Identifier(table.name),
            names=names_of(table),
            stage=stage,
            key=sql.Identifier(table.key),
            held_names=names_of(table, "held"),
            stage_names=names_of(table, "stage"),
            changes=changes,
        )
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def forget_dimensions(
    connection: psycopg.Connection, tables: Sequence[WarehouseTable], staging: Staging
) -> None:
    """Deletes the dimension rows that the lake does not have, and first what names them.

    Such a fact is staged, if the lake has it: it comes back by a dimension row that it names now,
    or has to wait for one.
    """
    for table in tables:
        for reference in table.references:
            connection.execute(
                sql.SQL(
                    "delete from {table} as held using {referenced} as gone "
                    "where gone.{key} = held.{column} and not exists "
                    "(select from {stage} as stage where stage.{key} = gone.{key})"
                ).format(
                    table=sql.Identifier(table.name),
                    referenced=sql.Identifier(reference.table),
                    column=sql.Identifier(reference.column),
                    stage=staging.of(reference.table),
                    key=sql.Identifier(reference.key),
                )
            )
    for table in tables:
        if not table.is_fact:
            delete_unknown(connection, table, staging.of(table.name))


def delete_unknown(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Deletes the rows that are not among the staged ones."""
    connection.execute(
        sql.SQL(
            "delete from {table} as held where not exists "
            "(select from {stage} as stage where stage.{key} = held.{key})"
        ).format(
            table=sql.Identifier(table.name),
            stage=stage,
            key=sql.Identifier(table.key),
        )
    )
