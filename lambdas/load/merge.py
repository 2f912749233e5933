"""Writes staged rows into their tables: new rows are inserted, rows that differ are updated."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from lambdas.load import foreign_keys, waiting
from lambdas.load.catalog import WarehouseTable
from lambdas.load.staging import are_equal, names_of
from pipeline.errors import StarSchemaMismatch

_REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.RaiseException,
    psycopg.errors.ProgramLimitExceeded,
)
_MOST_REFUSED: Final = 1_000
"""How many rows of a table a load sets aside one by one, before it gives the table up."""
_NAMED: Final = 3
_HELD: LiteralString = (
    "select stage.{key} from {stage} as stage join {held} as held on held.{key} = stage.{key} "
    "where true"
)
# As `on conflict` requires it.
_HAS_KEY: LiteralString = """
select exists (
    select
    from pg_index
    join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indrelid = %s::regclass
        and attname = %s
        and indnkeyatts = 1
        and indisunique
        and indimmediate
        and indisvalid
        and indpred is null
)
"""
# New record ids follow all others, which the ends of an index tell.
_MAY_BE_HELD: LiteralString = (
    "select (select pg_catalog.min({key}) from {stage} as stage) "
    "<= (select pg_catalog.max({key}) from {held} as held)"
)
_WAITING: LiteralString = (
    "select stage.{key} from {stage} as stage "
    "join waiting_row as waiting on waiting.key = stage.{key}::text "
    "cross join lateral pg_catalog.jsonb_populate_record(null::{stage}, waiting.content) as held "
    "where waiting.table_name = {name}"
)


@dataclass(frozen=True)
class Written:
    """The outcome of a write.

    Attributes:
        inserted: Rows that were added.
        updated: Rows whose content was changed.
        refused: Rows that went to waiting_row.
        skipped: Rows among those inserted and updated that a trigger kept from being written.
    """

    inserted: int = 0
    updated: int = 0
    refused: int = 0
    skipped: int = 0

    def __add__(self, other: "Written") -> "Written":
        """Returns the sums."""
        return Written(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.refused + other.refused,
            self.skipped + other.skipped,
        )


def is_refusal(error: psycopg.Error) -> bool:
    """Returns whether an error is about a row: its values, a constraint, a trigger, an index entry.

    A trigger may raise an SQLSTATE of its own, for which psycopg has no class.
    """
    is_unknown = type(error) is psycopg.DatabaseError and error.sqlstate is not None
    return is_unknown or isinstance(error, _REFUSED)


def write(
    connection: psycopg.Connection,
    table: WarehouseTable,
    stage: sql.Identifier,
    *,
    is_checked: bool = False,
    are_new: bool = False,
) -> Written:
    """Writes the staged rows; a row that PostgreSQL or a trigger keeps out goes to waiting_row.

    Args:
        connection: The warehouse.
        table: The table.
        stage: The table of the staged rows.
        is_checked: Whether their foreign keys have been checked.
        are_new: Whether the table is expected to have none of their keys. An insert without a
            search for them takes two thirds of an upsert's time.

    Raises:
        StarSchemaMismatch: A key is staged twice, more than 1,000 rows are refused, or a trigger
            changed what was written.
    """
    by = _insert if are_new and not table.attached else _write
    written = _written(connection, table, stage, is_checked, by)
    if not table.attached:
        return written
    new, old = waiting.hold_skipped(connection, table, stage)
    if new + old != written.skipped:
        raise StarSchemaMismatch(
            f"{', '.join(table.attached)} of {table.name} changes or removes rows that a load "
            f"writes: drop what does, or have it leave the columns of {table.name} as they are"
        )
    return written + Written(-new, -old, refused=new + old, skipped=-new - old)


def _written(
    connection: psycopg.Connection,
    table: WarehouseTable,
    stage: sql.Identifier,
    is_checked: bool,
    by: Callable[[psycopg.Connection, WarehouseTable, sql.Identifier], Written],
) -> Written:
    try:
        with connection.transaction():
            if is_checked:
                foreign_keys.switch_off(connection)
            written = by(connection, table, stage)
            if is_checked:
                foreign_keys.switch_on(connection)
            return written
    except psycopg.errors.CardinalityViolation as error:
        raise _staged_twice(connection, table, stage) from error
    except psycopg.DatabaseError as error:
        if not is_refusal(error):
            raise
        if _duplicates(connection, table, stage):
            raise _staged_twice(connection, table, stage) from error
    return _Apart(connection, table, stage).write()


def _write(connection: psycopg.Connection, table: WarehouseTable, rows: sql.Composable) -> Written:
    """Inserts rows with new keys and updates rows that differ.

    Rows that do not differ are left out before the upsert: PostgreSQL locks, and so writes, every
    row that `on conflict` finds, whether or not it changes.
    """
    upsert = _upsert(table, rows)
    if table.is_partitioned or table.attached:
        # A partitioned table returns no system columns, by which new rows are told from others.
        new, old = connection.execute(_counts(table, rows)).fetchone() or (0, 0)
        return Written(new, old, skipped=new + old - connection.execute(upsert).rowcount)
    counted = (
        "with written as ({upsert} returning {table}.xmax = 0 as is_new) select count(*) "
        "filter (where is_new), count(*) filter (where not is_new) from written"
    )
    name = sql.Identifier(table.name)
    row = connection.execute(sql.SQL(counted).format(upsert=upsert, table=name)).fetchone()
    return Written(*row) if row else Written()


def _insert(connection: psycopg.Connection, table: WarehouseTable, rows: sql.Composable) -> Written:
    """Inserts rows with new keys, of which PostgreSQL refuses one that the table has."""
    name = sql.Identifier(table.name).as_string(connection)
    has_key = connection.execute(_HAS_KEY, [name, table.key]).fetchone()
    if has_key != (True,):
        return _write(connection, table, rows)
    return Written(connection.execute(_insertion(table, rows)).rowcount)


def _insertion(table: WarehouseTable, rows: sql.Composable) -> sql.Composed:
    return sql.SQL("insert into {} ({}) select {} from {} as stage").format(
        sql.Identifier(table.name), names_of(table), names_of(table, "stage"), rows
    )


def _upsert(table: WarehouseTable, rows: sql.Composable) -> sql.Composed:
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column.name))
        for column in table.columns
        if column.name != table.key
    )
    return sql.SQL(
        "{insertion} where not exists "
        "(select from {held} as held where held.{key} = stage.{key} and {are_equal}) "
        "on conflict ({key}) do update set {changes}"
    ).format(
        insertion=_insertion(table, rows),
        held=table.rows,
        key=sql.Identifier(table.key),
        are_equal=are_equal(table),
        changes=changes,
    )


def _counts(table: WarehouseTable, rows: sql.Composable) -> sql.Composed:
    """Returns the query for how many rows an upsert inserts and updates."""
    return sql.SQL(
        "select count(*) filter (where held.{key} is null), count(*) filter (where "
        "held.{key} is not null and not {are_equal}) "
        "from {rows} as stage left join {held} as held on held.{key} = stage.{key}"
    ).format(
        held=table.rows,
        rows=rows,
        key=sql.Identifier(table.key),
        are_equal=are_equal(table),
    )


class _Apart:
    """Writes the staged rows in ever smaller parts, until each refused row is found."""

    def __init__(
        self, connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
    ) -> None:
        self._connection = connection
        self._table = table
        self._stage = stage
        self._refused = 0

    def write(self) -> Written:
        query = sql.SQL(
            "select (pg_catalog.pg_relation_size({}::regclass) "
            "/ pg_catalog.current_setting('block_size')::int)::int"
        ).format(self._stage.as_string(self._connection))
        row = self._connection.execute(query).fetchone()
        return self._blocks(0, row[0]) if row else Written()

    def _blocks(self, first: int, end: int) -> Written:
        """Writes the rows in a range of the stage's blocks."""
        part = sql.SQL("(select * from {} where ctid >= {}::tid and ctid < {}::tid)").format(
            self._stage, f"({first},0)", f"({end},0)"
        )
        if end - first > 1:
            middle = (first + end) // 2
            return self._try(
                part, lambda _: self._blocks(first, middle) + self._blocks(middle, end)
            )
        rows = self._connection.execute(
            sql.SQL("select ctid::text from {} as part").format(
                sql.SQL("(select ctid from {} where ctid >= {}::tid and ctid < {}::tid)").format(
                    self._stage, f"({first},0)", f"({end},0)"
                )
            )
        ).fetchall()
        return self._rows([row[0] for row in rows])

    def _rows(self, rows: list[str]) -> Written:
        """Writes some rows of a block."""
        if not rows:
            return Written()
        part = sql.SQL("(select * from {} where ctid = any ({}::tid[]))").format(self._stage, rows)
        if len(rows) == 1:
            return self._try(part, lambda error: self._hold(rows[0], error))
        middle = len(rows) // 2
        return self._try(part, lambda _: self._rows(rows[:middle]) + self._rows(rows[middle:]))

    def _try(self, part: sql.Composed, otherwise: Callable[[psycopg.Error], Written]) -> Written:
        try:
            with self._connection.transaction():
                return _write(self._connection, self._table, part)
        except psycopg.DatabaseError as error:
            if not is_refusal(error):
                raise
            return otherwise(error)

    def _hold(self, row: str, error: psycopg.Error) -> Written:
        self._refused += 1
        if self._refused > _MOST_REFUSED:
            raise StarSchemaMismatch(
                f"{self._table.name} refuses more than {_MOST_REFUSED:,} rows, the last with: "
                f"{error.diag.message_primary}; remove the constraint, trigger or index that "
                "refuses them, or change it by a migration"
            ) from error
        waiting.hold_refused(self._connection, self._table, self._stage, row, error)
        return Written(refused=1)


