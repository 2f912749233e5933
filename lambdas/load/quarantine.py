"""Fact rows that cannot stand yet: they wait in the warehouse, and every load tries them again."""

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable
from lambdas.load.staging import names_of


def bring_back(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Puts the waiting rows of a fact back among the staged ones, unless they are there."""
    # What began to wait before staging did so has the zeros of the lake's decimal(38, 10).
    values = sql.SQL(", ").join(
        sql.SQL("trim_scale({})" if column.type.startswith("numeric") else "{}").format(
            sql.Identifier("row", column.name)
        )
        for column in table.columns
    )
    connection.execute(
        sql.SQL(
            "insert into {stage} ({names}) select {values} from fact_quarantine as waiting "
            "cross join lateral jsonb_populate_record(null::{table}, waiting.content) as row "
            "where waiting.table_name = {name} and not exists "
            "(select from {stage} as stage where stage.{key} = waiting.record_id)"
        ).format(
            stage=stage,
            names=names_of(table),
            values=values,
            table=sql.Identifier(table.name),
            name=sql.Literal(table.name),
            key=sql.Identifier(table.key),
        )
    )


def hold_back(connection: psycopg.Connection, table: WarehouseTable, rows: sql.Identifier) -> int:
    """Takes the rows that cannot stand to the quarantine, and returns how many.

    Args:
        connection: The warehouse.
        table: The fact.
        rows: The table that they are in: the staged rows, or the fact itself while it is bare.
    """
    return connection.execute(
        sql.SQL(
            "with refused as ("
            "delete from {rows} as stage where {reason} <> '' "
            "returning stage.{key} as record_id, to_jsonb(stage.*) as content, {reason} as reason) "
            "insert into fact_quarantine (table_name, record_id, content, reason) "
            "select {name}, record_id, content, reason from refused "
            "on conflict (table_name, record_id) do update set "
            "content = excluded.content, reason = excluded.reason, "
            "last_attempt = excluded.last_attempt, attempts = fact_quarantine.attempts + 1"
        ).format(
            rows=rows,
            key=sql.Identifier(table.key),
            name=sql.Literal(table.name),
            reason=_reason(table),
        )
    ).rowcount


def release(connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier) -> int:
    """Ends the wait of the staged rows, and returns how many had waited."""
    return connection.execute(
        sql.SQL(
            "delete from fact_quarantine using {stage} as stage "
            "where table_name = {name} and record_id = stage.{key}"
        ).format(stage=stage, name=sql.Literal(table.name), key=sql.Identifier(table.key))
    ).rowcount


def forget_unknown(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Drops the waiting rows that are not among the staged ones."""
    connection.execute(
        sql.SQL(
            "delete from fact_quarantine as waiting where table_name = {name} and not exists "
            "(select from {stage} as stage where stage.{key} = waiting.record_id)"
        ).format(stage=stage, name=sql.Literal(table.name), key=sql.Identifier(table.key))
    )


def _reason(table: WarehouseTable) -> sql.Composed:
    """Returns the expression that says why a row cannot stand; empty if it can."""
    nulls = [
        sql.SQL("case when {} is null then {} end").format(
            sql.Identifier("stage", column.name), sql.Literal(f"{column.name} is null")
        )
        for column in table.columns
        if column.is_required
    ]
    missing = [
        sql.SQL(
            "case when {own} is not null and not exists "
            "(select from {other} as known where known.{key} = {own}) then {text} || {own} end"
        ).format(
            own=sql.Identifier("stage", reference.column),
            other=sql.Identifier(reference.table),
            key=sql.Identifier(reference.key),
            text=sql.Literal(f"{reference.table} has no {reference.key} "),
        )
        for reference in table.references
    ]
    return sql.SQL("concat_ws('; ', {})").format(sql.SQL(", ").join(nulls + missing))
