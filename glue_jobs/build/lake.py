"""The star tables in the lake: Iceberg tables in the Glue Data Catalog.

The run through which a table has been built is a property of the snapshot that added the rows, so
that a build that is repeated after a failure applies each run exactly once. It is read from the
current snapshot and its ancestors alone: snapshots that a rollback left behind, tags and branches
say nothing of the rows that the table has now.

Each commit is validated against the snapshot that the build read: if another writer has added rows
since then, Iceberg rejects the commit.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.build.key_ranges import MOST_KEYS_LISTED, among, within_ranges
from glue_jobs.build.spark_sql import java_class, literal, quoted, texts_of
from glue_jobs.build.versions import FOLLOWS, last_of_each
from pipeline.applied_run import (
    APPLIED_THROUGH,
    BEGAN_AT,
    BUILT_ANEW,
    DECLARED,
    NEVER,
    RUN_ID,
    SEVERAL,
    AppliedRun,
)
from pipeline.errors import CommitConflict, LakeTableChanged, SourceSchemaChanged, first_line

_P = ParamSpec("_P")
_R = TypeVar("_R")

_LOGGER = logging.getLogger(__name__)

CATALOG = "glue_catalog"
ATTEMPTS: Final = 4
"""How often work on a table is tried if other writers commit to it at the same time."""
SMALL_TABLE_ROWS = 300_000
"""A table of no more rows is read or written whole if need be: it has one row group or two."""
TINY_TABLE_ROWS = 10_000
"""A table of no more rows is read whole: to collect the keys to look for would take longer."""
MOST_DELETED = 0.1
"""The part of a table's rows that delete files may name: readers keep the places in memory."""
_GC: Final = "gc.enabled"
_MERGE_MODE: Final = "write.merge.mode"
_SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property"
_SAME_ROWS: Final = "replace"
"""Iceberg's operation of a commit that replaces files by others with the same rows."""
_CHANGES: Final = (
    "added-records",
    "deleted-records",
    "added-position-deletes",
    "added-equality-deletes",
)
_SEQUENCE: Final = "_sequence"
INTEGERS: Final = frozenset({"smallint", "int", "bigint"})
"""The types of integers, of which copies of the source have different ones."""
_FORMAT: Final = "format-version"
_PROPERTIES: Final = {
    _FORMAT: "2",
    # Load reads no other format.
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    # What a reader that looks for a few keys can leave out: 16 MiB instead of 128.
    "write.parquet.row-group-size-bytes": str(16 * 1024 * 1024),
    "write.metadata.metrics.default": "truncate(16)",
    # Each commit adds a manifest, and each reader reads all: by default up to 100.
    "commit.manifest.min-count-to-merge": "10",
}


_OF_OTHERS: Final = "org.apache.iceberg.exceptions.NoSuchIcebergTableException"
_CONFLICTS: Final = frozenset(
    f"org.apache.iceberg.exceptions.{name}"
    for name in ("ValidationException", "CommitFailedException", "CommitStateUnknownException")
)
"""Iceberg's exceptions of a commit that another writer's commit came before.

What became of a commit of unknown state is known once the table is read again."""


@dataclass(frozen=True)
class TableDesign:
    """The metadata of a table, apart from the names and types of its columns.

    Attributes:
        comment: What the table holds.
        comments: What each column holds.
        sort_key: The column that the table's files are sorted by.
        bounded: Columns with untruncated minimum and maximum in Iceberg's metadata.
    """

    comment: str
    comments: dict[str, str]
    sort_key: str
    bounded: tuple[str, ...]

    @property
    def properties(self) -> dict[str, str]:
        """The table's properties."""
        full = {f"write.metadata.metrics.column.{column}": "full" for column in self.bounded}
        return _PROPERTIES | full

    def column(self, name: str, kind: str) -> str:
        """Returns a column's definition, as DDL has it."""
        return f"{quoted(name)} {kind} comment {literal(self.comments.get(name, ''))}"


