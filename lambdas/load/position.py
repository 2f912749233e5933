"""How far each star table is loaded: its position, committed in the transaction of its rows."""

from collections.abc import Mapping

import psycopg


def positions(connection: psycopg.Connection) -> dict[str, int]:
    """Returns the run through which each star table is loaded, by the table's name."""
    rows = connection.execute("select table_name, sequence from load_position").fetchall()
    return dict(rows)


def move(connection: psycopg.Connection, through: Mapping[str, int]) -> None:
    """Sets the positions of star tables, by the table's name."""
    connection.cursor().executemany(
        "insert into load_position (table_name, sequence) values (%s, %s) "
        "on conflict (table_name) do update set sequence = excluded.sequence "
        "where load_position.sequence <> excluded.sequence",
        list(through.items()),
    )
