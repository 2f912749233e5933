"""How far each star table is loaded: its position, committed in the transaction of its rows."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from typing import Final, LiteralString

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
        marked: The greatest record id in superseded_version; None for a dimension.
        waiting: The number of rows that wait; None if no load has known it.
        newest_key: The key of a row of the newest run that brought some; None for a fact, and if no
            load has known it.
        newest_run_id: The run_id of that row.
    """

    built_anew: int | None = None
    record_id: int | None = None
    marked: int | None = None
    waiting: int | None = None
    newest_key: str | None = None
    newest_run_id: str | None = None


NOTHING = Shown()
_COLUMNS: Final = tuple(field.name for field in fields(Shown))
# The runs that are loaded now are not in captured_run yet.
_NEWEST: LiteralString = """
select stage.{key}::text, stage.run_id
from {stage} as stage
left join captured_run using (run_id)
order by captured_run.sequence desc nulls first
limit 1
"""
_MOVE: Final = sql.SQL("""
insert into load_position (table_name, sequence, {columns})
values (%s, %s, {values})
on conflict (table_name) do update
set (sequence, {columns}) = row (excluded.sequence, {excluded})
where (load_position.sequence, {known}) is distinct from (excluded.sequence, {excluded})
""").format(
    columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
    values=sql.SQL(", ").join([sql.Placeholder()] * len(_COLUMNS)),
    excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in _COLUMNS),
    known=sql.SQL(", ").join(sql.Identifier("load_position", name) for name in _COLUMNS),
)


def positions(connection: psycopg.Connection) -> dict[str, int]:
    """Returns the run through which each star table is loaded, by the table's name."""
    rows = connection.execute("select table_name, sequence from load_position").fetchall()
    return dict(rows)


def shown(connection: psycopg.Connection) -> dict[str, Shown]:
    """Returns what each star table showed after its last load, by the table's name."""
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    rows = connection.execute(sql.SQL("select table_name, {} from load_position").format(columns))
    return {table: Shown(*of_table) for table, *of_table in rows}


def greatest_record_ids(
    connection: psycopg.Connection, table: WarehouseTable
) -> tuple[int | None, int | None]:
    """Returns the greatest record id of a fact that is shown or waits, and the greatest marked one.

    It is 0 where there is none, and None for a dimension.
    """
    if not table.is_fact:
        return None, None
    query = sql.SQL(
        "select greatest(0, (select pg_catalog.max({key}) from {held} as held), "
        "(select pg_catalog.max(key::bigint) from waiting_row where table_name = {name})), "
        "greatest(0, "
        "(select pg_catalog.max(record_id) from superseded_version where table_name = {name}))"
    ).format(key=sql.Identifier(table.key), held=table.rows, name=sql.Literal(table.name))
    found, marked = connection.execute(query).fetchone() or (0, 0)
    return int(found), int(marked)


def with_newest(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> Shown:
    """Returns a row of the newest run among the rows of a dimension that were just written.

    A state of the dimension from before that run does not have it.
    """
    newest = sql.SQL(_NEWEST).format(key=sql.Identifier(table.key), stage=stage)
    key, run_id = connection.execute(newest).fetchone() or (None, None)
    return Shown(newest_key=key, newest_run_id=run_id)


def has_newest(connection: psycopg.Connection, table: WarehouseTable, state: Shown) -> bool:
    """Returns whether a dimension has the row of its newest run, as far as that is known."""
    if state.newest_key is None:
        return True
    query = sql.SQL(
        "select exists (select from {held} as held where held.{key} = {value} and run_id = {run})"
    ).format(
        held=table.rows,
        key=sql.Identifier(table.key),
        value=sql.Literal(state.newest_key),
        run=sql.Literal(state.newest_run_id),
    )
    return connection.execute(query).fetchone() == (True,)


def move(
    connection: psycopg.Connection,
    through: Mapping[str, int],
    now: Mapping[str, Shown],
    *,
    anew: bool = False,
) -> None:
    """Sets the positions of star tables, by the table's name.

    Args:
        connection: The warehouse.
        through: The run through which each is loaded.
        now: What those show that were loaded. What is not known any more stays.
        anew: Whether those were made equal to the lake, so that no row from before need be there.

    Raises:
        StarSchemaMismatch: A trigger of somebody else prevents it.
    """
    before = shown(connection)
    if anew:
        before |= {
            table: replace(before[table], newest_key=None, newest_run_id=None)
            for table in now.keys() & before.keys()
        }
    known = {
        table: _merged(now.get(table, NOTHING), before.get(table, NOTHING)) for table in through
    }
    connection.cursor().executemany(
        _MOVE, [(table, sequence, *astuple(known[table])) for table, sequence in through.items()]
    )
    is_moved = through.items() <= positions(connection).items()
    if not (is_moved and known.items() <= shown(connection).items()):
        raise StarSchemaMismatch(
            f"{named(connection, 'load_position')} of load_position keeps a position from being "
            "set: drop what does; nothing was loaded"
        )


def _merged(now: Shown, before: Shown) -> Shown:
    return Shown(
        *(
            known if value is None else value
            for value, known in zip(astuple(now), astuple(before), strict=True)
        )
    )
