"""A row in the warehouse: its versions, the load that showed each, and what waits."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from lambdas.load.catalog import Reference, WarehouseTable, read_star_tables
from lambdas.load.position import positions
from star_schema.tables import StarTable, star_tables

# A transaction that began later has a younger age, its savepoints included: PostgreSQL gives a
# transaction its id before those of its savepoints. From 2^31 transactions on, age() is negative.
AGE: Final = sql.SQL("pg_catalog.age(xmin)::bigint & 4294967295")
_LOADS: LiteralString = """
select
    sequence,
    run_id,
    loaded_at,
    (tables -> %(table)s ->> 'after')::bigint as after,
    (tables -> %(table)s ->> 'through')::bigint as through,
    {age} as age
from pipeline_run
order by sequence
"""
_WAITING: LiteralString = """
select key, reasons, first_attempt, last_attempt, attempts
from waiting_row
where table_name = %s and key = any (%s)
"""


@dataclass(frozen=True)
class Load:
    """A load of the warehouse.

    Attributes:
        sequence: The run through which it was made.
        run_id: The execution.
        loaded_at: When it was committed.
    """

    sequence: int
    run_id: str
    loaded_at: datetime


@dataclass(frozen=True)
class WaitingRow:
    """A row that the warehouse cannot show.

    Attributes:
        reasons: The rules that it breaks, each with the value.
        since: When a load first tried it.
        last_attempt: When a load tried it last.
        attempts: How many loads have tried it.
    """

    reasons: tuple[str, ...]
    since: datetime
    last_attempt: datetime
    attempts: int


@dataclass(frozen=True)
class WarehouseRows:
    """What the warehouse has of one key of a star table.

    Attributes:
        table: The table; None if the warehouse does not have it.
        position: The run through which it is loaded.
        rows: The rows, with `_age`: the age of the transaction that wrote each.
        waiting: The rows that wait, by their key in the table.
    """

    table: WarehouseTable | None
    position: int
    rows: tuple[dict[str, Any], ...]
    waiting: dict[str, WaitingRow]
    _loads: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def loaded_by(self, sequence: int) -> Load | None:
        """Returns the load that brought a run's versions of the table; None if none has."""
        for load in self._loads:
            through = load["sequence"] if load["through"] is None else load["through"]
            if (load["after"] or 0) < sequence <= through:
                return _load(load)
        return None

    def written_by(self, row: dict[str, Any]) -> Load | None:
        """Returns the load whose transaction wrote a row; None if that cannot be told.

        A restored dump has all loads of one transaction.
        """
        age = min((load["age"] for load in self._loads if load["age"] >= row["_age"]), default=None)
        loads = [load for load in self._loads if load["age"] == age]
        return _load(loads[0]) if len(loads) == 1 else None


def read_warehouse(
    connection: psycopg.Connection, star: StarTable, key: str, record_ids: list[str]
) -> WarehouseRows:
    """Reads what the warehouse has of one key of a star table.

    Args:
        connection: The warehouse.
        star: The star table.
        key: The natural key, as text.
        record_ids: The record ids of the versions in the lake; the natural key of a dimension.
    """
    tables = {table.name: table for table in read_star_tables(connection, star_tables())}
    table = tables.get(star.name)
    rows: list[dict[str, Any]] = []
    cursor = connection.cursor(row_factory=dict_row)
    if table:
        rows = cursor.execute(
            sql.SQL("select *, {} as _age from {} where {}::text = %s order by {}").format(
                AGE,
                table.rows,
                sql.Identifier(table.natural_key),
                sql.Identifier(table.key),
            ),
            [key],
        ).fetchall()
    waiting = {
        row["key"]: WaitingRow(
            tuple(map(_reason, row["reasons"])),
            row["first_attempt"],
            row["last_attempt"],
            row["attempts"],
        )
        for row in cursor.execute(_WAITING, [star.name, record_ids])
    }
    loads = cursor.execute(sql.SQL(_LOADS).format(age=AGE), {"table": star.name}).fetchall()
    position = positions(connection).get(star.name, 0)
    return WarehouseRows(table, position, tuple(rows), waiting, tuple(loads))


def read_referenced(
    connection: psycopg.Connection, reference: Reference, value: Any
) -> dict[str, Any] | None:
    """Returns the row that a foreign key refers to; None if there is none."""
    query = sql.SQL("select is_deleted, run_id from {} where {}::text = %s").format(
        sql.Identifier(reference.table), sql.Identifier(reference.key)
    )
    return connection.cursor(row_factory=dict_row).execute(query, [value]).fetchone()


def _load(row: dict[str, Any]) -> Load:
    return Load(row["sequence"], row["run_id"], row["loaded_at"])


def _reason(reason: dict[str, Any]) -> str:
    return f"{reason['rule']} {reason['value']}" if "value" in reason else str(reason["rule"])
