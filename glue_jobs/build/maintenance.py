"""Keeps Iceberg tables small and quick to read: few files, no old snapshots, no orphans.

The work is done by Iceberg's own procedures (Iceberg documentation, "Spark procedures"). None of
them changes a row, and each commits by itself, so that whatever stops the job leaves every table
as good as it was.
"""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pyspark.sql import Row, SparkSession

from glue_jobs.build.lake import (
    CATALOG,
    LakeTable,
    reason_of,
    retrying,
    translated_conflicts,
)
from pipeline.errors import CommitConflict, TableMaintenanceFailed
from star_schema.quarantine import QUARANTINE

_LOGGER = logging.getLogger(__name__)

TABLES_AT_ONCE: Final = 2
"""One table's compaction keeps the workers busy; a second one fills the waits for the catalogue."""

METADATA_TASKS: Final = 16
"""How many tasks read a table's manifests, however few there are: several for each core of a job.

Iceberg takes Spark's number of shuffled partitions, which is 200."""

_MIB: Final = 1024 * 1024
_COMPACTION: Final = {
    # Files of less than three quarters of this are small ones.
    "target-file-size-bytes": str(128 * _MIB),
    "min-input-files": "5",
    # A MERGE of few rows leaves its files, and writes the places of the rows beside them.
    "delete-file-threshold": "1",
    # What a group has is sorted at once, and committed with few others: a job that ran out of time
    # has done the groups before.
    "max-file-group-size-bytes": str(2048 * _MIB),
    "partial-progress.enabled": "true",
    "partial-progress.max-commits": "10",
    "max-files-to-rewrite": "10000",
}


@dataclass(frozen=True)
class Retention:
    """What maintenance keeps although no current reader needs it.

    Attributes:
        snapshot_days: How long a snapshot is kept: so far back time travel reaches.
        snapshots: How many snapshots are kept, however old they are.
        orphan_days: How old a file has to be that no snapshot names before it is removed: younger
            ones may be of a commit that is under way. Iceberg refuses less than one day.
    """

    snapshot_days: int
    snapshots: int
    orphan_days: int


@dataclass(frozen=True)
class Extent:
    """The data files of a table's newest snapshot, and their bytes."""

    files: int
    size: int


@dataclass(frozen=True)
class Maintained:
    """The result of one table's maintenance.

    Attributes:
        table: Its name.
        before: Its data files before.
        after: Its data files after.
        snapshots_expired: Snapshots that are no more.
        orphans_removed: Files that no snapshot named and that are no more.
        seconds: How long it took.
    """

    table: str
    before: Extent
    after: Extent
    snapshots_expired: int
    orphans_removed: int
    seconds: float

    def __str__(self) -> str:
        """Returns the line that the job prints."""
        return (
            f"{self.table:24} files {self.before.files:6} -> {self.after.files:6}, "
            f"bytes {self.before.size:13} -> {self.after.size:13}, "
            f"{self.snapshots_expired:5} snapshots expired, "
            f"{self.orphans_removed:5} orphans removed {self.seconds:6.1f} s"
        )


def maintain_tables(
    spark: SparkSession, database: str, names: Iterable[str], retention: Retention
) -> tuple[Maintained, ...]:
    """Maintains tables, and returns the result for each.

    A table that no build has made yet is left out. One that fails does not stop the others.

    Args:
        spark: The session.
        database: The Glue database.
        names: The tables.
        retention: What to keep.

    Raises:
        TableMaintenanceFailed: One or more tables failed; the message names each with its reason.
    """
    wanted = tuple(names)
    done: list[Maintained] = []
    failures: list[str] = []
    with ThreadPoolExecutor(max_workers=TABLES_AT_ONCE) as pool:
        futures = {
            name: pool.submit(_maintain, spark, database, name, retention) for name in wanted
        }
        for name, future in futures.items():
            try:
                maintained = future.result()
            except Exception as error:
                _LOGGER.exception("%s failed", name)
                failures.append(f"{name}: {type(error).__name__}: {reason_of(error)}")
            else:
                done += [maintained] if maintained else []
    if failures:
        raise TableMaintenanceFailed(
            f"{len(failures)} of {len(wanted)} tables were not maintained ("
            + "; ".join(failures)
            + "); no row is lost and the others are done: fix the cause, the next maintenance "
            "does the rest"
        )
    return tuple(done)


