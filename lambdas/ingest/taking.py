"""Reads what a run has planned: the chunks with several readers at the same time, then the keys."""

import dataclasses
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from lambdas.ingest import chunks
from lambdas.ingest.captures import keys_of
from lambdas.ingest.change_capture import recent
from lambdas.ingest.chunks import Chunk
from lambdas.ingest.failures import Failures, TableFailure
from lambdas.ingest.key_count import KeyCount, Keys
from lambdas.ingest.progress import ChunkKey, Progress
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.run_plan import RunPlan, TablePlan
from lambdas.ingest.selection import Selection
from lambdas.ingest.snapshot_export import export_snapshot
from lambdas.ingest.source_reader import SourceReader
from lambdas.ingest.taken import FIRST, Taken
from lambdas.ingest.unreadable import refuse_unreadable
from pipeline.manifest import Capture
from pipeline.scratch import scratch_folder

SECONDS_TO_END = 30.0
"""Seconds reserved to upload the last files, to commit and to answer."""


@dataclass(frozen=True)
class _Task:
    """The rows of a chunk, or the keys of a table, to read into one prefix of the raw zone."""

    planned: TablePlan
    number: int
    chunk: Chunk
    prefix: str

    @property
    def key(self) -> ChunkKey:
        """The chunk's key in the run's progress."""
        return self.planned.name, self.number


