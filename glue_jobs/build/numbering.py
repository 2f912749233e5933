"""Numbers rows in one order over all partitions, without one partition for all rows.

Each partition knows the place of its rows; what came before it is a sum of counts. So the numbers
need one pass over the rows, which are kept as they are, and a second one that adds a constant to
each place.
"""

from collections.abc import Iterable
from itertools import accumulate

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from glue_jobs.build.key_ranges import KeyRanges
from glue_jobs.build.spark_sql import constant_rows, quoted

_PLACE_BITS = 33
"""The bits of `monotonically_increasing_id` for a row's place; its partition is above them."""

_SHIFTS = "_part bigint, _sequence bigint, _shift bigint"


def numbered(
    versions: DataFrame, *, key: str, name: str, start: int, of_one_run: bool
) -> DataFrame:
    """Returns versions with numbers in the order of `_sequence`, key and `is_deleted`.

    Args:
        versions: Rows of which each partition holds a range of keys, in the partitions' order, as
            `new_versions` returns them.
        key: The name of the natural key's column.
        name: The name that the numbers' column is to have: the first one, bigint.
        start: The number before the first one.
        of_one_run: Whether all rows have the same `_sequence`, so that the order in which
            `new_versions` leaves each partition is the one that is asked for.

    Returns:
        The numbered rows, which the executors hold on their disks until nothing refers to them.
    """
    # Rows as they are: to keep them in columns, as `persist` does, costs more than to make them.
    placed = in_places(versions, key=key, of_one_run=of_one_run).localCheckpoint(
        storageLevel=StorageLevel.DISK_ONLY
    )
    shifts = constant_rows(versions.sparkSession, _shifts(placed, start), _SHIFTS)
    return (
        placed.withColumn("_part", f.shiftright("_place", _PLACE_BITS))
        .join(f.broadcast(shifts), ["_part", "_sequence"])
        .selectExpr(f"_place + _shift as {quoted(name)}", *_columns(versions))
    )


def numbered_in_one_partition(
    versions: DataFrame, *, key: str, name: str, start: int, of_one_run: bool
) -> DataFrame:
    """Numbers versions in one partition, where a row's place is its number."""
    placed = in_places(versions, key=key, of_one_run=of_one_run)
    return placed.selectExpr(f"_place + {start + 1} as {quoted(name)}", *_columns(versions))


def numbered_in_ranges(versions: DataFrame, *, name: str, ranges: KeyRanges) -> DataFrame:
    """Numbers versions of which each partition is a range of keys, from 1, in one pass.

    Args:
        versions: The result of `only_versions`.
        name: As `numbered` takes it.
        ranges: What the versions are spread by.
    """
    before = f.array(*(f.lit(rows) for rows in accumulate(ranges.counts, initial=1)))
    place = f.monotonically_increasing_id().bitwiseAND((1 << _PLACE_BITS) - 1)
    number = place + before[ranges.number()]
    return versions.select(number.cast("bigint").alias(name), *versions.columns)


def in_places(versions: DataFrame, *, key: str, of_one_run: bool) -> DataFrame:
    """Returns versions sorted within each partition, with their order in `_place`.

    Args:
        versions: As `numbered` takes them.
        key: As `numbered` takes it.
        of_one_run: As `numbered` takes it.
    """
    order = (key, "_sequence", "is_deleted") if of_one_run else ("_sequence", key, "is_deleted")
    ordered = versions.sortWithinPartitions(*order)
    return ordered.select(f.monotonically_increasing_id().alias("_place"), "*")


def _columns(rows: DataFrame) -> Iterable[str]:
    return map(quoted, rows.columns)


def _shifts(placed: DataFrame, start: int) -> list[dict[str, int]]:
    """Returns for each partition and run the difference of a row's number and its place."""
    counts = (
        placed.groupBy(f.shiftright("_place", _PLACE_BITS).alias("part"), "_sequence")
        .agg(f.min("_place").alias("first"), f.count("*").alias("rows"))
        .collect()
    )
    spans = sorted(counts, key=lambda span: (span["_sequence"], span["part"]))
    before = accumulate((span["rows"] for span in spans), initial=start)
    return [
        {
            "_part": span["part"],
            "_sequence": span["_sequence"],
            "_shift": rows_before + 1 - span["first"],
        }
        for span, rows_before in zip(spans, before, strict=False)
    ]
