"""Tables of others that inherit from the warehouse's.

Who reads a table gets the rows of the tables that inherit from it as well. Load reads and writes
the star tables alone, so such rows double figures where nothing differs from the lake.
"""

from collections.abc import Collection, Iterator
from typing import LiteralString

import psycopg
from psycopg import sql

# A partition is not inherited from, and the rows of a partitioned table are in its partitions.
_HEIRS: LiteralString = """
with recursive heir (name, oid) as (
    select class.relname::text, inhrelid
    from pg_class as class
    join pg_inherits on inhparent = class.oid
    where class.relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace
        and class.relname = any (%s)
        and class.relkind = 'r'
    union
    select heir.name, inhrelid
    from heir
    join pg_inherits on inhparent = heir.oid
)
select heir.name, heir.oid, namespace.nspname::text, class.relname::text
from heir
join pg_class as class on class.oid = heir.oid
join pg_namespace as namespace on namespace.oid = class.relnamespace
order by 1, 3, 4
"""


def with_rows(
    connection: psycopg.Connection, tables: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Yields the tables with rows that inherit from tables.

    Yields:
        The table of the warehouse, the one that inherits from it, and the statement that ends that.
    """
    for table, oid, *heir in connection.execute(_HEIRS, [list(tables)]).fetchall():
        held, name = sql.Identifier(table), sql.Identifier(*heir)
        # The right to read the table is enough to read what it inherits.
        query = sql.SQL("select exists (select from {} where tableoid = %s)").format(held)
        if connection.execute(query, [oid]).fetchone() == (True,):
            end = sql.SQL("alter table {} no inherit {}").format(name, held)
            yield table, ".".join(heir), end.as_string(connection)
