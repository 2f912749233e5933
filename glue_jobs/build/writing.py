"""Writes the new versions of a star table's rows, as one commit."""

from collections.abc import Sequence

from pyspark.sql import DataFrame

from glue_jobs.build.key_ranges import KeyRanges
from glue_jobs.build.lake import LakeTable, TableDesign
from glue_jobs.build.numbering import numbered, numbered_in_one_partition, numbered_in_ranges
from glue_jobs.build.raw_views import with_run_ids
from glue_jobs.build.versions import FOLLOWS, last_of_each, only_versions
from pipeline.applied_run import AppliedRun
from pipeline.pending import Pending
from star_schema.tables import ADDED_COLUMNS, StarTable, comments


class StarWriter:
    """Writes the rows of one star table.

    Args:
        star: The star table.
        table: The star table in the lake.
        applied: The run of the commit.
        is_first: Whether the rows replace all that the table holds.
    """

    def __init__(
        self, star: StarTable, table: LakeTable, applied: AppliedRun, *, is_first: bool
    ) -> None:
        self._star = star
        self._table = table
        self._applied = applied
        self._is_first = is_first

    def write(
        self, versions: DataFrame, todo: Pending, *, few: bool, unless_alike: Sequence[str] = ()
    ) -> int:
        """Commits versions, and returns how many rows were written.

        Args:
            versions: The result of `new_versions`.
            todo: The runs that they are of.
            few: Whether `versions` has one partition.
            unless_alike: The columns of content by which the first version of each key is yet to be
                compared with the table: a dimension's.
        """
        named = with_run_ids(versions, todo.runs)
        if self._star.record_id is None:
            key = self._star.natural_key
            latest = last_of_each(named, key, "_sequence", "is_deleted")
            return self._write_latest(latest, unless_alike)
        give_numbers = numbered_in_one_partition if few else numbered
        facts = give_numbers(
            named,
            key=self._star.natural_key,
            name=self._star.record_id,
            start=0 if self._is_first else self._table.greatest(self._star.record_id),
            of_one_run=len(todo.runs) == 1,
        )
        commit = self._table.replace if self._is_first else self._table.append
        self._prepare(facts)
        return commit(facts, self._applied)

    def write_first(self, captured: DataFrame, ranges: KeyRanges, todo: Pending) -> int:
        """Commits the rows of a first capture that has each key once.

        They are spread by key once, and numbered as they are written.

        Args:
            captured: The rows of the SELECT.
            ranges: The ranges of their keys.
            todo: The run that they are of.
        """
        star = self._star
        versions = only_versions(captured, key=star.natural_key, ranges=ranges)
        if star.record_id:
            versions = numbered_in_ranges(versions, name=star.record_id, ranges=ranges)
        rows = with_run_ids(versions, todo.runs)
        self._prepare(rows)
        return self._table.replace(rows, self._applied)

    def _write_latest(self, latest: DataFrame, unless_alike: Sequence[str]) -> int:
        self._prepare(latest.drop(FOLLOWS))
        if self._is_first:
            return self._table.replace(latest, self._applied)
        key = self._star.natural_key
        return self._table.merge(latest, key, self._applied, unless_alike=unless_alike)

    def _prepare(self, rows: DataFrame) -> None:
        self._table.prepare(rows, self._design())

    def _design(self) -> TableDesign:
        star = self._star
        keys = (star.natural_key, star.record_id) if star.record_id else (star.natural_key,)
        return TableDesign(
            comment=star.comment,
            comments=comments(star.columns + ADDED_COLUMNS),
            sort_key=star.natural_key,
            bounded=(*keys, "_sequence"),
        )
