"""Foreign keys of many new rows, checked at once.

PostgreSQL runs one query for each foreign key of each row that is written: with nine keys, that is
most of the time of a load. Load proves the same by one query for each dimension, after it has held
back the rows that lack one: it locks the referenced rows as PostgreSQL does (`for key share`), and
counts them. Then it writes the rows with the checks switched off, in the session alone and for that
statement alone. Nobody can delete a referenced row before the load commits. The constraints stay,
and no lock disturbs readers. docs/adr/0011-foreign-keys-at-once.md says what else was considered.
"""

from collections import defaultdict
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.catalog import Reference, WarehouseTable

_SWITCH_OFF: LiteralString = "set local session_replication_role = replica"
_SWITCH_ON: LiteralString = "set local session_replication_role to default"

# Whatever else the switch would turn off: triggers, constraints that can be deferred, foreign keys
# of or to tables of others.
_HAS_OTHERS: LiteralString = """
select exists (
    select
    from pg_trigger
    left join pg_constraint as foreign_key
        on foreign_key.oid = tgconstraint
        and foreign_key.contype = 'f'
        and foreign_key.conrelid = tgrelid
        and pg_catalog.cardinality(foreign_key.conkey) = 1
    left join pg_attribute as own
        on own.attrelid = tgrelid and own.attnum = foreign_key.conkey[1]
    where tgrelid = %(table)s::regclass
        and not exists (
            select
            from rows from (
                pg_catalog.unnest(%(columns)s::text[]), pg_catalog.unnest(%(tables)s::text[])
            ) as ours (name, referenced)
            where ours.name = own.attname
                and pg_catalog.to_regclass(ours.referenced) = foreign_key.confrelid
        )
)
"""
_LOCK: LiteralString = """
with wanted (key) as materialized ({values}),
locked as materialized (
    select
    from {rows} as known
    where known.{key} in (select key from wanted)
    for key share of known
)
select (select pg_catalog.count(distinct key) from wanted) = (select count(*) from locked)
"""


def may_switch_off(connection: psycopg.Connection) -> bool:
    """Returns whether the role may: a superuser, or a role to which the setting was granted."""
    try:
        with connection.transaction():
            connection.execute(f"{_SWITCH_OFF}; {_SWITCH_ON}")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def lock_referenced(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> bool:
    """Locks the rows that staged rows refer to, until the end of the transaction.

    Returns:
        Whether every staged row refers to locked rows only, and PostgreSQL would check nothing
        else.
    """
    names = [sql.Identifier(one.table).as_string(connection) for one in table.references]
    others = connection.execute(
        _HAS_OTHERS,
        {
            "table": sql.Identifier(table.name).as_string(connection),
            "columns": [one.column for one in table.references],
            "tables": names,
        },
    )
    if table.is_partitioned or table.attached or others.fetchone() == (True,):
        return False
    referenced: dict[tuple[str, str], list[Reference]] = defaultdict(list)
    for one in table.references:
        referenced[one.table, one.key].append(one)
    return all(_lock(connection, stage, references) for references in referenced.values())


def _lock(
    connection: psycopg.Connection, stage: sql.Identifier, references: list[Reference]
) -> bool:
    """Locks the rows of one dimension, and returns whether it has all that are referred to."""
    values = sql.SQL(" union ").join(
        sql.SQL("select distinct {} from {}").format(sql.Identifier(one.column), stage)
        for one in references
    )
    first = references[0]
    locked = connection.execute(
        sql.SQL(_LOCK).format(values=values, rows=first.rows, key=sql.Identifier(first.key))
    )
    return locked.fetchone() == (True,)


def switch_off(connection: psycopg.Connection) -> None:
    """Switches the checks off, until the end of the transaction or savepoint at most."""
    connection.execute(_SWITCH_OFF)


def switch_on(connection: psycopg.Connection) -> None:
    """Switches the checks on again."""
    connection.execute(_SWITCH_ON)
