"""A fact's first load: the rows go into the empty table, and its constraints are checked at once.

Otherwise PostgreSQL runs a query for each foreign key of each row, and inserts each index entry by
itself: most of the time of a large load. Here the load drops the table's constraints and indexes,
copies the rows, checks each constraint by one query, and creates constraints and indexes again, all
in the load's transaction.
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

NOT_ALLOWED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)
"""PostgreSQL's errors where a table is another role's, or an event trigger forbids to alter it."""
_LOCK_SECONDS = 2.0
"""The least time to try for the locks: longer than a short query lasts."""
_SECONDS_A_ROW = 20e-6
"""The time that a first load saves for each row, which is worth as long a wait for the locks."""
_SECONDS_BETWEEN_LOCKS = 0.05

# Foreign keys to tables of somebody else stay: to create them again may be refused.
_CONSTRAINTS: LiteralString = """
select
    conname::text,
    contype = 'f',
    pg_catalog.pg_get_constraintdef(oid)
from pg_constraint
where conrelid = %(table)s::regclass
    and (
        contype = 'p'
        or (contype = 'f' and confrelid = any (%(references)s::text[]::regclass[]::oid[]))
    )
order by conname
"""
_NOT_NULL: LiteralString = """
select attname::text, conname::text
from pg_constraint
join pg_attribute on attrelid = conrelid and attnum = conkey[1]
where conrelid = %s::regclass and contype = 'n'
"""
_INDEXES: LiteralString = """
select
    indexrelid::regclass::text,
    pg_catalog.pg_get_indexdef(indexrelid)
from pg_index
where indrelid = %s::regclass
    and not exists (select from pg_constraint where conindid = indexrelid)
order by 1
"""
# What SQL cannot put back: comments, an index that is invalid, clustered on, the replica identity,
# in a tablespace or with statistics targets, a primary key with parameters; and tables of which
# another one inherits. A foreign key that is not valid would be made again without a look at the
# rows. From a table that a publication has, rows can be deleted only with their primary key. A
# table that has lost its primary key is left to an ordinary load, which names it.
_HAS_MORE: LiteralString = """
select
    not exists (select from pg_constraint where conrelid = %(table)s::regclass and contype = 'p')
    or exists (
        select from pg_constraint
        where conrelid = %(table)s::regclass and contype = 'f' and not convalidated
    )
    or exists (select from pg_inherits where %(table)s::regclass in (inhrelid, inhparent))
    or exists (
        select from pg_publication_tables
        where pg_catalog.format('%%I.%%I', schemaname, tablename)::regclass = %(table)s::regclass
    )
    or exists (
        select
        from pg_constraint
        join pg_description on objoid = pg_constraint.oid and classoid = 'pg_constraint'::regclass
        where conrelid = %(table)s::regclass
    )
    or exists (
        select
        from pg_index
        join pg_class on pg_class.oid = indexrelid
        where indrelid = %(table)s::regclass
            and (
                not indisvalid
                or indisclustered
                or indisreplident
                or (indisprimary and reloptions is not null)
                or reltablespace <> 0
                or pg_catalog.obj_description(indexrelid, 'pg_class') is not null
                or exists (
                    select from pg_attribute where attrelid = indexrelid and attstattarget >= 0
                )
            )
    )
"""


@dataclass(frozen=True)
class Rules:
    """The constraints and indexes that a table was stripped of, as the SQL that restores them.

    Attributes:
        of_content: Parts of an ALTER TABLE: foreign keys, and columns that may not be null.
        of_keys: Parts of an ALTER TABLE: the primary key.
        indexes: Statements that create the other indexes.
    """

    of_content: sql.Composed
    of_keys: sql.Composed
    indexes: tuple[sql.SQL, ...]


def is_due(connection: psycopg.Connection, table: WarehouseTable) -> bool:
    """Returns whether a fact has no row, and none of its rows waits."""
    query = sql.SQL(
        "select not exists (select from {}) "
        "and not exists (select from waiting_row where table_name = {})"
    ).format(sql.Identifier(table.name), sql.Literal(table.name))
    return connection.execute(query).fetchone() == (True,)


def lay_bare(tables: Mapping[WarehouseTable, int], deadline: Deadline) -> dict[str, Rules]:
    """Drops the constraints and indexes of empty facts, until the transaction restores them.

    Until the end of the transaction nobody else can read the facts, nor the dimensions that they
    reference: to drop a foreign key locks both of its tables.

    Args:
        tables: The facts, and how many rows each is to get.
        deadline: How long to wait for locks at most, inside a transaction.

    Returns:
        The rules to restore, by the fact's name. A fact stays as it is if something depends on its
        constraints (a foreign key, a view that groups by the primary key), if a rule has a property
        that SQL does not restore, if it belongs to another role, or if an event trigger forbids it.
        All facts do if somebody uses the tables for too long.
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

    A session that waits for a lock while it holds others can deadlock with a reader, and new
    readers queue behind it.
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
        except psycopg.errors.InsufficientPrivilege:
            return False
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_SECONDS_BETWEEN_LOCKS)


