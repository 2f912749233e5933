"""The raw zone as Spark views: what a star table's SELECT reads.

Every view carries `_sequence`. For a table that is read alone it is the run that captured the
row. For joined tables it is the run whose state the row belongs to: a join that names
`_sequence` therefore joins states of one instant, and one query covers all runs at once.
"""

from collections.abc import Iterable, Mapping
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.build.lake import INTEGERS
from glue_jobs.build.raw_files import RawFiles
from glue_jobs.build.spark_sql import constant_rows, quoted
from pipeline.manifest import Column, Manifest, ManifestStore, TableCapture
from pipeline.raw_types import is_padded, spark_type
from pipeline.written_files import Written

_HIDDEN = ("_sequence", "_metadata")
"""Names of the views' own column, and of Spark's column of a file's name. The raw zone keeps the
columns of the source that have these names, but no SELECT can read them."""


def shows_all_keys(capture: TableCapture, key: str) -> bool:
    """Returns whether an absent key has been deleted.

    A sweep shows the columns that identified a row when it was made. Ingest once swept the primary
    key, whatever its columns; it captures a table whole after it has swept others than now.

    Args:
        capture: A capture of a table.
        key: The table's natural key.
    """
    swept = capture.natural_key or capture.primary_key
    return capture.keys_swept and (not capture.key_files or key in swept)


def with_run_ids(rows: DataFrame, runs: Mapping[int, Manifest]) -> DataFrame:
    """Adds `run_id`: the name of the execution that made the run of a row's `_sequence`."""
    if len(runs) == 1:
        (run,) = runs.values()
        return rows.withColumn("run_id", f.lit(run.run_id))
    names = constant_rows(
        rows.sparkSession,
        ({"_sequence": run.sequence, "run_id": run.run_id} for run in runs.values()),
        "_sequence bigint, run_id string",
    )
    named = rows.join(f.broadcast(names), "_sequence", "left")
    return named.selectExpr(*map(quoted, rows.columns), "run_id")


class RawViews:
    """Reads raw files as the tables and states that runs captured.

    Args:
        spark: The session that the views belong to.
        store: The manifests.
        files: Reads the files of the build.
    """

    def __init__(self, spark: SparkSession, store: ManifestStore, files: RawFiles) -> None:
        self._spark = spark
        self._store = store
        self._files = files

    def captured_rows(self, source: str, runs: Iterable[Manifest], head: Manifest) -> DataFrame:
        """Returns the rows that some runs captured of a table, each with its run's `_sequence`."""
        parts = [
            (capture.columns, capture.written_files)
            for capture in (run.tables[source] for run in runs)
        ]
        return self._read(parts, head.tables[source].columns)

    def captured_keys(self, source: str, key: str, runs: Iterable[Manifest]) -> DataFrame:
        """Returns `key` and `_sequence` of every row there was when runs swept the keys.

        Args:
            source: The source table.
            key: The name of its natural key.
            runs: The runs. The captures of at least one have to show all keys; one that shows an
                empty table has no row here.
        """
        swept = [run.tables[source] for run in runs if shows_all_keys(run.tables[source], key)]
        parts = [
            (
                tuple(column for column in table.columns if column.name == key),
                table.written_key_files or table.written_files,
            )
            for table in swept
        ]
        return self._read(parts, parts[0][0]).select(f.col(quoted(key)).alias("key"), "_sequence")

    def states(self, source: str, sequences: Iterable[int], head: Manifest) -> DataFrame:
        """Returns a table's whole state as of each run in `sequences`.

        The table is one that Ingest captures whole, so a state is one capture.
        """
        captures = self.states_of(source, sequences)
        runs = {run.sequence: run for run in captures.values()}
        rows = self.captured_rows(source, runs.values(), head)
        return self._as_states(rows, captures)

    def state_keys(self, source: str, key: str, sequences: Iterable[int]) -> DataFrame:
        """Returns `key` and `_sequence` of every row that a table had as of each run."""
        captures = self.states_of(source, sequences)
        runs = {run.sequence: run for run in captures.values()}
        return self._as_states(self.captured_keys(source, key, runs.values()), captures)

    def states_of(self, source: str, sequences: Iterable[int]) -> dict[int, Manifest]:
        """Returns for each run the run that captured the table's state as of then."""
        newest = (
            (sequence, next(self._store.changes(source, after=0, through=sequence), None))
            for sequence in sequences
        )
        return {sequence: run for sequence, run in newest if run is not None}

    def _as_states(self, rows: DataFrame, captures: dict[int, Manifest]) -> DataFrame:
        """Repeats each captured row for the runs whose state it belongs to."""
        mapping = constant_rows(
            self._spark,
            ({"_sequence": run.sequence, "_state": state} for state, run in captures.items()),
            "_sequence bigint, _state bigint",
        )
        return (
            rows.join(f.broadcast(mapping), "_sequence")
            .drop("_sequence")
            .withColumnRenamed("_state", "_sequence")
        )

    def _read(
        self,
        parts: list[tuple[tuple[Column, ...], dict[str, Written]]],
        columns: tuple[Column, ...],
    ) -> DataFrame:
        """Reads files whose columns may have changed between runs, in the newest columns.

        A column whose type differs between files is read as text, which every type has exactly;
        the SELECT casts it. Integers of several widths are integers of the greatest of them. A
        column that a file lacks is null there, and one that the source has lost is left out, so
        that a SELECT that needs it fails rather than reads nulls.
        """
        columns = _visible(columns)
        groups: dict[tuple[Column, ...], dict[str, Written]] = {columns: {}}
        for part_columns, files in parts:
            if files:
                groups.setdefault(_visible(part_columns), {}).update(files)
        frames = [self._read_alike(part, files) for part, files in groups.items()]
        if len(frames) == 1:
            return frames[0]
        types = [dict(frame.dtypes) for frame in frames]
        shared = {
            name
            for frame_types in types
            for name in frame_types
            if len(kinds := {t[name] for t in types if name in t}) > 1 and not kinds <= INTEGERS
        }
        alike = [
            frame.select(
                *(
                    f.col(quoted(n)).cast("string").alias(n) if n in shared else f.col(quoted(n))
                    for n in frame.columns
                )
            )
            for frame in frames
        ]
        union = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), alike)
        return union.selectExpr(*(quoted(column.name) for column in columns), "_sequence")

    def _read_alike(self, columns: tuple[Column, ...], files: dict[str, Written]) -> DataFrame:
        schema = ", ".join(_declare(column) for column in columns)
        if not files:
            return constant_rows(self._spark, [], f"{schema}, _sequence bigint")
        return _unpadded(self._files.read(self._spark, schema, files), columns)


def _visible(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.name.casefold() not in _HIDDEN)


def _unpadded(rows: DataFrame, columns: tuple[Column, ...]) -> DataFrame:
    """Returns rows without the trailing blanks of types that are padded with them."""
    padded = [column.name for column in columns if is_padded(column.source_type)]
    if not padded:
        return rows
    return rows.withColumns({name: f.rtrim(f.col(quoted(name))) for name in padded})


def _declare(column: Column) -> str:
    return f"{quoted(column.name)} {spark_type(column.raw_type)}"
