"""Fingerprints of the star rows, computed from the source in the run's snapshot.

`verify` compares them with the star schema. DuckDB runs each SELECT over the source's rows, in the
types that Ingest captures; Spark runs the same text over the raw zone. A row that a rule or a raw
type excludes is marked as waiting.

Tables are read in chunks, so that memory and disk do not grow with them. Only tables that a SELECT
joins are kept until the end.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import psycopg
from psycopg import sql
from sqlglot.errors import SqlglotError

from lambdas.ingest.chunks import Chunk, chunks_of
from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.failures import Failures
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.snapshot_export import export_snapshot
from lambdas.ingest.source_reader import SourceReader
from lambdas.ingest.star_selects import Columns, StarSelects
from lambdas.ingest.taking import SECONDS_TO_END
from pipeline.errors import first_line
from pipeline.fingerprints import StarFingerprints
from pipeline.scratch import scratch_folder
from star_schema.sources import declared_source
from star_schema.tables import StarTable


def fingerprint_stars(
    connection: psycopg.Connection,
    tables: Collection[SourceTable],
    stars: Iterable[StarTable],
    *,
    failures: Failures,
    zone: RawZone,
    run_id: str,
    seconds_left: Callable[[], float],
) -> tuple[StarFingerprints, ...] | None:
    """Writes the fingerprints of every star table's rows to the raw bucket.

    Args:
        connection: A connection inside the run's snapshot.
        tables: The source's tables.
        stars: The star tables.
        failures: Takes the tables that cannot be read.
        zone: Where files go, below `fingerprints/<run_id>/`.
        run_id: The execution's name.
        seconds_left: How long the caller may still run.

    Returns:
        The fingerprints; None if a table cannot be read or the time does not suffice.

    Raises:
        PipelineError: The source or Amazon S3 failed.
    """
    snapshot = export_snapshot(connection)
    columns = {table.name: table.columns for table in tables}
    with (
        scratch_folder() as name,
        SourceReader.beside(connection, snapshot, Path(name)) as reader,
        StarSelects(Path(name), columns) as selects,
    ):

        def put(file: str, path: Path) -> str:
            key = f"{RawZone.FINGERPRINTS}/{run_id}/{snapshot}/{file}"
            zone.put_if_absent(key, path)
            return key

        work = _Fingerprinting(
            reader,
            selects,
            tables=tables,
            stars=stars,
            failures=failures,
            folder=Path(name),
            put=put,
        )
        return work.result() if work.run(seconds_left) else None


@dataclass
class _Star:
    """The state of one star table's fingerprints."""

    table: StarTable
    columns: Columns = ()
    files: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def is_cumulative(self) -> bool:
        """Whether the SELECT reads its own rows: the table's rows are known at the end."""
        return bool(self.table.own_columns)

    @property
    def is_chunked(self) -> bool:
        """Whether the SELECT runs on each chunk by itself; not after a failure."""
        return not self.table.joined_sources and not self.failure


@contextmanager
def _noting_failure(*stars: _Star) -> Iterator[None]:
    """Records the error of a SELECT or of a rule: the build reports it as well."""
    try:
        yield
    except (duckdb.Error, SqlglotError) as error:
        for star in stars:
            star.failure = first_line(error)


