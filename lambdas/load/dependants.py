"""Rows of other tables that refer to rows of a star table by foreign keys.

The warehouse's users may refer to its tables. A row that they refer to is never deleted: the delete
would fail, or PostgreSQL would delete or change their rows (`on delete cascade`, `set null`).
"""

from collections.abc import Collection
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable

# A partition's foreign key is its parent's. Rows that a policy hides cannot be looked up.
_FOREIGN_KEYS: LiteralString = """
select
    namespace.nspname::text,
    class.relname::text,
    array(
        select attribute.attname::text
        from pg_catalog.unnest(constraints.conkey) with ordinality as column_of (number, place)
        join pg_attribute as attribute
            on attribute.attrelid = constraints.conrelid and attribute.attnum = column_of.number
        order by column_of.place
    ),
    array(
        select attribute.attname::text
        from pg_catalog.unnest(constraints.confkey) with ordinality as column_of (number, place)
        join pg_attribute as attribute
            on attribute.attrelid = constraints.confrelid and attribute.attnum = column_of.number
        order by column_of.place
    ),
    pg_catalog.has_schema_privilege(namespace.oid, 'usage')
        and pg_catalog.has_table_privilege(class.oid, 'select')
        and not pg_catalog.row_security_active(class.oid)
from pg_constraint as constraints
join pg_class as class on class.oid = constraints.conrelid
join pg_namespace as namespace on namespace.oid = class.relnamespace
where constraints.contype = 'f'
    and constraints.confrelid = pg_catalog.to_regclass(%s)
    and constraints.conparentid = 0
    and not (namespace.nspname = current_schema() and class.relname = any (%s))
order by constraints.oid
"""


def is_referred_to(
    connection: psycopg.Connection, table: WarehouseTable, known: Collection[str] = ()
) -> sql.Composed:
    """Returns the condition that another table refers to a row, which SQL calls `held`.

    Every row counts as referred to by a table that this user may not read.

    Args:
        connection: The warehouse.
        table: The star table.
        known: Tables whose foreign keys do not count.
    """
    name = sql.Identifier(table.name).as_string(connection)
    keys = connection.execute(_FOREIGN_KEYS, [name, list(known)]).fetchall()
    conditions = [_refers(*key) for key in keys]
    return sql.SQL("({})").format(sql.SQL(" or ").join([sql.SQL("false"), *conditions]))


def _refers(
    schema: str, table: str, own: list[str], other: list[str], is_readable: bool
) -> sql.Composed:
    if not is_readable:
        return sql.SQL("{}").format(True)
    pairs = [
        sql.SQL("other.{} = held.{}").format(sql.Identifier(one), sql.Identifier(key))
        for one, key in zip(own, other, strict=True)
    ]
    return sql.SQL("exists (select from {} as other where {})").format(
        sql.Identifier(schema, table), sql.SQL(" and ").join(pairs)
    )
