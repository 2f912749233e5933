"""A condition of a few key ranges, which file and row group metrics can answer.

A semi-join finds the rows of some keys by reading all rows. Where rows are sorted by their key, the
ranges that the keys lie in let Iceberg leave out the files, and Parquet the row groups, that hold
none of them (Iceberg documentation, "Performance: Metadata filtering").
"""

from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from glue_jobs.build.spark_sql import literal

RANGES: Final = 32
"""The maximum number of ranges of a condition; no more keys than this are listed one by one."""


def within_ranges(keys: DataFrame, column: str) -> str:
    """Returns a condition, in Spark SQL, that a column holds for each of some keys.

    Args:
        keys: The keys, in their only column. What is collected of them are the ends of ranges.
        column: The column as the condition is to name it.

    Returns:
        A condition that every one of the keys meets, and as few others as ranges can tell apart;
        `false` if there are no keys.
    """
    ((key, kind),) = keys.dtypes
    few = keys.select(f.col(key).cast("string")).limit(RANGES + 1).collect()
    ranges = [(row[0], row[0]) for row in few] if len(few) <= RANGES else _ranges(keys, key)
    return (
        " or ".join(
            f"{column} between cast({literal(first)} as {kind}) and cast({literal(last)} as {kind})"
            for first, last in ranges
        )
        or "false"
    )


def _ranges(keys: DataFrame, key: str) -> list[tuple[str, str]]:
    """Returns the ends of ranges that hold about as many keys each, as texts."""
    ends = (
        keys.repartitionByRange(RANGES, key)
        .groupBy(f.spark_partition_id().alias("_part"))
        .agg(f.min(key).cast("string"), f.max(key).cast("string"))
        .collect()
    )
    return [(first, last) for _, first, last in sorted(ends)]
