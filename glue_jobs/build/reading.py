"""Reads captured rows as the rows of a star table, and the latest versions that it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.build.bounds import within_bounds
from glue_jobs.build.key_ranges import near
from glue_jobs.build.lake import LakeTable
from glue_jobs.build.plans import planned_rows
from glue_jobs.build.raw_views import RawViews, shows_all_keys
from glue_jobs.build.select_checks import CURRENCIES, check_columns, check_select
from glue_jobs.build.spark_sql import constant_rows, quoted
from glue_jobs.build.versions import last_of_each, touched_keys
from pipeline.errors import DeclarationInvalid, SourceSchemaChanged, first_line
from pipeline.manifest import Manifest
from pipeline.pending import Pending
from star_schema.iso_4217 import currencies
from star_schema.sources import declared_source
from star_schema.tables import StarTable, ddl

FEW_VERSIONS = 2_000_000
"""So many versions are read whole sooner than it is found out which of them may matter."""
MOST_LOOKED_AT = 0.5
"""The part of more versions of which the dates are looked at, instead of reading all whole."""
_OF_THE_TEXT: Final = (
    "PARSE_",
    "TABLE_OR_VIEW_NOT_FOUND",
    "UNRESOLVED_ROUTINE",
    "WRONG_NUM_ARGS",
    "UNSUPPORTED_SUBQUERY",
)
"""Beginnings of Spark's conditions of errors that no column of a source causes."""


@dataclass(frozen=True)
class Captured:
    """What runs captured, as a star table's rows.

    Attributes:
        rows: The rows of the SELECT.
        present: Keys found by each sweep; None if no run swept.
        swept: The runs that swept.
        has_each_key_once: Whether the rows are those of one snapshot of one source table.
    """

    rows: DataFrame
    present: DataFrame | None
    swept: tuple[int, ...]
    has_each_key_once: bool = False


@contextmanager
def explained(star: StarTable) -> Iterator[None]:
    """Names the star table whose SELECT or rules do not fit its sources.

    Raises:
        DeclarationInvalid: The statement is none, or names what no source could give.
        SourceSchemaChanged: Spark cannot resolve a column of the statement.
    """
    try:
        yield
    except AnalysisException as error:
        if str(error.getCondition()).startswith(_OF_THE_TEXT):
            raise DeclarationInvalid(
                f"{star.name} cannot be selected ({first_line(error)}): correct its SELECT, or the "
                "rules, in star_schema/definitions"
            ) from error
        raise SourceSchemaChanged(
            f"{star.name} cannot be selected ({first_line(error)}): its source lost or retyped a "
            "column; restore the column, or change the star table's SELECT"
        ) from error


@contextmanager
def _persisted(rows: DataFrame) -> Iterator[None]:
    rows.persist()
    try:
        yield
    finally:
        rows.unpersist()


