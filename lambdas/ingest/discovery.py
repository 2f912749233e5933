"""The source's tables, columns and keys, its snapshot, and the server's counters.

Everything is read from the system catalogs at each run (PostgreSQL documentation, chapter "System
Catalogs"), so a new table or column needs no change here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.definitions import read_definitions
from lambdas.ingest.failures import Failures, TableFailure
from lambdas.ingest.leaves import Leaf, measured, read_leaves
from lambdas.ingest.names import read_named, unreadable_name
from lambdas.ingest.printed_names import read_printed_names
from lambdas.ingest.raw_types import raw_type
from lambdas.ingest.scope import DEFAULT_SCOPE, Scope
from lambdas.ingest.session import begin, refuse_hidden_rows
from lambdas.ingest.snapshot_export import begin_for_export
from pipeline.manifest import Column, Epoch, Statistics

NO_STATISTICS = Statistics(0, 0, 0, 0, None)

_RELATIONS: LiteralString = """
select class.oid::bigint, namespace.nspname
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where namespace.nspname = any (%s)
    and class.relkind in ('r', 'p')
    and not class.relispartition
"""

_TABLES: LiteralString = """
select
    class.oid::bigint as oid,
    namespace.nspname as schema,
    class.relname as relation,
    coalesce(keys.columns, '{}') as primary_key
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
left join lateral (
    select pg_catalog.array_agg(attribute.attname::text order by key.position) as columns
    from pg_index as index
    cross join pg_catalog.unnest(index.indkey) with ordinality as key (attnum, position)
    join pg_attribute as attribute
        on attribute.attrelid = index.indrelid and attribute.attnum = key.attnum
    where index.indrelid = class.oid
        and index.indisprimary
        -- The columns of an INCLUDE clause follow the key's.
        and key.position <= index.indnkeyatts
) as keys on true
where class.oid = any (%s::bigint[]::oid[])
order by class.relname, namespace.nspname
"""

_NAMES: LiteralString = """
select namespace.nspname, class.relname, coalesce(attribute.attname, '')
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
left join pg_attribute as attribute
    on attribute.attrelid = class.oid and attribute.attnum > 0 and not attribute.attisdropped
where class.oid = any (%s::bigint[]::oid[])
"""

_COLUMNS: LiteralString = """
with recursive resolved as (
    select attrelid, attnum, attname, atttypid as type, atttypmod as modifier
    from pg_attribute
    where attrelid = any (%s::bigint[]::oid[]) and attnum > 0 and not attisdropped
    union all
    select attrelid, attnum, attname, domain.typbasetype, domain.typtypmod
    from resolved
    join pg_type as domain on domain.oid = resolved.type and domain.typtype = 'd'
)
select
    resolved.attrelid::bigint,
    resolved.attname::text,
    pg_catalog.format_type(type.oid, resolved.modifier)
from resolved
join pg_type as type on type.oid = resolved.type and type.typtype <> 'd'
order by resolved.attrelid, resolved.attnum
"""

_STATISTICS: LiteralString = """
select
    statistics.relid::bigint,
    statistics.n_tup_ins,
    statistics.n_tup_upd,
    statistics.n_tup_del,
    coalesce(pg_catalog.pg_relation_filenode(statistics.relid)::bigint, 0),
    (select stats_reset::text from pg_stat_database where datname = current_database())
from pg_stat_all_tables as statistics
where not pg_is_in_recovery()
    and pg_catalog.current_setting('track_counts')::boolean
    and not exists (
        select from pg_db_role_setting
        cross join pg_catalog.unnest(setconfig) as setting
        where pg_catalog.split_part(setting, '=', 1) = 'track_counts'
            and not pg_catalog.split_part(setting, '=', 2)::boolean
    )
