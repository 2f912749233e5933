"""The definitions of tables: all rows of the system catalogs that what a table shows depends on.

They are the columns of the table and of its leaves, the expressions of generated columns, the
inheritance, and the enumerations and composite types that columns consist of, at any depth.
"""

import hashlib
from collections.abc import Mapping
from typing import LiteralString

import psycopg

from lambdas.ingest.leaves import Leaf

TYPES_OF_TABLES: LiteralString = """
with recursive tree (root, member) as (
    select oid::oid, oid::oid from pg_catalog.unnest(%(tables)s::bigint[]) as oid
    union
    select tree.root, inherits.inhrelid
    from tree
    join pg_inherits as inherits on inherits.inhparent = tree.member
),
attribute_type (root, type) as (
    select distinct tree.root, attribute.atttypid
    from tree
    join pg_attribute as attribute on attribute.attrelid = tree.member
    where attribute.attnum > 0 and not attribute.attisdropped
),
inside (outermost, type) as (
    select distinct type, type from attribute_type
    union
    select inside.outermost, inner_type.oid
    from inside
    cross join lateral (
        select type.typbasetype from pg_type as type where type.oid = inside.type
        union all
        select type.typelem from pg_type as type where type.oid = inside.type
        union all
        select attribute.atttypid
        from pg_type as type
        join pg_attribute as attribute on attribute.attrelid = type.typrelid
        where type.oid = inside.type and not attribute.attisdropped
        union all
        select range.rngsubtype
        from pg_range as range
        where inside.type in (range.rngtypid, (pg_catalog.to_jsonb(range) ->> 'rngmultitypid')::oid)
    ) as inner_type (oid)
    where inner_type.oid <> 0
),
part (root, type) as (
    select distinct attribute_type.root, inside.type
    from attribute_type
    join inside on inside.outermost = attribute_type.type
)
"""
"""The relations `tree` (root, member) and the types `part` (root, type) of tables, at any depth."""
DEFINITION_ROWS: LiteralString = (
    TYPES_OF_TABLES
    + """
select tree.root, attribute.xmin, attribute.tableoid, attribute.ctid
from tree join pg_attribute as attribute on attribute.attrelid = tree.member
union all
select tree.root, expression.xmin, expression.tableoid, expression.ctid
from tree join pg_attrdef as expression on expression.adrelid = tree.member
union all
select tree.root, inherits.xmin, inherits.tableoid, inherits.ctid
from tree join pg_inherits as inherits on inherits.inhparent = tree.member
union all
select part.root, label.xmin, label.tableoid, label.ctid
from part join pg_enum as label on label.enumtypid = part.type
union all
select part.root, attribute.xmin, attribute.tableoid, attribute.ctid
from part
join pg_type as type on type.oid = part.type
join pg_attribute as attribute on attribute.attrelid = type.typrelid
"""  # nosec B608
)
"""The rows of the catalogs: (table, xmin, tableoid, ctid). `tables` are the tables' oids."""
_DIGESTS: LiteralString = (
    "select root::bigint, pg_catalog.md5(pg_catalog.string_agg("  # noqa: S608
    "pg_catalog.concat_ws(' ', catalog, place, transaction), ',' "
    f"order by catalog, place)) from ({DEFINITION_ROWS}) "  # nosec B608
    "as definition (root, transaction, catalog, place) group by root"
)


def read_definitions(
    connection: psycopg.Connection, leaves: Mapping[int, tuple[Leaf, ...]]
) -> dict[int, str]:
    """Returns a digest of the definition and the files of each table, by oid.

    Every DDL statement on the table changes it, even one that undoes another.

    Args:
        connection: A connection with a transaction.
        leaves: The tables' leaves, by oid.
    """
    rows = connection.execute(_DIGESTS, {"tables": list(leaves)}).fetchall()
    digests: dict[int, str] = dict(rows)
    return {
        oid: _digest(digests.get(oid), [(leaf.oid, leaf.file_node) for leaf in own])
        for oid, own in leaves.items()
    }


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
