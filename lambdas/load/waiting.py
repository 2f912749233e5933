"""Rows that the warehouse cannot show yet.

They wait in the table waiting_row with the reasons, and every load tries them again. A dimension
row that waits leaves the state before it in the dimension.
"""

from collections.abc import Iterable, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from lambdas.load.catalog import Reference, WarehouseTable
from lambdas.load.column_types import misfit
from lambdas.load.staging import names_of

_Reason = tuple[sql.Composed, sql.Composed]
"""The condition that a staged row meets, and the reason as jsonb."""

_HOLD = (
    "insert into waiting_row (table_name, key, content, reasons) {rows} "
    "on conflict (table_name, key) do update set "
    "content = excluded.content, reasons = excluded.reasons, "
    "last_attempt = excluded.last_attempt, attempts = waiting_row.attempts + 1"
)

# The bits of tgtype: 1 for each row, 2 before.
_MAY_SKIP: LiteralString = """
select exists (
    select
    from pg_trigger
    where tgrelid = to_regclass(%s) and not tgisinternal and tgtype & 3 = 3
)
"""


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
            "cross join lateral jsonb_populate_record(null::{stage}, waiting.content) as row "
            "where waiting.table_name = {name} and not exists "
            "(select from {stage} as stage where stage.{key} = row.{key})"
        ).format(
            stage=stage,
            names=names_of(table),
            values=values,
            name=sql.Literal(table.name),
            key=sql.Identifier(table.key),
        )
    )


def hold_back(
    connection: psycopg.Connection,
    table: WarehouseTable,
    rows: sql.Composable,
    *,
    staged: WarehouseTable,
    gone: Mapping[str, sql.Identifier] | None = None,
) -> int:
    """Moves rows that the table cannot show to waiting_row, and returns their number.

    Args:
        connection: The warehouse.
        table: The star table.
        rows: The table that has the rows: the stage, or the fact itself while it has no
            constraints.
        staged: The star table with the types of those rows.
        gone: For dimensions, the tables with the keys that are about to be deleted.
    """
    reasons = [*_nulls(table), *_misfits(table, staged), *_missing(table, gone or {})]
    if not reasons:
        return 0
    refused = sql.SQL(
        "with refused as ("
        "delete from {rows} as stage where {is_refused} "
        "returning stage.{key}::text as key, to_jsonb(stage.*) as content, "
        "to_jsonb(array_remove(array[{reasons}], null)) as reasons) "
    ).format(
        rows=rows,
        key=sql.Identifier(table.key),
        is_refused=sql.SQL(" or ").join(condition for condition, _ in reasons),
        reasons=sql.SQL(", ").join(
            sql.SQL("case when {} then {} end").format(*reason) for reason in reasons
        ),
    )
    held = sql.SQL("select {}, key, content, reasons from refused").format(table.name)
    return connection.execute(refused + sql.SQL(_HOLD).format(rows=held)).rowcount


def hold_refused(
    connection: psycopg.Connection,
    table: WarehouseTable,
    stage: sql.Identifier,
    row: str,
    error: psycopg.Error,
) -> None:
    """Moves a staged row that PostgreSQL refused to waiting_row.

    Args:
        connection: The warehouse.
        table: The star table.
        stage: The table of the staged rows.
        row: The row's ctid there.
        error: PostgreSQL's error.
    """
    constraint = error.diag.constraint_name
    reason = {
        "rule": f"constraint {constraint}" if constraint else f"SQLSTATE {error.sqlstate}",
        "value": error.diag.message_primary,
    }
    refused = sql.SQL(
        "with refused as (delete from {stage} as stage where ctid = {row}::tid "
        "returning stage.{key}::text as key, to_jsonb(stage.*) as content) "
    ).format(stage=stage, row=sql.Literal(row), key=sql.Identifier(table.key))
    held = sql.SQL("select {}, key, content, {} from refused").format(table.name, Jsonb([reason]))
    connection.execute(refused + sql.SQL(_HOLD).format(rows=held))


def hold_skipped(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> int:
    """Moves the staged rows that a trigger kept out of the table, and returns their number.

    A BEFORE trigger that returns null skips the row without an error.
    """
    name = sql.Identifier(table.name).as_string(connection)
    if not table.is_partitioned and connection.execute(_MAY_SKIP, [name]).fetchone() != (True,):
        return 0
    skipped = sql.SQL(
        "with refused as (delete from {stage} as stage "
        "where not exists (select from {held} as held where held.{key} = stage.{key}) "
        "returning stage.{key}::text as key, to_jsonb(stage.*) as content) "
    ).format(stage=stage, held=table.rows, key=sql.Identifier(table.key))
    reasons = Jsonb([{"rule": "a trigger skipped the row"}])
    held = sql.SQL("select {}, key, content, {} from refused").format(table.name, reasons)
    return connection.execute(skipped + sql.SQL(_HOLD).format(rows=held)).rowcount


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


def _nulls(table: WarehouseTable) -> Iterable[_Reason]:
    """Returns a reason for each column that may not be null."""
    for column in table.columns:
        if column.is_required:
            condition = sql.SQL("{} is null").format(sql.Identifier("stage", column.name))
            yield condition, _reason(f"{column.name} is null")


def _misfits(table: WarehouseTable, staged: WarehouseTable) -> Iterable[_Reason]:
    """Returns a reason for each column that does not hold all values of the lake's type."""
    for column, source in zip(table.columns, staged.columns, strict=True):
        condition = misfit(column, source.type)
        if condition is not None:
            value = sql.Identifier("stage", column.name)
            yield condition, _reason(f"{column.name} does not fit {column.type}", value)


def _missing(table: WarehouseTable, gone: Mapping[str, sql.Identifier]) -> Iterable[_Reason]:
    """Returns a reason for each foreign key."""
    for reference in table.references:
        value = sql.Identifier("stage", reference.column)
        rule = f"{reference.table} has no {reference.key}"
        yield _is_missing(reference, value, gone.get(reference.table)), _reason(rule, value)


def _is_missing(
    reference: Reference, value: sql.Identifier, gone: sql.Identifier | None
) -> sql.Composed:
    is_missing = "{value} is not null and not exists (select from {other} as known where {is_key})"
    if gone is not None:
        is_missing = f"({is_missing} or exists (select from {{gone}} as known where {{is_key}}))"  # nosec B608
    key = sql.SQL("known.{} = {}").format(sql.Identifier(reference.key), value)
    return sql.SQL(f"({is_missing})").format(
        value=value, other=sql.Identifier(reference.table), is_key=key, gone=gone
    )


def _reason(rule: str, value: sql.Identifier | None = None) -> sql.Composed:
    if value is None:
        return sql.SQL("jsonb_build_object('rule', {})").format(rule)
    return sql.SQL("jsonb_build_object('rule', {}, 'value', {})").format(rule, value)