"""

_SNAPSHOT: LiteralString = """
select
    pg_catalog.pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon,
    pg_catalog.pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_transaction,
    pg_catalog.to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as taken_at,
    system.system_identifier::text || '/' || case
        when pg_is_in_recovery() then checkpoint.timeline_id
        -- The control file has a new timeline only after the first checkpoint of a promotion.
        else (
            'x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_current_wal_lsn()), 8)
        )::bit(32)::integer
    end::text as system_identifier,
    (select oid::bigint from pg_database where datname = current_database()) as database_oid,
    pg_catalog.to_char(
        pg_postmaster_start_time() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    ) as started_at,
    (select pg_catalog.to_char(stats_reset at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        from pg_stat_bgwriter) as statistics_reset_at,
    pg_catalog.pg_wal_lsn_diff(
        case
            when pg_is_in_recovery() then checkpoint.checkpoint_lsn
            else pg_current_wal_lsn()
        end,
        '0/0'
    )::bigint as log_position,
    pg_catalog.to_char(pg_conf_load_time() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        as configured_at
from pg_control_system() as system
cross join pg_control_checkpoint() as checkpoint
"""


@dataclass(frozen=True)
class SourceTable:
    """A table in the run's snapshot.

    Attributes:
        oid: The table's object identifier.
        name: The table's name in the pipeline: with its schema, unless that is the first one.
        schema: The table's schema.
        relation: The table's name in its schema.
        primary_key: The primary key's columns in the key's order; empty for a table without one.
        columns: The columns in the table's order.
        leaves: The relations that hold its rows.
        definition: Identifies the table's definition and its files: lambdas/ingest/definitions.py.
        printed_names: Identifies the names of objects that its values may print; empty if its
            types print none: lambdas/ingest/printed_names.py.
    """

    oid: int
    name: str
    schema: str
    relation: str
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    leaves: tuple[Leaf, ...] = ()
    definition: str = ""
    printed_names: str = ""

    @property
    def identifier(self) -> sql.Identifier:
        """The table's name with its schema, for a statement."""
        return sql.Identifier(self.schema, self.relation)

    @property
    def bytes(self) -> int:
        """Size of the main forks of all leaves."""
        return sum(leaf.bytes for leaf in self.leaves)

    @property
    def total_bytes(self) -> int:
        """Size of all leaves with their TOAST tables."""
        return sum(leaf.total_bytes for leaf in self.leaves)

    def leaf(self, oid: int) -> Leaf | None:
        """Returns the leaf of an oid; None if there is no such leaf."""
        return next((leaf for leaf in self.leaves if leaf.oid == oid), None)

    @property
    def has_foreign_leaf(self) -> bool:
        """Whether some of the rows are in a foreign table."""
        return any(leaf.is_foreign for leaf in self.leaves)


@dataclass(frozen=True)
class SourceSnapshot:
    """The snapshot of a run.

    Attributes:
        horizon: The oldest transaction in progress (xid8); all older ones are visible or dead.
        next_transaction: The first transaction (xid8) that had not been assigned.
        taken_at: The server's time, as ISO 8601 in UTC.
        system_identifier: The server's system identifier and timeline.
        epoch: The server's epoch.
    """

    horizon: int
    next_transaction: int
    taken_at: str
    system_identifier: str
    epoch: Epoch


@dataclass(frozen=True)
class Source:
    """The source at the begin of an invocation.

    Attributes:
        snapshot: The snapshot that all tables are read in.
        tables: The tables, by name.
        statistics: The tables' counters by oid, read before the snapshot. Those of a table with
            several leaves are the leaves' sums. None on a standby, and for foreign leaves.
        warnings: Patterns of the scope that match nothing.
    """

    snapshot: SourceSnapshot
    tables: tuple[SourceTable, ...]
    statistics: dict[int, Statistics]
    warnings: tuple[str, ...] = ()

    def statistics_of(self, table: SourceTable) -> Statistics:
        """Returns a table's counters; zeros if the server has none."""
        return self.statistics.get(table.oid, NO_STATISTICS)


def read_source(connection: psycopg.Connection, scope: Scope, failures: Failures) -> Source:
    """Begins the run's read-only transaction on a connection and describes what it shows.

    Args:
        connection: A connection without a transaction.
        scope: What is captured of the source.
        failures: Takes the tables that cannot be described.

    Raises:
        InvalidSettings: The scope does not fit the source.
    """
    connection.autocommit = True
    begin(connection)
    refuse_hidden_rows(connection)
    statistics = read_statistics(connection)
    connection.execute("commit")
    begin_for_export(connection)
    snapshot, tables = read_snapshot(connection), read_tables(connection, scope, failures)
    warnings = tuple(_unused_patterns(connection, scope))
    return Source(snapshot, tables, dict(_statistics_of_tables(tables, statistics)), warnings)


def read_statistics(connection: psycopg.Connection) -> dict[int, Statistics]:
    """Returns the server's counters of every table, by oid; nothing where changes are not counted.

    A standby does not count the changes that it replays, and a role may have counting switched off.

    Call this before the snapshot is taken. Counters read after the snapshot would include changes
    that the snapshot does not show, and the next run would skip those changes.
    """
    rows = connection.execute(_STATISTICS).fetchall()
    return {
        oid: Statistics(inserted, updated, deleted, file_node, reset_at)
        for oid, inserted, updated, deleted, file_node, reset_at in rows
    }


def read_snapshot(connection: psycopg.Connection) -> SourceSnapshot:
    """Returns the snapshot of the connection's open transaction."""
    row = connection.execute(_SNAPSHOT).fetchone()
    assert row is not None  # noqa: S101 - both functions give one row  # nosec B101
    horizon, next_transaction, taken_at, system_identifier, *epoch = row
    return SourceSnapshot(horizon, next_transaction, taken_at, system_identifier, Epoch(*epoch))


def read_tables(
    connection: psycopg.Connection,
    scope: Scope = DEFAULT_SCOPE,
    failures: Failures | None = None,
) -> tuple[SourceTable, ...]:
    """Returns the tables of the source, by name.

    Args:
        connection: A connection with a transaction.
        scope: What is captured of the source.
        failures: Takes the tables that cannot be described.

    Raises:
        InvalidSettings: The scope does not fit the source.
    """
    failures = failures or Failures()
    scope.refuse_unknown(_schemas(connection, scope))
    schemas = _relations(connection, scope)
    every, unreadable = read_named(connection, _TABLES, list(schemas))
    inside = [row for row in every if not scope.leaves_out_table(row[1], row[2])]
    shared = scope.shared_names((schema, relation) for _, schema, relation, _ in inside)
    for name, failure in shared.items():
        failures.add(name, failure)
    rows = [row for row in inside if scope.name_of(row[1], row[2]) not in shared]
    relations = {oid: (schema, relation) for oid, schema, relation, _ in rows}
    names = {oid: scope.name_of(*one) for oid, one in relations.items()}
    columns: dict[int, list[Column]] = {oid: [] for oid in names}
    found, refused = read_named(connection, _COLUMNS, list(names))
    for oid, name, source_type in found:
        if not scope.leaves_out_column(*relations[oid], name):
            columns[oid].append(Column(name, source_type, raw_type(source_type).name))
    leaves = read_leaves(connection, columns.keys() - refused)
    unreadable |= columns.keys() - leaves.keys()
    for oid in unreadable:
        relation, failure = unreadable_name(connection, oid)
        if not scope.leaves_out_table(schemas[oid], relation):
            failures.add(scope.name_of(schemas[oid], relation), failure)
    definitions = read_definitions(connection, leaves)
    printed_names = read_printed_names(connection, leaves)
    sized = measured(connection, leaves, names, failures)
    tables: list[SourceTable] = []
    for oid, schema, relation, key in rows:
        if oid in leaves and not columns[oid]:
            failure = TableFailure("it has no columns; add one, or leave the table out")
            failures.add(names[oid], failure)
        elif oid in sized:
            own = (tuple(key), tuple(columns[oid]), sized[oid], definitions[oid])
            printed = printed_names.get(oid, "")
            tables.append(SourceTable(oid, names[oid], schema, relation, *own, printed))
    return tuple(sorted(tables, key=lambda table: table.name))


def _unused_patterns(connection: psycopg.Connection, scope: Scope) -> Iterator[str]:
    """Yields a warning for each pattern that matches nothing: it may be misspelt."""
    columns, _ = read_named(connection, _NAMES, list(_relations(connection, scope)))
    yield from scope.unused(columns)


def _schemas(connection: psycopg.Connection, scope: Scope) -> set[str]:
    query = "select nspname from pg_namespace where nspname = any (%s)"
    return {name for (name,) in connection.execute(query, [list(scope.schemas)])}


def _relations(connection: psycopg.Connection, scope: Scope) -> dict[int, str]:
    """Returns the schema of each relation that is a table of the scope's schemas, by oid."""
    return dict(connection.execute(_RELATIONS, [list(scope.schemas)]).fetchall())


def _statistics_of_tables(
    tables: Iterable[SourceTable], statistics: Mapping[int, Statistics]
) -> Iterator[tuple[int, Statistics]]:
    for table in tables:
        own = [statistics[leaf.oid] for leaf in table.leaves if leaf.oid in statistics]
        if own and len(own) == len(table.leaves):
            yield table.oid, own[0] if len(own) == 1 else _sum(table, own)


def _sum(table: SourceTable, statistics: list[Statistics]) -> Statistics:
    """Returns the sums of the leaves' counters. Their files make one number."""
    files = repr([(leaf.oid, leaf.file_node) for leaf in table.leaves]).encode()
    return Statistics(
        inserted=sum(one.inserted for one in statistics),
        updated=sum(one.updated for one in statistics),
        deleted=sum(one.deleted for one in statistics),
        file_node=int.from_bytes(hashlib.sha256(files).digest()[:6]),
        reset_at=statistics[0].reset_at,
    )
