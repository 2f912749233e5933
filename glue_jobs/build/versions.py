"""Versions of a star table's rows: the one place where history is decided.

A version is the content of a key as a run saw it, or its deletion. Given what a table already
holds and what later runs captured, the new versions are those that differ from the version before
them, in the order of runs. That makes the result a pure function of the captures: it does not
matter how many runs are taken at once, nor whether a capture is delivered twice.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.build.key_ranges import KeyRanges
from glue_jobs.build.spark_sql import constant_rows, quoted

_HISTORY: Final = "over (partition by _key order by _sequence, _deleted)"
"""The states of a key in their order.

A run of several snapshots may have captured a row that had gone when it swept the keys: the
deletion is the later one."""

FOLLOWS: Final = "_follows"
"""The column of the last row of each key that tells whether the key has a row before it."""


def new_versions(
    captured: DataFrame,
    *,
    key: str,
    known: DataFrame | None,
    present: DataFrame | None,
    swept: Iterable[int],
    in_one_partition: bool = False,
) -> DataFrame:
    """Returns the versions that a star table does not hold yet.

    Args:
        captured: Rows as runs captured them: `key`, the content's columns, `_sequence`.
        key: The name of the natural key's column.
        known: The latest version that the table holds of each of the `touched_keys`, or of more
            keys: `key`, the content's columns, `is_deleted`; None for an empty table, or to compare
            each key's first version with the table later. If no run swept, it need not have keys
            whose latest content differs from the first captured row's.
        present: Keys found by each sweep: `key` (by that name) and `_sequence`; None if no run
            swept.
        swept: The sequences of those runs. A key that is not in `present` had been deleted.
        in_one_partition: Whether to bring all rows into one partition. Otherwise they are
            range-partitioned by key; Spark samples all rows first.

    Returns:
        `key`, the content's columns, `is_deleted`, `_sequence`: a deletion has the content of the
        version before it. Each partition holds a range of keys, in the partitions' order, and is
        sorted by key, `_sequence` and `is_deleted`: what history needs, numbering and the files
        can use.
    """
    content = [name for name in captured.columns if name not in (key, "_sequence")]
    parts = [_states(captured, key, content, is_deleted="false", sequence="_sequence")]
    if known is not None:
        parts.append(_states(known, key, content, is_deleted="is_deleted", sequence="0"))
    states = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    if present is not None:
        states = _with_looks(states, _looks(states, present, of_all=known is None), swept)
    states = states.repartition(1) if in_one_partition else states.repartitionByRange("_key")
    if present is not None:
        states = _filled(_with_deletions(states))
    return _changes(states).selectExpr(
        f"_key as {quoted(key)}", "_content.*", "_deleted as is_deleted", "_sequence"
    )


def only_versions(captured: DataFrame, *, key: str, ranges: KeyRanges) -> DataFrame:
    """Returns what `new_versions` does of captured rows that have each key once.

    Args:
        captured: As `new_versions` takes it. The table holds nothing, and no run swept.
        key: As `new_versions` takes it.
        ranges: What the rows are spread by: each range is a partition.
    """
    content = [name for name in captured.columns if name not in (key, "_sequence")]
    rows = captured.select(
        key, *content, f.lit(False).alias("is_deleted"), f.col("_sequence").cast("bigint")
    )
    return rows.repartitionById(ranges.count, ranges.number()).sortWithinPartitions(key)


def touched_keys(
    captured: DataFrame,
    *,
    key: str,
    shown: DataFrame,
    present: DataFrame | None,
    swept: Iterable[int],
) -> DataFrame:
    """Returns the keys that may have a new version: no other row of the table matters.

    Args:
        captured: As `new_versions` takes it.
        key: The name of the natural key's column.
        shown: The keys of the table that are not deleted, by that name. It is read only where runs
            looked at all keys.
        present: As `new_versions` takes it.
        swept: As `new_versions` takes it.
    """
    keys = captured.select(key)
    if present is not None:
        known = shown.select(f.col(key).alias("_key"), f.lit(0).cast("bigint").alias("_sequence"))
        events = _missed(_with_looks(known, present, swept)).where("_missed is not null")
        keys = keys.unionByName(events.select(f.col("_key").alias(key)))
    return keys.distinct()


def _states(
    frame: DataFrame, key: str, content: list[str], *, is_deleted: str, sequence: str
) -> DataFrame:
    return frame.selectExpr(
        f"{quoted(key)} as _key",
        f"struct({', '.join(map(quoted, content))}) as _content",
        f"{is_deleted} as _deleted",
        f"cast({sequence} as bigint) as _sequence",
    )


def _looks(states: DataFrame, present: DataFrame, *, of_all: bool) -> DataFrame:
    """Returns the sweeps that found a key: of all keys, or of those that have a state."""
    if of_all:
        return present
    keys = states.select(f.col("_key").alias("key"))
    return present.join(keys, "key", "left_semi")


def _with_looks(states: DataFrame, looks: DataFrame, swept: Iterable[int]) -> DataFrame:
    """Returns states and looks at their keys, each with the next sweep after it.

    Args:
        states: `_key`, `_sequence` and any other columns, which a look does not have.
        looks: As `new_versions` takes `present`.
        swept: As `new_versions` takes it.

    Returns:
        The columns of `states`, `_is_look`, and `_next`, which is null after the last sweep. Of a
        state it may be the sweep of its own run.
    """
    key = f.col("key").cast(states.schema["_key"].dataType).alias("_key")
    events = states.withColumn("_is_look", f.lit(False)).unionByName(
        looks.select(key, "_sequence", f.lit(True).alias("_is_look")), allowMissingColumns=True
    )
    sweeps = sorted(swept)
    since = f.greatest(f.col("_sequence") + f.col("_is_look").cast("int"), f.lit(sweeps[0]))
    following = f.broadcast(_following(states.sparkSession, sweeps))
    return events.withColumn("_since", since).join(following, "_since", "left").drop("_since")


def _following(spark: SparkSession, sweeps: list[int]) -> DataFrame:
    """Returns for each run `_since`, from the first sweep on, the first sweep that follows it."""
    rows = (
        {"_since": run, "_next": sweep}
        for before, sweep in pairwise([sweeps[0] - 1, *sweeps])
        for run in range(before + 1, sweep + 1)
    )
    return constant_rows(spark, rows, "_since bigint, _next bigint")


def _missed(events: DataFrame) -> DataFrame:
    """Adds `_missed` to the result of `_with_looks`: the next sweep if it did not find the key.

    A sweep that finds a key is an event of the key. So a sweep before the key's next event did not
    find it; one after that event is told by that event. What a deletion is told from is linear in
    the events. The sweeps after a deletion, up to the next event, tell nothing new.
    """
    later = "lead(_sequence) over (partition by _key order by _sequence, _is_look)"
    missed = f"case when {later} is null or {later} > _next then _next end"
    return events.withColumn("_missed", f.expr(missed))


def _with_deletions(events: DataFrame) -> DataFrame:
    """Returns the states of the result of `_with_looks`, and each key's deletions."""
    no_content = f.lit(None).cast(events.schema["_content"].dataType).alias("_content")
    state = f.struct("_content", "_deleted", "_sequence")
    deletion = f.struct(
        no_content, f.lit(True).alias("_deleted"), f.col("_missed").alias("_sequence")
    )
    told = f.array(
        f.when(~f.col("_is_look"), state), f.when(f.col("_missed").isNotNull(), deletion)
    )
    return _missed(events).select("_key", f.inline(told)).where("_sequence is not null")


def _filled(states: DataFrame) -> DataFrame:
    """Copies the content of the state before into deletions; drops those without one."""
    content = f.expr(f"last(_content, true) {_HISTORY}")
    return states.withColumn("_content", content).where("_content is not null")


def _changes(states: DataFrame) -> DataFrame:
    """Keeps the states that differ from the state before, and are not yet in the table."""
    before = f.expr(f"lag(struct(_content, _deleted)) {_HISTORY}")
    return states.withColumn("_before", before).where(
        "_sequence > 0 and not struct(_content, _deleted) <=> _before "
        "and not (_deleted and _before is null)"
    )


def last_of_each(rows: DataFrame, key: str, *order: str) -> DataFrame:
    """Returns the row of each key that comes last in an order, and `FOLLOWS`."""
    ordered = f"partition by {quoted(key)} order by {', '.join(map(quoted, order))}"
    beside = {
        FOLLOWS: f.expr(f"lag(true) over ({ordered}) is not null"),
        "_after": f.expr(f"lead(true) over ({ordered})"),
    }
    return rows.withColumns(beside).where("_after is null").drop("_after")
