"""The star tables as the warehouse defines them: columns, keys and foreign keys.

star_schema declares the star tables and their columns; Load reads and writes no other table of the
warehouse, and no other column. The migrations define them; Load reads the definitions from the
system catalogs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.attached import attached
from star_schema.tables import ADDED_COLUMNS, StarColumn, StarTable

_NOT_LOADED = frozenset({"_sequence"})
"""The lake's columns that the warehouse does not have."""

# A domain is its base type here: PostgreSQL checks the domain's constraints when a row is written.
_COLUMNS: LiteralString = """
select
    class.relname::text,
    class.relkind = 'p',
    attribute.attname::text,
    case
        when type.typtype = 'd' then pg_catalog.format_type(type.typbasetype, type.typtypmod)
        else pg_catalog.format_type(attribute.atttypid, attribute.atttypmod)
    end,
    attribute.attnotnull,
    coalesce(not compared.collisdeterministic, false),
    class.relpersistence = 'u'
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
join pg_attribute as attribute on attribute.attrelid = class.oid
join pg_type as type on type.oid = attribute.atttypid
left join pg_collation as compared on compared.oid = attribute.attcollation
where namespace.nspname = current_schema()
    and class.relkind in ('r', 'p')
    and class.relname = any (%(tables)s)
    and attribute.attnum > 0
    and not attribute.attisdropped
order by class.relname, attribute.attnum
"""

_FOREIGN_KEYS: LiteralString = """
select
    referencing.relname::text,
    own.attname::text,
    referenced.relname::text,
    other.attname::text,
    referenced.relkind = 'p'
from pg_constraint as constraints
join pg_class as referencing on referencing.oid = constraints.conrelid
join pg_class as referenced on referenced.oid = constraints.confrelid
join pg_namespace as namespace on namespace.oid = referencing.relnamespace
join pg_attribute as own
    on own.attrelid = constraints.conrelid and own.attnum = constraints.conkey[1]
join pg_attribute as other
    on other.attrelid = constraints.confrelid and other.attnum = constraints.confkey[1]
where constraints.contype = 'f'
    and constraints.conrelid <> constraints.confrelid
    and namespace.nspname = current_schema()
    and referenced.relnamespace = referencing.relnamespace
    and referencing.relname = any (%(tables)s)
    and referenced.relname = any (%(tables)s)
    and pg_catalog.cardinality(constraints.conkey) = 1
order by referencing.relname, constraints.conkey
"""


@dataclass(frozen=True)
class WarehouseColumn:
    """A column of a star table.

    Attributes:
        name: The column's name.
        type: Its PostgreSQL type.
        is_required: Whether it may not be null.
        equates_texts: Whether its collation takes some different texts for equal.
    """

    name: str
    type: str
    is_required: bool
    equates_texts: bool = False


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column: it references `table`.`key`."""

    column: str
    table: str
    key: str
    is_partitioned: bool = False

    @property
    def rows(self) -> sql.Composed:
        """The referenced table in a FROM clause, as PostgreSQL checks the foreign key."""
        return _rows(self.table, self.is_partitioned)


@dataclass(frozen=True)
class WarehouseTable:
    """A star table of the warehouse.

    Attributes:
        name: The table's name.
        key: The column that identifies a row: the record id of a fact, else the natural key.
        columns: The declared columns, in the order of the table.
        references: The foreign keys to other star tables.
        natural_key: The column that identifies a row of the source.
        is_fact: Whether rows are only ever added.
        is_partitioned: Whether the rows are in partitions.
        attached: The triggers and rules of others, each as its kind and name.
        is_unlogged: Whether a crash of the server empties the table.
    """

    name: str
    key: str
    columns: tuple[WarehouseColumn, ...]
    references: tuple[Reference, ...]
    natural_key: str
    is_fact: bool
    is_partitioned: bool = False
    attached: tuple[str, ...] = ()
    is_unlogged: bool = False

    @property
    def rows(self) -> sql.Composed:
        """The table in a FROM clause: without the tables that inherit from it."""
        return _rows(self.name, self.is_partitioned)


def _rows(table: str, is_partitioned: bool) -> sql.Composed:
    return sql.SQL("{}" if is_partitioned else "only {}").format(sql.Identifier(table))


def read_star_tables(
    connection: psycopg.Connection, declared: Iterable[StarTable]
) -> tuple[WarehouseTable, ...]:
    """Returns the declared star tables, every table after those that it references.

    A declared table or column that the warehouse does not have is left out.
    """
    stars = {star.name: star for star in declared}
    names = {"tables": list(stars)}
    columns: dict[str, list[WarehouseColumn]] = {}
    partitioned: set[str] = set()
    unlogged: set[str] = set()
    for table, is_partitioned, *column, is_unlogged in connection.execute(_COLUMNS, names):
        held = columns.setdefault(table, [])
        if column[0] in loaded_columns(stars[table]):
            held.append(WarehouseColumn(*column))
        if is_partitioned:
            partitioned.add(table)
        if is_unlogged:
            unlogged.add(table)
    references: dict[str, list[Reference]] = {table: [] for table in columns}
    for table, *reference in connection.execute(_FOREIGN_KEYS, names):
        if reference[0] in loaded_columns(stars[table]):
            references[table].append(Reference(*reference))
    others = attached(connection, columns)
    order = TopologicalSorter(
        {table: {reference.table for reference in references[table]} for table in sorted(columns)}
    ).static_order()
    return tuple(
        WarehouseTable(
            name=name,
            key=stars[name].record_id or stars[name].natural_key,
            columns=tuple(columns[name]),
            references=tuple(references[name]),
            natural_key=stars[name].natural_key,
            is_fact=stars[name].is_fact,
            is_partitioned=name in partitioned,
            attached=others.get(name, ()),
            is_unlogged=name in unlogged,
        )
        for name in order
    )


def lost_references(table: WarehouseTable, stars: Mapping[str, StarTable]) -> list[StarColumn]:
    """Returns the columns that are declared to reference a dimension, without a foreign key to it.

    A foreign key that PostgreSQL does not check (not valid, not enforced, disabled) counts: Load
    holds back what breaks it.

    Args:
        table: A star table.
        stars: The declared star tables.
    """
    held = {(one.column, one.table, one.key) for one in table.references}
    return [
        column
        for column in stars[table.name].columns
        if column.references
        and (column.name, column.references, stars[column.references].natural_key) not in held
    ]


def loaded_columns(star: StarTable) -> frozenset[str]:
    """Returns the names of the columns that the warehouse has of a star table."""
    return frozenset(column.name for column in (*star.columns, *ADDED_COLUMNS)) - _NOT_LOADED
