"""Types whose values print the name of an object of the catalogs: `regclass` and its like.

Such a value is an oid. Its text changes when the object is renamed, created or dropped, or another
object of that name comes or goes; no row is written then. So each capture of a table that has such
a type stores a digest of the names of all objects. Source: PostgreSQL documentation, "Object
Identifier Types".
"""

import hashlib
from collections.abc import Collection
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.definitions import TYPES_OF_TABLES

_CATALOGS = {
    "regclass": ("regclass", "pg_class", "relpersistence <> 't'"),
    "regcollation": ("regcollation", "pg_collation", "true"),
    "regconfig": ("regconfig", "pg_ts_config", "true"),
    "regdictionary": ("regdictionary", "pg_ts_dict", "true"),
    "regnamespace": ("regnamespace", "pg_namespace", "not pg_is_other_temp_schema(oid)"),
    "regoper": ("regoper", "pg_operator", "true"),
    "regoperator": ("regoperator", "pg_operator", "true"),
    "regproc": ("regproc", "pg_proc", "true"),
    "regprocedure": ("regprocedure", "pg_proc", "true"),
    "regrole": ("regrole", "pg_roles", "true"),
    "regtype": ("regtype", "pg_type", "not pg_is_other_temp_schema(typnamespace)"),
    "aclitem": ("regrole", "pg_roles", "true"),
}
"""For each type: how a name is printed, the objects, and which of them are not temporary."""
_TYPES: LiteralString = (
    TYPES_OF_TABLES
    + """
select
    part.root::bigint,
    pg_catalog.array_agg(distinct type.typname::text order by type.typname::text)
from part
join pg_type as type on type.oid = part.type
where type.typnamespace = 'pg_catalog'::regnamespace and type.typname = any (%(types)s)
group by part.root
"""  # nosec B608
)
_DIGEST: LiteralString = (
    "select pg_catalog.md5(coalesce(pg_catalog.string_agg("
    "pg_catalog.concat_ws(' ', oid, oid::{}), ',' order by oid), '')) "
    "from {} where {}"
)


def read_printed_names(connection: psycopg.Connection, tables: Collection[int]) -> dict[int, str]:
    """Returns a digest of the names that the values of a table may print, by the table's oid.

    A table without such a type has none. The names of temporary objects do not count: they come and
    go with every session.

    Args:
        connection: A connection with a transaction.
        tables: The tables' oids.
    """
    parameters = {"tables": list(tables), "types": list(_CATALOGS)}
    found: dict[int, list[str]] = dict(connection.execute(_TYPES, parameters).fetchall())
    digests = {
        name: _digest(connection, name)
        for name in sorted({one for own in found.values() for one in own})
    }
    return {
        oid: hashlib.sha256("".join(digests[name] for name in own).encode()).hexdigest()
        for oid, own in found.items()
    }


def _digest(connection: psycopg.Connection, name: str) -> str:
    printed, catalog, condition = _CATALOGS[name]
    query = sql.SQL(_DIGEST).format(sql.SQL(printed), sql.SQL(catalog), sql.SQL(condition))
    row = connection.execute(query).fetchone()
    return str(row[0]) if row else ""
