"""The table superseded_version: each version of a fact that has a newer one, and that one."""

from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.attached import named
from lambdas.load.catalog import WarehouseTable
from pipeline.errors import StarSchemaMismatch

_TOUCHED: LiteralString = "{natural_key} in (select {natural_key} from {stage})"

_VERSION: LiteralString = """
select
    {key} as record_id,
    pg_catalog.lag({key}) over (partition by {natural_key} order by {key} desc) as superseded_by
from {held} as held
where {touched}
"""
# Only marks that differ are written: of a key with many versions, one mark a new version. The order
# keeps a plan that reads an empty table again and again from reading what is inserted meanwhile.
# Most marks are of rows without one: an insert with `on conflict` takes half as long again.
_MARK: LiteralString = """
with version as (
    {version}
),
wanted as materialized (
    select version.record_id, version.superseded_by, known.ctid as mark
    from version
    left join superseded_version as known
        on known.table_name = {name} and known.record_id = version.record_id
    where version.superseded_by is not null
        and known.superseded_by is distinct from version.superseded_by
),
moved as (
    update superseded_version as known
    set superseded_by = wanted.superseded_by
    from wanted
    where known.ctid = wanted.mark
    returning 1
),
written as (
    insert into superseded_version (table_name, record_id, superseded_by)
    select {name}, record_id, superseded_by
    from wanted
    where mark is null
    order by record_id
    returning 1
)
select (select count(*) from wanted)
    = (select count(*) from moved) + (select count(*) from written)
"""
_WRONG: LiteralString = """
select count(*)
from (
    select *
    from ({version}) as version
    where superseded_by is not null
) as version
full join (
    select *
    from superseded_version
    where table_name = {name}
) as known using (record_id)
where known.superseded_by is distinct from version.superseded_by
"""


def mark_superseded(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier | None = None
) -> None:
    """Brings the marks of a fact up to date, in the transaction that writes its rows.

    A version may arrive after newer ones of its key, if it waited. So all versions of a key are
    compared with their marks.

    Args:
        connection: The warehouse.
        table: The fact.
        stage: The table of the rows that were written; None to mark the whole fact, of which rows
            may have been deleted.

    Raises:
        StarSchemaMismatch: A trigger of somebody else prevents it.
    """
    if stage is None:
        connection.execute("delete from superseded_version where table_name = %s", [table.name])
    mark = _about(table, _MARK, stage)
    if connection.execute(mark).fetchone() != (True,):
        raise StarSchemaMismatch(
            f"{named(connection, 'superseded_version')} of superseded_version keeps marks of "
            f"{table.name} out of it: drop what does"
        )


def wrong_marks(connection: psycopg.Connection, table: WarehouseTable) -> int:
    """Returns how many versions of a fact are marked otherwise than its rows say."""
    row = connection.execute(_about(table, _WRONG)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
    return int(row[0])


def _about(
    table: WarehouseTable, text: LiteralString, stage: sql.Identifier | None = None
) -> sql.Composed:
    """Returns a statement about the versions of a fact, or about those of the rows of a table."""
    parts = {
        "name": sql.Literal(table.name),
        "held": table.rows,
        "key": sql.Identifier(table.key),
        "natural_key": sql.Identifier(table.natural_key),
        "stage": stage,
    }
    touched = sql.SQL("true" if stage is None else _TOUCHED).format(**parts)
    version = sql.SQL(_VERSION).format(touched=touched, **parts)
    return sql.SQL(text).format(version=version, **parts)
