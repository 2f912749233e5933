"""Staging across invocations: rows are copied in bounded steps, each in its own transaction.

A step commits its rows together with its position, in a schema to which nobody else has rights. All
of these tables are unlogged: after a crash or a failover the rows and the positions are lost alike,
and the staging starts again.
"""

from collections.abc import Callable, Iterator
from typing import Final

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from lambdas.load.catalog import WarehouseTable
from lambdas.load.deadline import Deadline
from lambdas.load.lake import Position
from lambdas.load.pace import Pace
from lambdas.load.plan import COSTS_ITS_TABLE, Plan
from lambdas.load.staging import Staging, copy_rows, names_of
from pipeline.errors import StarSchemaMismatch, first_line
from star_schema.tables import star_tables

_SCHEMA: Final = "pipeline_staging"
_FORMAT: Final = 2
"""Changes with the staging's tables, so that no load goes on from tables of another version."""
_PLAN = sql.Identifier(_SCHEMA, "plan")
_PROGRESS = sql.Identifier(_SCHEMA, "progress")


class ResumableStaging(Staging):
    """The staging of one load of certain snapshots; the staging of another load is dropped."""

    schema = _SCHEMA

    def __init__(
        self,
        connection: psycopg.Connection,
        plan: Plan,
    ) -> None:
        """Reads nothing yet.

        Args:
            connection: The warehouse, in autocommit mode.
            plan: The tables and their rows; gets the problems that staging finds.
        """
        super().__init__(connection, plan.versions)
        self._tables = plan.tables
        self._problems = plan.problems

    def is_begun(self) -> bool:
        """Returns whether this load has staged rows, in this invocation or an earlier one."""
        if not _exists(self.connection):
            return False
        same = sql.SQL("select exists (select from {} where content = %s)").format(_PLAN)
        return self.connection.execute(same, [self._plan()]).fetchone() == (True,)

    def begin(self) -> None:
        """Creates an empty staging, and drops any other."""
        with self.connection.transaction():
            discard(self.connection)
            self.connection.execute(
                sql.SQL("create schema if not exists {}").format(sql.Identifier(_SCHEMA))
            )
            self.connection.execute(
                sql.SQL(
                    "create unlogged table {} (content jsonb not null, "
                    "begun_at timestamptz not null default clock_timestamp())"
                ).format(_PLAN)
            )
            self.connection.execute(
                sql.SQL("insert into {} (content) values (%s)").format(_PLAN), [self._plan()]
            )
            self.connection.execute(
                sql.SQL(
                    "create unlogged table {} (table_name varchar primary key, "
                    "files integer not null, rows bigint not null, is_complete boolean not null, "
                    "problem varchar not null)"
                ).format(_PROGRESS)
            )
            for table in self._tables:
                self._begin(table)

    def _begin(self, table: WarehouseTable) -> None:
        problem = ""
        try:
            self._make(table, "create unlogged table {} ({})")
        except StarSchemaMismatch as error:
            problem = str(error)
        is_complete = bool(problem) or not self.versions[table.name].most_rows
        self.connection.execute(
            sql.SQL("insert into {} values (%s, 0, 0, %s, %s)").format(_PROGRESS),
            [table.name, is_complete, problem],
        )

    def go_on(self, deadline: Deadline, pace: Pace) -> bool:
        """Stages as many rows as the time allows.

        A table that cannot be staged becomes a problem, and the others are staged.

        Returns:
            Whether all rows had been staged before. An invocation that stages rows leaves the rest
            of the load to the next one, which has its full time.

        Raises:
            WarehouseBusy: There was no time for any rows.
            ObjectStoreUnavailable: The lake could not be read.
        """
        if not self.is_begun():
            self.begin()
        pending = [table for table in self._tables if not self._progress(table)[1]]
        has_staged = False
        for table in pending:
            start, _ = self._progress(table)
            steps = _Steps(self.versions[table.name].batches(start), start)
            while not steps.is_complete:
                if has_staged and pace.is_short(deadline):
                    return False
                deadline.limit()
                try:
                    self._stage(table, steps, lambda rows: pace.is_a_step(rows, deadline))
                except (*COSTS_ITS_TABLE, psycopg.DataError) as error:
                    self._give_up(table, error)
                    break
                finally:
                    has_staged = True
        self._problems |= self._found_problems()
        return not pending

    def _stage(
        self, table: WarehouseTable, steps: "_Steps", is_enough: Callable[[int], bool]
    ) -> None:
        with self.connection.transaction():
            shape = self.shape(table)
            copy_rows(self.connection, shape, steps.next(is_enough), into=self.of(table.name))
            self._keep_progress(table, steps)

    def _give_up(self, table: WarehouseTable, error: Exception) -> None:
        self.connection.execute(
            sql.SQL("update {} set is_complete = true, problem = %s where table_name = %s").format(
                _PROGRESS
            ),
            [first_line(error), table.name],
        )

    def _found_problems(self) -> dict[str, str]:
        query = sql.SQL("select table_name, problem from {} where problem <> ''").format(_PROGRESS)
        return dict(self.connection.execute(query).fetchall())

    def prepare(self, table: WarehouseTable) -> None:
        """Updates the statistics of a table's staged rows."""
        self._analyze(table)

    def fill(self, table: WarehouseTable) -> int:
        """Copies a table's staged rows into it."""
        return self.connection.execute(
            sql.SQL("insert into {table} ({names}) select {names} from {stage}").format(
                table=sql.Identifier(table.name),
                names=names_of(table),
                stage=self.of(table.name),
            )
        ).rowcount

    def seconds(self) -> float:
        """Returns how long ago the staging was begun."""
        query = sql.SQL("select extract(epoch from clock_timestamp() - begun_at)::float8 from {}")
        row = self.connection.execute(query.format(_PLAN)).fetchone()
        return float(row[0]) if row else 0.0

    def _plan(self) -> Jsonb:
        """Returns what identifies this load: columns, snapshots and runs."""
        return Jsonb(
            {"format": _FORMAT}
            | {
                table.name: {
                    "columns": [[column.name, column.type] for column in table.columns],
                    "snapshot": self.versions[table.name].snapshot,
                    "after": self.versions[table.name].after,
                    "through": self.versions[table.name].through,
                }
                for table in self._tables
            }
        )

    def _progress(self, table: WarehouseTable) -> tuple[Position, bool]:
        """Returns the position of a table's staging, and whether it is complete."""
        query = sql.SQL("select files, rows, is_complete from {} where table_name = %s")
        row = self.connection.execute(query.format(_PROGRESS), [table.name]).fetchone()
        return (Position(row[0], row[1]), row[2]) if row else (Position(), False)

    def _keep_progress(self, table: WarehouseTable, steps: "_Steps") -> None:
        self.connection.execute(
            sql.SQL(
                "update {} set files = %s, rows = %s, is_complete = %s where table_name = %s"
            ).format(_PROGRESS),
            [steps.position.files, steps.position.rows, steps.is_complete, table.name],
        )


