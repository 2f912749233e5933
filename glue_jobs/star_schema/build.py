"""Builds star tables: what their sources' runs brought since the last build, as one commit each."""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as f

from glue_jobs.star_schema.key_ranges import within_ranges
from glue_jobs.star_schema.lake import Applied, LakeTable, TableDesign
from glue_jobs.star_schema.numbering import numbered, numbered_in_one_partition
from glue_jobs.star_schema.raw_views import Pending, RawViews, pending
from glue_jobs.star_schema.rules import (
    as_quarantined,
    broken_by_rule,
    broken_rows,
    keeps_all,
    stop_if_broken,
)
from glue_jobs.star_schema.spark_sql import constant_rows, quoted
from glue_jobs.star_schema.versions import Layout, new_versions, touched_keys
from pipeline.errors import PipelineError, SourceSchemaChanged, TableBuildFailed, first_line
from pipeline.manifest import Manifest, ManifestStore
from star_schema import quarantine
from star_schema.iso_4217 import currencies
from star_schema.quarantine import QUARANTINE
from star_schema.rules import Rules
from star_schema.sources import declared_source
from star_schema.tables import ADDED_COLUMNS, StarColumn, StarTable

_LOGGER = logging.getLogger(__name__)

TABLES_AT_ONCE = 4
"""Small tables wait for the catalogue and the object store more than for a core."""

ROWS_OF_A_PARTITION = 200_000
"""How many captured rows a shuffled partition is to hold: some 50 MB, as facts are."""
MOST_PARTITIONS = 2_000
_INTEGERS = frozenset({"smallint", "int", "bigint"})


@dataclass(frozen=True)
class BuildRequest:
    """What a build is to do.

    Attributes:
        raw_bucket: The bucket of the raw zone.
        database: The Glue database of the star schema.
        through: The newest run to apply.
        rebuild: Whether to build every row again from raw.
    """

    raw_bucket: str
    database: str
    through: int
    rebuild: bool