def _maintain(
    spark: SparkSession, database: str, name: str, retention: Retention
) -> Maintained | None:
    return retrying(lambda: _attempt(spark.newSession(), database, name, retention), name)


def _attempt(
    spark: SparkSession, database: str, name: str, retention: Retention
) -> Maintained | None:
    began = time.monotonic()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.shuffle.partitions", METADATA_TASKS)
    table = LakeTable(spark, database, name)
    if not table.exists():
        return None
    if name != QUARANTINE:
        # A build sees the commits of others after the newest one that names a run.
        table.check_writers()
    before = _extent(spark, table)
    _rewrite(spark, table)
    # Expiration keeps the newest snapshot, whatever its age: it has to name the run as well.
    table.keep_applied()
    expired = orphans = 0
    if table.may_lose_files:
        expired = _expire(spark, table, retention)
        orphans = _remove_orphans(spark, table, retention)
    else:
        _LOGGER.info("%-24s keeps old snapshots and files: its property gc.enabled is false", name)
    maintained = Maintained(
        table=name,
        before=before,
        after=_extent(spark, table),
        snapshots_expired=expired,
        orphans_removed=orphans,
        seconds=round(time.monotonic() - began, 1),
    )
    _LOGGER.info("%s", maintained)
    return maintained


def _rewrite(spark: SparkSession, table: LakeTable) -> None:
    """Rewrites small files into few, in the order of the table's key.

    Raises:
        CommitConflict: Some files could not be replaced; they are as they were.
    """
    options = ", ".join(f"'{key}', '{value}'" for key, value in _COMPACTION.items())
    (done,) = _call(
        spark, "rewrite_data_files", table, f"strategy => 'sort', options => map({options})"
    )
    if done["failed_data_files_count"]:
        raise CommitConflict(
            f"{done['failed_data_files_count']} files could not be replaced by fewer: another "
            "commit replaced them at the same time, or the job's log says why"
        )
    # What is left of the delete files are the places of rows in files that are no more.
    _call(spark, "rewrite_position_delete_files", table, "options => map('rewrite-all', 'true')")
    _call(spark, "rewrite_manifests", table, "use_caching => false")


def _expire(spark: SparkSession, table: LakeTable, retention: Retention) -> int:
    """Removes old snapshots with the files that only they name; returns how many there were."""
    before = _count_snapshots(spark, table)
    _call(
        spark,
        "expire_snapshots",
        table,
        f"older_than => {_days_ago(retention.snapshot_days)}, "
        f"retain_last => {retention.snapshots}, stream_results => true",
    )
    return before - _count_snapshots(spark, table)


def _remove_orphans(spark: SparkSession, table: LakeTable, retention: Retention) -> int:
    """Removes the files in the table's folder that no snapshot names; returns how many."""
    return len(
        _call(
            spark,
            "remove_orphan_files",
            table,
            f"older_than => {_days_ago(retention.orphan_days)}, prefix_listing => true",
        )
    )


def _call(spark: SparkSession, procedure: str, table: LakeTable, arguments: str) -> list[Row]:
    with translated_conflicts(table.name):
        return spark.sql(
            f"call {CATALOG}.system.{procedure}(table => '{table.identifier}', {arguments})"
        ).collect()


def _days_ago(days: int) -> str:
    moment = datetime.now(UTC) - timedelta(days=days)
    return f"timestamp '{moment:%Y-%m-%d %H:%M:%S.%f}'"


def _extent(spark: SparkSession, table: LakeTable) -> Extent:
    row = (
        spark.table(f"{table.identifier}.data_files")
        .selectExpr("count(*) as files", "coalesce(sum(file_size_in_bytes), 0) as size")
        .first()
    )
    return Extent(int(row["files"]), int(row["size"])) if row is not None else Extent(0, 0)


def _count_snapshots(spark: SparkSession, table: LakeTable) -> int:
    return spark.table(f"{table.identifier}.snapshots").count()
