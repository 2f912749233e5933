"""The schema that has the warehouse, for every stage and command that reads it."""

from collections.abc import Sequence
from typing import Any, LiteralString, Protocol

from pipeline.errors import InvalidSettings

# A schema has the warehouse if it has both of these tables of Load's own. Temporary copies are in
# schemas of their own, which every session sees.
_SCHEMAS: LiteralString = """
select
    pg_catalog.current_schemas(false)::text[],
    array(
        select namespace.nspname::text
        from pg_catalog.pg_namespace as namespace
        join pg_catalog.pg_class as migration
            on migration.relnamespace = namespace.oid and migration.relname = 'schema_migration'
        join pg_catalog.pg_class as run
            on run.relnamespace = namespace.oid and run.relname = 'pipeline_run'
        where migration.relkind = 'r'
            and run.relkind = 'r'
            and migration.relpersistence <> 't'
        order by namespace.nspname
    )
"""
# PostgreSQL looks for tables and types among the temporary ones first, unless the path says
# otherwise: behind a connection pooler, those of others are in the session.
_USE: LiteralString = """
select pg_catalog.set_config(
    'search_path',
    pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ' order by place) || ', pg_temp',
    %s
)
from pg_catalog.unnest(%s::text[]) with ordinality as path (name, place)
"""


class Cursor(Protocol):
    """A cursor of psycopg or pg8000."""

    def execute(self, query: Any, arguments: Any = ..., /) -> Any:
        """Runs a statement."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Returns the rows of the last statement."""


def enter(cursor: Cursor, *, is_local: bool = False) -> None:
    """Has a session find the warehouse, whatever search_path its role has.

    The schema is the one where the warehouse was installed, under the name that it has now. Without
    a warehouse it is the first schema of the search_path that exists. The other schemas of the
    search_path follow, which triggers and functions of others may need. pg_catalog is always first,
    and temporary tables are last.

    Args:
        cursor: A cursor of the session.
        is_local: Whether that is for the open transaction alone, as behind a connection pooler.

    Raises:
        InvalidSettings: There is no such schema, or several schemas have a warehouse.
    """
    cursor.execute(_SCHEMAS)
    ((path, schemas),) = cursor.fetchall()
    path = [name for name in path if not name.startswith("pg_")]
    if len(schemas) > 1 and not (path and path[0] in schemas):
        raise InvalidSettings(
            f"the schemas {', '.join(schemas)} each have a warehouse: set the search_path of the "
            "role in the warehouse's secret to one of them"
        )
    if len(schemas) == 1:
        path = [*schemas, *(name for name in path if name not in schemas)]
    if not path:
        raise InvalidSettings(
            "the search_path of the role in the warehouse's secret has no schema that exists: "
            "create one, or change the search_path"
        )
    cursor.execute(_USE, [is_local, path])