@dataclass(frozen=True)
class Built:
    """What became of one star table.

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
    if any(star.is_fact for star in tables):
        _prepare_quarantine(spark, request.database)
    with ThreadPoolExecutor(max_workers=TABLES_AT_ONCE) as pool:
        futures = {
            star.name: pool.submit(_TableBuild(spark.newSession(), store, star, request).run)
            for star in tables
        }
        for name, future in futures.items():
            try:
                built.append(future.result())
            except PipelineError as error:
                failures.append(f"{name}: {type(error).__name__}: {error}")
            except Exception as error:
                _LOGGER.exception("%s failed", name)
                failures.append(f"{name}: {type(error).__name__}: {first_line(error)}")
    if failures:
        raise TableBuildFailed(
            f"{len(failures)} of {len(tables)} star tables were not built ("
            + "; ".join(failures)
            + "); mend the cause and start the state machine again, which goes on from there"
        )
    return tuple(built)


def _prepare_quarantine(spark: SparkSession, database: str) -> None:
    table = LakeTable(spark, database, QUARANTINE)
    table.prepare(
        constant_rows(spark, [], _ddl(quarantine.COLUMNS)),
        TableDesign(
            comment=quarantine.COMMENT,
            columns=_comments(quarantine.COLUMNS),
            sort_key="star_table",
            bounded=("star_table", "_sequence"),
        ),
    )


@dataclass(frozen=True)
class _Captured:
    """What runs captured, as a star table's rows.

    Attributes:
        rows: The SELECT's rows.
        present: The keys that there were; None where no run looked at all of them.
        swept: The runs that looked at all keys.
        layout: How to bring the rows of a key together.
    """

    rows: DataFrame
    present: DataFrame | None
    swept: tuple[int, ...]
    layout: Layout


class _TableBuild:
    """The build of one star table, on a session of its own."""

    def __init__(
        self, spark: SparkSession, store: ManifestStore, star: StarTable, request: BuildRequest
    ) -> None:
        self._spark = spark
        self._star = star
        self._request = request
        self._store = store
        self._views = RawViews(spark, store, request.raw_bucket)
        self._table = LakeTable(spark, request.database, star.name)

    def run(self) -> Built:
        began = time.monotonic()
        self._spark.conf.set("spark.sql.session.timeZone", "UTC")
        after = 0 if self._request.rebuild else self._table.applied_through()
        todo = pending(self._store, self._star, after=after, through=self._request.through)
        rows = self._apply(todo, after) if todo.runs else 0
        built = Built(self._star.name, rows, round(time.monotonic() - began, 1))
        _LOGGER.info("%-24s %9d rows %6.1f s", built.table, built.rows, built.seconds)
        return built

    def _apply(self, todo: Pending, after: int) -> int:
        rows = _captured_rows(todo)
        self._spark.conf.set("spark.sql.shuffle.partitions", _shuffle_partitions(rows))
        captured = self._captured(todo, after, has_few_rows=rows <= ROWS_OF_A_PARTITION)
        key = self._star.natural_key
        self._check(captured.rows, Rules(stopping=self._star.stopping_rules), self._star.name, key)
        is_new = after == 0
        with nullcontext() if is_new else self._known(captured) as known:
            versions = new_versions(
                captured.rows,
                key=key,
                known=known,
                present=captured.present,
                swept=captured.swept,
                layout=captured.layout,
            ).withColumn("run_id", _run_ids(todo.runs))
            record_id = self._star.record_id
            if record_id is None:
                return self._merge_latest(versions, key, is_new=is_new)
            give_numbers = (
                numbered_in_one_partition if captured.layout is Layout.ONE_PARTITION else numbered
            )
            facts = give_numbers(
                versions,
                key=key,
                name=record_id,
                start=0 if is_new else self._table.greatest(record_id),
                of_one_run=len(todo.runs) == 1,
            )
            commit = self._table.replace if is_new else self._table.append
            return commit(self._prepared(facts, key), self._applied)

    def _captured(self, todo: Pending, after: int, *, has_few_rows: bool) -> _Captured:
        layout = Layout.ONE_PARTITION if has_few_rows else Layout.RANGES
        if self._star.joined_sources:
            # What the first table has is there, even if a value that is not held keeps it, or a row
            # that it joins, out of the rows.
            first = self._star.sources[0]
            keys = self._views.state_keys(first, _key_of(first), todo.runs)
            return _Captured(self._select(self._state_views(todo)), keys, tuple(todo.runs), layout)
        head = self._store.read(self._request.through)
        views = {source: self._fit_rows(source, todo, head) for source in self._star.sources}
        if len(self._star.sources) != 1:
            return _Captured(self._select(views), None, (), layout)
        (source,) = self._star.sources
        runs = todo.captures[source]
        swept = tuple(run.sequence for run in runs if run.tables[source].keys_swept)
        present = (
            self._views.captured_keys(source, _key_of(source), runs)
            if swept and (after > 0 or len(runs) > 1 or runs[0].tables[source].key_files)
            else None
        )
        is_first = after == 0 and present is None
        if is_first and self._star.key_source and not has_few_rows:
            # Spark looks for ranges by making all rows once more: here those of the source, which
            # cost less than the SELECT's.
            with self._explained():
                views[source] = views[source].repartitionByRange(quoted(self._star.key_source))
            layout = Layout.AS_CAPTURED
        return _Captured(self._select(views), present, swept, layout)

    def _state_views(self, todo: Pending) -> dict[str, DataFrame]:
        head = self._store.read(self._request.through)
        return {
            source: self._views.states(source, todo.runs, head) for source in self._star.sources
        }

    def _select(self, views: dict[str, DataFrame]) -> DataFrame:
        for name, rows in views.items():
            rows.createOrReplaceTempView(name)
        constant_rows(
            self._spark,
            ({"code": code, "name": name} for code, name in currencies()),
            "code string, name string",
        ).createOrReplaceTempView("iso_4217")
        if self._star.own_columns:
            self._own_rows(self._star.own_columns).createOrReplaceTempView(self._star.name)
        with self._explained():
            return self._spark.sql(self._star.select)

    def _own_rows(self, columns: tuple[StarColumn, ...]) -> DataFrame:
        """Returns what the table holds already, as if a run before all others had brought it."""
        if self._request.rebuild or not self._table.exists():
            return constant_rows(self._spark, [], f"{_ddl(columns)}, _sequence bigint")
        names = (column.name for column in columns)
        return self._table.rows().select(*names, f.lit(0).cast("bigint").alias("_sequence"))

    def _fit_rows(self, source: str, todo: Pending, head: Manifest) -> DataFrame:
        """Returns the captured rows that keep the source's rules; a fact checks the others too."""
        rows = self._views.captured_rows(source, todo.captures[source], head)
        rules = declared_source(source).rules
        if not rules.every:
            return rows
        key = _key_of(source)
        with self._explained():
            fit = rows.where(keeps_all(rules.every))
        if self._star.is_fact:
            self._check(rows, rules, source, key, todo)
        return fit

    def _check(
        self, rows: DataFrame, rules: Rules, table: str, key: str, todo: Pending | None = None
    ) -> None:
        """Stops if rows break a stopping rule, and puts those that break another aside."""
        if not rules.every:
            return
        with self._explained():
            broken = broken_rows(rows, rules.every)
        by_rule = broken_by_rule(broken, rules.every)
        stop_if_broken(broken, rules, by_rule, table=table, key=key)
        if todo:
            aside = as_quarantined(broken, rules.every, star=self._star.name, key=key)
            self._quarantine(aside, by_rule, todo)

    def _quarantine(self, broken: DataFrame, by_rule: dict[str, int], todo: Pending) -> None:
        """Puts rows into the quarantine, in the place of those that an unfinished build put."""
        table = LakeTable(self._spark, self._request.database, QUARANTINE)
        table.delete(f"star_table = '{self._star.name}' and _sequence >= {min(todo.runs)}")
        if by_rule:
            table.append(broken.withColumn("run_id", _run_ids(todo.runs)), self._applied)
        for demand, rows in by_rule.items():
            _LOGGER.info(
                "%-24s %9d rows to quarantine, not kept: %s", self._star.name, rows, demand
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says what it means that the SELECT or a rule does not fit its sources."""
        try:
            yield
        except AnalysisException as error:
            raise SourceSchemaChanged(
                f"{self._star.name} cannot be selected ({first_line(error)}): its source lost or "
                "retyped a column; restore the column, or change the star table's SQL file"
            ) from error

    @contextmanager
    def _known(self, captured: _Captured) -> Iterator[DataFrame]:
        """Gives the latest version that the table holds of each key that may have a new one.

        What is read follows what was captured: of other keys no more than the key itself, and that
        only where a run looked at all keys. A small table is read, and given, whole.
        """
        key = self._star.natural_key
        rows = self._table.rows().drop("run_id", "_sequence")
        if gained := [c for c in captured.rows.columns if c not in (*rows.columns, "_sequence")]:
            raise SourceSchemaChanged(
                f"{self._star.name} does not hold {', '.join(gained)} yet, which its SELECT has "
                'gained: start the state machine with {"rebuild": true} to fill it'
            )
        if self._table.is_small:
            yield self._latest(rows, key)
            return
        keys = touched_keys(
            captured.rows,
            key=key,
            shown=self._shown(rows, key),
            present=captured.present,
            swept=captured.swept,
        ).persist()
        try:
            touched = rows.where(within_ranges(keys, quoted(key))).join(keys, key, "left_semi")
            yield self._latest(touched, key)
        finally:
            keys.unpersist()

    def _shown(self, rows: DataFrame, key: str) -> DataFrame:
        """Returns the keys whose latest version is not a deletion."""
        if self._star.record_id:
            rows = rows.groupBy(key).agg(
                f.max_by("is_deleted", self._star.record_id).alias("is_deleted")
            )
        return rows.where("not is_deleted").select(key)

    def _latest(self, rows: DataFrame, key: str) -> DataFrame:
        """Returns the latest of the versions of each key."""
        record_id = self._star.record_id
        return _last_of_each(rows, key, record_id).drop(record_id) if record_id else rows

    def _merge_latest(self, versions: DataFrame, key: str, *, is_new: bool) -> int:
        latest = _last_of_each(versions, key, "_sequence", "is_deleted")
        rows = self._prepared(latest, key)
        if is_new:
            return self._table.replace(rows, self._applied)
        return self._table.merge(rows, key, self._applied)

    def _prepared(self, rows: DataFrame, key: str) -> DataFrame:
        """Returns rows with `_sequence` last, for a table that is as they need it."""
        ordered = rows.select(*(c for c in rows.columns if c != "_sequence"), "_sequence")
        _check_types(ordered, self._star)
        self._table.prepare(ordered, self._design(key))
        return ordered

    def _design(self, key: str) -> TableDesign:
        record_id = self._star.record_id
        return TableDesign(
            comment=self._star.comment,
            columns=_comments(self._star.columns + ADDED_COLUMNS),
            sort_key=key,
            bounded=(key, *([record_id] if record_id else []), "_sequence"),
        )

    @property
    def _applied(self) -> Applied:
        through = self._request.through
        return Applied(through, self._store.read(through).run_id)


def _last_of_each(rows: DataFrame, key: str, *order: str) -> DataFrame:
    """Returns of each key the row that comes last in an order."""
    after = f.lead(f.lit(True)).over(Window.partitionBy(key).orderBy(*order))
    return rows.withColumn("_after", after).where("_after is null").drop("_after")


def _key_of(source: str) -> str:
    return declared_source(source).natural_key


def _ddl(columns: Iterable[StarColumn]) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in columns)


def _check_types(rows: DataFrame, star: StarTable) -> None:
    """Compares the columns of a table's rows with its declaration.

    Integers keep the width that the source gives them: copies of the source differ in it.

    Raises:
        SourceSchemaChanged: A column is missing, is not declared, or has another type.
    """
    declared = {column.name: column.type for column in star.columns + ADDED_COLUMNS}
    found = dict(rows.dtypes)
    for name in sorted(declared.keys() | found.keys()):
        kinds = {declared.get(name, "no column"), found.get(name, "no column")}
        if len(kinds) > 1 and not kinds <= _INTEGERS:
            raise SourceSchemaChanged(
                f"{star.name}.{name} is declared as {declared.get(name, 'no column')} and is "
                f"{found.get(name, 'no column')} in the SELECT: cast it in {star.name}.sql, or "
                f"correct {star.name}.toml"
            )


def _comments(columns: Iterable[StarColumn]) -> dict[str, str]:
    return {column.name: column.comment for column in columns}


def _captured_rows(todo: Pending) -> int:
    return sum(run.tables[source].rows for source, runs in todo.captures.items() for run in runs)


def _shuffle_partitions(rows: int) -> int:
    """Returns into how many parts to shuffle rows: few of a few rows."""
    return min(max(rows // ROWS_OF_A_PARTITION, 2), MOST_PARTITIONS)


def _run_ids(runs: dict[int, Manifest]) -> Column:
    """Returns the name of the execution that made a row's `_sequence`."""
    pairs = [f.lit(part) for sequence, run in runs.items() for part in (sequence, run.run_id)]
    names = f.create_map(*pairs)
    return names[f.col("_sequence").cast("int")]
