"""A fact's first load: its rows go straight into the empty table and are checked all at once.

Row by row, every foreign key is a query of its own, which is most of the time that a large load
takes, and every index entry is put in its place alone. Here the table is laid bare, filled, checked
by one query a rule, and its constraints and indexes are put back, all in the load's transaction.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
import pyarrow as pa
from psycopg import sql

from lambdas.load import quarantine
from lambdas.load.catalog import WarehouseTable
from lambdas.load.staging import copy_rows

LOCK_SECONDS: Final = 2.0
"""How long to wait for the tables to be free, as readers queue behind that wait. The server needs
one second (`deadlock_timeout`) to take them from an autovacuum."""

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
class _Rules:
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
        "and not exists (select from fact_quarantine where table_name = {})"
    ).format(sql.Identifier(table.name), sql.Literal(table.name))
    return connection.execute(query).fetchone() == (True,)


def lay_bare(connection: psycopg.Connection, table: WarehouseTable) -> _Rules | None:
    """Takes an empty fact's constraints and indexes away, until the transaction puts them back.

    From here to the end of the transaction nobody else reads the fact, nor the dimensions that it
    references: dropping a foreign key locks both of its tables.

    Args:
        connection: The warehouse, inside a transaction; its lock_timeout is how long to wait.
        table: The fact.

    Returns:
        What `fill` puts back; None, and nothing is changed, where somebody uses the tables or
        something else (such as a view that groups by the primary key) depends on them.
    """
    try:
        with connection.transaction():
            return _strip(connection, table)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DependentObjectsStillExist):
        return None


def _strip(connection: psycopg.Connection, table: WarehouseTable) -> _Rules:
    name = sql.Identifier(table.name)
    referenced = sorted({reference.table for reference in table.references})
    connection.execute(
        sql.SQL("lock table {} in access exclusive mode").format(
            sql.SQL(", ").join(map(sql.Identifier, (table.name, *referenced)))
        )
    )
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
    return _Rules(
        of_content=sql.SQL(", ").join([*required_again, *add[True]]),
        of_keys=sql.SQL(", ").join(add[False]),
        indexes=tuple(sql.SQL(definition) for _, definition in indexes),
    )


def fill(
    connection: psycopg.Connection,
    table: WarehouseTable,
    rules: _Rules,
    batches: Iterable[pa.RecordBatch],
    limit: Callable[[], None],
) -> tuple[int, int]:
    """Copies rows into a bare fact, and puts its constraints and indexes back.

    Rows that cannot stand go to the quarantine. They are looked for only if a rule, checked over
    the whole table, finds that there are any.

    Args:
        connection: The warehouse, in the transaction that laid the fact bare.
        table: The fact.
        rules: What it was stripped of.
        batches: Its rows.
        limit: Is called before each statement that may take long.

    Returns:
        How many rows the fact has, and how many wait.
    """
    name = sql.Identifier(table.name)
    copied = copy_rows(connection, table, batches, into=name)
    check = sql.SQL("alter table {} {}").format(name, rules.of_content)
    waiting = 0
    limit()
    try:
        with connection.transaction():
            connection.execute(check)
    except (psycopg.errors.NotNullViolation, psycopg.errors.ForeignKeyViolation):
        limit()
        waiting = quarantine.hold_back(connection, table, name)
        limit()
        connection.execute(check)
    limit()
    connection.execute(sql.SQL("alter table {} {}").format(name, rules.of_keys))
    for index in rules.indexes:
        limit()
        connection.execute(index)
    return copied - waiting, waiting