def retrying(work: Callable[[], _R], table: str) -> _R:
    """Returns the result of work that is repeated if another writer commits at the same time.

    Args:
        work: Reads a table and commits to it; nothing of an earlier attempt is kept.
        table: The table's name.

    Raises:
        CommitConflict: Another writer committed at each attempt.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except CommitConflict as error:
            _LOGGER.info("%-24s is tried again: %s", table, error)
    return work()


@contextmanager
def translated_conflicts(name: str) -> Iterator[None]:
    """Translates Iceberg's conflicts, after which the work may be tried again from the start.

    Raises:
        CommitConflict: Another writer committed to the table of this name at the same time.
    """
    try:
        yield
    except Exception as error:
        if _CONFLICTS.isdisjoint(_java_classes(error)):
            raise
        raise CommitConflict(
            f"another writer committed to {name} at the same time ({reason_of(error)})"
        ) from error


def _committing(
    commit: Callable[Concatenate["LakeTable", _P], _R],
) -> Callable[Concatenate["LakeTable", _P], _R]:
    @wraps(commit)
    def translated(table: "LakeTable", /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        with translated_conflicts(table.name):
            return commit(table, *arguments, **named)

    return translated


class LakeTable:
    """One Iceberg table.

    Args:
        spark: A session of the table's own: its snapshot properties are session settings, and its
            catalog keeps the metadata that was read first.
        database: The Glue database.
        name: The table.
        declared: The digest of its declaration, for a build.
    """

    def __init__(
        self, spark: SparkSession, database: str, name: str, *, declared: str = ""
    ) -> None:
        self._spark = spark
        self._declared = declared
        self.name = name
        self.identifier = f"{CATALOG}.{database}.{name}"
        self._base: int | None = None
        self._began_at_ms = time.time_ns() // 1_000_000

    def exists(self) -> bool:
        """Returns whether the table is in the catalogue."""
        return self._spark.catalog.tableExists(self.identifier)

    def refresh(self) -> None:
        """Reads the metadata anew: later commits are validated against the current snapshot."""
        if self.exists():
            self._iceberg().refresh()
        self.rebase()

    def rebase(self) -> None:
        """Validates later commits against the current snapshot of the metadata that was read."""
        current = next(self._ancestors(), None)
        self._base = None if current is None else current.snapshotId()

    def read_applied(self) -> AppliedRun:
        """Refreshes the table, and returns the run through which it has been built.

        Raises:
            LakeTableChanged: The table has rows of a run that its snapshots do not name.
        """
        self.refresh()
        if self._base is None:
            return NEVER
        applied = self._applied()
        if applied and APPLIED_THROUGH in self._summary():
            return applied
        # The newest commit is another writer's.
        newest = self.greatest(_SEQUENCE)
        if applied is None:
            # Another writer expired the snapshots that named the run. Runs after the newest row's
            # brought no rows: to apply one of them again changes nothing.
            return AppliedRun(newest)
        if newest > applied.through:
            raise LakeTableChanged(
                f"{self.name} has rows of run {newest}, but its snapshots say that it was built "
                f"through run {applied.through}: another writer added a snapshot, for example by "
                'cherrypick_snapshot. Start the state machine with {"rebuild": true}'
            )
        return applied

    def read_named(self) -> AppliedRun:
        """Refreshes the table, and returns the run that its snapshots name; NEVER for none."""
        self.refresh()
        return self._applied() or NEVER

    def check_writers(self) -> None:
        """Checks that no other writer has changed rows since the newest commit of a build.

        The summaries of the snapshots tell it. A commit before was looked at by that build.

        Raises:
            LakeTableChanged: Another writer has added, changed or deleted rows.
        """
        changing: list[str] = []
        for snapshot in self._ancestors():
            summary = snapshot.summary()
            if AppliedRun.named_in(summary):
                break
            counts = (int(summary.get(name) or 0) for name in _CHANGES)
            if snapshot.operation() != _SAME_ROWS and any(counts):
                changing.append(f"{snapshot.snapshotId()} ({snapshot.operation()})")
        else:
            # No snapshot is left that a build is known to have made.
            return
        if changing:
            raise LakeTableChanged(
                f"another writer changed rows of {self.name}, by the snapshots "
                f"{', '.join(changing)}: roll the table back to the snapshot before them, or start "
                'the state machine with {"rebuild": true}'
            )

    def keep_applied(self) -> None:
        """Repeats the run in the newest snapshot if only an older snapshot names it.

        A snapshot that replaced files by others with the same rows does not name it.
        """
        applied = self.read_applied()
        if applied.through and APPLIED_THROUGH not in self._summary():
            self.append(self.rows().limit(0), applied)

    def name_applied(self) -> None:
        """Names the run in a commit of its own if no snapshot names it any more."""
        if self._base is not None and self._applied() is None:
            applied = AppliedRun(self.greatest(_SEQUENCE))
            if applied.through:
                self.append(self.rows().limit(0), applied)

    @property
    def is_small(self) -> bool:
        """Whether it costs less to read the whole table than to find out which part to read.

        The value is that of the first look: a build's own commit does not change it.
        """
        return self._row_count <= SMALL_TABLE_ROWS

    @property
    def is_tiny(self) -> bool:
        """Whether it costs less to read the whole table than to collect the keys to look for."""
        return self._row_count <= TINY_TABLE_ROWS

    @cached_property
    def _row_count(self) -> int:
        """The number of rows that the table had at the first look."""
        return int(self._summary().get("total-records", 0))

    @property
    def may_lose_files(self) -> bool:
        """Whether files of old snapshots may be removed: others may have forbidden it."""
        return str(self._iceberg().properties().get(_GC) or True).lower() == "true"

    def greatest(self, column: str) -> int:
        """Returns a column's greatest value, 0 for none; Iceberg answers from its metadata."""
        row = self.rows().select(f.max(column)).first()
        return int(row[0] or 0) if row is not None else 0

    def rows(self) -> DataFrame:
        """Returns the table's rows."""
        return self._spark.table(self.identifier)

    @_committing
    def prepare(self, frame: DataFrame, design: TableDesign) -> None:
        """Creates the table with a frame's columns, or alters it to match its design.

        `_sequence` is the last column of a table that is created.

        Raises:
            SourceSchemaChanged: A column of the table has another type than the frame's.
            LakeTableChanged: Another writer upgraded the table to a newer format version, or the
                Glue database has something else by its name.
            CommitConflict: Another writer altered the table at the same time.
        """
        if not self.exists():
            types = sorted(frame.dtypes, key=lambda column: column[0] == _SEQUENCE)
            columns = ", ".join(design.column(name, kind) for name, kind in types)
            self._create(
                f"({columns}) using iceberg comment {literal(design.comment)} "
                f"tblproperties ({_pairs(design.properties)})"
            )
            self._alter(f"write locally ordered by {quoted(design.sort_key)}")
            return
        version = self._checked_format()
        self._prepare_columns(frame, design)
        table = self._iceberg()
        # Iceberg does not keep the format version among the properties that it is set by.
        held = texts_of(self._spark, table.properties()) | version
        if held.get("comment") != design.comment:
            self._spark.sql(f"comment on table {self.identifier} is {literal(design.comment)}")
        wanted = {key: text for key, text in design.properties.items() if held.get(key) != text}
        if wanted:
            self._alter(f"set tblproperties ({_pairs(wanted)})")
        order = table.sortOrder().fields()
        if not order or table.schema().findColumnName(order[0].sourceId()) != design.sort_key:
            self._alter(f"write locally ordered by {quoted(design.sort_key)}")

    def _create(self, definition: str) -> None:
        try:
            self._spark.sql(f"create table if not exists {self.identifier} {definition}")
        except Exception as error:
            if _OF_OTHERS not in _java_classes(error):
                raise
            raise LakeTableChanged(
                f"{self.name} is no table of Iceberg in the Glue database: another tool made a "
                f"table or a view of this name there. Run {self._dropping}"
            ) from error

    def _checked_format(self) -> dict[str, str]:
        """Returns the format version, which Iceberg does not take back, as a property."""
        version = self._iceberg().operations().current().formatVersion()
        if version > int(_PROPERTIES[_FORMAT]):
            raise LakeTableChanged(
                f"{self.name} has Iceberg's format version {version}, to which another writer "
                f"upgraded it; the pipeline writes version {_PROPERTIES[_FORMAT]}. Run "
                f"{self._dropping}"
            )
        return {_FORMAT: str(version)}

    def fit_types(self, frame: DataFrame) -> None:
        """Compares the columns of a frame with those that the table has, and widens its integers.

        A column of the source that became bigint is one in the table as well. A frame that was made
        of the table before cannot be written to it any more.

        Raises:
            SourceSchemaChanged: A column has another type, or a name that another column of the
                table has in other letters: the catalogue would show both by one name.
        """
        held = dict(self.rows().dtypes)
        spelled = {name.casefold(): name for name in held}
        for name, kind in frame.dtypes:
            alike = spelled.get(name.casefold(), name)
            if alike != name and name not in held:
                raise SourceSchemaChanged(
                    f"{self.name} has the column {alike}, and its SELECT {name}: the Glue Data "
                    "Catalog does not tell them apart; give the column its former name"
                )
            held_kind = held.get(name, kind)
            if held_kind != kind and not {held_kind, kind} <= INTEGERS:
                raise self._retyped(name, held_kind, kind)
            if held_kind != kind == "bigint":
                self._alter(f"alter column {quoted(name)} type bigint")

    def _retyped(self, name: str, held: str, given: str) -> SourceSchemaChanged:
        return SourceSchemaChanged(
            f"{self.name}.{name} is {held} in the lake and {given} in its SELECT: cast it in the "
            "SQL file to the type that the table has. To retype it, alter the warehouse's column "
            f"by a migration, and run {self._dropping}"
        )

    def _prepare_columns(self, frame: DataFrame, design: TableDesign) -> None:
        held = {field.name: field for field in self.rows().schema}
        for name, kind in frame.dtypes:
            if name not in held:
                self._alter(f"add column {design.column(name, kind)}")
                continue
            held_kind = held[name].dataType.simpleString()
            if held_kind != kind and not {held_kind, kind} <= INTEGERS:
                raise self._retyped(name, held_kind, kind)
            if held[name].metadata.get("comment", "") != design.comments.get(name, ""):
                self._alter(
                    f"alter column {quoted(name)} comment {literal(design.comments.get(name, ''))}"
                )

    def _alter(self, change: str) -> None:
        self._spark.sql(f"alter table {self.identifier} {change}")

    @_committing
    def append(self, frame: DataFrame, applied: AppliedRun) -> int:
        """Adds rows in one commit that names the run; returns how many.

        Raises:
            CommitConflict: Another writer added rows since the build read the table.
        """
        return self._overwrite(frame, applied, where=f.lit(False))

    @_committing
    def replace(self, frame: DataFrame, applied: AppliedRun) -> int:
        """Replaces all rows in one commit that names the run; returns how many there are now.

        Raises:
            CommitConflict: Another writer added rows since the build read the table.
        """
        return self._overwrite(frame, applied, where=f.lit(True), is_anew=True)

    def _overwrite(
        self, frame: DataFrame, applied: AppliedRun, *, where: Column, is_anew: bool = False
    ) -> int:
        """Commits rows; Iceberg rejects the commit if rows were added since the base snapshot.

        Spark's append has no validation. An overwrite of no rows has, and appends.
        """
        self._announce(applied, is_anew=is_anew)
        writer = self._in_order(frame).writeTo(self.identifier)
        writer.option("isolation-level", "serializable")
        # Rows come in the order that files are to have; Iceberg would shuffle them by range again.
        writer.option("distribution-mode", "none")
        if self._base is not None:
            writer.option("validate-from-snapshot-id", str(self._base))
        writer.overwrite(where)
        return int(self._summary().get("added-records", 0))

    @_committing
    def delete(self, condition: str) -> None:
        """Deletes the rows that meet a condition; there is no commit where none does.

        Raises:
            CommitConflict: Another writer committed such rows, or replaced their files.
        """
        if self._base is None or self._summary().get("total-records") == "0":
            return
        if not self.rows().where(condition).isEmpty():
            # Iceberg's parser takes no parameters; names and numbers here are the job's own.
            self._spark.sql(
                f"delete from {self.identifier} where {condition}"  # noqa: S608  # nosec B608
            )

    @_committing
    def merge(
        self, frame: DataFrame, key: str, applied: AppliedRun, *, unless_alike: Sequence[str] = ()
    ) -> int:
        """Updates the rows of known keys and inserts the others, in one commit.

        Args:
            frame: One row a key.
            key: The key's column.
            applied: The run of the commit.
            unless_alike: Columns of content. A row of the table that has the same in them stays as
                it is, unless the frame's row has a version of its own before it: `FOLLOWS`.

        Returns:
            The number of rows that were written.

        Raises:
            CommitConflict: Another writer committed since the build read the table.
        """
        # A view whose plan reads the table that is merged into cannot be planned by Spark 4.1.
        told = (FOLLOWS,) if unless_alike else ()
        changed = self._in_order(frame, *told).localCheckpoint(eager=False)
        count, least = self._count_and_least(changed, key)
        if not count or self.rows().where(f.col(quoted(key)) >= f.lit(least)).isEmpty():
            return self.append(changed, applied)
        if self.is_small and count <= SMALL_TABLE_ROWS:
            self._merge_whole(changed, key, applied)
            return count
        column = f"target.`{key}`"
        is_light = self.keeps_files(count)
        touched = (among if is_light else within_ranges)(changed.select(key), column)
        changed.createOrReplaceTempView("changed")
        self._set_merge_mode("merge-on-read" if is_light else "copy-on-write")
        before = self.greatest(_SEQUENCE) if unless_alike and not is_light else 0
        self._announce(applied)
        self._check_base()
        self._spark.sql(
            f"merge into {self.identifier} as target using changed "  # nosec B608
            f"on {column} = changed.`{key}` and ({touched}) "
            f"when matched and {_differs(unless_alike)} then update set * "
            "when not matched then insert *"
        )
        if not unless_alike:
            return count
        if is_light:
            return int(self._summary().get("added-records", 0))
        return self.rows().where(f.col(_SEQUENCE) > before).count()

    @staticmethod
    def _count_and_least(rows: DataFrame, key: str) -> tuple[int, Any]:
        found = rows.agg(f.count("*"), f.min(quoted(key))).collect()[0]
        return int(found[0]), found[1]

    def keeps_files(self, count: int) -> bool:
        """Returns whether a MERGE of so many rows is to leave the files, and add delete files."""
        summary = self._summary()
        deleted = int(summary.get("total-position-deletes", 0)) + count
        most = int(summary["total-records"]) * MOST_DELETED
        return count <= MOST_KEYS_LISTED and deleted <= most

    def _set_merge_mode(self, mode: str) -> None:
        if self._iceberg().properties().get(_MERGE_MODE) != mode:
            self._alter(f"set tblproperties ({_pairs({_MERGE_MODE: mode})})")

    def _merge_whole(self, changed: DataFrame, key: str, applied: AppliedRun) -> None:
        """Writes a small table anew: a MERGE would replace its files too, by more jobs."""
        both = self.rows().unionByName(changed).repartition(1)
        self._overwrite(last_of_each(both, key, _SEQUENCE), applied, where=f.lit(True))

    def _check_base(self) -> None:
        """Checks that the session's metadata is still that of the base snapshot.

        Iceberg validates a MERGE against the snapshot that the MERGE itself reads: the one in the
        catalog's cache, which this look keeps there.
        """
        base = self._base
        self.rebase()
        if self._base != base:
            raise CommitConflict(f"another writer committed to {self.name} at the same time")

    def _in_order(self, frame: DataFrame, *others: str) -> DataFrame:
        """Returns rows in the table's columns, and some others.

        A column that somebody else added to the table is null in them.
        """
        held = self.rows().schema
        given = set(frame.columns)
        lacking = {
            column.name: f.lit(None).cast(column.dataType)
            for column in held
            if column.name not in given
        }
        whole = frame.withColumns(lacking) if lacking else frame
        return whole.selectExpr(*map(quoted, (*held.names, *others)))

    def _announce(self, applied: AppliedRun, *, is_anew: bool = False) -> None:
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.{APPLIED_THROUGH}", str(applied.through))
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.{RUN_ID}", applied.run_id)
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.{BUILT_ANEW}", str(is_anew).lower())
        declared = self._declared_as(is_anew=is_anew)
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.{DECLARED}", declared)
        # Until the snapshot's own instant, the build of this table took.
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.{BEGAN_AT}", str(self._began_at_ms))

    def _declared_as(self, *, is_anew: bool) -> str:
        """Returns what the table's rows are declared by once a commit is made; empty if unknown."""
        if is_anew or self._base is None:
            return self._declared
        summaries = (snapshot.summary() for snapshot in self._ancestors())
        known = next((one[DECLARED] for one in summaries if DECLARED in one), "")
        return known if not known or self._declared in ("", known) else SEVERAL

    def _applied(self) -> AppliedRun | None:
        summaries = (snapshot.summary() for snapshot in self._ancestors())
        return next(filter(None, map(AppliedRun.named_in, summaries)), None)

    def _summary(self) -> dict[str, str]:
        """Returns the summary of the current snapshot; empty if there is none."""
        current = next(self._ancestors(), None)
        return {} if current is None else texts_of(self._spark, current.summary())

    def _ancestors(self) -> Iterator[Any]:
        """Yields the current snapshot and its ancestors, the newest first."""
        if not self.exists():
            return
        iceberg = self._iceberg()
        snapshot = iceberg.currentSnapshot()
        while snapshot is not None:
            yield snapshot
            parent = snapshot.parentId()
            snapshot = None if parent is None else iceberg.snapshot(parent)

    def _iceberg(self) -> Any:
        """Returns Iceberg's table, as the session's catalog holds it; queries read the same."""
        iceberg = java_class(self._spark, "org.apache.iceberg.spark.Spark3Util")
        return iceberg.loadIcebergTable(self._spark._jsparkSession, self.identifier)

    @property
    def _dropping(self) -> str:
        """How to have the table made anew, as a message says it."""
        _, database, table = self.identifier.split(".")
        return (
            f"aws glue delete-table --database-name {database} --name {table}, and start the state "
            'machine with {"rebuild": true}'
        )


def _differs(columns: Sequence[str]) -> str:
    """Returns the condition that a row of a MERGE is to replace the table's; all for no columns."""
    alike = " and ".join(f"target.{c} <=> changed.{c}" for c in map(quoted, columns))
    return f"(changed.{FOLLOWS} or not ({alike}))" if alike else "true"


def reason_of(error: Exception) -> str:
    """Returns the first line of what an error says; of one of Java's, what Java says."""
    return first_line(getattr(error, "java_exception", None) or error)


def _java_classes(error: Exception) -> set[str]:
    """Returns the names of the Java exceptions that caused an error of PySpark."""
    names: set[str] = set()
    cause = getattr(error, "_origin", None) or getattr(error, "java_exception", None)
    while cause is not None:
        names.add(cause.getClass().getName())
        cause = cause.getCause()
    return names


def _pairs(properties: dict[str, str]) -> str:
    return ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
