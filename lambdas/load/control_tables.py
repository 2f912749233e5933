"""The tables that the migrations make beside the star tables: what Load notes of itself."""

from typing import Final, LiteralString

import psycopg

from lambdas.load.inheriting import with_rows
from pipeline.errors import StarSchemaMismatch

_KEYS: Final = {
    "captured_run": ("sequence",),
    "load_position": ("table_name",),
    "pipeline_run": ("sequence",),
    "schema_migration": ("name",),
    "superseded_version": ("table_name", "record_id"),
    "waiting_row": ("table_name", "key"),
    "warehouse_freshness": ("is_only_row",),
}
# The columns of each index that `on conflict` accepts; null for a table without one.
_INDEXES: LiteralString = """
select class.relname::text, pg_catalog.array_agg(attribute.attname::text)
from pg_class as class
left join pg_index as index
    on index.indrelid = class.oid
    and index.indisunique
    and index.indimmediate
    and index.indisvalid
    and index.indpred is null
left join pg_attribute as attribute
    on attribute.attrelid = index.indrelid
    and attribute.attnum = any (index.indkey[0:index.indnkeyatts - 1])
where class.relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace
    and class.relname = any (%s)
    and class.relkind = 'r'
group by class.relname, index.indexrelid
"""


def check_control_tables(connection: psycopg.Connection) -> None:
    """Fails if others changed the tables so that a load cannot rely on them.

    Raises:
        StarSchemaMismatch: A table has lost its primary key, or has rows of a table that inherits.
    """
    held: dict[str, list[set[str]]] = {}
    for table, columns in connection.execute(_INDEXES, [list(_KEYS)]):
        held.setdefault(table, []).append(set(columns))
    for table, key in _KEYS.items():
        if table in held and set(key) not in held[table]:
            raise StarSchemaMismatch(
                f"{table} has lost its primary key: run "
                f"`alter table {table} add primary key ({', '.join(key)})`; nothing was loaded"
            )
    for table, heir, end in with_rows(connection, _KEYS):
        raise StarSchemaMismatch(
            f"{heir} inherits from {table}, so that its rows count among those of {table}: run "
            f"`{end}`; nothing was loaded"
        )