class Taking:
    """One invocation's part of a run.

    Args:
        plan: The run's plan.
        connection: A connection inside this invocation's snapshot.
        zone: The raw zone.
        progress: The run's progress.
        invocation: FIRST, or the name of a later invocation, which no other has.
        at_once: Tables whose chunks must all be read in one snapshot.
        readers: Number of connections that read at the same time.
        failures: Takes the tables that cannot be read.
        seconds_left: Returns how long the caller may still run.

    Attributes:
        chunks: What each chunk gave.
        swept: What each key sweep gave, by table.
        longest_query_seconds: Duration of the longest query of a reader at the source.
        scanned_bytes: Size of what was read.
        work: How long a reader worked on a table, in seconds: an entry for each chunk or sweep.
    """

    def __init__(
        self,
        plan: RunPlan,
        *,
        connection: psycopg.Connection,
        zone: RawZone,
        progress: Progress,
        invocation: str,
        at_once: frozenset[str],
        readers: int,
        failures: Failures,
        seconds_left: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._connection = connection
        self._zone = zone
        self._progress = progress
        self._invocation = invocation
        self._at_once = at_once
        self._failures = failures
        self._seconds_left = seconds_left
        self._saves_progress = invocation != FIRST or _is_large(plan)
        self._pool = ThreadPoolExecutor(max_workers=readers)
        self._own = threading.local()
        self._closing = ExitStack()
        self._folder = Path(self._closing.enter_context(scratch_folder()))
        self.chunks: dict[ChunkKey, Taken] = {}
        self.swept: dict[str, Taken] = {}
        self.longest_query_seconds = 0.0
        self.scanned_bytes = 0
        self.work: list[tuple[str, float]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The readers are closed when no thread uses them any more.
        self._pool.shutdown()
        self._closing.__exit__(kind, error, trace)

    def take(self) -> bool:
        """Reads what has not been read yet, and returns whether the run is then complete."""
        tasks = [
            _Task(planned, number, chunk, RawZone.ROWS)
            for planned in self._plan.tables
            for number, chunk in enumerate(planned.chunks)
        ]
        if all(planned.decision.capture is Capture.NONE for planned in self._plan.tables):
            return True
        if self._saves_progress:
            self._progress.save_plan(self._plan)
        if self._invocation != FIRST:
            self.chunks = self._still_valid(self._progress.taken(self._plan, RawZone.ROWS))
            swept = self._progress.taken(self._plan, RawZone.KEYS)
            self.swept = {table: taken for (table, _), taken in swept.items()}
        self._snapshot = export_snapshot(self._connection)
        is_complete = self._run([task for task in tasks if task.key not in self.chunks])
        if is_complete:
            is_complete = self._run(
                [
                    _Task(planned, 0, Chunk(0, None), RawZone.KEYS)
                    for planned in self._plan.tables
                    if planned.name not in self._failures.reasons
                    and planned.name not in self.swept
                    and self._is_swept(planned)
                ]
            )
        if not is_complete:
            plan = dataclasses.replace(self._plan, not_taken=self._failures.reasons)
            self._progress.save_plan(plan)
        return is_complete

    def _run(self, tasks: list[_Task]) -> bool:
        return all(list(self._pool.map(self._take_in_time, tasks)))

    def _take_in_time(self, task: _Task) -> bool:
        if task.planned.name in self._failures.reasons:
            return True
        if self._seconds_left() < SECONDS_TO_END + 2 * self.longest_query_seconds:
            return False
        began = time.monotonic()
        with self._failures.of(task.planned.name):
            self._keep(task, self._take(task))
        seconds = round(time.monotonic() - began, 3)
        self.longest_query_seconds = max(self.longest_query_seconds, seconds)
        self.work.append((task.planned.name, seconds))
        self.scanned_bytes += task.planned.table.bytes // max(len(task.planned.chunks), 1)
        return True

    def _keep(self, task: _Task, taken: Taken) -> None:
        """Keeps what a task gave.

        Raises:
            TableFailure: Too many rows of the table cannot be read, or some of its keys.
        """
        if task.prefix == RawZone.KEYS:
            if taken.unreadable:
                raise TableFailure(
                    f"{taken.unreadable} of its keys cannot be read; correct these rows"
                )
            self.swept[task.planned.name] = taken
        else:
            self.chunks[task.key] = taken
            refuse_unreadable(self._so_far(task.planned).unreadable)
        if self._saves_progress:
            self._progress.save_taken(task.planned, task.prefix, task.number, taken)

    def _so_far(self, planned: TablePlan) -> Taken:
        """Returns what the chunks of a table gave so far."""
        keys = ((planned.name, number) for number in range(len(planned.chunks)))
        return sum((self.chunks[key] for key in keys if key in self.chunks), start=Taken())

    def _take(self, task: _Task) -> Taken:
        """Reads the rows of a task and uploads them to the raw zone."""
        planned, columns = task.planned, task.planned.table.columns
        condition = planned.decision.condition
        leaf = planned.table.leaf(task.chunk.leaf)
        if leaf and leaf.is_foreign:
            condition = sql.SQL("true")
        if task.prefix == RawZone.KEYS:
            columns = tuple(column for column in columns if column.name in planned.natural_key)
            condition = sql.SQL("true")
        chunk = task.chunk
        count = self._count(task, condition) if task.prefix == RawZone.ROWS else None
        total = Taken(count=count, invocations=frozenset({self._invocation}))
        if count and planned.decision.capture is Capture.CHANGES:
            if count.places is None:
                return total
            # The same snapshot: the rows to read are where they were counted, mostly at the end.
            chunk = chunk.within(*count.places)
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            rows, values = Path(name) / "rows.parquet", Path(name) / "values.parquet"
            for taken in self._reader().take_chunk(
                planned.table, columns, chunk, condition, path=rows, quarantine=values
            ):
                total += self._uploaded(taken, task, rows, values)
        return total

    def _count(self, task: _Task, written: sql.Composable) -> KeyCount | None:
        """Counts the rows of a chunk, unless the table was counted to decide about it."""
        planned, counting = task.planned, task.planned.decision.counting
        if counting is None or planned.decision.count is not None:
            return None
        rows = Selection(
            planned.table, (), task.chunk.condition, planned.table.leaf(task.chunk.leaf)
        )
        place = sql.SQL("{} and {}").format(rows.place, rows.condition)
        query = counting.query(rows.origin, place, written, recent(self._plan.snapshot))
        return counting.counted(self._reader().ask(query), self._plan.snapshot.horizon)

    def _uploaded(self, taken: Taken, task: _Task, rows: Path, values: Path) -> Taken:
        """Uploads the two files of a read, and returns what was taken with what was written."""
        put = partial(self._zone.put, table=task.planned.name, first=task.number)
        files = (put(task.prefix, path=rows),) if taken.rows else ()
        aside = (put(RawZone.QUARANTINE, path=values),) if taken.not_held else ()
        return dataclasses.replace(
            taken,
            files=tuple(key for key, _ in files),
            written=tuple(written for _, written in files),
            quarantine_files=tuple(key for key, _ in aside),
        )

    def _reader(self) -> SourceReader:
        """Returns the reader of this thread."""
        if not hasattr(self._own, "reader"):
            reader = SourceReader.beside(self._connection, self._snapshot, self._folder)
            self._own.reader = self._closing.enter_context(reader)
        return self._own.reader  # type: ignore[no-any-return]

    def _still_valid(self, chunks: dict[ChunkKey, Taken]) -> dict[ChunkKey, Taken]:
        """Returns the chunks that need not be read again.

        A table whose chunks must be of one snapshot keeps all of its chunks or none.
        """
        return {
            key: taken
            for planned in self._plan.tables
            if planned.name not in self._at_once or self._is_of_one_snapshot(planned, chunks)
            for key, taken in chunks.items()
            if key[0] == planned.name
        }

    @staticmethod
    def _is_of_one_snapshot(planned: TablePlan, chunks: dict[ChunkKey, Taken]) -> bool:
        """Whether all chunks of a table have been read, by one invocation."""
        keys = [(planned.name, number) for number in range(len(planned.chunks))]
        if not all(key in chunks for key in keys):
            return False
        return len(sum((chunks[key] for key in keys), start=Taken()).invocations) == 1

    def _is_swept(self, planned: TablePlan) -> bool:
        """Whether the table's keys must be swept.

        After a capture of changes they are unless the count explains them. After a whole capture
        they are if a row may be in no file though it is there: a row in the quarantine, or a row
        that moved between chunks of different snapshots.
        """
        taken = self._so_far(planned)
        if planned.decision.capture is Capture.WHOLE:
            is_partial = taken.not_held > 0 or len(taken.invocations) > 1
            return bool(planned.natural_key) and is_partial
        return keys_of(planned, taken) is not Keys.EXPLAINED


def _is_large(plan: RunPlan) -> bool:
    """Whether a run may be larger than one invocation."""
    read = (planned.table for planned in plan.tables if planned.chunks)
    return sum(table.total_bytes for table in read) > chunks.CHUNK_BYTES
