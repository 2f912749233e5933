"""Where the warehouse is in its database, and whether the database can hold it."""

from typing import LiteralString

import psycopg
from psycopg import sql

from pipeline.errors import InvalidSettings

# A schema has the warehouse if it has both of these tables of Load's own.
_SCHEMAS: LiteralString = """
select namespace.nspname::text
from pg_namespace as namespace
join pg_class as migration
    on migration.relnamespace = namespace.oid and migration.relname = 'schema_migration'
join pg_class as run
    on run.relnamespace = namespace.oid and run.relname = 'pipeline_run'
where migration.relkind = 'r' and run.relkind = 'r'
order by namespace.nspname
"""


def enter(connection: psycopg.Connection) -> None:
    """Has the session use the schema of the warehouse, whatever search_path its role has.

    The schema is the one where the warehouse was installed, under the name that it has now. Without
    a warehouse it is the first schema of the search_path that exists.

    Raises:
        InvalidSettings: The database's encoding is not UTF8, there is no such schema, or several
            schemas have a warehouse.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise InvalidSettings(
            f"the warehouse's database has the encoding {encoding}, which does not have every "
            "character of the source: create a database with encoding 'UTF8', and name it in the "
            "warehouse's secret"
        )
    current = _one(connection, "select current_schema()")
    schemas = [row[0] for row in connection.execute(_SCHEMAS)]
    if current not in schemas and len(schemas) > 1:
        raise InvalidSettings(
            f"the schemas {', '.join(schemas)} each have a warehouse: set the search_path of the "
            "role in the warehouse's secret to one of them"
        )
    schema = current if current in schemas or not schemas else schemas[0]
    if schema is None:
        raise InvalidSettings(
            "the search_path of the role in the warehouse's secret has no schema that exists: "
            "create one, or change the search_path"
        )
    path = sql.Identifier(schema).as_string(connection)
    connection.execute("select set_config('search_path', %s, false)", [path])


def _one(connection: psycopg.Connection, query: LiteralString) -> str | None:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
