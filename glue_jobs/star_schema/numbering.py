"""Numbers rows in one order over all partitions, without bringing them together in one.

Each partition knows the place of its rows; what came before it is a sum of counts. So the numbers
need one pass over the rows, which is kept, and a second one that adds a constant to each place.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

_PLACE_BITS = 33
"""What `monotonically_increasing_id` has for a row's place; above them is its partition."""

_SHIFTS = "array<struct<_part: bigint, _sequence: bigint, _shift: bigint>>"


@contextmanager
def numbered(
    versions: DataFrame, *, key: str, name: str, start: int, of_one_run: bool
) -> Iterator[DataFrame]:
    """Gives versions with their numbers: in the order of `_sequence`, key and `is_deleted`.

    Args:
        versions: Rows of which each partition holds a range of keys, in the partitions' order, as
            `new_versions` returns them.
        key: The name of the natural key's column.
        name: The name that the numbers' column is to have: the first one, bigint.
        start: The number before the first one.
        of_one_run: Whether all rows have the same `_sequence`, so that the order in which
            `new_versions` leaves each partition is the one that is asked for.

    Yields:
        The numbered rows, as long as the context is open: they are kept for it.
    """
    order = (key, "_sequence", "is_deleted") if of_one_run else ("_sequence", key, "is_deleted")
    placed = (
        versions.sortWithinPartitions(*order)
        .select(f.monotonically_increasing_id().alias("_place"), "*")
        .persist()
    )
    try:
        shifts = versions.sparkSession.range(1).select(
            # Unlike rows of Python's, a literal needs no Python worker on an executor.
            f.inline(f.from_json(f.lit(json.dumps(_shifts(placed, start))), _SHIFTS))
        )
        yield (
            placed.withColumn("_part", f.shiftright("_place", _PLACE_BITS))
            .join(f.broadcast(shifts), ["_part", "_sequence"])
            .select((f.col("_place") + f.col("_shift")).alias(name), *versions.columns)
        )
    finally:
        placed.unpersist()


def _shifts(placed: DataFrame, start: int) -> list[dict[str, int]]:
    """Returns for each partition and run what makes the number of a row of its place."""
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
