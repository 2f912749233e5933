"""Triggers and rules that others attached to the warehouse's tables.

They run when Load writes, and may skip or change a row without an error. Load then compares what it
wrote with what it staged; a table without them needs no comparison.
"""

from collections.abc import Collection
from typing import LiteralString

import psycopg

# A trigger of a partitioned table has a copy at each partition.
_ATTACHED: LiteralString = """
with recursive member (name, oid) as (
    select class.relname::text, class.oid
    from pg_class as class
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where namespace.nspname = current_schema() and class.relname = any (%s)
    union
    select member.name, inhrelid
    from member
    join pg_inherits on inhparent = member.oid
)
select name, 'trigger ' || tgname
from member
join pg_trigger on tgrelid = member.oid
where not tgisinternal and tgenabled <> 'D'
union
select name, 'rule ' || rulename
from member
join pg_rewrite on ev_class = member.oid
where rulename <> '_RETURN' and ev_enabled <> 'D'
order by 1, 2
"""


def attached(connection: psycopg.Connection, tables: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Returns the enabled triggers and rules of tables and of their partitions, by the table."""
    found: dict[str, list[str]] = {}
    for table, one in connection.execute(_ATTACHED, [list(tables)]):
        found.setdefault(table, []).append(one)
    return {table: tuple(them) for table, them in found.items()}


def named(connection: psycopg.Connection, table: str) -> str:
    """Returns the triggers and rules of one table, for a message."""
    return ", ".join(attached(connection, [table]).get(table, ("an unknown trigger",)))