def _referenced(table: WarehouseTable) -> set[str]:
    return {reference.table for reference in table.references}


def _stripped(connection: psycopg.Connection, table: WarehouseTable) -> Rules | None:
    has_more = connection.execute(_HAS_MORE, {"table": _regclass(connection, table.name)})
    if table.is_partitioned or has_more.fetchone() == (True,):
        return None
    try:
        with connection.transaction():
            return _strip(connection, table)
    except (psycopg.errors.DependentObjectsStillExist, *NOT_ALLOWED):
        return None


def _regclass(connection: psycopg.Connection, name: str) -> str:
    return sql.Identifier(name).as_string(connection)


def _strip(connection: psycopg.Connection, table: WarehouseTable) -> Rules:
    name = sql.Identifier(table.name)
    regclass = _regclass(connection, table.name)
    references = [_regclass(connection, one) for one in sorted(_referenced(table))]
    constraints = connection.execute(
        _CONSTRAINTS, {"table": regclass, "references": references}
    ).fetchall()
    indexes = connection.execute(_INDEXES, [regclass]).fetchall()
    required = [
        column.name for column in table.columns if column.is_required and column.name != table.key
    ]
    required_again = _required_again(connection, regclass, required)
    drop = [sql.SQL("drop constraint {}").format(sql.Identifier(one)) for one, _, _ in constraints]
    drop += [
        sql.SQL("alter column {} drop not null").format(sql.Identifier(one)) for one in required
    ]
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
    return Rules(
        of_content=sql.SQL(", ").join([*required_again, *add[True]]),
        of_keys=sql.SQL(", ").join(add[False]),
        indexes=tuple(sql.SQL(definition) for _, definition in indexes),
    )


def _required_again(
    connection: psycopg.Connection, regclass: str, required: list[str]
) -> list[sql.Composed]:
    """Returns the parts of an ALTER TABLE after which columns may not be null again.

    From PostgreSQL 18 on that is a constraint, whose name stays the same.
    """
    names: dict[str, str] = dict(connection.execute(_NOT_NULL, [regclass]).fetchall())
    return [
        sql.SQL("add constraint {} not null {}").format(
            sql.Identifier(names[column]), sql.Identifier(column)
        )
        if column in names
        else sql.SQL("alter column {} set not null").format(sql.Identifier(column))
        for column in required
    ]


def fill(
    table: WarehouseTable,
    rules: Rules,
    staging: Staging,
    gone: Mapping[str, sql.Identifier],
    deadline: Deadline,
) -> tuple[int, int]:
    """Copies the rows into a bare fact, and restores its constraints and indexes.

    Rows that violate one go to waiting_row. They are looked for only if a constraint, checked over
    the whole table, fails; or in a rebuild, which deletes dimension rows later.

    Args:
        table: The fact.
        rules: The rules that it was stripped of.
        staging: The rows.
        gone: For dimensions, the tables with the keys that are about to be deleted.
        deadline: When to give up.

    Returns:
        The numbers of rows that the fact has, and that wait.
    """
    connection = deadline.connection
    name = sql.Identifier(table.name)
    filled = staging.fill(table)
    check = sql.SQL("alter table {} {}").format(name, rules.of_content)

    def hold_back() -> int:
        deadline.limit()
        return waiting.hold_back(connection, table, name, staged=table, gone=gone)

    held_back = hold_back() if gone else 0
    deadline.limit()
    try:
        with connection.transaction():
            connection.execute(check)
    except (psycopg.errors.NotNullViolation, psycopg.errors.ForeignKeyViolation):
        held_back += hold_back()
        deadline.limit()
        connection.execute(check)
    _restore_keys(table, rules, deadline)
    return filled - held_back, held_back


def restore(table: WarehouseTable, rules: Rules, deadline: Deadline) -> None:
    """Restores the constraints and indexes of a fact that is still empty."""
    check = sql.SQL("alter table {} {}").format(sql.Identifier(table.name), rules.of_content)
    deadline.connection.execute(check)
    _restore_keys(table, rules, deadline)


def _restore_keys(table: WarehouseTable, rules: Rules, deadline: Deadline) -> None:
    deadline.limit()
    name = sql.Identifier(table.name)
    deadline.connection.execute(sql.SQL("alter table {} {}").format(name, rules.of_keys))
    for index in rules.indexes:
        deadline.limit()
        deadline.connection.execute(index)
