"""How far each star table is loaded: its position, committed in the transaction of its rows."""

from collections.abc import Mapping

import psycopg

from lambdas.load.attached import named
from pipeline.errors import StarSchemaMismatch


def positions(connection: psycopg.Connection) -> dict[str, int]:
    """Returns the run through which each star table is loaded, by the table's name."""
    rows = connection.execute("select table_name, sequence from load_position").fetchall()
    return dict(rows)


def move(connection: psycopg.Connection, through: Mapping[str, int]) -> None:
    """Sets the positions of star tables, by the table's name.

    Raises:
        StarSchemaMismatch: A trigger of somebody else prevents it.
    """
    connection.cursor().executemany(
        "insert into load_position (table_name, sequence) values (%s, %s) "
        "on conflict (table_name) do update set sequence = excluded.sequence "
        "where load_position.sequence <> excluded.sequence",
        list(through.items()),
    )
    if not through.items() <= positions(connection).items():
        raise StarSchemaMismatch(
            f"{named(connection, 'load_position')} of load_position keeps a position from being "
            "set: drop what does; nothing was loaded"
        )
