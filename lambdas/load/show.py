"""The transaction that shows a load: all rows in their tables, the positions and the run."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from lambdas.load import first_load, foreign_keys, merge, rebuild, resumable, waiting
from lambdas.load.attached import named
from lambdas.load.catalog import WarehouseTable
from lambdas.load.deadline import Deadline
from lambdas.load.dependants import is_referred_to
from lambdas.load.pace import Pace
from lambdas.load.plan import COSTS_ITS_TABLE, OF_ONE_TABLE, Plan, refused
from lambdas.load.position import NOTHING, Shown, greatest_record_ids, move, with_newest
from lambdas.load.staging import Staging
from lambdas.load.superseded import mark_superseded
from pipeline.errors import StarSchemaMismatch
from pipeline.requests import LoadRequest


@dataclass(frozen=True)
class LoadedTable:
    """What a load did to a table.

    Attributes:
        table: The star table.
        inserted: Rows added.
        updated: Rows whose content changed (dimensions; facts only in a rebuild).
        waiting: Rows that wait in waiting_row after the load.
        seconds: How long that took, without the rows that were staged in advance.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    waiting: int = 0
    seconds: float = field(default=0.0, compare=False)


class Show:
    """One transaction. A table that cannot be loaded is left as it was, and becomes a problem."""

    def __init__(
        self, staging: Staging, plan: Plan, request: LoadRequest, deadline: Deadline, pace: Pace
    ) -> None:
        """Does nothing yet.

        Args:
            staging: The rows.
            plan: The tables and their positions; gets the problems.
            request: The run, and whether to compare every row with the lake.
            deadline: When to give up.
            pace: Which first loads are worth locks.
        """
        self._connection = deadline.connection
        self._staging = staging
        self._plan = plan
        self._request = request
        self._deadline = deadline
        self._pace = pace
        self._gone: dict[str, sql.Identifier] = {}
        self._newest: dict[str, Shown] = {}
        self._loaded: dict[str, LoadedTable] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._may_switch_off: bool | None = None

    def run(self) -> tuple[LoadedTable, ...]:
        """Shows the rows of every table, and returns what that did."""
        with self._connection.transaction():
            # A constraint that is checked at the commit would refuse the whole load for one row.
            self._connection.execute("set constraints all immediate")
            tables = self._with_rows()
            dimensions = [table for table in tables if not table.is_fact]
            facts = [table for table in tables if table.is_fact]
            bare = first_load.lay_bare(self._large_first_loads(facts), self._deadline)
            for table in tables:
                if table.name not in bare:
                    self._attempt(table, self._staging.prepare)
            for table in dimensions:
                self._attempt(table, self._write)
            if self._request.rebuild:
                for table in dimensions:
                    self._attempt(table, self._note_gone)
            for table in facts:
                if table.name in bare and self._is_filled(table, bare[table.name]):
                    continue
                self._attempt(table, self._write)
            for table in dimensions:
                if table.name in self._gone:
                    self._attempt(table, self._remove_gone)
            self._check_shown([table for table in tables if table.name not in bare])
            self._record()
            resumable.discard(self._connection)
        return tuple(
            replace(done, seconds=round(self._seconds[name], 3))
            for name, done in self._loaded.items()
        )

    def _with_rows(self) -> list[WarehouseTable]:
        """Returns the tables that have rows to write or to delete; the others are done."""
        waits = waiting.counts(self._connection)
        found: list[WarehouseTable] = []
        for table in self._plan.tables:
            versions = self._staging.versions[table.name]
            if self._request.rebuild or versions.files or table.name in waits:
                found.append(table)
                continue
            try:
                self._staging.shape(table)
                self._loaded[table.name] = LoadedTable(table.name)
            except StarSchemaMismatch as error:
                self._plan.problems.setdefault(table.name, str(error))
        return found

    def _attempt(self, table: WarehouseTable, act: Callable[[WarehouseTable], None]) -> bool:
        """Does something to a table that has no problem; returns whether it has none now."""
        if table.name in self._plan.problems:
            return False
        self._deadline.limit()
        began = time.monotonic()
        try:
            with self._connection.transaction():
                act(table)
        except COSTS_ITS_TABLE as error:
            self._plan.problems[table.name] = str(error)
        except psycopg.DatabaseError as error:
            if not (merge.is_refusal(error) or isinstance(error, OF_ONE_TABLE)):
                raise
            self._plan.problems[table.name] = refused(table, error)
        self._seconds[table.name] += time.monotonic() - began
        return table.name not in self._plan.problems

    def _large_first_loads(self, facts: list[WarehouseTable]) -> dict[WarehouseTable, int]:
        """Returns the facts without rows that get many rows now, and the number of rows."""
        rows = {table: self._staging.versions[table.name].most_rows for table in facts}
        return {
            table: count
            for table, count in rows.items()
            if count >= self._pace.rows_worth_locks
            and not (table.attached or table.name in self._plan.problems)
            and first_load.is_due(self._connection, table)
            and self._staging.is_exact(table)
        }

    def _is_filled(self, table: WarehouseTable, rules: first_load.Rules) -> bool:
        """Fills a bare fact, or else restores it and prepares its rows."""

        def fill(table: WarehouseTable) -> None:
            counts = first_load.fill(table, rules, self._staging, self._gone, self._deadline)
            mark_superseded(self._connection, table)
            self._loaded[table.name] = LoadedTable(table.name, counts[0], waiting=counts[1])

        if self._attempt(table, fill):
            return True
        del self._plan.problems[table.name]
        first_load.restore(table, rules, self._deadline)
        self._attempt(table, self._staging.prepare)
        return False

    def _write(self, table: WarehouseTable) -> None:
        """Writes the staged and the waiting rows that the table can show; the others wait."""
        stage = self._staging.of(table.name)
        staged = self._staging.shape(table)
        are_new = False
        if self._request.rebuild:
            waiting.forget_unknown(self._connection, table, stage)
        elif table.is_fact:
            are_new = merge.check_unchanged(self._connection, table, stage)
        waiting.bring_back(self._connection, table, stage)
        held_back = waiting.hold_back(
            self._connection, table, stage, staged=staged, gone=self._gone
        )
        if self._request.rebuild and table.is_fact:
            referred = is_referred_to(self._connection, table)
            merge.delete_unknown(self._connection, table, stage, referred)
        is_checked = self._is_worth_checks(table) and foreign_keys.lock_referenced(
            self._connection, table, stage
        )
        written = merge.write(
            self._connection, table, stage, is_checked=is_checked, are_new=are_new
        )
        waiting.release(self._connection, table, stage)
        if table.is_fact:
            mark_superseded(self._connection, table, None if self._request.rebuild else stage)
        else:
            self._newest[table.name] = with_newest(self._connection, table, stage)
        self._loaded[table.name] = LoadedTable(
            table.name, written.inserted, written.updated, held_back + written.refused
        )

    def _is_worth_checks(self, table: WarehouseTable) -> bool:
        """Returns whether to check the foreign keys of the staged rows at once."""
        rows = self._staging.versions[table.name].most_rows
        if not table.references or rows < self._pace.rows_worth_checks:
            return False
        if self._may_switch_off is None:
            self._may_switch_off = foreign_keys.may_switch_off(self._connection)
        return self._may_switch_off

    def _note_gone(self, table: WarehouseTable) -> None:
        stage = self._staging.of(table.name)
        self._gone[table.name] = rebuild.note_gone(self._connection, table, stage)

    def _remove_gone(self, table: WarehouseTable) -> None:
        stars = {table.name for table in self._plan.tables}
        gone = self._gone[table.name]
        marked = rebuild.remove_gone(self._connection, table, gone, stars)
        done = self._loaded[table.name]
        self._loaded[table.name] = LoadedTable(
            table.name, done.inserted, done.updated + marked, done.waiting
        )

    def _check_shown(self, tables: Iterable[WarehouseTable]) -> None:
        """Checks that no trigger changed rows of another table after they had been written.

        Raises:
            StarSchemaMismatch: One did. The transaction has to be rolled back.
        """
        others = [f"{one} of {table.name}" for table in self._plan.tables for one in table.attached]
        for table in tables if others else ():
            if table.name not in self._plan.problems:
                merge.check_shown(self._connection, table, self._staging.of(table.name), others)

    def _record(self) -> None:
        """Moves the positions, and adds the run to pipeline_run or to its row there.

        A row is added once for a run. Its tables get what each load of the run did to them.
        """
        reached = self._plan.reached()
        if self._request.rebuild:
            self._connection.execute(
                "delete from pipeline_run where sequence > %s", [self._request.sequence]
            )
        move(self._connection, reached, self._shown(), anew=self._request.rebuild)
        if not (self._request.rebuild or self._is_news(reached)):
            return
        recorded = self._connection.execute(
            "insert into pipeline_run (sequence, run_id, tables) values (%s, %s, %s) "
            "on conflict (sequence) do update "
            "set run_id = case when %s then excluded.run_id else pipeline_run.run_id end, "
            "loaded_at = excluded.loaded_at, tables = excluded.tables",
            [
                self._request.sequence,
                self._request.run_id,
                Jsonb(self._tables(reached)),
                self._request.rebuild,
            ],
        )
        if recorded.rowcount != 1:
            raise StarSchemaMismatch(
                f"{named(self._connection, 'pipeline_run')} of pipeline_run keeps the run out of "
                "it: drop what does; nothing was loaded"
            )

    def _shown(self) -> dict[str, Shown]:
        waits = waiting.counts(self._connection)
        shown: dict[str, Shown] = {}
        for table in self._plan.tables:
            if table.name not in self._plan.problems:
                record_id, marked = greatest_record_ids(self._connection, table)
                shown[table.name] = replace(
                    self._newest.get(table.name, NOTHING),
                    built_anew=self._staging.versions[table.name].built_anew,
                    record_id=record_id,
                    marked=marked,
                    waiting=waits.get(table.name, 0),
                )
        return shown

    def _is_news(self, reached: dict[str, int]) -> bool:
        query = "select exists (select from pipeline_run where sequence = %s)"
        known = self._connection.execute(query, [self._request.sequence]).fetchone() == (True,)
        return not known or reached != self._plan.positions

    def _tables(self, reached: dict[str, int]) -> dict[str, dict[str, Any]]:
        """Returns what the loads of the run did to each table, and which runs they brought.

        `after`, `through` and `run_id` are those of the last execution that moved the table.
        """
        query = "select tables from pipeline_run where sequence = %s"
        row = self._connection.execute(query, [self._request.sequence]).fetchone()
        before: dict[str, dict[str, Any]] = row[0] if row else {}
        tables = dict(before)
        for name, done in self._loaded.items():
            known = before.get(name, {})
            position = self._plan.positions[name]
            own = {"after": position, "through": reached[name], "run_id": self._request.run_id}
            if known.get("run_id") == self._request.run_id:
                own["after"] = known["after"]
            elif known and reached[name] == position:
                own = {part: known[part] for part in own if part in known}
            tables[name] = {
                "inserted": known.get("inserted", 0) + done.inserted,
                "updated": known.get("updated", 0) + done.updated,
                **own,
            }
        return tables
