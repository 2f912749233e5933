"""Staging that outlives an invocation: rows are copied in bounded steps, each its own transaction.

A step's rows and how far it came are committed together, in a schema that nobody else is given
rights to. Tables and progress alike are unlogged: a server that crashes, or another that takes its
place, has neither, and the staging begins anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from lambdas.load.catalog import WarehouseTable
from lambdas.load.deadline import Deadline
from lambdas.load.lake import Position, Versions
from lambdas.load.pace import Pace
from lambdas.load.staging import Staging, copy_rows, names_of

_SCHEMA: Final = "pipeline_staging"
_PLAN = sql.Identifier(_SCHEMA, "plan")
_PROGRESS = sql.Identifier(_SCHEMA, "progress")


class ResumableStaging(Staging):
    """The staging of one load of certain snapshots; that of another load is thrown away."""

    schema = _SCHEMA

    def __init__(
        self,
        connection: psycopg.Connection,
        versions: Mapping[str, Versions],
        tables: Sequence[WarehouseTable],
    ) -> None:
        """Looks at nothing yet.

        Args:
            connection: The warehouse, in autocommit mode.
            versions: What is to be loaded into each table, by its name.
            tables: The star tables.
        """
        super().__init__(connection, versions)
        self._tables = tables

    def is_begun(self) -> bool:
        """Returns whether this load has begun to stage its rows, in this invocation or before."""
        if not _exists(self.connection):
            return False
        same = sql.SQL("select exists (select from {} where content = %s)").format(_PLAN)
        return self.connection.execute(same, [self._plan()]).fetchone() == (True,)

    def begin(self) -> None:
        """Makes an empty staging, in the place of any other."""
        with self.connection.transaction():
            discard(self.connection)
            self.connection.execute(sql.SQL("create schema {}").format(sql.Identifier(_SCHEMA)))
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
                    "files integer not null, rows bigint not null, is_complete boolean not null)"
                ).format(_PROGRESS)
            )
            for table in self._tables:
                self._make(table, "create unlogged table {}")
                is_complete = not self.versions[table.name].most_rows
                self.connection.execute(
                    sql.SQL("insert into {} values (%s, 0, 0, %s)").format(_PROGRESS),
                    [table.name, is_complete],
                )

    def go_on(self, deadline: Deadline, pace: Pace) -> bool:
        """Stages as many rows as the time allows.

        Returns:
            Whether all had been staged before. An invocation that stages leaves what comes next to
            another, which has all of its time for it.

        Raises:
            WarehouseBusy: There was no time for any rows.
            StarSchemaMismatch: A value does not fit its column.
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
                with self.connection.transaction():
                    step = steps.next(lambda rows: pace.is_a_step(rows, deadline))
                    copy_rows(self.connection, table, step, into=self.of(table.name))
                    self._keep_progress(table, steps)
                has_staged = True
        return not pending

    def prepare(self, table: WarehouseTable) -> None:
        """Brings the statistics of a table's staged rows up to date."""
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
        """Returns what tells this load from others: columns, snapshots and runs."""
        return Jsonb(
            {
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
        """Returns how far a table is staged, and whether that is all of it."""
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
    """Drops whatever staging there is."""
    if _exists(connection):
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(_SCHEMA)))


def _exists(connection: psycopg.Connection) -> bool:
    query = "select to_regnamespace(%s) is not null"
    return connection.execute(query, [_SCHEMA]).fetchone() == (True,)


class _Steps:
    """A table's rows, cut into steps.

    Attributes:
        position: How far the steps have come.
        is_complete: Whether that is the end.
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
