"""The warehouse's own catalogue: its star tables' columns, keys and order.

The migrations state them once; Load reads them from PostgreSQL's system catalogues.
"""

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import LiteralString

import psycopg

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
    and (class.relname like 'dim\\_%' or class.relname like 'fact\\_%')
    and class.relname <> 'fact_quarantine'
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
where constraints.contype = 'f' and namespace.nspname = current_schema()
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
    """A star table of the warehouse, with its columns in their order."""

    name: str
    key: str
    columns: tuple[WarehouseColumn, ...]
    references: tuple[Reference, ...]

    @property
    def is_fact(self) -> bool:
        """Whether rows are only ever added."""
        return self.name.startswith("fact_")


def read_star_tables(connection: psycopg.Connection) -> tuple[WarehouseTable, ...]:
    """Returns the star tables, every table after those that it references."""
    columns: dict[str, list[WarehouseColumn]] = {}
    keys: dict[str, str] = {}
    for table, name, kind, required, is_key in connection.execute(_COLUMNS):
        columns.setdefault(table, []).append(WarehouseColumn(name, kind, required))
        if is_key:
            keys[table] = name
    references: dict[str, list[Reference]] = {table: [] for table in columns}
    for table, column, referenced, key in connection.execute(_FOREIGN_KEYS):
        references[table].append(Reference(column, referenced, key))
    order = TopologicalSorter(
        {table: {reference.table for reference in references[table]} for table in sorted(columns)}
    ).static_order()
    return tuple(
        WarehouseTable(table, keys[table], tuple(columns[table]), tuple(references[table]))
        for table in order
    )