def check_unchanged(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> bool:
    """Checks that no staged row of a fact differs from the row with its record id.

    Returns:
        Whether the fact has none of the staged rows: they are new, or wait.

    Raises:
        StarSchemaMismatch: The lake has other content under a record id.
    """
    equal = are_equal(table)
    held, waits, are_held = (
        sql.SQL(rows).format(
            stage=stage,
            held=table.rows,
            key=sql.Identifier(table.key),
            name=sql.Literal(table.name),
        )
        for rows in (_HELD, _WAITING, f"{_MAY_BE_HELD} and exists ({_HELD})")
    )
    are_new = connection.execute(are_held).fetchone() != (True,)
    query = sql.SQL("{} limit {}").format(
        sql.SQL(" union all ").join(
            sql.SQL("{} and not {}").format(rows, equal)
            for rows in ([waits] if are_new else [held, waits])
        ),
        _NAMED,
    )
    if differing := [str(row[0]) for row in connection.execute(query)]:
        raise StarSchemaMismatch(
            f"{table.name} has other content in the lake than in the warehouse for {table.key} "
            f"{', '.join(differing)}: the lake table was rolled back or written by somebody else. "
            'Start the state machine with {"rebuild": true}'
        )
    return are_new


def check_shown(
    connection: psycopg.Connection,
    table: WarehouseTable,
    stage: sql.Identifier,
    others: Iterable[str],
) -> None:
    """Checks that a table shows every staged row.

    Args:
        connection: The warehouse.
        table: The table.
        stage: The table of the staged rows; rows that wait are not among them.
        others: What may have changed the table, for the message.

    Raises:
        StarSchemaMismatch: It does not show one.
    """
    query = sql.SQL("select stage.{} from {} as stage where {} limit {}").format(
        sql.Identifier(table.key), stage, waiting.is_not_shown(table), _NAMED
    )
    if changed := [str(row[0]) for row in connection.execute(query)]:
        raise StarSchemaMismatch(
            f"{', '.join(others)} changes or removes rows that a load wrote to {table.name} "
            f"({table.key} {', '.join(changed)}): drop what does; nothing was loaded"
        )


def delete_unknown(
    connection: psycopg.Connection,
    table: WarehouseTable,
    stage: sql.Identifier,
    is_referred_to: sql.Composed,
) -> None:
    """Deletes the rows of a fact that are not staged.

    Raises:
        StarSchemaMismatch: Somebody else's table refers to such a row, or a trigger keeps it.
    """
    unknown = sql.SQL(
        "{held} as held where not exists "
        "(select from {stage} as stage where stage.{key} = held.{key})"
    ).format(held=table.rows, stage=stage, key=sql.Identifier(table.key))
    query = sql.SQL("select held.{} from {} and {} limit {}").format(
        sql.Identifier(table.key), unknown, is_referred_to, _NAMED
    )
    if kept := [str(row[0]) for row in connection.execute(query)]:
        raise StarSchemaMismatch(
            f"the lake has no {table.key} {', '.join(kept)} of {table.name}, and another table "
            "refers to it: delete that reference, then rebuild"
        )
    connection.execute(sql.SQL("delete from {}").format(unknown))
    kept_by_others = sql.SQL("select exists (select from {})").format(unknown)
    if table.attached and connection.execute(kept_by_others).fetchone() == (True,):
        raise StarSchemaMismatch(
            f"{', '.join(table.attached)} of {table.name} keeps rows that a rebuild deletes: drop "
            "what does, then rebuild"
        )


def _duplicates(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> list[str]:
    query = sql.SQL("select {0} from {1} group by {0} having count(*) > 1 limit {2}").format(
        sql.Identifier(table.key), stage, _NAMED
    )
    return [str(row[0]) for row in connection.execute(query)]


def _staged_twice(
    connection: psycopg.Connection, table: WarehouseTable, stage: sql.Identifier
) -> StarSchemaMismatch:
    keys = ", ".join(_duplicates(connection, table, stage))
    return StarSchemaMismatch(
        f"{table.name} has {table.key} {keys} twice in the lake: start the state machine with "
        '{"rebuild": true}'
    )
