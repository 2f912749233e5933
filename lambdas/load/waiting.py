"""Rows that the warehouse cannot show yet.

They wait in the table waiting_row with the reasons, and every load tries them again. A dimension
row that waits leaves the state before it in the dimension.
"""

from collections.abc import Iterable, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from lambdas.load.attached import named
from lambdas.load.catalog import Reference, WarehouseTable
from lambdas.load.column_types import misfit
from lambdas.load.staging import are_equal, names_of
from lambdas.load.view_rows import wrong_rows
from pipeline.errors import StarSchemaMismatch

_Reason = tuple[sql.Composed, sql.Composed]
"""The condition that a staged row meets, and the reason as jsonb."""

_HOLD: LiteralString = """
with refused as ({refused}),
held as (
    insert into waiting_row (table_name, key, content, reasons)
    select {table}, key, content, reasons from refused
    on conflict (table_name, key) do update
    set content = excluded.content,
        reasons = excluded.reasons,
        last_attempt = excluded.last_attempt,
        attempts = waiting_row.attempts + 1
    returning 1
)
select (select count(*) from refused), (select count(*) from held)
"""
_WANTED_RULES: LiteralString = """
select
    table_name,
    reason ->> 'rule' as rule,
    count(*) as rows,
    pg_catalog.min(first_attempt) as first_attempt,
    pg_catalog.max(last_attempt) as last_attempt
from waiting_row
cross join lateral pg_catalog.jsonb_array_elements(reasons) as reason
group by table_name, reason ->> 'rule'
"""
_SHOWN_RULES: LiteralString = """
select table_name, rule, rows, first_attempt, last_attempt
from waiting_rule
"""


def counts(connection: psycopg.Connection) -> dict[str, int]:
    """Returns how many rows wait, by the table's name; a table without such rows is left out."""
    query = "select table_name, count(*) from waiting_row group by table_name"
    return dict(connection.execute(query).fetchall())


def wrong_rules(connection: psycopg.Connection) -> int:
    """Returns how many rows the view of what waits shows wrongly or not."""
    return wrong_rows(connection, sql.SQL(_WANTED_RULES), sql.SQL(_SHOWN_RULES))


def bring_back(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Adds the waiting rows of a table to the staged rows, except rows that are staged already."""
    # Rows that began to wait before staging did so have the padding of the lake's decimal(38, 10).
    values = sql.SQL(", ").join(
        sql.SQL("pg_catalog.trim_scale({})" if column.type.startswith("numeric") else "{}").format(
            sql.Identifier("row", column.name)
        )
        for column in table.columns
    )
    connection.execute(
        sql.SQL(
            "insert into {stage} ({names}) select {values} from waiting_row as waiting "
            "cross join lateral "
            "pg_catalog.jsonb_populate_record(null::{stage}, waiting.content) as row "
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
    is_refused = sql.SQL(" or ").join(condition for condition, _ in reasons)
    those = sql.SQL(", ").join(
        sql.SQL("case when {} then {} end").format(*reason) for reason in reasons
    )
    why = sql.SQL("pg_catalog.to_jsonb(pg_catalog.array_remove(array[{}], null))").format(those)
    return _hold(connection, table, rows, is_refused, why)


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
    is_row = sql.SQL("ctid = {}::tid").format(row)
    _hold(connection, table, stage, is_row, sql.Literal(Jsonb([reason])))


def hold_skipped(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> tuple[int, int]:
    """Moves the staged rows that the table does not show, because of a trigger, to waiting_row.

    A BEFORE trigger that returns null skips the row without an error.

    Returns:
        The numbers of rows of which the table has no state, and of which it has another state.
    """
    why = sql.Literal(Jsonb([{"rule": f"{', '.join(table.attached)} skips the row"}]))
    is_new = sql.SQL("not exists ({})").format(_state(table))
    new = _hold(connection, table, stage, is_new, why)
    return new, _hold(connection, table, stage, is_not_shown(table), why)


def is_not_shown(table: WarehouseTable) -> sql.Composed:
    """Returns the condition that a table does not have a row, which SQL calls `stage`."""
    return sql.SQL("not exists ({} and {})").format(_state(table), are_equal(table))


def _state(table: WarehouseTable) -> sql.Composed:
    """Returns the query for the state that a table has of a staged row."""
    return sql.SQL("select from {held} as held where held.{key} = stage.{key}").format(
        held=table.rows, key=sql.Identifier(table.key)
    )


def _hold(
    connection: psycopg.Connection,
    table: WarehouseTable,
    rows: sql.Composable,
    is_refused: sql.Composable,
    reasons: sql.Composable,
) -> int:
    """Moves rows to waiting_row, and returns their number.

    Args:
        connection: The warehouse.
        table: The star table.
        rows: The table that has the rows, which the condition and the reasons call `stage`.
        is_refused: Which rows to move.
        reasons: Their reasons, as jsonb.

    Raises:
        StarSchemaMismatch: A trigger kept them out of waiting_row.
    """
    refused = sql.SQL(
        "delete from {rows} as stage where {is_refused} "
        "returning stage.{key}::text as key, pg_catalog.to_jsonb(stage.*) as content, "
        "{reasons} as reasons"
    ).format(rows=rows, is_refused=is_refused, key=sql.Identifier(table.key), reasons=reasons)
    hold = sql.SQL(_HOLD).format(refused=refused, table=table.name)
    removed, held = connection.execute(hold).fetchone() or (0, 0)
    if removed != held:
        raise StarSchemaMismatch(
            f"{named(connection, 'waiting_row')} of waiting_row keeps rows of {table.name} out of "
            "it: drop what does"
        )
    return int(removed)


def release(connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier) -> None:
    """Removes the rows that are staged from waiting_row: the table shows them now.

    Raises:
        StarSchemaMismatch: A trigger kept them there.
    """
    _remove(connection, table, "exists", stage)


def forget_unknown(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> None:
    """Removes the rows that are not staged from waiting_row.

    Raises:
        StarSchemaMismatch: A trigger kept them there.
    """
    _remove(connection, table, "not exists", stage)


def _remove(
    connection: psycopg.Connection,
    table: WarehouseTable,
    exists: LiteralString,
    stage: sql.Identifier,
) -> None:
    """Removes the rows of a table whose keys are staged, or are not, from waiting_row."""
    those = sql.SQL(
        "from waiting_row as waiting where table_name = {name} and {exists} "
        "(select from {stage} as stage where stage.{key}::text = waiting.key)"
    ).format(
        name=sql.Literal(table.name),
        exists=sql.SQL(exists),
        stage=stage,
        key=sql.Identifier(table.key),
    )
    remove = sql.SQL(
        "with removed as (delete {those} returning 1) "
        "select (select count(*) {those}) = (select count(*) from removed)"
    ).format(those=those)
    if connection.execute(remove).fetchone() != (True,):
        raise StarSchemaMismatch(
            f"{named(connection, 'waiting_row')} of waiting_row keeps rows of {table.name} in it: "
            "drop what does"
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
        value=value, other=reference.rows, is_key=key, gone=gone
    )


def _reason(rule: str, value: sql.Identifier | None = None) -> sql.Composed:
    if value is None:
        return sql.SQL("pg_catalog.jsonb_build_object('rule', {})").format(rule)
    return sql.SQL("pg_catalog.jsonb_build_object('rule', {}, 'value', {})").format(rule, value)
