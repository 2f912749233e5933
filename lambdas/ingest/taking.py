"""Takes what a run has planned: chunks by several readers at once, then the keys."""

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from lambdas.ingest.change_capture import written_since
from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import export_snapshot
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.run_plan import Done, Progress, RunPlan, TablePlan
from lambdas.ingest.source_reader import SourceReader
from pipeline.manifest import Capture

SECONDS_TO_END = 30.0
"""What is kept of the time allowed: to upload, to commit, and to answer."""


@dataclass(frozen=True)
class _Task:
    """A chunk's rows, or the keys of a table, to one place of the raw zone."""

    table: TablePlan
    number: int
    chunk: Chunk
    prefix: str


class Taking:
    """One invocation's part of a run.

    Args:
        plan: What the run takes.
        connection: A connection inside this invocation's snapshot.
        zone: Where files go.
        progress: Where it is kept what is done.
        invocation: Which one of the run this is, from 0.
        at_once: Tables whose chunks have to be of one snapshot.
        readers: How many connections read at the same time.
        seconds_left: How long the caller may still run.
        folder: Where files are made; the system's own if not given.

    Attributes:
        done: What became of each chunk, by table and number.
        swept: What became of each sweep of the keys, by table.
        longest_query_seconds: The longest that one query kept a reader at the source.
        scanned_bytes: The size of what was read.
    """

    def __init__(
        self,
        plan: RunPlan,
        *,
        connection: psycopg.Connection,
        zone: RawZone,
        progress: Progress,
        invocation: int,
        at_once: frozenset[str],
        readers: int,
        seconds_left: Callable[[], float],
        folder: Path | None,
    ) -> None:
        self._plan = plan
        self._connection = connection
        self._zone = zone
        self._progress = progress
        self._invocation = invocation
        self._at_once = at_once
        self._readers = readers
        self._seconds_left = seconds_left
        self._keeps_progress = invocation > 0 or any(len(t.chunks) > 1 for t in plan.tables)
        self._own = threading.local()
        self._closing = ExitStack()
        self._folder = Path(
            self._closing.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="ingest-"))
        )
        self.done: dict[tuple[str, int], Done] = {}
        self.swept: dict[str, Done] = {}
        self.longest_query_seconds = 0.0
        self.scanned_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, trace)

    def take(self) -> bool:
        """Takes what is not done yet, and returns whether all is."""
        tasks = [
            _Task(table, number, chunk, RawZone.ROWS)
            for table in self._plan.tables
            for number, chunk in enumerate(table.chunks)
        ]
        if not tasks:
            return True
        if self._keeps_progress:
            self._progress.begin(self._plan, self._invocation + 1)
        if self._invocation:
            self.done = self._still_good(self._progress.done())
        self._snapshot = export_snapshot(self._connection)
        if not self._run([task for task in tasks if self._key(task) not in self.done]):
            return False
        sweeps = [
            _Task(table, 0, Chunk(0, None), RawZone.KEYS)
            for table in self._plan.tables
            if self._is_swept(table)
        ]
        return self._run(sweeps)

    def _run(self, tasks: list[_Task]) -> bool:
        with ThreadPoolExecutor(max_workers=self._readers) as pool:
            return all(list(pool.map(self._take_in_time, tasks)))

    def _take_in_time(self, task: _Task) -> bool:
        if self._seconds_left() < SECONDS_TO_END + 2 * self.longest_query_seconds:
            return False
        began = time.monotonic()
        parts = self._take(task)
        seconds = round(time.monotonic() - began, 3)
        done = Done(
            rows=sum(part.rows for part in parts),
            files=tuple(file for part in parts for file in part.files),
            not_held=sum(part.not_held for part in parts),
            quarantine_files=tuple(file for part in parts for file in part.quarantine_files),
            seconds=seconds,
            invocation=self._invocation,
        )
        self.longest_query_seconds = max(self.longest_query_seconds, seconds)
        self.scanned_bytes += task.table.table.bytes // max(len(task.table.chunks), 1)
        if task.prefix == RawZone.KEYS:
            self.swept[task.table.table.name] = done
            return True
        self.done[self._key(task)] = done
        if self._keeps_progress:
            self._progress.keep(*self._key(task), done)
        return True

    def _take(self, task: _Task) -> list[Done]:
        """Takes a chunk, and puts what it holds into the raw zone."""
        table, columns = task.table.table, task.table.table.columns
        condition: sql.Composable = sql.SQL("true")
        if task.prefix == RawZone.KEYS:
            columns = tuple(column for column in columns if column.name in table.primary_key)
        elif task.table.plan.capture is Capture.CHANGES:
            condition = written_since(task.table.plan.since)
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            rows, values = Path(name) / "rows.parquet", Path(name) / "values.parquet"
            return [
                Done(
                    rows=taken.rows,
                    files=(self._zone.put(task.prefix, table.name, rows),) if taken.rows else (),
                    not_held=taken.not_held,
                    quarantine_files=(self._zone.put(RawZone.QUARANTINE, table.name, values),)
                    if taken.not_held
                    else (),
                    seconds=0.0,
                    invocation=self._invocation,
                )
                for taken in self._reader().take_chunk(
                    table, columns, task.chunk, condition, path=rows, quarantine=values
                )
            ]

    def _reader(self) -> SourceReader:
        """Returns the reader of this thread."""
        if not hasattr(self._own, "reader"):
            reader = SourceReader.beside(self._connection, self._snapshot, self._folder)
            self._own.reader = self._closing.enter_context(reader)
        return self._own.reader  # type: ignore[no-any-return]

    def _still_good(self, done: dict[tuple[str, int], Done]) -> dict[tuple[str, int], Done]:
        """Returns what need not be taken again: a joined table is of one snapshot, or is none."""
        invocations: dict[str, set[int]] = {}
        for (name, _), part in done.items():
            invocations.setdefault(name, set()).add(part.invocation)
        whole = {
            planned.table.name
            for planned in self._plan.tables
            if len(invocations.get(planned.table.name, ())) == 1
            and all((planned.table.name, n) in done for n in range(len(planned.chunks)))
        }
        return {
            key: part
            for key, part in done.items()
            if key[0] in whole or key[0] not in self._at_once
        }

    def _is_swept(self, planned: TablePlan) -> bool:
        """Whether all keys have to be written: a key that is in no file has not always gone."""
        parts = [self.done[planned.table.name, n] for n in range(len(planned.chunks))]
        is_partial = any(part.not_held for part in parts) or len({p.invocation for p in parts}) > 1
        return bool(planned.table.primary_key) and (
            planned.plan.sweep_keys or (planned.plan.capture is Capture.WHOLE and is_partial)
        )

    @staticmethod
    def _key(task: _Task) -> tuple[str, int]:
        return task.table.table.name, task.number
