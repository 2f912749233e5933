"""The star tables as the warehouse defines them: columns, keys and foreign keys.

star_schema declares which tables are star tables; Load reads and writes no other table of the
warehouse. The migrations define the tables; Load reads the definitions from the system catalogs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import LiteralString

import psycopg

from star_schema.tables import StarTable

_COLUMNS: LiteralString = """
select
    class.relname::text,
    attribute.attname::text,
    format_type(attribute.atttypid, attribute.atttypmod),
    attribute.attnotnull,
    coalesce(attribute.attnum = any (key.indkey), false)
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
join pg_attribute as attribute on attribute.attrelid = class.oid
left join pg_index as key on key.indrelid = class.oid and key.indisprimary
where namespace.nspname = current_schema()
    and class.relkind = 'r'
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
    other.attname::text
from pg_constraint as constraints
join pg_class as referencing on referencing.oid = constraints.conrelid
join pg_class as referenced on referenced.oid = constraints.confrelid
join pg_namespace as namespace on namespace.oid = referencing.relnamespace
join pg_attribute as own
    on own.attrelid = constraints.conrelid and own.attnum = constraints.conkey[1]
join pg_attribute as other
    on other.attrelid = constraints.confrelid and other.attnum = constraints.confkey[1]
where constraints.contype = 'f'
    and namespace.nspname = current_schema()
    and referenced.relnamespace = referencing.relnamespace
    and referencing.relname = any (%(tables)s)
    and referenced.relname = any (%(tables)s)
order by referencing.relname, constraints.conkey
"""


@dataclass(frozen=True)
class WarehouseColumn:
    """A column of a star table: its name, PostgreSQL type, and whether it may be null."""

    name: str
    type: str
    is_required: bool


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column: it names `table`.`key`."""

    column: str
    table: str
    key: str


@dataclass(frozen=True)
class WarehouseTable:
    """A star table of the warehouse.

    Attributes:
        name: The table's name.
        key: The primary key's column.
        columns: The columns in order.
        references: The foreign keys to other star tables.
        natural_key: The column that identifies a row of the source.
        is_fact: Whether rows are only ever added.
    """

    name: str
    key: str
    columns: tuple[WarehouseColumn, ...]
    references: tuple[Reference, ...]
    natural_key: str
    is_fact: bool


def read_star_tables(
    connection: psycopg.Connection, declared: Iterable[StarTable]
) -> tuple[WarehouseTable, ...]:
    """Returns the declared star tables, every table after those that it references.

    A declared table that the warehouse does not have is left out.
    """
    stars = {star.name: star for star in declared}
    names = {"tables": list(stars)}
    columns: dict[str, list[WarehouseColumn]] = {}
    keys: dict[str, str] = {}
    for table, name, kind, required, is_key in connection.execute(_COLUMNS, names):
        columns.setdefault(table, []).append(WarehouseColumn(name, kind, required))
        if is_key:
            keys[table] = name
    references: dict[str, list[Reference]] = {table: [] for table in columns}
    for table, column, referenced, key in connection.execute(_FOREIGN_KEYS, names):
        references[table].append(Reference(column, referenced, key))
    order = TopologicalSorter(
        {table: {reference.table for reference in references[table]} for table in sorted(columns)}
    ).static_order()
    return tuple(
        WarehouseTable(
            name=name,
            key=keys[name],
            columns=tuple(columns[name]),
            references=tuple(references[name]),
            natural_key=stars[name].natural_key,
            is_fact=stars[name].is_fact,
        )
        for name in order
    )
