"""Builds star tables: what their sources' runs brought since the last build, as one commit each."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from glue_jobs.build.checking import Broken, as_quarantined, checked, fit, identity_rules
from glue_jobs.build.key_ranges import KeyRanges
from glue_jobs.build.lake import LakeTable, reason_of, retrying
from glue_jobs.build.quarantine import prepare_quarantine, put_into_quarantine
from glue_jobs.build.raw_files import RawFiles, prepare
from glue_jobs.build.raw_views import RawViews, with_run_ids
from glue_jobs.build.reading import Captured, StarReader, explained
from glue_jobs.build.rule_checks import check_rules
from glue_jobs.build.spark_sql import keep_classes, plan_for
from glue_jobs.build.versions import new_versions
from glue_jobs.build.writing import StarWriter
from pipeline.applied_run import AppliedRun
from pipeline.errors import PipelineError, RunConflict, TableBuildFailed
from pipeline.manifest import Manifest, ManifestStore
from pipeline.pending import Pending, pending
from star_schema.quarantine import QUARANTINE
from star_schema.rules import Rules
from star_schema.sources import declared_source
from star_schema.tables import StarTable

_LOGGER = logging.getLogger(__name__)

TABLES_AT_ONCE: Final = 4
"""Small tables wait for the catalogue and the object store more than for a core."""

ROWS_OF_A_PARTITION = 200_000
"""How many captured rows a shuffled partition is to hold: some 50 MB, as facts are."""
MOST_PARTITIONS: Final = 2_000
TINY_ROWS: Final = 20_000
"""No more captured rows take longer to plan for than to process."""


@dataclass(frozen=True)
class BuildRequest:
    """What a build has to do.

    Attributes:
        database: The Glue database of the star schema.
        through: The newest run to apply.
        rebuild: Whether to build every row again from raw.
    """

    database: str
    through: int
    rebuild: bool


@dataclass(frozen=True)
class Built:
    """The result of one star table's build.

    Attributes:
        table: The star table.
        rows: Versions that were written.
        seconds: How long it took.
    """

    table: str
    rows: int
    seconds: float


def build_tables(
    spark: SparkSession, store: ManifestStore, stars: Iterable[StarTable], request: BuildRequest
) -> tuple[Built, ...]:
    """Builds star tables at the same time on one Spark session.

    Every table commits by itself: one that fails leaves the others as built.

    Raises:
        TableBuildFailed: One or more tables failed; the message names each with its reason.
    """
    built: list[Built] = []
    failures: list[str] = []
    tables = tuple(stars)
    keep_classes(spark)
    has_facts = any(star.is_fact for star in tables)
    with (
        RawFiles(spark, store.objects) as files,
        ThreadPoolExecutor(max_workers=TABLES_AT_ONCE) as pool,
    ):
        quarantine = pool.submit(prepare_quarantine, spark, request.database) if has_facts else None
        futures = {
            star.name: pool.submit(
                _build,
                spark,
                store,
                star,
                request,
                files,
                quarantine=quarantine if star.is_fact else None,
            )
            for star in tables
        }
        for name, future in futures.items():
            try:
                built.append(future.result())
            except PipelineError as error:
                failures.append(f"{name}: {type(error).__name__}: {error}")
            except Exception as error:
                _LOGGER.exception("%s failed", name)
                failures.append(f"{name}: {type(error).__name__}: {reason_of(error)}")
    if failures:
        raise TableBuildFailed(
            f"{len(failures)} of {len(tables)} star tables were not built ("
            + "; ".join(failures)
            + "); fix the cause and start the state machine again: it continues with these tables"
        )
    return tuple(built)


def _build(
    spark: SparkSession,
    store: ManifestStore,
    star: StarTable,
    request: BuildRequest,
    files: RawFiles,
    *,
    quarantine: Future[None] | None,
) -> Built:
    began = time.monotonic()
    if quarantine:
        # One that others altered costs the facts, not the dimensions.
        quarantine.result()

    def attempt() -> int:
        return _TableBuild(prepare(spark.newSession()), store, star, request, files).run()

    rows = retrying(attempt, star.name)
    built = Built(star.name, rows, round(time.monotonic() - began, 1))
    _LOGGER.info("%-24s %9d rows %6.1f s", built.table, built.rows, built.seconds)
    return built


class _TableBuild:
    """One attempt to build a star table, on a session of its own."""

    def __init__(
        self,
        spark: SparkSession,
        store: ManifestStore,
        star: StarTable,
        request: BuildRequest,
        files: RawFiles,
    ) -> None:
        self._spark = spark
        self._star = star
        self._request = request
        self._store = store
        self._views = RawViews(spark, store, files)
        self._table = LakeTable(spark, request.database, star.name, declared=star.digest)
        self._reader = StarReader(spark, self._views, star, self._table)

    def run(self) -> int:
        """Applies the pending runs, and returns how many rows were written."""
        if self._request.rebuild:
            self._refuse_to_take_back(self._table.read_named())
            after = 0
        else:
            after = self._table.read_applied().through
            self._table.check_writers()
        todo = pending(self._store, self._star, after=after, through=self._request.through)
        if todo.waits:
            _LOGGER.info("%-24s waits: %s", self._star.name, todo.waits)
        if todo.head is None or not todo.runs:
            self._table.name_applied()
            return 0
        return self._apply(todo, todo.head, is_first=after == 0)

    def _refuse_to_take_back(self, applied: AppliedRun) -> None:
        """Refuses a rebuild that later runs of the same raw zone have overtaken.

        A raw zone that has lost runs is rebuilt through its newest one, which is before theirs.

        Raises:
            RunConflict: The table shows runs after those of the rebuild.
        """
        if applied.through > self._request.through and self._is_overtaken():
            raise RunConflict(
                f"{self._star.name} is built through run {applied.through}, and this rebuild makes "
                f"it through run {self._request.through} only: the job went on after its "
                "execution, which another one has overtaken; the table is left as it is"
            )

    def _is_overtaken(self) -> bool:
        return self._store.has_later(self._request.through)

    def _apply(self, todo: Pending, head: Manifest, *, is_first: bool) -> int:
        few = todo.rows <= ROWS_OF_A_PARTITION
        is_tiny = todo.rows <= TINY_ROWS and self._table.is_small
        plan_for(self._spark, few_rows=is_tiny)
        partitions = 1 if is_tiny else _shuffle_partitions(todo.rows)
        self._spark.conf.set("spark.sql.shuffle.partitions", partitions)
        captured = self._captured(todo, head, is_first=is_first)
        if self._table.exists():
            self._table.fit_types(captured.rows)
        key = self._star.natural_key
        rules = Rules(stopping=self._star.stopping_rules)
        self._check_declared(captured.rows, rules, f"tables/{self._star.name}")
        self._check(captured.rows, rules, self._star.name, key)
        applied = AppliedRun(head.sequence, head.run_id)
        writer = StarWriter(self._star, self._table, applied, is_first=is_first)
        if captured.has_each_key_once and not few:
            ranges = KeyRanges.of(captured.rows, key)
            if ranges:
                return writer.write_first(captured.rows, ranges, todo)
        later: tuple[str, ...] = ()
        if not is_first:
            self._reader.check_held(captured)
            later = self._reader.content_to_compare(captured, todo.rows)
        is_read = not is_first and not later
        with self._reader.known(captured, is_tiny=is_tiny) if is_read else nullcontext() as known:
            versions = new_versions(
                captured.rows,
                key=key,
                known=known,
                present=captured.present,
                swept=captured.swept,
                in_one_partition=few,
            )
            return writer.write(versions, todo, few=few, unless_alike=later)

    def _captured(self, todo: Pending, head: Manifest, *, is_first: bool) -> Captured:
        if self._star.joined_sources:
            return self._reader.states(todo, head, is_first=is_first)
        rows = {
            source: self._fit_rows(source, todo, head, is_first=is_first)
            for source in self._star.sources
        }
        return self._reader.changes(todo, rows, is_first=is_first)

    def _fit_rows(self, source: str, todo: Pending, head: Manifest, *, is_first: bool) -> DataFrame:
        """Returns the captured rows that satisfy the source's rules; a fact checks the others."""
        declaration = declared_source(source)
        key, rules = declaration.natural_key, declaration.rules
        runs = todo.captures[source]
        rows = self._views.captured_rows(source, runs, head)
        self._check(rows, identity_rules(key, (run.tables[source] for run in runs)), source, key)
        if not rules.every:
            return rows
        self._check_declared(rows, rules, f"sources/{source}")
        if self._star.is_fact:
            broken = self._check(rows, rules, source, key)
            aside = as_quarantined(broken, rules.every, star=self._star.name, key=key)
            self._set_aside(aside, broken.by_rule, todo, head, is_first=is_first)
            if not broken.by_rule:
                return rows
        with explained(self._star):
            return fit(rows, rules.every)

    def _check_declared(self, rows: DataFrame, rules: Rules, file: str) -> None:
        with explained(self._star):
            check_rules(rows, rules, file=file)

    def _check(self, rows: DataFrame, rules: Rules, table: str, key: str) -> Broken:
        with explained(self._star):
            return checked(rows, rules, table=table, key=key)

    def _set_aside(
        self,
        rows: DataFrame,
        by_rule: dict[str, int],
        todo: Pending,
        head: Manifest,
        *,
        is_first: bool,
    ) -> None:
        """Puts the rows that break a rule into the quarantine."""
        put_into_quarantine(
            LakeTable(self._spark, self._request.database, QUARANTINE),
            self._star,
            with_run_ids(rows, todo.runs) if by_rule else None,
            since=min(todo.runs),
            applied=AppliedRun(head.sequence, head.run_id),
            is_whole=lambda: is_first and not self._is_overtaken(),
        )
        for demand, count in by_rule.items():
            _LOGGER.info("%-24s %9d rows to quarantine: %s", self._star.name, count, demand)


def _shuffle_partitions(rows: int) -> int:
    """Returns how many partitions rows are shuffled into; adaptive planning merges small ones."""
    return min(max(rows // ROWS_OF_A_PARTITION, 2), MOST_PARTITIONS)