class _Fingerprinting:
    """Reads the tables one after another, and runs the SELECTs on their chunks."""

    def __init__(
        self,
        reader: SourceReader,
        selects: StarSelects,
        *,
        tables: Iterable[SourceTable],
        stars: Iterable[StarTable],
        failures: Failures,
        folder: Path,
        put: Callable[[str, Path], str],
    ) -> None:
        self._reader = reader
        self._selects = selects
        self._stars = [_Star(star) for star in stars]
        needed = {source for star in self._stars for source in star.table.sources}
        self._sources = {table.name: table for table in tables if table.name in needed}
        self._failures = failures
        self._folder = folder
        self._rows = folder / "rows.parquet"
        self._values = folder / "values.parquet"
        self._made = folder / "fingerprints.parquet"
        self._put = put

    def result(self) -> tuple[StarFingerprints, ...]:
        """Returns the fingerprints of every star table."""
        return tuple(
            StarFingerprints(
                table=star.table.name,
                columns=tuple(name for name, _ in star.columns),
                files=tuple(star.files),
                is_cumulative=star.is_cumulative,
                failure=star.failure,
            )
            for star in self._stars
        )

    def run(self, seconds_left: Callable[[], float]) -> bool:
        """Reads all tables; returns whether they could be read in time."""
        self._begin()
        if self._failures.reasons:
            return False
        longest = 0.0
        for table in self._sources.values():
            for chunk in chunks_of(table):
                if seconds_left() < SECONDS_TO_END + 2 * longest:
                    return False
                began = time.monotonic()
                with self._failures.of(table.name):
                    self._read(table, chunk)
                if self._failures.reasons:
                    return False
                longest = max(longest, time.monotonic() - began)
        self._end()
        return True

    def _begin(self) -> None:
        """Shows every source without rows, which gives the columns of the SELECTs."""
        for table in self._sources.values():
            with self._failures.of(table.name):
                self._read_nothing(table)
        for star in self._stars:
            with _noting_failure(star):
                for source in star.table.sources:
                    self._show_nothing(source)
                star.columns = self._selects.begin(star.table)

    def _read_nothing(self, table: SourceTable) -> None:
        """Reads no row of a table into the file that shows it without rows."""
        nothing = self._nothing_of(table)
        chunk, condition = Chunk(0, None), sql.SQL("false")
        for _ in self._reader.take_chunk(
            table, table.columns, chunk, condition, path=nothing, quarantine=self._values
        ):
            self._selects.hold(table.name, nothing)

    def _read(self, table: SourceTable, chunk: Chunk) -> None:
        """Reads a chunk, and runs the SELECTs on it."""
        reading = [star for star in self._stars if table.name in star.table.sources]
        for taken in self._reader.take_chunk(
            table, table.columns, chunk, sql.SQL("true"), path=self._rows, quarantine=self._values
        ):
            if taken.not_held:
                self._selects.lose(table.name, self._values)
            if any(star.table.joined_sources for star in reading):
                self._selects.hold(table.name, self._rows)
            chunked = [star for star in reading if star.is_chunked]
            if chunked:
                self._selects.show(table.name, self._rows)
            for star in chunked:
                with _noting_failure(star):
                    self._add(star, table)
        if any(star.is_chunked for star in reading):
            self._show_nothing(table.name)

    def _add(self, star: _Star, table: SourceTable) -> None:
        """Runs a SELECT on a chunk of one of its sources."""
        if star.is_cumulative:
            self._selects.grow(star.table)
            return
        self._keep(star, self._selects.write(star.table, star.columns, self._made))
        if declared_source(table.name).rules.quarantining:
            broken = self._selects.write_broken(
                star.table, table.name, star.columns, self._rows, self._made
            )
            self._keep(star, broken)

    def _end(self) -> None:
        """Writes the fingerprints that need all chunks."""
        for star in self._stars:
            if star.failure:
                continue
            with _noting_failure(star):
                if star.table.joined_sources:
                    self._selects.show_held(star.table.sources)
                if star.table.joined_sources or star.is_cumulative:
                    self._keep(star, self._selects.write(star.table, star.columns, self._made))
                if source := star.table.row_source:
                    lost = self._selects.write_lost(star.table, source, star.columns, self._made)
                    self._keep(star, lost)

    def _keep(self, star: _Star, rows: int) -> None:
        """Uploads the file of fingerprints, if it has rows."""
        if rows:
            name = f"{star.table.name}-{len(star.files):04d}.parquet"
            star.files.append(self._put(name, self._made))

    def _show_nothing(self, source: str) -> None:
        """Shows a source without rows, if there is such a table."""
        if source in self._sources:
            self._selects.show(source, self._nothing_of(self._sources[source]))

    def _nothing_of(self, table: SourceTable) -> Path:
        return self._folder / f"{table.oid}.parquet"
