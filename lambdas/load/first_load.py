"""A fact's first load: its rows go straight into the empty table and are checked all at once.

Row by row, every foreign key is a query of its own, which is most of the time that a large load
takes, and every index entry is put in its place alone. Here the table is laid bare, filled, checked
by one query a rule, and its constraints and indexes are put back, all in the load's transaction.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load import waiting
from lambdas.load.catalog import WarehouseTable
from lambdas.load.deadline import Deadline
from lambdas.load.staging import Staging

_LOCK_SECONDS = 2.0
"""How long to try at least for the tables to be free: longer than a short query lasts."""
_SECONDS_A_ROW = 20e-6
"""What checking a row by itself takes longer: as long, trying on costs nobody anything."""
_SECONDS_BETWEEN_LOCKS = 0.05

_CONSTRAINTS: LiteralString = """
select
    conname::text,
    contype = 'f',
    pg_get_constraintdef(oid)
from pg_constraint
where conrelid = %s::regclass and contype in ('f', 'p', 'u', 'x')
order by conname
"""
_INDEXES: LiteralString = """
select
    indexrelid::regclass::text,
    pg_get_indexdef(indexrelid)
from pg_index
where indrelid = %s::regclass
    and not exists (select from pg_constraint where conindid = indexrelid)
order by 1
"""


@dataclass(frozen=True)
class Rules:
    """What a table was stripped of, as the SQL that puts it back.

    Attributes:
        of_content: Parts of an ALTER TABLE: foreign keys, and columns that may not be null.
        of_keys: Parts of an ALTER TABLE: the primary key and what else an index backs.
        indexes: Statements that create the other indexes.
    """

    of_content: sql.Composed
    of_keys: sql.Composed
    indexes: tuple[sql.SQL, ...]


def is_due(connection: psycopg.Connection, table: WarehouseTable) -> bool:
    """Returns whether nothing of a fact has ever arrived: no row is there, and none waits."""
    query = sql.SQL(
        "select not exists (select from {}) "
        "and not exists (select from waiting_row where table_name = {})"
    ).format(sql.Identifier(table.name), sql.Literal(table.name))
    return connection.execute(query).fetchone() == (True,)


def lay_bare(tables: Mapping[WarehouseTable, int], deadline: Deadline) -> dict[str, Rules]:
    """Takes empty facts' constraints and indexes away, until the transaction puts them back.

    From here to the end of the transaction nobody else reads the facts, nor the dimensions that
    they reference: dropping a foreign key locks both of its tables.

    Args:
        tables: The facts, and how many rows each is to get.
        deadline: How long locks are waited for at most, inside a transaction.

    Returns:
        What `fill` puts back, by the fact's name. A fact that something else depends on (such as a
        view that groups by the primary key) is left as it is; and all are, where somebody uses
        the tables for longer than that.
    """
    connection = deadline.connection
    saved = sum(tables.values()) * _SECONDS_A_ROW
    patience = min(max(_LOCK_SECONDS, saved), deadline.lock_seconds, deadline.seconds)
    if not tables or not _lock(connection, tables, time.monotonic() + patience):
        return {}
    stripped = {table.name: _stripped(connection, table) for table in tables}
    return {name: rules for name, rules in stripped.items() if rules is not None}


def _lock(
    connection: psycopg.Connection, tables: Iterable[WarehouseTable], deadline: float
) -> bool:
    """Takes all locks at once or none, and returns which.

    Whoever waits for a lock and holds others can deadlock a reader, and who comes to read in the
    meantime queues behind it.
    """
    names = {name for table in tables for name in (table.name, *_referenced(table))}
    lock = sql.SQL("lock table {} in access exclusive mode nowait").format(
        sql.SQL(", ").join(map(sql.Identifier, sorted(names)))
    )
    while True:
        try:
            with connection.transaction():
                connection.execute(lock)
                return True
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_SECONDS_BETWEEN_LOCKS)


def _referenced(table: WarehouseTable) -> set[str]:
    return {reference.table for reference in table.references}


def _stripped(connection: psycopg.Connection, table: WarehouseTable) -> Rules | None:
    try:
        with connection.transaction():
            return _strip(connection, table)
    except psycopg.errors.DependentObjectsStillExist:
        return None


def _strip(connection: psycopg.Connection, table: WarehouseTable) -> Rules:
    name = sql.Identifier(table.name)
    constraints = connection.execute(_CONSTRAINTS, [table.name]).fetchall()
    indexes = connection.execute(_INDEXES, [table.name]).fetchall()
    required = [
        sql.Identifier(column.name)
        for column in table.columns
        if column.is_required and column.name != table.key
    ]
    drop = [sql.SQL("drop constraint {}").format(sql.Identifier(one)) for one, _, _ in constraints]
    drop += [sql.SQL("alter column {} drop not null").format(column) for column in required]
    connection.execute(sql.SQL("alter table {} {}").format(name, sql.SQL(", ").join(drop)))
    for index, _ in indexes:
        connection.execute(sql.SQL("drop index {}").format(sql.SQL(index)))
    add = {
        of_content: [
            sql.SQL("add constraint {} {}").format(sql.Identifier(one), sql.SQL(definition))
            for one, is_foreign, definition in constraints
            if is_foreign == of_content
        ]
        for of_content in (True, False)
    }
    required_again = [sql.SQL("alter column {} set not null").format(one) for one in required]
    return Rules(
        of_content=sql.SQL(", ").join([*required_again, *add[True]]),
        of_keys=sql.SQL(", ").join(add[False]),
        indexes=tuple(sql.SQL(definition) for _, definition in indexes),
    )


def fill(
    table: WarehouseTable, rules: Rules, staging: Staging, deadline: Deadline
) -> tuple[int, int]:
    """Brings a bare fact its rows, and puts its constraints and indexes back.

    Rows that cannot stand go to the quarantine. They are looked for only if a rule, checked over
    the whole table, finds that there are any.

    Args:
        table: The fact.
        rules: What it was stripped of.
        staging: Where its rows are.
        deadline: When to give up.

    Returns:
        How many rows the fact has, and how many wait.
    """
    connection = deadline.connection
    name = sql.Identifier(table.name)
    filled = staging.fill(table)
    check = sql.SQL("alter table {} {}").format(name, rules.of_content)
    held_back = 0
    deadline.limit()
    try:
        with connection.transaction():
            connection.execute(check)
    except (psycopg.errors.NotNullViolation, psycopg.errors.ForeignKeyViolation):
        deadline.limit()
        held_back = waiting.hold_back(connection, table, name)
        deadline.limit()
        connection.execute(check)
    deadline.limit()
    connection.execute(sql.SQL("alter table {} {}").format(name, rules.of_keys))
    for index in rules.indexes:
        deadline.limit()
        connection.execute(index)
    return filled - held_back, held_back
