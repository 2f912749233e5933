"""Names that the server cannot convert to UTF-8.

A SQL_ASCII database takes any bytes as a name, and some encodings have bytes that stand for no
character. The server refuses to send such a name, and with it the whole result. So a query that
returns names is repeated for ever fewer relations, until it fails only for those that have one.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from lambdas.ingest.failures import TableFailure

UNREADABLE = (errors.CharacterNotInRepertoire, errors.UntranslatableCharacter, UnicodeDecodeError)
"""The errors of such names. A role or a database can be named in another database's encoding, which
only psycopg refuses."""
_SHOWN: LiteralString = "select pg_catalog.convert_from(%s, getdatabaseencoding())"
_NAMES: LiteralString = """
with recursive tree (oid) as (
    select %s::bigint::oid
    union
    select inhrelid from tree join pg_inherits on inhparent = tree.oid
)
select 'its name', pg_catalog.convert_to(relname::text, 'SQL_ASCII') from pg_class
where oid = (select oid from tree limit 1)
union all
select kind, pg_catalog.convert_to(name, 'SQL_ASCII')
from tree
join pg_class as class on class.oid = tree.oid
join pg_namespace as namespace on namespace.oid = class.relnamespace
join pg_attribute as attribute on attribute.attrelid = class.oid
cross join lateral (
    values
        ('the name of its column', attribute.attname::text),
        ('the name of its type', pg_catalog.format_type(attribute.atttypid, attribute.atttypmod)),
        ('the name of its part', class.relname::text),
        ('the name of its schema', namespace.nspname::text)
) as part (kind, name)
where attribute.attnum > 0 and not attribute.attisdropped
"""
"""The names of a relation, of what it consists of, and of its partitions and children."""


def read_named(
    connection: psycopg.Connection, query: LiteralString, relations: Sequence[int]
) -> tuple[list[Any], set[int]]:
    """Returns the rows of a query that returns names, and the relations that it fails for.

    Args:
        connection: A connection with a transaction.
        query: The query. Its parameter is a list of oids.
        relations: The oids.
    """
    try:
        with connection.transaction(force_rollback=True):
            return connection.execute(query, [list(relations)]).fetchall(), set()
    except UNREADABLE:
        middle = len(relations) // 2
        if not middle:
            return [], set(relations)
    rows, refused = read_named(connection, query, relations[:middle])
    others, more = read_named(connection, query, relations[middle:])
    return rows + others, refused | more


def shown(connection: psycopg.Connection, text: bytes) -> str:
    """Returns a text that the server has in its own encoding, with escapes if it is not UTF-8.

    Args:
        connection: A connection with a transaction.
        text: The bytes, as `convert_to(text, 'SQL_ASCII')` gives them.
    """
    return _readable(connection, text) or text.decode(errors="backslashreplace")


def unreadable_name(connection: psycopg.Connection, relation: int) -> tuple[str, TableFailure]:
    """Returns the name of a relation that the server refuses to describe, and the failure.

    Args:
        connection: A connection with a transaction.
        relation: The relation's oid.
    """
    names = connection.execute(_NAMES, [relation]).fetchall()
    refused = (one for one in names if _readable(connection, one[1]) is None)
    kind, name = next(refused, ("a name of its definition", b""))
    return shown(connection, names[0][1]), TableFailure(
        f"{kind} {name.decode(errors='backslashreplace')} is not UTF-8; rename that, or leave the "
        "table out"
    )


def _readable(connection: psycopg.Connection, text: bytes) -> str | None:
    try:
        with connection.transaction(force_rollback=True):
            row = connection.execute(_SHOWN, [text]).fetchone()
    except UNREADABLE:
        return None
    return str(row[0]) if row else None
