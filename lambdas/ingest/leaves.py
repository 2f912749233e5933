"""The leaves of a table: the relations that hold its rows.

An ordinary table is its own leaf. The leaves of a partitioned table are its partitions, at any
level. The leaves of a table that others inherit from are the table itself and all tables below it,
since its rows are those that `select * from` it gives.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.failures import Failures, TableFailure, table_failure
from lambdas.ingest.names import read_named

_SHORT_LOCK_TIMEOUT = "1s"
"""For each table, once the run has waited for the lock of one of them."""

# A table's name is a right of its own: whoever reads a leaf by its name needs the right to read it,
# and is subject to its policies instead of the table's. PostgreSQL documentation, "Generated
# Columns": the virtual columns of the table that a query names apply, not those of the leaf.
_LEAVES: LiteralString = """
with recursive tree (root, oid) as (
    select oid::oid, oid::oid from pg_catalog.unnest(%s::bigint[]) as oid
    union
    select tree.root, inherits.inhrelid
    from tree
    join pg_inherits as inherits on inherits.inhparent = tree.oid
    where not coalesce((pg_catalog.to_jsonb(inherits) ->> 'inhdetachpending')::boolean, false)
)
select
    tree.root::bigint,
    leaf.oid::bigint,
    namespace.nspname,
    leaf.relname,
    leaf.relfilenode::bigint,
    leaf.relkind = 'f',
    leaf.oid = root.oid or (
        pg_catalog.has_table_privilege(leaf.oid, 'select')
        and pg_catalog.has_schema_privilege(namespace.oid, 'usage')
        and not pg_catalog.row_security_active(leaf.oid)
        and not pg_catalog.row_security_active(root.oid)
        and not exists (
            select from pg_attribute
            where attrelid = root.oid and attgenerated = 'v' and not attisdropped
        )
    )
from tree
join pg_class as root on root.oid = tree.root
join pg_class as leaf on leaf.oid = tree.oid
join pg_namespace as namespace on namespace.oid = leaf.relnamespace
where leaf.relkind in ('r', 'f')
    and (leaf.relpersistence <> 't' or root.relpersistence = 't')
order by tree.root, leaf.oid
"""
_SIZES: LiteralString = """
select
    oid::bigint,
    pg_catalog.pg_relation_size(oid::oid),
    pg_catalog.pg_relation_size(oid::oid) / pg_catalog.current_setting('block_size')::bigint,
    pg_catalog.pg_table_size(oid::oid),
    case
        when is_named then ''
        else coalesce(pg_catalog.pg_get_partition_constraintdef(oid::oid), '')
    end
from rows from (
    pg_catalog.unnest(%s::bigint[]), pg_catalog.unnest(%s::boolean[])
) as leaf (oid, is_named)
"""


_Size = tuple[int, int, int, str]


@dataclass(frozen=True)
class Leaf:
    """A relation that holds rows of a table.

    Attributes:
        oid: The relation's object identifier.
        schema: Its schema.
        name: Its name.
        file_node: Its file. A rewrite or TRUNCATE gives it another one.
        is_foreign: Whether it is a foreign table, which has neither ctid nor xmin.
        is_named: Whether it is read by its own name. Otherwise it is read through the table, whose
            rights, policies and virtual columns apply.
        bytes: Size of the main fork.
        pages: Pages of the main fork.
        total_bytes: Size with the TOAST table.
        constraint: The condition of a partition's rows, by which the server finds the partition;
            empty for a leaf that is named, or that is no partition.
    """

    oid: int
    schema: str
    name: str
    file_node: int
    is_foreign: bool
    is_named: bool
    bytes: int = 0
    pages: int = 0
    total_bytes: int = 0
    constraint: str = ""

    @property
    def identifier(self) -> sql.Composable:
        """The relation's own rows, for a statement."""
        return sql.SQL("only {}").format(sql.Identifier(self.schema, self.name))

    @property
    def condition(self) -> sql.Composable:
        """The condition of its rows among those of the table."""
        own = sql.SQL("tableoid = {}::oid").format(self.oid)
        # The server wrote the constraint, as an expression of its own.
        return sql.Composed([own, sql.SQL(f" and ({self.constraint})")]) if self.constraint else own


def read_leaves(
    connection: psycopg.Connection, tables: Iterable[int]
) -> dict[int, tuple[Leaf, ...]]:
    """Returns the leaves of tables by the tables' oid, without their sizes.

    A table with a leaf whose name cannot be read is left out.
    """
    every = list(tables)
    rows, refused = read_named(connection, _LEAVES, every)
    found: dict[int, list[Leaf]] = {oid: [] for oid in every if oid not in refused}
    for root, *leaf in rows:
        found[root].append(Leaf(*leaf))
    return {oid: tuple(leaves) for oid, leaves in found.items()}


def measured(
    connection: psycopg.Connection,
    leaves: Mapping[int, tuple[Leaf, ...]],
    names: Mapping[int, str],
    failures: Failures,
) -> dict[int, tuple[Leaf, ...]]:
    """Returns the leaves of tables with their sizes.

    Args:
        connection: A connection with a transaction.
        leaves: The leaves by the tables' oid.
        names: The tables' names by oid.
        failures: Takes the tables whose leaves somebody holds a lock on.
    """
    sizes: dict[int, _Size] | None
    try:
        sizes = _sizes(connection, [leaf for every in leaves.values() for leaf in every])
    except TableFailure:
        sizes = None
    except psycopg.Error as error:
        table_failure(error)
        sizes = None
    found: dict[int, tuple[Leaf, ...]] = {}
    for oid, own in leaves.items():
        with failures.of(names[oid]):
            of_table = _sizes(connection, own, _SHORT_LOCK_TIMEOUT) if sizes is None else sizes
            found[oid] = tuple(_sized(leaf, *of_table[leaf.oid]) for leaf in own)
    return found


def _sized(leaf: Leaf, size: int, pages: int, total: int, constraint: str) -> Leaf:
    return replace(leaf, bytes=size, pages=pages, total_bytes=total, constraint=constraint)


def _sizes(
    connection: psycopg.Connection, leaves: Sequence[Leaf], lock_timeout: str = ""
) -> dict[int, _Size]:
    """Returns the sizes and constraints of relations by oid. The server locks each of them."""
    with connection.transaction(force_rollback=True):
        if lock_timeout:
            connection.execute(
                "select pg_catalog.set_config('lock_timeout', %s, true)", [lock_timeout]
            )
        oids, are_named = [leaf.oid for leaf in leaves], [leaf.is_named for leaf in leaves]
        rows = connection.execute(_SIZES, [oids, are_named]).fetchall()
    if any(None in row for row in rows):
        raise TableFailure("it, or a part of it, was dropped", is_passing=True)
    return {oid: (size, pages, total, text) for oid, size, pages, total, text in rows}
