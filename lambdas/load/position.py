"""How far each star table is loaded: its position, committed in the transaction of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from lambdas.load.attached import named
from lambdas.load.catalog import WarehouseTable
from pipeline.errors import StarSchemaMismatch


@dataclass(frozen=True)
class Shown:
    """What the warehouse has of a star table, by which a later load tells another state of it.

    Attributes:
        built_anew: The snapshot in which a build replaced all rows of the lake table; None if no
            load has known it.
        record_id: The greatest record id that is shown or waits; None for a dimension.
    """

    built_anew: int | None = None
    record_id: int | None = None


NOTHING = Shown()


def positions(connection: psycopg.Connection) -> dict[str, int]:
    """Returns the run through which each star table is loaded, by the table's name."""
    rows = connection.execute("select table_name, sequence from load_position").fetchall()
    return dict(rows)


def shown(connection: psycopg.Connection) -> dict[str, Shown]:
    """Returns what each star table showed after its last load, by the table's name."""
    rows = connection.execute("select table_name, built_anew, record_id from load_position")
    return {table: Shown(*of_table) for table, *of_table in rows}


def greatest_record_id(connection: psycopg.Connection, table: WarehouseTable) -> int | None:
    """Returns the greatest record id of a fact that is shown or waits, 0 for none."""
    if not table.is_fact:
        return None
    query = sql.SQL(
        "select greatest(0, (select max({key}) from {held} as held), "
        "(select max(key::bigint) from waiting_row where table_name = {name}))"
    ).format(key=sql.Identifier(table.key), held=table.rows, name=sql.Literal(table.name))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def move(
    connection: psycopg.Connection, through: Mapping[str, int], now: Mapping[str, Shown]
) -> None:
    """Sets the positions of star tables, by the table's name.

    Args:
        connection: The warehouse.
        through: The run through which each is loaded.
        now: What those show that were loaded. What is not known any more stays.

    Raises:
        StarSchemaMismatch: A trigger of somebody else prevents it.
    """
    before = shown(connection)
    known = {
        table: _merged(now.get(table, NOTHING), before.get(table, NOTHING)) for table in through
    }
    connection.cursor().executemany(
        "insert into load_position (table_name, sequence, built_anew, record_id) "
        "values (%s, %s, %s, %s) on conflict (table_name) do update "
        "set sequence = excluded.sequence, built_anew = excluded.built_anew, "
        "record_id = excluded.record_id "
        "where (load_position.sequence, load_position.built_anew, load_position.record_id) "
        "is distinct from (excluded.sequence, excluded.built_anew, excluded.record_id)",
        [
            (table, sequence, known[table].built_anew, known[table].record_id)
            for table, sequence in through.items()
        ],
    )
    is_moved = through.items() <= positions(connection).items()
    if not (is_moved and known.items() <= shown(connection).items()):
        raise StarSchemaMismatch(
            f"{named(connection, 'load_position')} of load_position keeps a position from being "
            "set: drop what does; nothing was loaded"
        )


def _merged(now: Shown, before: Shown) -> Shown:
    return Shown(
        before.built_anew if now.built_anew is None else now.built_anew,
        before.record_id if now.record_id is None else now.record_id,
    )
