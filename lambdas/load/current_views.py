"""The views of the current state: each key's newest version, unless it is deleted."""

from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable
from lambdas.load.view_rows import wrong_rows
from star_schema.tables import PREFIXES, Kind

# The rows of tables that inherit from the fact are the view's too, and verify names such tables.
_CURRENT: LiteralString = """
select {columns}
from (
    select distinct on ({natural_key}) *
    from {held} as held
    order by {natural_key}, {key} desc
) as latest
where not is_deleted
"""
_SHOWN: LiteralString = """
select {columns}
from {view} as shown
"""


def view_of_current(table: WarehouseTable) -> str:
    """Returns the name of a fact's view, as the migrations name it."""
    return f"current_{table.name.removeprefix(PREFIXES[Kind.FACT])}"


def wrong_current_rows(connection: psycopg.Connection, table: WarehouseTable) -> int:
    """Returns how many rows a fact's view shows wrongly or not; 0 if there is no such view."""
    view = sql.Identifier(view_of_current(table))
    there = connection.execute("select pg_catalog.to_regclass(%s)", [view.as_string(connection)])
    if there.fetchone() == (None,):
        return 0
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    current = sql.SQL(_CURRENT).format(
        columns=columns,
        natural_key=sql.Identifier(table.natural_key),
        held=sql.Identifier(table.name),
        key=sql.Identifier(table.key),
    )
    return wrong_rows(connection, current, sql.SQL(_SHOWN).format(columns=columns, view=view))
