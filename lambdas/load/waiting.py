"""Rows that the warehouse cannot show yet.

They wait in the table waiting_row with the reasons, and every load tries them again.
"""

import psycopg
from psycopg import sql

from lambdas.load.catalog import Reference, WarehouseTable
from lambdas.load.staging import names_of


def bring_back(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Adds the waiting rows of a table to the staged rows, except rows that are staged already."""
    # Rows that began to wait before staging did so have the padding of the lake's decimal(38, 10).
    values = sql.SQL(", ").join(
        sql.SQL("trim_scale({})" if column.type.startswith("numeric") else "{}").format(
            sql.Identifier("row", column.name)
        )
        for column in table.columns
    )
    connection.execute(
        sql.SQL(
            "insert into {stage} ({names}) select {values} from waiting_row as waiting "
            "cross join lateral jsonb_populate_record(null::{table}, waiting.content) as row "
            "where waiting.table_name = {name} and not exists "
            "(select from {stage} as stage where stage.{key} = row.{key})"
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
    """Moves rows that the table cannot show to waiting_row, and returns their number.

    Args:
        connection: The warehouse.
        table: The fact.
        rows: The table that has the rows: the stage, or the fact itself while it has no
            constraints.
    """
    reasons = [*_nulls(table), *_missing(table)]
    return connection.execute(
        sql.SQL(
            "with refused as ("
            "delete from {rows} as stage where {is_refused} "
            "returning stage.{key}::text as key, to_jsonb(stage.*) as content, "
            "to_jsonb(array_remove(array[{reasons}], null)) as reasons) "
            "insert into waiting_row (table_name, key, content, reasons) "
            "select {name}, key, content, reasons from refused "
            "on conflict (table_name, key) do update set "
            "content = excluded.content, reasons = excluded.reasons, "
            "last_attempt = excluded.last_attempt, attempts = waiting_row.attempts + 1"
        ).format(
            rows=rows,
            key=sql.Identifier(table.key),
            name=sql.Literal(table.name),
            is_refused=sql.SQL(" or ").join(condition for condition, _ in reasons),
            reasons=sql.SQL(", ").join(
                sql.SQL("case when {} then {} end").format(*reason) for reason in reasons
            ),
        )
    ).rowcount


def release(connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier) -> None:
    """Removes the rows that are staged from waiting_row: the table shows them now."""
    connection.execute(
        sql.SQL(
            "delete from waiting_row using {stage} as stage "
            "where table_name = {name} and waiting_row.key = stage.{key}::text"
        ).format(stage=stage, name=sql.Literal(table.name), key=sql.Identifier(table.key))
    )


def forget_unknown(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Removes the rows that are not staged from waiting_row."""
    connection.execute(
        sql.SQL(
            "delete from waiting_row as waiting where table_name = {name} and not exists "
            "(select from {stage} as stage where stage.{key}::text = waiting.key)"
        ).format(stage=stage, name=sql.Literal(table.name), key=sql.Identifier(table.key))
    )


def _nulls(table: WarehouseTable) -> list[tuple[sql.Composed, sql.Composed]]:
    """Returns a condition and a reason for each column that may not be null."""
    return [
        (
            sql.SQL("{} is null").format(sql.Identifier("stage", column.name)),
            sql.SQL("jsonb_build_object('rule', {})").format(f"{column.name} is null"),
        )
        for column in table.columns
        if column.is_required
    ]


def _missing(table: WarehouseTable) -> list[tuple[sql.Composed, sql.Composed]]:
    """Returns a condition and a reason for each foreign key."""
    return [_missing_reference(reference) for reference in table.references]


def _missing_reference(reference: Reference) -> tuple[sql.Composed, sql.Composed]:
    own = sql.Identifier("stage", reference.column)
    is_missing = sql.SQL(
        "({own} is not null and not exists "
        "(select from {other} as known where known.{key} = {own}))"
    ).format(own=own, other=sql.Identifier(reference.table), key=sql.Identifier(reference.key))
    rule = f"{reference.table} has no {reference.key}"
    return is_missing, sql.SQL("jsonb_build_object('rule', {}, 'value', {})").format(rule, own)