def discard(connection: psycopg.Connection) -> None:
    """Drops the tables of a staging, and their schema if nothing else is in it."""
    if not _exists(connection):
        return
    staged = [sql.Identifier(_SCHEMA, f"stage_{star.name}") for star in star_tables()]
    for table in (*staged, _PROGRESS, _PLAN):
        connection.execute(sql.SQL("drop table if exists {}").format(table))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("drop schema {}").format(sql.Identifier(_SCHEMA)))
    except (
        psycopg.errors.DependentObjectsStillExist,
        psycopg.errors.InsufficientPrivilege,
    ):
        return


def _exists(connection: psycopg.Connection) -> bool:
    query = "select pg_catalog.to_regclass(%s) is not null"
    return connection.execute(query, [f"{_SCHEMA}.plan"]).fetchone() == (True,)


class _Steps:
    """A table's rows, cut into steps.

    Attributes:
        position: The position after the last step.
        is_complete: Whether no rows are left.
    """

    def __init__(self, batches: Iterator[tuple[Position, pa.RecordBatch]], start: Position) -> None:
        self.position = start
        self.is_complete = False
        self._batches = batches

    def next(self, is_enough: Callable[[int], bool]) -> Iterator[pa.RecordBatch]:
        """Yields the batches of the next step.

        Args:
            is_enough: Whether so many rows make a step.
        """
        rows = 0
        for position, batch in self._batches:
            yield batch
            self.position = position
            rows += batch.num_rows
            if is_enough(rows):
                return
        self.is_complete = True
