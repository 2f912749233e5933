"""What the source holds: its tables, columns and keys, and what the server says of changes.

Everything is read from the system catalogues at each run (PostgreSQL documentation, chapter
"System Catalogs"), so that a new table or column needs no change here.
"""

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from lambdas.ingest.raw_types import raw_type
from pipeline.manifest import Column, Statistics

SCHEMA = "public"
"""Where the source keeps its tables."""
NEVER_INGESTED = ("_prisma_migrations",)
"""Bookkeeping of the source's own tools."""

_TABLES: LiteralString = """
select
    class.oid::bigint as oid,
    class.relname as name,
    pg_relation_size(class.oid) as bytes,
    pg_relation_size(class.oid) / current_setting('block_size')::bigint as pages,
    pg_table_size(class.oid) as total_bytes,
    class.relkind = 'p' as is_partitioned,
    coalesce(keys.columns, '{}') as primary_key
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
left join lateral (
    select array_agg(attribute.attname::text order by key.position) as columns
    from pg_index as index
    cross join unnest(index.indkey) with ordinality as key (attnum, position)
    join pg_attribute as attribute
        on attribute.attrelid = index.indrelid and attribute.attnum = key.attnum
    where index.indrelid = class.oid and index.indisprimary
) as keys on true
where namespace.nspname = %s
    and class.relkind in ('r', 'p')
    and not class.relispartition
    and class.relname <> all (%s)
order by class.relname
"""

_COLUMNS: LiteralString = """
select
    attribute.attrelid::bigint,
    attribute.attname::text,
    case
        when type.typtype = 'd' then format_type(type.typbasetype, type.typtypmod)
        else format_type(attribute.atttypid, attribute.atttypmod)
    end
from pg_attribute as attribute
join pg_type as type on type.oid = attribute.atttypid
where attribute.attrelid = any (%s::bigint[]::oid[])
    and attribute.attnum > 0
    and not attribute.attisdropped
order by attribute.attrelid, attribute.attnum
"""

_STATISTICS: LiteralString = """
select
    statistics.relid::bigint,
    statistics.n_tup_ins,
    statistics.n_tup_upd,
    statistics.n_tup_del,
    coalesce(pg_relation_filenode(statistics.relid)::bigint, 0),
    (select stats_reset::text from pg_stat_database where datname = current_database())
from pg_stat_all_tables as statistics
where not pg_is_in_recovery()
"""

_SNAPSHOT: LiteralString = """
select
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_transaction,
    to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as taken_at,
    (select system_identifier::text from pg_control_system())
        || '/' || (select timeline_id::text from pg_control_checkpoint()) as system_identifier
"""


@dataclass(frozen=True)
class SourceTable:
    """A table as the run's snapshot shows it.

    Attributes:
        oid: The table's object identifier.
        name: Its name in the schema `public`.
        bytes: The size of its main file.
        pages: The pages of its main file.
        total_bytes: Its size with values that are kept out of line.
        is_partitioned: Whether its rows live in partitions, which the counters do not add up.
        primary_key: The key's columns in the key's order; empty for a table without one.
        columns: Its columns in the table's order.
    """

    oid: int
    name: str
    bytes: int
    pages: int
    total_bytes: int
    is_partitioned: bool
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The table's name for a statement, whatever the role's search path is."""
        return sql.Identifier(SCHEMA, self.name)


@dataclass(frozen=True)
class SourceSnapshot:
    """The instant that a run shows.

    Attributes:
        horizon: The oldest transaction in progress (xid8): all before it are visible or dead.
        next_transaction: The first one that had not completed nor begun (xid8).
        taken_at: ISO 8601, UTC, by the server's clock.
        system_identifier: The server's identity and timeline: a restore or a failover changes it.
    """

    horizon: int
    next_transaction: int
    taken_at: str
    system_identifier: str


def read_statistics(connection: psycopg.Connection) -> dict[int, Statistics]:
    """Returns the server's counters of every table by its oid.

    A standby counts nothing of what it replays: there are none then.

    To be called before the snapshot is taken: counters that run ahead of the snapshot would hide
    the changes between the two from the next run.
    """
    rows = connection.execute(_STATISTICS).fetchall()
    return {
        oid: Statistics(inserted, updated, deleted, file_node, reset_at)
        for oid, inserted, updated, deleted, file_node, reset_at in rows
    }


def read_snapshot(connection: psycopg.Connection) -> SourceSnapshot:
    """Returns the snapshot of the connection's open transaction."""
    with connection.cursor(row_factory=class_row(SourceSnapshot)) as cursor:
        snapshot = cursor.execute(_SNAPSHOT).fetchone()
    assert snapshot is not None  # noqa: S101 - a SELECT without FROM gives one row  # nosec B101
    return snapshot


def export_snapshot(connection: psycopg.Connection) -> str:
    """Returns the name by which other connections can join the connection's snapshot."""
    row = connection.execute("select pg_export_snapshot()").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM gives one row  # nosec B101
    return str(row[0])


def read_tables(connection: psycopg.Connection) -> tuple[SourceTable, ...]:
    """Returns the tables of the schema `public`, by name."""
    rows = connection.execute(_TABLES, [SCHEMA, list(NEVER_INGESTED)]).fetchall()
    columns: dict[int, list[Column]] = {row[0]: [] for row in rows}
    for oid, name, source_type in connection.execute(_COLUMNS, [list(columns)]):
        columns[oid].append(Column(name, source_type, raw_type(source_type).name))
    return tuple(
        SourceTable(oid, name, size, pages, total, partitioned, tuple(key), tuple(columns[oid]))
        for oid, name, size, pages, total, partitioned, key in rows
    )