class StarReader:
    """Reads the rows of one star table.

    Args:
        spark: The session of the table's build.
        views: The raw zone.
        star: The star table.
        table: The star table in the lake.
    """

    def __init__(
        self, spark: SparkSession, views: RawViews, star: StarTable, table: LakeTable
    ) -> None:
        self._spark = spark
        self._views = views
        self._star = star
        self._table = table

    def states(self, todo: Pending, head: Manifest, *, is_first: bool) -> Captured:
        """Returns the rows of a SELECT that joins its sources, for each run's state of them.

        Args:
            todo: The runs.
            head: The newest of them, whose columns the SELECT reads.
            is_first: Whether the table's own rows count for nothing.
        """
        views = {
            source: self._views.states(source, todo.runs, head) for source in self._star.sources
        }
        rows, source = self._select(views, is_first=is_first), self._star.row_source
        if source is None:
            return Captured(rows, None, ())
        # A row of this source is present even if a value that the raw zone cannot hold, its own or
        # that of a row that it joins, keeps it out of the SELECT.
        key = declared_source(source).natural_key
        captures = self._views.states_of(source, todo.runs)
        swept = tuple(n for n, run in captures.items() if shows_all_keys(run.tables[source], key))
        return Captured(rows, self._views.state_keys(source, key, swept) if swept else None, swept)

    def changes(self, todo: Pending, fit_rows: dict[str, DataFrame], *, is_first: bool) -> Captured:
        """Returns the rows of a SELECT that reads each source row by itself.

        Args:
            todo: The runs.
            fit_rows: The captured rows of each source that satisfy its rules.
            is_first: Whether the table's own rows count for nothing.
        """
        rows, source = self._select(fit_rows, is_first=is_first), self._star.row_source
        if source is None:
            return Captured(rows, None, ())
        runs = todo.captures[source]
        key = declared_source(source).natural_key
        swept = tuple(run.sequence for run in runs if shows_all_keys(run.tables[source], key))
        # A whole capture alone shows each of its keys: none of them can have gone.
        is_alone = is_first and len(runs) == 1 and not runs[0].tables[source].key_files
        if not swept or is_alone:
            return Captured(rows, None, swept, has_each_key_once=is_alone)
        return Captured(rows, self._views.captured_keys(source, key, runs), swept)

    def _select(self, views: dict[str, DataFrame], *, is_first: bool) -> DataFrame:
        for name, rows in views.items():
            rows.createOrReplaceTempView(name)
        if CURRENCIES in self._star.select.casefold():
            constant_rows(
                self._spark,
                ({"code": code, "name": name} for code, name in currencies()),
                "code string, name string",
            ).createOrReplaceTempView(CURRENCIES)
        if self._star.own_columns:
            self._own_rows(is_first=is_first).createOrReplaceTempView(self._star.name)
        with explained(self._star):
            rows = self._spark.sql(self._star.select)
        check_columns(rows, self._star)
        check_select(rows, self._star)
        return rows

    def _own_rows(self, *, is_first: bool) -> DataFrame:
        """Returns the rows that the table holds, as if a run before all others had brought them."""
        columns = self._star.own_columns
        if is_first:
            return constant_rows(self._spark, [], f"{ddl(columns)}, _sequence bigint")
        names = (column.name for column in columns)
        return self._table.rows().select(*names, f.lit(0).cast("bigint").alias("_sequence"))

    def check_held(self, captured: Captured) -> None:
        """Checks that the table holds each column of the SELECT.

        Raises:
            SourceSchemaChanged: The SELECT has a column that the table does not hold.
        """
        held = self._table.rows().columns
        if gained := [c for c in captured.rows.columns if c not in held]:
            raise SourceSchemaChanged(
                f"{self._star.name} does not hold {', '.join(gained)} yet, which its SELECT has "
                'gained: start the state machine with {"rebuild": true} to fill it'
            )

    def content_to_compare(self, captured: Captured, rows: int) -> tuple[str, ...]:
        """Returns the columns of content by which captured rows are compared as they are merged.

        A MERGE that leaves the files of a large dimension looks for the keys in all of them: it
        reads the content too, instead of a read before it.

        Args:
            captured: What the runs captured.
            rows: How many rows.

        Returns:
            The columns; none if captured rows are to be compared before: with `known`.
        """
        is_merged = not self._star.is_fact and not self._table.is_small
        if not is_merged or captured.present is not None or not self._table.keeps_files(rows):
            return ()
        apart = (self._star.natural_key, "_sequence")
        return (*(c for c in captured.rows.columns if c not in apart), "is_deleted")

    @contextmanager
    def known(self, captured: Captured, *, is_tiny: bool) -> Iterator[DataFrame]:
        """Gives the latest version that the table holds of each key that may have a new one.

        The amount read follows the amount captured: of other keys nothing but the key, and that
        only if a run swept. A small table may be read, and given, whole. Of a large fact, keys may
        be left out whose captured rows differ from all versions.

        Args:
            captured: What the runs captured.
            is_tiny: Whether that is so little that a join takes longer than what it leaves out.
        """
        key = self._star.natural_key
        rows = self._table.rows().drop("run_id", "_sequence")
        if self._table.is_small:
            by_key = is_tiny and captured.present is None and not self._table.is_tiny
            few = rows.where(near(captured.rows.select(key), quoted(key))) if by_key else rows
            yield self._latest(few)
            return
        keys = touched_keys(
            captured.rows,
            key=key,
            shown=self._shown(rows),
            present=captured.present,
            swept=captured.swept,
        )
        with _persisted(keys):
            touched = rows.where(near(keys, quoted(key)))
            suspects = self._may_be_alike(captured, touched, keys)
            if suspects is None:
                yield self._latest(touched.join(keys, key, "left_semi"))
                return
            with _persisted(suspects):
                whole = rows.where(near(suspects, quoted(key)))
                yield self._latest(whole.join(suspects, key, "left_semi"))

    def _may_be_alike(
        self, captured: Captured, touched: DataFrame, keys: DataFrame
    ) -> DataFrame | None:
        """Returns the keys of which the table may hold a version that is alike to a captured row.

        A captured row of another key is a new version, whatever the table holds of the key. Dates
        tell many: a change has a later one than the versions before it, and than their files.

        Args:
            captured: What the runs captured.
            touched: Versions of the table, among them all of the `keys`.
            keys: The keys that may have a new version.

        Returns:
            The keys; None if to find them would not be much less than to read `touched`.
        """
        if not self._star.is_fact or captured.present is not None:
            return None
        most = planned_rows(touched)
        if most <= FEW_VERSIONS:
            return None
        alike = touched.where(within_bounds(captured.rows))
        if planned_rows(alike) > most * MOST_LOOKED_AT:
            return None
        key = self._star.natural_key
        return alike.select(key).join(keys, key, "left_semi")

    def _shown(self, rows: DataFrame) -> DataFrame:
        """Returns the keys whose latest version is not a deletion."""
        key, record_id = self._star.natural_key, self._star.record_id
        if record_id:
            rows = rows.groupBy(key).agg(f.max_by("is_deleted", record_id).alias("is_deleted"))
        return rows.where("not is_deleted").select(key)

    def _latest(self, rows: DataFrame) -> DataFrame:
        """Returns the latest of the versions of each key."""
        record_id = self._star.record_id
        if not record_id:
            return rows
        return last_of_each(rows, self._star.natural_key, record_id).drop(record_id)
