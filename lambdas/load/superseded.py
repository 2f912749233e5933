"""The table superseded_version: each version of a fact that has a newer one, and that one."""

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable


def mark_superseded(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier | None = None
) -> None:
    """Brings the marks of a fact up to date, in the transaction that writes its rows.

    A version may arrive after newer ones of its key, if it waited. So all versions of a key are
    marked again.

    Args:
        connection: The warehouse.
        table: The fact.
        stage: The table of the rows that were written; None to mark the whole fact.
    """
    parts = {
        "name": sql.Literal(table.name),
        "held": table.rows,
        "key": sql.Identifier(table.key),
        "natural_key": sql.Identifier(table.natural_key),
    }
    of_stage = "{natural_key} in (select {natural_key} from {stage})"
    touched = sql.SQL("true" if stage is None else of_stage).format(stage=stage, **parts)
    connection.execute(
        sql.SQL(
            "delete from superseded_version where table_name = {name} and ({all} or record_id in "
            "(select {key} from {held} as held where {touched}))"
        ).format(all=sql.Literal(stage is None), touched=touched, **parts)
    )
    connection.execute(
        sql.SQL(
            "insert into superseded_version (table_name, record_id, superseded_by) "
            "select {name}, record_id, superseded_by from (select {key} as record_id, "
            "lag({key}) over (partition by {natural_key} order by {key} desc) as superseded_by "
            "from {held} as held where {touched}) as version where superseded_by is not null"
        ).format(touched=touched, **parts)
    )
