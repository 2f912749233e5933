"""The columns that identify a row of a source table, and the proof that they do."""

from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.failures import TableFailure
from lambdas.ingest.names import shown
from star_schema.sources import source_declaration

# A child of a table (INHERITS) is not covered by the table's indexes. A NOT NULL constraint that
# is NOT VALID sets attnotnull (PostgreSQL documentation, "ALTER TABLE"). A deferrable constraint is
# checked by a trigger, which session_replication_role switches off. A primary key that was added to
# a partitioned table ONLY is not valid before each partition has one.
_IS_GUARANTEED: LiteralString = """
select exists (
    select
    from pg_index as index
    join pg_class as class on class.oid = index.indrelid
    where index.indrelid = %(oid)s
        and index.indisunique
        and index.indisvalid
        and index.indimmediate
        and index.indpred is null
        and index.indexprs is null
        and not (class.relkind = 'r' and class.relhassubclass)
        and not exists (
            select
            from pg_catalog.unnest(index.indkey) with ordinality as key (attnum, position)
            join pg_attribute as attribute
                on attribute.attrelid = index.indrelid and attribute.attnum = key.attnum
            where key.position <= index.indnkeyatts
                and not (
                    attribute.attname = any (%(columns)s)
                    and attribute.attnotnull
                    and not exists (
                        select
                        from pg_constraint as rule
                        where rule.conrelid = index.indrelid
                            and rule.conkey = array[attribute.attnum]
                            and rule.contype = 'n'
                            and not rule.convalidated
                    )
                )
        )
)
"""
_AMBIGUOUS: LiteralString = """
select
    case
        when pg_catalog.num_nulls({columns}) = 0
            then pg_catalog.convert_to(pg_catalog.concat_ws(', ', {columns}), 'SQL_ASCII')
    end,
    count(*)
from {table}
group by {columns}
having count(*) > 1 or pg_catalog.num_nulls({columns}) > 0
order by count(*) desc
limit 1
"""


def natural_key(table: SourceTable) -> tuple[str, ...]:
    """Returns the columns that identify a row of a table; none if there are no such columns.

    They are the declared natural key. A table that no star table needs, or that has lost its
    natural key's column, has its primary key instead.
    """
    declared = declared_key(table)
    return (declared,) if declared else table.primary_key


def declared_key(table: SourceTable) -> str | None:
    """Returns a table's declared natural key, if it has one and has that column."""
    declaration = source_declaration(table.name)
    names = {column.name for column in table.columns}
    return declaration.natural_key if declaration and declaration.natural_key in names else None


def is_guaranteed(connection: psycopg.Connection, table: SourceTable) -> bool:
    """Whether a constraint of the source guarantees that the natural key identifies a row."""
    parameters = {"oid": table.oid, "columns": list(natural_key(table))}
    return connection.execute(_IS_GUARANTEED, parameters).fetchone() == (True,)


def refuse_ambiguous_key(connection: psycopg.Connection, table: SourceTable) -> None:
    """Fails if the natural key of a table does not identify its rows.

    The rows are only searched if no constraint of the source guarantees that it does.

    Raises:
        TableFailure: Several rows have the same key, or a row has none.
    """
    names = natural_key(table)
    if not names or is_guaranteed(connection, table):
        return
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    query = sql.SQL(_AMBIGUOUS).format(columns=columns, table=table.identifier)
    found = connection.execute(query).fetchone()
    if found:
        key, rows = found
        value = "null" if key is None else repr(shown(connection, key))
        raise TableFailure(
            f"it has {rows} rows with {', '.join(names)} {value}, and its natural key must be "
            f"unique and not null; correct these rows, or {_remedy(table)}"
        )


def _remedy(table: SourceTable) -> str:
    if declared_key(table):
        return f"declare another natural_key in star_schema/definitions/sources/{table.name}.toml"
    return "drop its primary key, or leave the table out"
